"""Record batches that are filled with many records at once, for what a commit writes most: line items and changelog entries.

aiokafka takes records one by one, each with checks, a copy and an object that describes it. Its C builder can be called directly, which
saves the checks; with the compiled loops (`make native`) records go straight into the bytes of the batch, and the processor computes the
checksum. The bytes are the same each way.

All use insides of aiokafka: `BatchBuilder` and what it calls of its builder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.util import calc_crc32c

from ..schemas.usage_event import hot

__all__ = ["Pair", "filled_batches"]

Pair = tuple[bytes, bytes | None]  # key, value
_ROOM = 128  # bytes for the header of a batch, and for what a record says beside its key and value


class _Batch(BatchBuilder):  # type: ignore[misc]
    """A batch that was filled outside of aiokafka; the producer adds who it is, and sends it."""

    def __init__(self, records: Any) -> None:
        self._builder = records
        self._relative_offset = records.count
        self._buffer = None
        self._closed = True

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._builder.set_producer_state(producer_id, producer_epoch, base_sequence)


def filled_batches(pairs: Iterable[Pair], new: Callable[[], Any], most: int, now_ms: int) -> Iterator[tuple[Any, int]]:
    """(batch, number of records) for all pairs, in order; a pair that is larger than a batch gets one of its own.

    new: makes an empty batch of aiokafka, uncompressed and of at most `most` bytes, for a transactional producer. now_ms: the time of all records.
    """
    compiled = hot is not None and type(new()) is BatchBuilder  # no other producer takes ours
    return _compiled(pairs, most, now_ms) if compiled else _in_python(pairs, new, now_ms)


def _compiled(pairs: Iterable[Pair], most: int, now_ms: int) -> Iterator[tuple[Any, int]]:
    left = iter(pairs)
    pair: Pair | None = None
    while True:
        records = hot.RecordBatch(most if pair is None else max(most, _ROOM + len(pair[0]) + len(pair[1] or b"")), now_ms, calc_crc32c)
        if pair is not None:
            records.fill((pair,))
        pair = records.fill(left)
        if records.count:
            yield _Batch(records), records.count
        if pair is None:
            return


def _in_python(pairs: Iterable[Pair], new: Callable[[], Any], now_ms: int) -> Iterator[tuple[Any, int]]:
    no_headers: list[Any] = []
    batch, count = new(), 0
    append = batch._builder.append
    for key, value in pairs:
        if append(count, now_ms, key, value, no_headers) is None:
            yield _counted(batch, count)
            batch, count = new(), 0
            append = batch._builder.append
            append(0, now_ms, key, value, no_headers)  # the first one always fits
        count += 1
    if count:
        yield _counted(batch, count)


def _counted(batch: Any, count: int) -> tuple[Any, int]:
    batch._relative_offset = count  # what BatchBuilder.append would have counted
    return batch, count
