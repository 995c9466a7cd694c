"""Transactions that are open in our topics, and how to end one that Kafka itself never will.

Kafka ends each transaction with a marker in each of its partitions. Where a marker was lost, readers of committed records wait for good,
although its coordinator knows of nothing to be done. The one way out is to write that marker: to ask each partition which producers have
a transaction open (DescribeProducers), and to tell it that this one was aborted (WriteTxnMarkers). aiokafka has neither request.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka.errors import InvalidProducerEpoch, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from ..schemas.errors import AccessDenied, RatemillError, Unavailable
from .config import Config
from .ledger import TRANSACTION_TIMEOUT_S
from .reach import admin_client, not_allowed
from .topics import Topics, wanted_topics

__all__ = ["HANGS_AFTER_S", "OpenTransaction", "Part", "StillOpen", "abort", "obstacle", "open_transactions", "refuse_members"]

HANGS_AFTER_S = int(TRANSACTION_TIMEOUT_S) + 10  # the broker looks every ten seconds for those beyond their timeout
GROUP_OFFSETS = "__consumer_offsets"
NO_SUCH_GROUP = 69
UNDER_WAY = {"Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence"}  # states in which Kafka is still going to do something

_NAME, _TAGS = CompactString("utf-8"), ("tags", TaggedFields)


class Part(NamedTuple):
    """A transaction in one partition."""

    topic: str
    partition: int
    offset: int  # of its first record there
    producer_id: int
    epoch: int
    coordinator_epoch: int
    last_ms: int  # timestamp of its last record there


class OpenTransaction(NamedTuple):
    """What one producer has open, in all partitions of ours and in those of the groups' offsets."""

    producer_id: int
    name: str  # transactional id; empty when Kafka does not tell
    state: str  # what Kafka's coordinator makes of it; empty when it does not tell
    parts: tuple[Part, ...]

    @property
    def last_ms(self) -> int:
        """When its last record was written, in any of them."""
        return max(part.last_ms for part in self.parts)


class StillOpen(RatemillError):
    """A transaction that must not be aborted now, and why."""


# -- what may be aborted ---------------------------------------------------------------------------------------------


def obstacle(config: Config, found: OpenTransaction, now_ms: int) -> str:
    """Why this transaction must not be aborted, "what; what to do"; nothing when it hangs and is ours."""
    topics = Topics.of(config.kafka)
    age_s = (now_ms - found.last_ms) / 1_000
    if age_s < HANGS_AFTER_S:
        return f"it is {max(0, age_s):.0f} s old, and Kafka ends one of a dead worker by itself; ask again in {HANGS_AFTER_S - age_s:.0f} s"
    if found.state in UNDER_WAY:
        return f"Kafka is still to end it (state {found.state}); wait, and restart the brokers if it stays so"
    has = {part.topic for part in found.parts} - {GROUP_OFFSETS}
    if has <= set(topics.raw):
        return "its producer is no Ratemill, and may take this usage for delivered; end it by kafka-transactions.sh, and let that producer send again"
    # Every commit of a lane has its progress, and `abort` ends that last. Dead letters are replayed in transactions without one.
    if topics.progress not in has and not has <= {topics.dead_letter, *topics.raw}:
        return f"it has ended in {topics.progress}, so it may count there; see 'A transaction that hangs' in docs/operations.md"
    return ""


async def refuse_members(config: Config) -> None:
    """Raises StillOpen while workers are in the consumer group: one could be in the transaction, and none may read before all of it is undone."""
    name = config.kafka.group_id
    async with admin_client(config.kafka) as admin:
        (answer,) = await admin.describe_consumer_groups([name])
    code, members = answer.groups[0][0], answer.groups[0][5]
    if code not in (0, NO_SUCH_GROUP):  # an error must not pass for nobody
        reason = for_code(code)()
        raise not_allowed(config.kafka, reason) or Unavailable(f"Kafka does not tell who is in consumer group {name} ({reason}); try again")
    if members:
        raise StillOpen(
            f"consumer group {name} has {len(members)} members; stop all workers, and wait {config.kafka.session_timeout_s:g} s for what was killed"
        )


# -- asking and writing ----------------------------------------------------------------------------------------------


