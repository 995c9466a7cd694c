"""Batches filled at once hold the bytes that aiokafka's own builder makes of the same records."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from ratemill.schemas.usage_event import hot
from ratemill.streams.filled_batches import Pair, _compiled, _in_python, filled_batches

MOST, NOW_MS = 4_096, 1_795_000_123_456
PRODUCER = (77, 3, 5)  # id, epoch, sequence


def empty() -> BatchBuilder:
    return BatchBuilder(MOST, 0, is_transactional=1)


def by_one(pairs: list[Pair]) -> list[tuple[bytes, int]]:
    """The batches, by aiokafka's builder alone."""
    made = []
    while pairs:
        builder = DefaultRecordBatchBuilder(2, 0, 1, *PRODUCER, MOST)
        count = 0
        while count < len(pairs) and builder.append(count, NOW_MS, *pairs[count], []) is not None:
            count += 1
        made.append((bytes(builder.build()), count))
        pairs = pairs[count:]
    return made


def finished(batch: Any, count: int) -> tuple[bytes, int]:
    """As the producer sends it."""
    assert batch.record_count() == count
    size = batch.size()
    batch._set_producer_state(*PRODUCER)
    data = bytes(batch._build())
    assert len(data) == size == batch.size()
    return data, count


def generated(seed: int) -> list[Pair]:
    draw = random.Random(seed)
    sizes = [0, 1, 63, 64, 100, 900, 8_191, 8_192, 20_000]  # where a length needs one byte more, and larger than a batch
    return [
        (draw.randbytes(draw.choice(sizes[:5])), None if draw.random() < 0.1 else draw.randbytes(draw.choices(sizes, [9, 9, 9, 9, 9, 9, 1, 1, 1])[0]))
        for _ in range(draw.randrange(300))
    ]


ways = pytest.mark.parametrize(
    "fill",
    [
        lambda pairs: _in_python(pairs, empty, NOW_MS),
        pytest.param(lambda pairs: _compiled(pairs, MOST, NOW_MS), marks=pytest.mark.skipif(hot is None, reason="not compiled")),
    ],
    ids=["python", "compiled"],
)


@ways
@pytest.mark.parametrize("seed", range(20))
def test_every_record_is_there_once_and_in_order(fill: Callable[[Any], Any], seed: int) -> None:
    pairs = generated(seed)
    made = [finished(*each) for each in fill(iter(pairs))]
    # Compiled ones end some bytes sooner: compare with one batch of the same records each.
    for data, count in made:
        part, pairs = pairs[:count], pairs[count:]
        builder = DefaultRecordBatchBuilder(2, 0, 1, *PRODUCER, 1 << 20)
        assert all(builder.append(at, NOW_MS, *pair, []) is not None for at, pair in enumerate(part))
        assert data == bytes(builder.build())
        assert len(data) <= MOST or len(part[0][0]) + len(part[0][1] or b"") > MOST - 100
    assert pairs == []


@pytest.mark.parametrize("seed", range(5))
def test_in_python_they_end_where_those_of_aiokafka_end(seed: int) -> None:
    pairs = generated(seed)
    assert [finished(*each) for each in _in_python(pairs, empty, NOW_MS)] == by_one(pairs)


@ways
def test_what_fails_on_the_way_fails_here(fill: Callable[[Any], Any]) -> None:
    def pairs() -> Any:
        yield b"k", b"v"
        raise LookupError("no price")

    with pytest.raises(LookupError, match="no price"):
        list(fill(pairs()))


@ways
@pytest.mark.parametrize("pair", [("text", b"v"), (b"k", 7), 7])
def test_only_bytes_are_records(fill: Callable[[Any], Any], pair: Any) -> None:
    with pytest.raises(TypeError):
        list(fill(iter([pair])))


def test_batches_of_another_producer_are_filled_by_its_own_builder() -> None:
    class Other(BatchBuilder):  # type: ignore[misc]
        pass

    ((batch, count),) = filled_batches([(b"k", b"v")], lambda: Other(MOST, 0, is_transactional=1), MOST, NOW_MS)
    assert type(batch) is Other
    assert count == 1


def test_a_transaction_of_nothing_has_no_batches() -> None:
    assert list(filled_batches([], empty, MOST, NOW_MS)) == []
