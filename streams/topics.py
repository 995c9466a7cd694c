"""The topics: names, settings, and which partition an account belongs to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import (
    InvalidReplicationFactorError,
    KafkaError,
    NodeNotReadyError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import murmur2
from aiokafka.protocol.metadata import MetadataRequest

from ..schemas.errors import AccessDenied, BadInput, RatemillError, Unavailable
from .config import Config, KafkaConfig
from .reach import admin_client, denied

__all__ = ["RECORD_LIMIT", "Topics", "ensure_topics", "existing_topics", "lanes_of", "look", "partition_of", "wanted_topics"]

RECORD_LIMIT = 17 << 20  # bytes; above the largest raw record that any configuration accepts
_LETTER_LIMIT = RECORD_LIMIT + (1 << 20)  # room for what a dead letter says of a record beside it
_DAY_MS = 86_400_000
_TOLD_WITHIN_S = 20.0


class Topics(NamedTuple):
    """Full names of all topics of one Ratemill."""

    raw: dict[str, str]  # raw topic -> provider
    keyed: frozenset[str]  # raw topics that are keyed by account and need no hop
    events: str
    rated: str
    dead_letter: str
    prices: str
    control: str
    windows: str  # changelog: usage of each window, compacted
    dedupe: str  # changelog: identities of counted events, kept for the dedupe window
    progress: str  # conservation counters of each source partition, compacted
    shadow: str  # what accounts cost under the live price book and under a draft, compacted

    @classmethod
    def of(cls, kafka: KafkaConfig) -> Topics:
        """Names for a configuration."""
        p = kafka.topic_prefix
        return cls(
            raw={p + t.name: t.provider for t in kafka.raw_topics},
            keyed=frozenset(p + t.name for t in kafka.raw_topics if t.keyed_by == "account"),
            events=p + "usage.events",
            rated=p + "usage.rated",
            dead_letter=p + "usage.dead-letter",
            prices=p + "ratemill.prices",
            control=p + "ratemill.control",
            windows=p + "ratemill.state.windows",
            dedupe=p + "ratemill.state.dedupe",
            progress=p + "ratemill.state.progress",
            shadow=p + "ratemill.shadow",
        )

    @property
    def hopped(self) -> list[str]:
        """Raw topics that the agent normalize reads."""
        return [name for name in self.raw if name not in self.keyed]

    @property
    def rate_sources(self) -> list[str]:
        """Co-partitioned topics that the agent rate reads."""
        return [self.events, *sorted(self.keyed)]


def partition_of(account: str, partitions: int) -> int:
    """Partition of an account: Kafka's own default partitioner on the account as key, so any producer agrees."""
    return (int(murmur2(account.encode())) & 0x7FFFFFFF) % partitions


def wanted_topics(config: Config, topics: Topics) -> list[NewTopic]:
    """Every topic with the settings that Ratemill makes it with."""
    kafka = config.kafka
    big = {"max.message.bytes": str(RECORD_LIMIT)}
    compact = {"cleanup.policy": "compact", "max.message.bytes": str(4 << 20)}
    # Identities must outlive the dedupe window and the two buckets of slack that the state keeps (core.state.Settings).
    remember = {"cleanup.policy": "delete", "retention.ms": str(config.rating.dedupe_window_s * 3_000), "segment.ms": str(_DAY_MS), **big}

    def topic(name: str, partitions: int, settings: dict[str, str]) -> NewTopic:
        return NewTopic(name=name, num_partitions=partitions, replication_factor=kafka.replication_factor, topic_configs=settings)

    n = kafka.partitions
    wanted = [topic(name, n, big) for name in topics.raw]
    wanted += [
        topic(topics.events, n, big),
        topic(topics.rated, n, compact),
        topic(topics.dead_letter, n, {"max.message.bytes": str(_LETTER_LIMIT), "retention.ms": str(90 * _DAY_MS)}),
        topic(topics.prices, 1, {"cleanup.policy": "compact", **big}),
        topic(topics.control, 1, {"cleanup.policy": "delete", "retention.ms": "-1"}),
        topic(topics.windows, n, compact),
        topic(topics.dedupe, n, remember),
        topic(topics.progress, n, compact),
        topic(topics.shadow, n, compact),
    ]
    return wanted


def lanes_of(topics: Topics, partitions: Mapping[str, int]) -> dict[tuple[str, TopicPartition], str]:
    """(lane, source) of everything that workers consume, in the order of an event's path; of topics that are not there: nothing."""
    every = [(f"normalize-{topic}-{n}", topic, n) for topic in topics.hopped for n in range(partitions.get(topic, 0))]
    every += [(f"rate-{n}", topic, n) for topic in topics.rate_sources for n in range(partitions.get(topic, 0))]
    every += [(f"index-{n}", topics.rated, n) for n in range(partitions.get(topics.rated, 0))]
    return {(lane, TopicPartition(topic, n)): topic for lane, topic, n in every}