async def open_transactions(config: Config) -> list[OpenTransaction]:
    """Every transaction that is open in a topic of ours, by the time of its last record, with all of its parts.

    Raises AccessDenied, Unavailable, KafkaError.
    """
    async with admin_client(config.kafka) as admin:
        parts = await _parts(admin, {topic.name for topic in wanted_topics(config, Topics.of(config.kafka))})
        if not parts:
            return []
        producers = {part.producer_id for part in parts}
        # The offsets of a commit belong to its transaction, and their partition has to be told of its end, too.
        parts += [part for part in await _parts(admin, {GROUP_OFFSETS}) if part.producer_id in producers]
        names = await _names(admin, producers)
    by_producer: dict[int, list[Part]] = defaultdict(list)
    for part in sorted(parts):
        by_producer[part.producer_id].append(part)
    found = [OpenTransaction(producer, *names.get(producer, ("", "")), tuple(its)) for producer, its in by_producer.items()]
    return sorted(found, key=lambda each: each.last_ms)


async def abort(config: Config, parts: Iterable[Part]) -> None:
    """End a transaction as aborted in these partitions: all that it has. Raises AccessDenied, Unavailable, KafkaError.

    The progress comes last: whoever is interrupted here finds it open still, and does it again.
    """
    progress = Topics.of(config.kafka).progress
    async with admin_client(config.kafka) as admin:
        for part in sorted(parts, key=lambda part: (part.topic == progress, part)):
            leaders = await _leaders(admin, {part.topic})
            marker = _Markers(part.producer_id, part.epoch, part.topic, part.partition, part.coordinator_epoch)
            answer = (await admin._send_request(marker, leaders[part.topic, part.partition])).to_object()
            code = answer["markers"][0]["topics"][0]["partitions"][0]["error_code"]
            where = f"the transaction in {part.topic} {part.partition} at {part.offset}"
            if code == InvalidProducerEpoch.errno:
                raise Unavailable(f"{where} is no longer the one that was found there; see `ratemill transactions list` and try again")
            if code:
                reason = for_code(code)()
                raise not_allowed(config.kafka, reason) or Unavailable(f"Kafka did not end {where} ({reason}); try again")


async def _leaders(admin: Any, topics: Collection[str]) -> dict[tuple[str, int], int]:
    """Which broker leads each partition of those topics that exist."""
    answer = (await admin._send_request(MetadataRequest(sorted(topics), allow_auto_topic_creation=False))).to_object()
    leaders = {}
    for topic in answer["topics"]:
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            raise _hidden(topic["topic"])
        if topic["error_code"] not in (0, UnknownTopicOrPartitionError.errno):
            raise for_code(topic["error_code"])(topic["topic"])
        for partition in topic["partitions"]:
            if partition["leader"] < 0:
                raise Unavailable(f"{topic['topic']} {partition['partition']} has no leader; start the broker that has it")
            leaders[topic["topic"], partition["partition"]] = partition["leader"]
    return leaders


async def _parts(admin: Any, topics: Collection[str]) -> list[Part]:
    """What is open in each partition of these topics."""
    asked: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for (topic, partition), leader in (await _leaders(admin, topics)).items():
        asked[leader][topic].append(partition)
    found = []
    for leader, of in asked.items():
        for topic in (await admin._send_request(_Producers(of), leader)).to_object()["topics"]:
            for partition in topic["partitions"]:
                if partition["error_code"] == TopicAuthorizationFailedError.errno:
                    raise _hidden(topic["name"])
                if partition["error_code"]:
                    raise for_code(partition["error_code"])(f"{topic['name']} {partition['partition']}")
                found += [_part(topic["name"], partition["partition"], one) for one in partition["producers"] if one["start"] >= 0]
    return found


def _part(topic: str, partition: int, producer: Mapping[str, int]) -> Part:
    # Without a marker from it so far, the partition does not know its coordinator's epoch; any is newer then.
    coordinator = max(0, producer["coordinator_epoch"])
    return Part(topic, partition, producer["start"], producer["producer_id"], producer["epoch"], coordinator, producer["last_timestamp"])


def _hidden(topic: str) -> AccessDenied:
    return AccessDenied(f"Kafka does not let us see who writes to {topic}; give us the rights that docs/security.md lists")


