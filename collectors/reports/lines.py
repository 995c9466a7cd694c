"""Rows of a report, added up to lines; and which hours they are about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Set
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import xxhash

from ...schemas.decoders.registry import decode
from ...schemas.errors import UNREADABLE, BadInput, Reason, Rejection
from ...schemas.quantity import ZERO, total
from ...schemas.times import NS, parse_spaced_time, parse_time
from ...schemas.usage_event import UsageEvent
from ..files import Piece, read_pieces

__all__ = ["HOUR_S", "Line", "Lines", "Unreadable", "event_of", "key_of", "rows_of"]

HOUR_S = 3_600
_SHOWN = 20


class Line(NamedTuple):
    """All usage of a version that lands in one place. event: what it is, its quantity aside; rows: how many rows it was added up from."""

    event: UsageEvent
    quantity: Decimal
    rows: int


class Unreadable(BadInput):
    """A version with rows that cannot be read is not taken: without them its totals would be wrong, and what stood before would be taken back."""


def key_of(period: str, event: UsageEvent) -> bytes:
    """16 bytes that stand for everything which decides where usage lands: never a quantity, a row, a file or a version.

    The period of the report is part of it: usage of a month's last hours may be in the reports of two months, and then both parts count.
    So are tags: meters may tell usage apart by them, and reports split rows by them.
    """
    e = event
    text = f"{period}\0{e.account}\0{e.source}\0{e.sku}\0{e.unit}\0{e.time}\0{e.region}\0{e.resource}\0{e.dimensions}\0{e.tags}"
    return xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass"))


def event_of(line: UsageEvent, key: bytes, number: int, quantity: Decimal) -> UsageEvent:
    """The number-th event of a line, from 1. Its id is made of what the line is about and of the number: sent again it is the same event."""
    return msgspec.structs.replace(line, id=f"line:{key.hex()}:{number}", quantity=quantity)


def rows_of(path: str, format: str, name: str) -> Iterator[Piece]:
    """The rows of a file as JSON objects. name: of the file that this one is a copy of, for what is said of it. Raises BadInput."""
    return _parquet_rows(path, name) if path.lower().endswith(".parquet") else read_pieces(path, format, name=name)


class _AwsTimes(msgspec.Struct):
    start: str = msgspec.field(name="lineItem/UsageStartDate", default="")
    end: str = msgspec.field(name="lineItem/UsageEndDate", default="")
    start2: str = msgspec.field(name="line_item_usage_start_date", default="")
    end2: str = msgspec.field(name="line_item_usage_end_date", default="")


class _GcpTimes(msgspec.Struct):
    end2: str = msgspec.field(name="usage_end_time", default="")
    end: str = ""


_decode_times: dict[str, Callable[[bytes], _AwsTimes | _GcpTimes]] = {
    "aws-cur": msgspec.json.Decoder(_AwsTimes).decode,
    "gcp-billing": msgspec.json.Decoder(_GcpTimes).decode,
}


def _end_of(value: bytes, format: str, event: UsageEvent) -> int:
    """When the usage of a row ended, nanoseconds since 1970. Azure's rows are of a day. Where nothing says it: an hour after it began."""
    if format == "azure-cost":
        return event.time + 24 * HOUR_S * NS
    try:
        times = _decode_times[format](value)
        text = times.end or times.end2
        return (parse_time if "T" in text else parse_spaced_time)(text) if text else event.time + HOUR_S * NS
    except (*UNREADABLE, Rejection):
        return event.time + HOUR_S * NS


class Lines:
    """Adds rows up. `taken` gives what was added up so far, so that no version has to fit into memory: the caller adds the rest."""

    def __init__(self, format: str, period: str) -> None:
        self._format, self._period = format, period
        self._lines: dict[bytes, Line] = {}
        self._spans: set[tuple[int, int]] = set()
        self._unreadable: list[str] = []
        self.rows = 0
        self.without_usage = 0  # rows that are money without usage: taxes, fees, credits
        self.unreadable = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, pieces: Iterable[Piece]) -> Iterator[int]:
        """Take rows; yields how many so far, now and then."""
        for piece in pieces:
            self.rows += 1
            if piece.flaw or piece.size:
                self._refuse(piece, piece.flaw or f"the row has {piece.size} bytes")
                continue
            for entry in decode(piece.value, (), self._format):
                if isinstance(entry, UsageEvent):
                    self._count(entry, piece)
                elif entry.reason is Reason.NOT_SUPPORTED:
                    self.without_usage += 1
                else:
                    self._refuse(piece, entry.detail)
            if self.rows % 1_000 == 0:
                yield self.rows
        yield self.rows

    def taken(self) -> dict[bytes, Line]:
        """The lines since the last call, by key."""
        found, self._lines = self._lines, {}
        return found

    def hours(self) -> set[int]:
        """First seconds of the hours that rows are about."""
        return {hour for start, end in self._spans for hour in range(start - start % HOUR_S, end, HOUR_S)}

    def check(self, version: str) -> None:
        """Raises Unreadable where a row could not be read."""
        if self.unreadable:
            more = f"\nand {self.unreadable - _SHOWN:,} more" if self.unreadable > _SHOWN else ""
            shown = "\n".join(self._unreadable)
            head = f"{version}: rows that cannot be read: {self.unreadable:,}; so the version is not taken, and what was published before stands"
            raise Unreadable(f"{head}\n{shown}{more}")

    def _count(self, event: UsageEvent, piece: Piece) -> None:
        key = key_of(self._period, event)
        known = self._lines.get(key)
        if known is None:
            self._lines[key] = Line(msgspec.structs.replace(event, id="", quantity=ZERO), event.quantity, 1)
        else:
            self._lines[key] = Line(known.event, total(known.quantity, event.quantity), known.rows + 1)
        start = event.time // NS
        self._spans.add((start, max(start + 1, _end_of(piece.value, self._format, event) // NS)))

    def _refuse(self, piece: Piece, why: str) -> None:
        self.unreadable += 1
        if len(self._unreadable) < _SHOWN:
            self._unreadable.append(f"  {piece.file}:{piece.line}: {why}")


def _parquet_rows(path: str, name: str) -> Iterator[Piece]:
    """Rows of a Parquet file. Doubles come as their shortest text: exact for the decimals that AWS writes, up to 15 significant digits."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput("reading Parquet needs pyarrow: pip install 'ratemill[parquet]'") from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
        maps = {field.name for field in file.schema_arrow if pyarrow.types.is_map(field.type)}
        number = 0
        for batch in file.iter_batches(batch_size=2_000):
            for row in batch.to_pylist():
                number += 1
                yield Piece(name, number, json.dumps(_plain(row, maps), ensure_ascii=False, default=_text).encode("utf-8", "surrogatepass"))
    except (OSError, pyarrow.ArrowException) as error:
        raise BadInput(f"{name}: no Parquet file that can be read: {' '.join(str(error).split())[:200]}") from None


def _plain(row: dict[str, Any], maps: Set[str]) -> dict[str, Any]:
    """Maps come as lists of pairs, an empty one as an empty list: as the objects that they are."""
    found = {}
    for name, value in row.items():
        if value is not None:
            found[name] = {key: inner for key, inner in value if inner is not None} if name in maps else value
    return found


def _text(value: Any) -> str:
    """What JSON has no type for: decimals keep their digits, times are UTC, and what is not marked as a text is one all the same."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, Decimal):
        return format(value, "f")
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return text if not hasattr(value, "tzinfo") or value.tzinfo is not None else text + "Z"
