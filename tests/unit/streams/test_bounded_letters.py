"""What lanes write stays within what topics take, whatever a record holds: a record that nobody can write down would stop its partition."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from fuzzing.checks import NOW, Record, context_of
from ratemill.schemas.dead_letter import DeadLetter, from_kafka, to_kafka
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.packed import unpack
from ratemill.schemas.usage_event import UsageEvent, canonical_map
from ratemill.streams.lanes.base import Batch, Context, Lane
from ratemill.streams.lanes.decoding import Decoded, decode_batch
from ratemill.streams.lanes.letters import dead_letter
from ratemill.streams.lanes.normalize import BYTES_PER_RECORD, NormalizeLane
from ratemill.streams.metrics import Metrics
from ratemill.streams.topics import RECORD_LIMIT, Topics, wanted_topics

REJECTION = Rejection(Reason.CONFLICT, "another payload")


def size_of(letter: DeadLetter) -> int:
    """Bytes of a letter's record, or a few less."""
    key, value, headers = to_kafka(letter)
    return len(key) + len(value) + sum(len(name) + len(content or b"") + 2 for name, content in headers)


def letter_of(value: bytes, key: bytes | None = None, headers: Any = ()) -> DeadLetter:
    return dead_letter(REJECTION, "usage.raw.aws", 3, 5, 0, value, key, headers, NOW)


@pytest.mark.parametrize("headers", [[("", None)] * 500_000, [("h", b"v")] * 101, [("name", b"x" * 100_000)] * 100])
def test_a_letter_is_hardly_larger_than_its_record(headers: Any) -> None:
    letter = letter_of(b"value", b"key", headers)
    raw = 8 + sum(len(name) + len(content or b"") + 2 for name, content in headers)
    assert size_of(letter) < raw * 1.6 + 3_000
    assert from_kafka(*to_kafka(letter)) == letter


def test_the_topic_of_dead_letters_takes_what_raw_topics_take() -> None:
    context = context_of("aws", False)
    limits = {topic.name: int(topic.topic_configs.get("max.message.bytes", 0)) for topic in wanted_topics(context.config, context.topics)}
    largest = letter_of(b"x" * RECORD_LIMIT)
    assert largest.value == b"x" * RECORD_LIMIT
    assert size_of(largest) + 10_000 < limits[context.topics.dead_letter]
    assert limits["raw"] == RECORD_LIMIT


def event(n: int, **data: Any) -> dict[str, Any]:
    data = {"sku": "s", "quantity": "1", "unit": "u", **data}
    return {"specversion": "1.0", "id": str(n), "source": "s", "type": "t", "subject": "a", "time": "2026-07-16T13:00:00Z", "data": data}


def decoded(events: list[dict[str, Any]]) -> tuple[bytes, Decoded]:
    value = json.dumps(events).encode()
    records = [Record(5, 0, b"k", value, ())]
    return value, decode_batch(context_of("cloudevents", False), Batch(1, 1, TopicPartition("raw", 0), records), None)  # type: ignore[arg-type]


def test_an_event_of_a_small_record_is_refused_with_its_record() -> None:
    value, found = decoded([event(1), event(2), {**event(3), "time": "2026-01-01T00:00:00Z"}])
    assert found.letter(1, REJECTION).value == value
    assert [(letter.value, letter.index, letter.reason) for letter in found.dead] == [(value, 2, Reason.TOO_OLD)]


def test_packed_events_are_cut_to_what_a_topic_takes() -> None:
    dimensions = canonical_map({f"{n:03d}": "v" * 1_000 for n in range(60)})
    events = [UsageEvent("a", "s", str(n), "k", NOW, 1, "u", dimensions=dimensions) for n in range(1_203)]  # type: ignore[arg-type]
    lane = SimpleNamespace(_source=TopicPartition("raw", 0), _out={1: (list(range(1_203)), [0] * 1_203, events[:])}, _packed={})
    lane._within = partial(NormalizeLane._within, lane)  # type: ignore[arg-type]
    NormalizeLane._pack(lane, 1)  # type: ignore[arg-type]
    records = lane._packed[1]
    assert all(len(value or b"") <= BYTES_PER_RECORD for _, value, _ in records)
    packed = [unpack(value or b"") for _, value, _ in records]
    assert [event.id for each in packed for event in each.events] == [str(n) for n in range(1_203)]
    assert [offset for each in packed for offset in each.offsets] == list(range(1_203))


class Taking(Lane):
    """A lane that does nothing."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "test-0", [TopicPartition("raw", 0)])


# -- labels of metrics -------------------------------------------------------------------------------------------------------------


def labels(metrics: Metrics) -> set[str]:
    collectors = set(metrics.registry._collector_to_names)
    return {label for collector in collectors for label in getattr(collector, "_labelnames", ())}


def test_no_label_of_a_metric_says_what_an_event_says() -> None:
    assert labels(Metrics()) == {"agent", "topic", "partition", "lane", "reason"}


def test_a_topic_that_only_a_record_names_gets_no_label_of_its_own() -> None:
    lane = Taking(context_of("aws", False))
    topics: Topics = lane.context.topics
    names = ["raw", topics.events, topics.rated, *(f"made.up.{n}" for n in range(100))]
    lane.count_dead("rate", [DeadLetter(Reason.CONFLICT, "d", name, 0, 0, 0, b"", 0) for name in names])
    (family,) = lane.context.metrics.dead_lettered.collect()
    assert {sample.labels["topic"] for sample in family.samples} == {"raw", topics.events, topics.rated, "other"}
    assert sum(sample.value for sample in family.samples if sample.name.endswith("_total")) == len(names)


def test_the_limits_of_a_record_are_within_those_of_a_topic() -> None:
    assert BYTES_PER_RECORD < RECORD_LIMIT