async def _names(admin: Any, producers: Collection[int]) -> dict[int, tuple[str, str]]:
    """Transactional id and state of producers, as far as their coordinators still know them and show them to us."""
    found = {}
    for broker in (await admin.describe_cluster())["brokers"]:
        answer = (await admin._send_request(_States(producers), broker["node_id"])).to_object()
        found.update({one["producer_id"]: (one["transactional_id"], one["state"]) for one in answer["transactions"]})
    return found


# -- requests that aiokafka does not have, in the form of its own ----------------------------------------------------


class _ProducersResponse0(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 61, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("topics", CompactArray(
            ("name", _NAME),
            ("partitions", CompactArray(
                ("partition", Int32), ("error_code", Int16), ("error_message", _NAME),
                ("producers", CompactArray(
                    ("producer_id", Int64), ("epoch", Int32), ("last_sequence", Int32), ("last_timestamp", Int64), ("coordinator_epoch", Int32),
                    ("start", Int64), _TAGS,
                )),
                _TAGS,
            )),
            _TAGS,
        )),
        _TAGS,
    )  # fmt: skip


class _ProducersRequest0(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 61, 0, True, _ProducersResponse0
    SCHEMA = Schema(("topics", CompactArray(("name", _NAME), ("partitions", CompactArray(Int32)), _TAGS)), _TAGS)


class _Producers(Request[_ProducersRequest0]):  # type: ignore[misc]
    """DescribeProducers: who writes to these partitions, and since which offset in a transaction."""

    API_KEY = 61

    def __init__(self, partitions: Mapping[str, list[int]]) -> None:
        self._topics: list[Any] = [(topic, numbers, {}) for topic, numbers in partitions.items()]

    def build(self, request_struct_class: type[_ProducersRequest0]) -> _ProducersRequest0:
        return request_struct_class(self._topics, {})


class _MarkersResponse1(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 27, 1
    SCHEMA = Schema(
        ("markers", CompactArray(
            ("producer_id", Int64),
            ("topics", CompactArray(("name", _NAME), ("partitions", CompactArray(("partition", Int32), ("error_code", Int16), _TAGS)), _TAGS)),
            _TAGS,
        )),
        _TAGS,
    )  # fmt: skip


class _MarkersRequest1(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 27, 1, True, _MarkersResponse1
    SCHEMA = Schema(
        ("markers", CompactArray(
            ("producer_id", Int64), ("epoch", Int16), ("committed", Boolean),
            ("topics", CompactArray(("name", _NAME), ("partitions", CompactArray(Int32)), _TAGS)),
            ("coordinator_epoch", Int32), _TAGS,
        )),
        _TAGS,
    )  # fmt: skip


class _Markers(Request[_MarkersRequest1]):  # type: ignore[misc]
    """WriteTxnMarkers: the transaction of this producer in this partition was aborted."""

    API_KEY = 27

    def __init__(self, producer_id: int, epoch: int, topic: str, partition: int, coordinator_epoch: int) -> None:
        self._markers: list[Any] = [(producer_id, epoch, False, [(topic, [partition], {})], coordinator_epoch, {})]

    def build(self, request_struct_class: type[_MarkersRequest1]) -> _MarkersRequest1:
        return request_struct_class(self._markers, {})


class _StatesResponse0(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 66, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32), ("error_code", Int16), ("unknown_states", CompactArray(_NAME)),
        ("transactions", CompactArray(("transactional_id", _NAME), ("producer_id", Int64), ("state", _NAME), _TAGS)),
        _TAGS,
    )  # fmt: skip


class _StatesRequest0(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION, RESPONSE_TYPE = 66, 0, True, _StatesResponse0
    SCHEMA = Schema(("states", CompactArray(_NAME)), ("producers", CompactArray(Int64)), _TAGS)


class _States(Request[_StatesRequest0]):  # type: ignore[misc]
    """ListTransactions: what the coordinators know of these producers."""

    API_KEY = 66

    def __init__(self, producers: Collection[int]) -> None:
        self._producers = sorted(producers)

    def build(self, request_struct_class: type[_StatesRequest0]) -> _StatesRequest0:
        return request_struct_class([], self._producers, {})
