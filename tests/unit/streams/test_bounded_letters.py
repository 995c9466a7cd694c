"""What lanes write stays within what topics take, whatever a record holds: a record that nobody can write down would stop its partition."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from fuzzing.checks import NOW, Record, context_of
from ratemill.cli.dead_letter_topic import outgoing
from ratemill.schemas.dead_letter import DeadLetter, from_kafka, to_kafka
from ratemill.schemas.decoders import decode_plain
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.schemas.packed import unpack
from ratemill.schemas.usage_event import UsageEvent, canonical_map
from ratemill.streams.lanes import base
from ratemill.streams.lanes.base import Batch, Context, Lane
from ratemill.streams.lanes.decoding import Decoded, decode_batch
from ratemill.streams.lanes.letters import KEPT_BYTES, dead_letter
from ratemill.streams.lanes.normalize import PACKED_BYTES, NormalizeLane
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


@pytest.mark.parametrize(
    ("value", "key", "headers"), [(b"x" * (RECORD_LIMIT + 1), None, ()), (b"v", b"k" * RECORD_LIMIT, ()), (b"v", b"k", [("h", b"x" * RECORD_LIMIT)])]
)
def test_of_a_record_that_no_topic_takes_the_beginning_is_kept(value: bytes, key: bytes | None, headers: Any) -> None:
    letter = letter_of(value, key, headers)
    assert size_of(letter) < KEPT_BYTES + 10_000
    assert letter.cut_from == len(value)
    assert value.startswith(letter.value or b"?")
    assert "usage.raw.aws/3/5" in letter.detail
    assert from_kafka(*to_kafka(letter)) == letter
    config = context_of("aws", False).config
    assert outgoing(letter, config, "") is None
    whole = DeadLetter(Reason.CONFLICT, "d", "raw", 0, 0, 0, b"v", 0)
    assert outgoing(whole, config, "") is not None


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


def test_an_event_of_a_large_record_is_refused_alone() -> None:
    """800 conflicts in a record of 200 KB were 160 MB of dead letters."""
    late = [{**event(n), "time": "2026-01-01T00:00:00Z"} for n in range(800, 1_000)]
    value, found = decoded([event(n, tags={"x": "y" * 20}) for n in range(800)] + late)
    letters = [found.letter(at, REJECTION) for at in range(800)] + found.dead
    assert len(value) * len(letters) > 100 << 20
    assert sum(len(letter.value or b"") for letter in letters) < 2 * len(value)
    assert decode_plain(letters[7].value or b"") == found.events[7]
    assert [letter.index for letter in letters] == list(range(1_000))
    assert {letter.reason for letter in found.dead} == {Reason.TOO_OLD}
    assert (letters[7].key, letters[7].headers) == (None, ())


def test_packed_events_are_cut_to_what_a_topic_takes() -> None:
    dimensions = canonical_map({f"{n:03d}": "v" * 1_000 for n in range(60)})
    events = [UsageEvent("a", "s", str(n), "k", NOW, 1, "u", dimensions=dimensions) for n in range(1_203)]  # type: ignore[arg-type]
    lane = SimpleNamespace(_source=TopicPartition("raw", 0))
    records = list(NormalizeLane._packed(lane, list(range(1_203)), [0] * 1_203, events))  # type: ignore[arg-type]
    assert all(len(value or b"") <= PACKED_BYTES for _, value, _ in records)
    packed = [unpack(value or b"") for _, value, _ in records]
    assert [event.id for each in packed for event in each.events] == [str(n) for n in range(1_203)]
    assert [offset for each in packed for offset in each.offsets] == list(range(1_203))


class Taking(Lane):
    """A lane that finds dead letters only, and notes when it commits."""

    def __init__(self, context: Context, letter_bytes: int) -> None:
        super().__init__(context, "test-0", [TopicPartition("raw", 0)])
        self._letter_bytes = letter_bytes
        self.committed: list[int] = []

    async def take(self, batch: Batch) -> int:
        self.dead_bytes += self._letter_bytes
        return 1

    async def commit(self) -> None:
        self.committed.append(self.pending)


@pytest.mark.parametrize(("letter_bytes", "committed"), [(base.DEAD_BYTES // 2, [2, 2]), (0, [])])
async def test_many_bytes_of_dead_letters_are_committed_before_their_time(letter_bytes: int, committed: list[int]) -> None:
    rating = context_of("cloudevents", False).config.rating.model_copy(update={"commit_interval_s": 60.0})
    context = context_of("cloudevents", False)
    context = context._replace(config=context.config.model_copy(update={"rating": rating}))
    lane = Taking(context, letter_bytes)
    record = SimpleNamespace(timestamp=0, offset=1, value=b"x")
    lane._queue = deque((Batch(0, n, TopicPartition("raw", 0), [record]), 1) for n in range(5))  # type: ignore[misc]
    lane._task = asyncio.ensure_future(lane._work())
    await asyncio.sleep(0.2)
    lane._task.cancel()
    assert lane.committed == committed


# -- labels of metrics -------------------------------------------------------------------------------------------------------------


def labels(metrics: Metrics) -> set[str]:
    collectors = set(metrics.registry._collector_to_names)
    return {label for collector in collectors for label in getattr(collector, "_labelnames", ())}


def test_no_label_of_a_metric_says_what_an_event_says() -> None:
    assert labels(Metrics()) == {"agent", "topic", "partition", "lane", "reason"}


def test_a_topic_that_only_a_record_names_gets_no_label_of_its_own() -> None:
    lane = Taking(context_of("aws", False), 0)
    topics: Topics = lane.context.topics
    names = ["raw", topics.events, topics.rated, *(f"made.up.{n}" for n in range(100))]
    lane.count_dead("rate", [DeadLetter(Reason.CONFLICT, "d", name, 0, 0, 0, b"", 0) for name in names])
    (family,) = lane.context.metrics.dead_lettered.collect()
    assert {sample.labels["topic"] for sample in family.samples} == {"raw", topics.events, topics.rated, "other"}
    assert sum(sample.value for sample in family.samples if sample.name.endswith("_total")) == len(names)


def test_the_limits_of_a_record_are_within_those_of_a_topic() -> None:
    assert DEFAULT_LIMITS.max_letter_bytes < RECORD_LIMIT
    assert PACKED_BYTES < RECORD_LIMIT
