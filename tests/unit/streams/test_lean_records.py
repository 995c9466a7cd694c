"""What aiokafka parses arrives whole, also with header names that are not UTF-8, which its own parser refuses."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from ratemill.streams import lean_records
from ratemill.streams.lean_records import _from, use_lean_records

STAND_IN = "\ue000\ue001"
GZIP = 1


@pytest.fixture(autouse=True)
def aiokafka_as_it_was() -> Iterator[None]:
    before = fetcher.MemoryRecords, fetcher.PartitionRecords, fetcher.FetchResult
    yield
    fetcher.MemoryRecords, fetcher.PartitionRecords, fetcher.FetchResult = before


def batch(first: int, names: list[str], compression: int = 0) -> bytes:
    """Records `first`, `first` + 1, …, each with one header of such a name."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 20)
    for at, name in enumerate(names):
        builder.append(at, 1_000, b"k", b"v%d" % (first + at), [(name, b"h"), ("n", None)])
    return spoiled(bytes(builder.build()), first)


def spoiled(made: bytes, first: int) -> bytes:
    """The batch with bytes that are no UTF-8 in place of the stand-in, at an offset of its own."""
    data = bytearray(made.replace(STAND_IN.encode(), b"\xff\xfe\xfd\xfc\xfb\xfa"))
    struct.pack_into(">q", data, 0, first)
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
    return bytes(data)


def read(data: bytes, offset: int) -> list[Any]:
    records = fetcher.PartitionRecords(TopicPartition("t", 0), fetcher.MemoryRecords(data), [], offset, None, None, True, fetcher.READ_COMMITTED)
    return [(r.offset, r.value, [*r.headers]) for r in records]


FETCH = batch(10, ["a", "b"]) + batch(12, ["c", STAND_IN, "d"]) + batch(15, ["e"], GZIP) + batch(16, [STAND_IN])


def test_aiokafka_alone_refuses_them() -> None:
    with pytest.raises(UnicodeDecodeError):
        read(FETCH, 10)


@pytest.mark.parametrize("offset", range(10, 17))
def test_every_record_once_from_any_offset(offset: int) -> None:
    assert use_lean_records()
    escaped = "\\xff\\xfe\\xfd\\xfc\\xfb\\xfa"
    names = ["a", "b", "c", escaped, "d", "e", escaped]
    wanted = [(at, b"v%d" % at, [(names[at - 10], b"h"), ("n", None)]) for at in range(offset, 17)]
    assert read(_from(FETCH, offset), offset) == wanted  # a broker begins with the batch that holds the offset


class Assigned:
    """A partition that stays assigned; `at` is where its consumer has come to."""

    active, paused = True, False

    def __init__(self, at: int) -> None:
        self.position = at

    def state_value(self, _: TopicPartition) -> Assigned:
        return self

    def consumed_to(self, offset: int) -> None:
        self.position = offset


def handed_out(count: int, size: int, most: int, compression: int = GZIP) -> list[int]:
    """How many records each `getall` gives of one fetch, until it is used up; each record once, in order."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 30)
    for at in range(count):
        builder.append(at, 1_000, None, bytes(size), [])
    return calls_for(bytes(builder.build()), 0, count, most)


def calls_for(data: bytes, first: int, end: int, most: int) -> list[int]:
    tp, assigned = TopicPartition("t", 0), Assigned(first)
    records = fetcher.PartitionRecords(tp, fetcher.MemoryRecords(data), [], first, None, None, True, fetcher.READ_COMMITTED)
    result = fetcher.FetchResult(tp, assignment=assigned, partition_records=records, backoff=0)
    calls, offsets = [], list[int]()
    while result.has_more():
        given = [record.offset for record in result.getall(most)]
        calls.append(len(given))
        offsets += given
        assert assigned.position == first + len(offsets)
    assert offsets == list(range(first, end))
    return calls


def test_a_fetch_that_grows_when_it_is_unpacked_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    assert handed_out(50, 1_000, 30) == [30, 20]  # as aiokafka does it
    monkeypatch.setattr(lean_records, "BYTES_AT_ONCE", 10_000)
    assert use_lean_records()
    assert handed_out(50, 1_000, 30) == [10, 10, 10, 10, 10, 0]
    assert handed_out(5, 20_000, 30) == [1, 1, 1, 1, 1, 0]
    assert handed_out(50, 10, 30) == [30, 20]
    assert handed_out(50, 1_000, 30, 0) == [30, 20]  # as large as it was fetched: that is bounded already


def test_names_that_are_no_utf_8_come_in_pieces_too() -> None:
    assert use_lean_records()
    assert calls_for(FETCH, 10, 17, 2) == [2, 2, 2, 1]
