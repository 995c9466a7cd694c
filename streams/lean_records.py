"""Records as the C parser makes them, without a copy into a dataclass each, and header names that are no UTF-8.

aiokafka wraps every parsed record in a `ConsumerRecord` of eleven fields. The parsed record already has what Ratemill reads
(offset, timestamp, key, value, headers), so the wrapper is left out in this process, and records are taken by the record batch
instead of one by one: most of the cost of consuming.

The parser refuses a header whose name is not UTF-8, which some producers can write and brokers take: the partition would stand still
at that record for ever, and its worker with it. Such a fetch is read once more, by aiokafka's parser in Python, with the bytes in
question escaped.

And what is handed out at once is bounded in bytes too, not only in records: a fetch of a megabyte may be fifty, unpacked.

All are changes to insides of aiokafka. Should a version of it no longer look as expected, it stays as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record import default_records, memory_records

__all__ = ["use_lean_records"]

BYTES_AT_ONCE = 1 << 20  # of values, and one record more: as a batch of 4,000 records usually has
_NEEDED = ("_unpack_records", "_consume_aborted_up_to", "_contains_abort_marker", "__next__")
_ASKED = ("check_assignment", "getall")


def use_lean_records() -> bool:
    """Switch it on for all consumers of this process; False when this aiokafka does not fit."""
    records: Any = getattr(fetcher, "PartitionRecords", None)
    memory: Any = getattr(fetcher, "MemoryRecords", None)
    result: Any = getattr(fetcher, "FetchResult", None)
    lenient = _lenient_records()
    if records is None or memory is None or lenient is None or not all(hasattr(records, name) for name in _NEEDED):
        return False
    if result is None or not all(hasattr(result, name) for name in _ASKED):
        return False

    fetcher.FetchResult = _bounded(result)
    fetcher.MemoryRecords = _kept(memory)
    fetcher.PartitionRecords = _lean(records, lenient)
    return True


def _kept(memory: Any) -> Any:
    class KeptRecords(memory):  # type: ignore[misc]
        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.data = data
            self.grows = _compressed(data)

    return KeptRecords


def _lean(records: Any, lenient: Any) -> Any:
    """Records of a fetch without a wrapper, and taken by the batch."""

    class LeanRecords(records):  # type: ignore[misc]
        _batch: Any = None  # what is being read, and how far
        _reading: Iterator[Any] = iter(())
        next_fetch_offset: int
        _records: Any

        def _unpack_records(self) -> Iterator[Any]:
            return iter(())  # a generator would hold these records, which hold it: only the collector would free them

        def __next__(self) -> Any:
            for record in self._read(1):
                return record
            raise StopIteration

        def some(self, most: int | None) -> list[Any]:
            """So many records, or all that are left."""
            found = part = self._read(most)
            while part and (most is None or len(found) < most):
                part = self._read(None if most is None else most - len(found))
                found += part
            return found

        def _read(self, most: int | None) -> list[Any]:
            """So many records or fewer, of one record batch; none when there are no more."""
            try:
                return self._some(most)
            except UnicodeDecodeError:
                self._records = lenient(_from(self._records.data, self.next_fetch_offset))
                self._batch = None
                return self._some(most)

        def _some(self, most: int | None) -> list[Any]:
            while self._batch is not None or self._records.has_next():
                batch = self._batch
                if batch is None:
                    batch = self._batch = self._records.next_batch()
                    if not self._to_be_read(batch):
                        self._batch, self.next_fetch_offset = None, batch.next_offset
                        continue
                    self._reading = chain(batch)  # a batch itself can be iterated over from its beginning only
                found, wanted = list(islice(self._reading, most)), self.next_fetch_offset
                if found and len(found) == most:
                    self.next_fetch_offset = max(wanted, found[-1].offset + 1)
                else:
                    # A compacted batch may end before its last offset; the next fetch must not ask for it again.
                    self._batch, self.next_fetch_offset = None, batch.next_offset
                if found and found[0].offset < wanted:  # Kafka sends whole batches, so the first may begin too early
                    found = [record for record in found if record.offset >= wanted]
                if found:
                    return found
            return []

        def _to_be_read(self, batch: Any) -> bool:
            """False for markers of transactions, and for what belongs to a transaction that was aborted."""
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"{self._tp}: a record batch at {batch.base_offset} does not match its checksum")
            if self._isolation_level == fetcher.READ_COMMITTED and batch.producer_id is not None:
                self._consume_aborted_up_to(batch.base_offset)
                if batch.is_control_batch and self._contains_abort_marker(batch):
                    self._aborted_producers.discard(batch.producer_id)
                if batch.is_transactional and batch.producer_id in self._aborted_producers:
                    return False
            return not batch.is_control_batch

    return LeanRecords


def _bounded(result: Any) -> Any:
    """Fetched records that are handed out by number and by bytes; what is left comes next time."""

    class BoundedResult(result):  # type: ignore[misc]
        def getall(self, max_records: int | None = None) -> list[Any]:
            records = self._partition_records
            if records is None or not self.check_assignment(self._topic_partition):
                return []
            # Without the note these are records that were read once more: they are counted.
            taken, ended = (_some_bytes if getattr(records._records, "grows", True) else _some)(records, max_records)
            self._assignment.state_value(self._topic_partition).consumed_to(records.next_fetch_offset)  # as _update_position does
            if ended:
                self._partition_records: Any = None
            return taken

    return BoundedResult


def _some(records: Any, most: int | None) -> tuple[list[Any], bool]:
    """So many records, and whether these were the last ones."""
    taken = records.some(most)
    return taken, most is None or len(taken) < most


def _some_bytes(records: Any, most: int | None) -> tuple[list[Any], bool]:
    taken, size = list[Any](), 0
    for record in records:
        taken.append(record)
        size += len(record.value or b"")
        if len(taken) == most or size >= BYTES_AT_ONCE:
            return taken, False
    return taken, True


def _compressed(data: bytes) -> bool:
    """Whether any of the record batches of a fetch is."""
    at = 0
    while at + 23 <= len(data):
        if data[at + 22] & 7:
            return True
        at += 12 + int.from_bytes(data[at + 8 : at + 12], "big")
    return False


def _from(data: bytes, offset: int) -> bytes:
    """The record batches of a fetch from the one on that holds an offset."""
    at = 0
    while at + 27 <= len(data):
        base, length = struct.unpack_from(">qi", data, at)
        (last,) = struct.unpack_from(">i", data, at + 23)
        if base + last >= offset:
            break
        at += 12 + length
    return data[at:]


class _Text(bytes):
    def decode(self, *_: Any) -> str:
        return super().decode("utf-8", "backslashreplace")


class _Buffer(bytearray):
    def __getitem__(self, at: Any) -> Any:
        found = super().__getitem__(at)
        return _Text(found) if isinstance(at, slice) else found


def _lenient_records() -> Any:
    """aiokafka's parser in Python, with a decoding of header names that takes any bytes; None when there is no such parser."""
    records: Any = getattr(memory_records, "_MemoryRecordsPy", None)
    batch: Any = getattr(default_records, "_DefaultRecordBatchPy", None)
    if records is None or batch is None or not all(hasattr(batch, name) for name in ("_maybe_uncompress", "_read_msg")):
        return None

    class LenientBatch(batch):  # type: ignore[misc]
        def _maybe_uncompress(self) -> None:
            super()._maybe_uncompress()
            self._buffer: Any = _Buffer(self._buffer)

    class LenientRecords(records):  # type: ignore[misc]
        def next_batch(self, *_: Any) -> Any:
            found = getattr(self, "_next_slice")  # noqa: B009
            self._cache_next()
            return LenientBatch(found)

    return LenientRecords
