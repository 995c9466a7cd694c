"""The topics: names, settings, and which partition an account belongs to."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError
from aiokafka.partitioner import murmur2

from ..schemas.errors import BadInput, Unavailable
from ..sinks.access import tls_context
from .config import Config, KafkaConfig

__all__ = ["Topics", "client_settings", "ensure_topics", "existing_topics", "partition_of", "wanted_topics"]

_RECORD_LIMIT = 17 << 20  # above the largest raw record that any configuration accepts, so that it can be dead-lettered whole
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


def client_settings(kafka: KafkaConfig) -> dict[str, object]:
    """Connection settings for any aiokafka client; certificates are read anew each time. Raises BadConfig when they cannot be used."""
    settings: dict[str, object] = {"bootstrap_servers": kafka.bootstrap, "security_protocol": kafka.security_protocol}
    if kafka.security_protocol.endswith("SSL"):
        settings["ssl_context"] = tls_context("kafka", ca_file=kafka.ca_file, cert_file=kafka.cert_file, key_file=kafka.key_file)
    if kafka.security_protocol.startswith("SASL"):
        settings |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": kafka.password.get_secret_value(),
        }
    return settings


def wanted_topics(config: Config, topics: Topics) -> list[NewTopic]:
    """Every topic with the settings that Ratemill makes it with."""
    kafka = config.kafka
    big = {"max.message.bytes": str(_RECORD_LIMIT)}
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
        topic(topics.dead_letter, n, {**big, "retention.ms": str(90 * _DAY_MS)}),
        topic(topics.prices, 1, {"cleanup.policy": "compact", **big}),
        topic(topics.control, 1, {"cleanup.policy": "delete", "retention.ms": "-1"}),
        topic(topics.windows, n, compact),
        topic(topics.dedupe, n, remember),
        topic(topics.progress, n, compact),
        topic(topics.shadow, n, compact),
    ]
    return wanted


async def existing_topics(config: Config) -> set[str]:
    """Names of all topics. (Asking for the metadata of one could create it.) Raises KafkaError when Kafka does not answer."""
    admin = AIOKafkaAdminClient(**client_settings(config.kafka), request_timeout_ms=20_000)
    try:
        await admin.start()
        return set(await admin.list_topics())
    finally:
        await admin.close()


async def ensure_topics(config: Config) -> dict[str, int]:
    """Create the topics that are missing and check the partition counts of those that exist: {topic: partitions}.

    Raises Unavailable when Kafka does not answer, BadInput when counts disagree (they are frozen: state depends on them).
    """
    topics = Topics.of(config.kafka)
    admin = AIOKafkaAdminClient(**client_settings(config.kafka), request_timeout_ms=20_000)
    try:
        await admin.start()
    except (KafkaConnectionError, OSError) as error:
        await admin.close()
        raise Unavailable(f"Kafka at {config.kafka.bootstrap} does not answer; start it (`ratemill local up`) or set kafka.bootstrap") from error
    try:
        wanted = wanted_topics(config, topics)
        existing = set(await admin.list_topics())
        missing = [t for t in wanted if t.name not in existing]
        if missing:
            try:
                response = await admin.create_topics(missing)
                failed = [e for e in response.topic_errors if e[1] not in (0, TopicAlreadyExistsError.errno)]
                if failed:
                    name, code, text = failed[0][:3]
                    raise Unavailable(f"Kafka refused to create topic {name}: {text or code}; check rights and replication factor")
            except TopicAlreadyExistsError:
                pass
        return _checked(await _counts(admin, [t.name for t in wanted]), topics, config)
    except KafkaError as error:
        raise Unavailable(f"Kafka at {config.kafka.bootstrap}: {error!r}; try again, or see `ratemill doctor`") from error
    finally:
        await admin.close()


async def _counts(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Partitions of topics that exist. A busy broker tells of a topic that was made just now a little later, and until then of none."""
    deadline = time.monotonic() + _TOLD_WITHIN_S
    while True:
        counts = {str(d["topic"]): len(d["partitions"]) for d in await admin.describe_topics(names)}
        if all(counts.get(name) for name in names) or time.monotonic() > deadline:
            return counts
        await asyncio.sleep(0.2)


def _checked(counts: dict[str, int], topics: Topics, config: Config) -> dict[str, int]:
    for name in [*topics.rate_sources, topics.rated, topics.windows, topics.dedupe, topics.shadow]:
        if counts.get(name, 0) != counts.get(topics.events, 0) or (counts.get(name) and counts[name] != config.kafka.partitions):
            raise BadInput(
                f"topic {name} has {counts.get(name)} partitions, kafka.partitions says {config.kafka.partitions}: "
                "the count is frozen once usage was rated; set kafka.partitions to what the topics have"
            )
    return counts