async def existing_topics(config: Config, names: Collection[str]) -> dict[str, int]:
    """Those of these topics that exist: {topic: partitions}. Raises AccessDenied also for one that is hidden from us, Unavailable, KafkaError."""
    async with admin_client(config.kafka) as admin:
        return await look(admin, names)


async def look(admin: Any, names: Collection[str]) -> dict[str, int]:
    """The same, by a connected client. (Its own `describe_topics` could create them, and its `list_topics` leaves hidden ones out.)"""
    answer = await admin._send_request(MetadataRequest(sorted(names), allow_auto_topic_creation=False))
    found: dict[str, int] = {}
    for topic in answer.to_object()["topics"]:
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            name = topic["topic"]
            raise AccessDenied(f"Kafka does not show us topic {name} (TopicAuthorizationFailed); give us the rights that docs/security.md lists")
        if topic["error_code"] != UnknownTopicOrPartitionError.errno:
            found[topic["topic"]] = len(topic["partitions"])
    return found


async def ensure_topics(config: Config, names: Collection[str] = ()) -> dict[str, int]:
    """Create the topics that are missing, of these or of all, and check the partition counts of those that exist: {topic: partitions}.

    Raises Unavailable when Kafka does not answer, AccessDenied when it refuses us, BadInput when counts disagree (they are frozen: state
    depends on them).
    """
    topics, kafka = Topics.of(config.kafka), config.kafka
    wanted = [topic for topic in wanted_topics(config, topics) if not names or topic.name in names]
    deadline = time.monotonic() + _TOLD_WITHIN_S
    while True:
        try:
            counts = await _made(kafka, wanted)
            return _checked(counts, topics, config)
        except NodeNotReadyError as error:
            # A broker answers that knows of no controller: it has just started, or was stopped for a while.
            if time.monotonic() > deadline:
                raise _no_answer(kafka, error) from error
        except _TooFewBrokers:
            # True for good where the factor is wrong, and for seconds where a broker restarts or was fenced for being slow.
            if time.monotonic() > deadline:
                raise
        except KafkaError as error:
            raise await denied(kafka, error) or _no_answer(kafka, error) from error
        await asyncio.sleep(0.2)


def _no_answer(kafka: KafkaConfig, error: KafkaError) -> Unavailable:
    return Unavailable(f"Kafka at {kafka.bootstrap}: {error!r}; try again, or see `ratemill doctor`")


async def _made(kafka: KafkaConfig, wanted: list[NewTopic]) -> dict[str, int]:
    """Create what is missing: {topic: partitions}, of all."""
    async with admin_client(kafka) as admin:
        existing = await look(admin, [t.name for t in wanted])
        missing = [t for t in wanted if t.name not in existing]
        if missing:
            try:
                response = await admin.create_topics(missing)
                failed = [e for e in response.topic_errors if e[1] not in (0, TopicAlreadyExistsError.errno)]
                if failed:
                    raise _not_created(*failed[0][:3])
            except TopicAlreadyExistsError:
                pass
        return await _counts(admin, [t.name for t in wanted])


async def _counts(admin: Any, names: list[str]) -> dict[str, int]:
    """Partitions of topics that exist. A busy broker tells of a topic that was made just now a little later, and until then of none."""
    deadline = time.monotonic() + _TOLD_WITHIN_S
    while True:
        counts = dict.fromkeys(names, 0) | await look(admin, names)
        if all(counts.values()) or time.monotonic() > deadline:
            return counts
        await asyncio.sleep(0.2)


class _TooFewBrokers(Unavailable):
    """Kafka has not as many brokers as a topic is to have replicas, at least just now."""


def _not_created(name: str, code: int, text: str | None) -> RatemillError:
    if code == TopicAuthorizationFailedError.errno:
        return AccessDenied(
            f"there is no topic {name}, and Kafka does not allow us to create it; let somebody create it who may (docs/security.md)"
        )
    kind = _TooFewBrokers if code == InvalidReplicationFactorError.errno else Unavailable
    return kind(f"Kafka refused to create topic {name}: {text or code}; check the replication factor")


def _checked(counts: dict[str, int], topics: Topics, config: Config) -> dict[str, int]:
    for name in [*topics.rate_sources, topics.rated, topics.windows, topics.dedupe, topics.shadow]:
        if counts.get(name, config.kafka.partitions) not in (0, config.kafka.partitions):
            raise BadInput(
                f"topic {name} has {counts.get(name)} partitions, kafka.partitions says {config.kafka.partitions}: "
                "the count is frozen once usage was rated; set kafka.partitions to what the topics have"
            )
    return counts
