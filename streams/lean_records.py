"""Records as the C parser makes them, without a copy into a dataclass each, and header names that are no UTF-8.

aiokafka wraps every parsed record in a `ConsumerRecord` of eleven fields. The parsed record already has what Ratemill reads
(offset, timestamp, key, value, headers), so the wrapper is left out in this process: half the cost of consuming.

The parser refuses a header whose name is not UTF-8, which some producers can write and brokers take: the partition would stand still
at that record for ever, and its worker with it. Such a fetch is read once more, by aiokafka's parser in Python, with the bytes in
question escaped.

And what is handed out at once is bounded in bytes too, not only in records: a fetch of a megabyte may be fifty, unpacked.

All are changes to insides of aiokafka. Should a version of it no longer look as expected, it stays as it is.
"""

from __future__ import annotations

import struct
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record import default_records, memory_records

__all__ = ["use_lean_records"]

BYTES_AT_ONCE = 1 << 20  # of values, and one record more: as a batch of 4,000 records usually has
_NEEDED = ("_consumer_record", "_unpack_records", "__next__")
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

    class KeptRecords(memory):  # type: ignore[misc]
        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.data = data
            self.grows = _compressed(data)

    class LeanRecords(records):  # type: ignore[misc]
        def _consumer_record(self, tp: Any, record: Any) -> Any:
            return record

        def __next__(self) -> Any:
            try:
                return super().__next__()
            except UnicodeDecodeError:
                self._records: Any = lenient(_from(self._records.data, self.next_fetch_offset))
                self._records_iterator = self._unpack_records()
                return super().__next__()

    fetcher.FetchResult = _bounded(result)
    fetcher.MemoryRecords = KeptRecords
    fetcher.PartitionRecords = LeanRecords
    return True


def _bounded(result: Any) -> Any:
    """Fetched records that are handed out by number and by bytes; what is left comes next time."""

    class BoundedResult(result):  # type: ignore[misc]
        def getall(self, max_records: int | None = None) -> list[Any]:
            records = self._partition_records
            # Without the note these are records that were read once more: they are counted.
            if records is None or not getattr(records._records, "grows", True):
                found: list[Any] = super().getall(max_records)  # no more than was fetched, and no time is spent on adding it up
                return found
            if not self.check_assignment(self._topic_partition):
                return []
            taken, size = list[Any](), 0
            for record in records:
                taken.append(record)
                size += len(record.value or b"")
                if len(taken) == max_records or size >= BYTES_AT_ONCE:
                    break
            else:
                self._partition_records: Any = None
            self._assignment.state_value(self._topic_partition).consumed_to(records.next_fetch_offset)  # as _update_position does
            return taken

    return BoundedResult


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
