"""The JSON documents of one record, and the rows of tabular exports.

A record holds one object, an array of objects, or newline-delimited objects (Firehose writes several into one record).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import Reason, Rejection
from ..limits import Limits
from ..usage_event import UsageEvent
from .reading import JsonNumber, as_list, as_object, parse_json

__all__ = ["Entries", "Gathering", "Row", "each", "each_document", "json_lines"]

Entries = list[UsageEvent | Rejection]


class _Overfull(Rejection):
    """A record holds more than may be made of it: refused as a whole, not one event of it."""


class Gathering:
    """The entries of a record while they are read. `add` raises a Rejection for the whole record as soon as they are too many, or too much.

    Needed wherever one element gives several events: the bytes of the record bound neither then. (20 KB of labels said once for
    10,000 values are 200 MB.)
    """

    def __init__(self, limits: Limits) -> None:
        self.entries: Entries = []
        self._limits = limits
        self._chars = 0

    def add(self, entry: UsageEvent | Rejection) -> None:
        """One more. Raises Rejection(TOO_LARGE)."""
        self.entries.append(entry)
        if len(self.entries) > self._limits.max_events_per_record:
            raise _Overfull(Reason.TOO_LARGE, f"the record holds more than {self._limits.max_events_per_record} events")
        if isinstance(entry, Rejection):
            return
        e = entry
        self._chars += len(e.account) + len(e.source) + len(e.id) + len(e.sku) + len(e.unit) + len(e.region) + len(e.resource)
        self._chars += len(e.dimensions) + len(e.tags)
        if self._chars > self._limits.max_event_chars_per_record:
            most = self._limits.max_event_chars_per_record
            raise _Overfull(Reason.TOO_LARGE, f"the texts of the record's events come to more than {most} characters")

    def refuse(self, rejection: Rejection) -> None:
        """One that cannot be read. Raises it again where the whole record is meant."""
        if isinstance(rejection, _Overfull):
            raise rejection
        self.add(rejection)


def each_document(value: bytes | None, limits: Limits, read: Callable[[Any], Entries]) -> Entries:
    """Read every document of a record; a Rejection of one stays among its siblings. Raises Rejection for the whole record."""
    lines = json_lines(value)
    if lines is None:
        found = parse_json(value, limits)
        documents: list[Any] = as_list(found, "the record", limits) if isinstance(found, list) else [found]
        return each(documents, limits, read)
    as_list(lines, "the record", limits)
    return each(lines, limits, lambda line: read(parse_json(line, limits)))


def each(elements: Iterable[Any], limits: Limits, read: Callable[[Any], Entries]) -> Entries:
    """Read the elements one by one, so that a bad one does not stop its siblings.

    Raises Rejection when there is none, or when together they pass the limits of a record.
    """
    gathering = Gathering(limits)
    for element in elements:
        try:
            for entry in read(element):
                gathering.add(entry)
        except Rejection as rejection:
            gathering.refuse(rejection)
    if not gathering.entries:
        raise Rejection(Reason.NOT_SUPPORTED, "the record holds an empty list, so no usage")
    return gathering.entries


def json_lines(value: bytes | None) -> list[bytes] | None:
    """The lines of newline-delimited JSON; None when the record is one document.

    More than one line, each from `{` to `}`: an indented document never looks so, a line cut in the middle
    of the record does not either, and then the record as a whole is refused.
    """
    if value is None or b"\n" not in value:
        return None
    lines = [line for line in (line.strip() for line in value.split(b"\n")) if line]
    if len(lines) < 2 or any(line[:1] != b"{" or line[-1:] != b"}" for line in lines):
        return None
    return lines


class Row:
    """One row of an export as JSON: columns by name in any case, empty cells and nulls alike absent, numbers as text."""

    def __init__(self, obj: Any, limits: Limits) -> None:
        row = as_object(obj, "the row")
        self._cells: dict[str, Any] = {}
        self._ambiguous: set[str] = set()  # keys of tags may differ in case alone, and are two then: wrong is only to ask for one of them
        for key, value in row.items():
            if value is None or value == "":
                continue
            name = key.lower()
            if name in self._cells and self._cells[name] != value:
                self._ambiguous.add(name)
            self._cells[name] = value
        self.columns: Mapping[str, Any] = row
        self.limits = limits

    def cell(self, *names: str) -> Any:
        """The first cell present under one of the column names (lower case), or None. Raises Rejection(BAD_FIELD)."""
        for name in names:
            found = self._cells.get(name)
            if found is not None:
                if name in self._ambiguous:
                    raise Rejection(Reason.BAD_FIELD, f"the row holds the column {name[:60]!r} twice, in two spellings")
                return found
        return None

    def optional(self, *names: str, long: bool = False) -> str:
        """The text of the first cell present, or "". Raises Rejection(BAD_FIELD).

        long=True: a cell that is only hashed or parsed further, which max_text_chars does not bound.
        """
        found = self.cell(*names)
        if found is None:
            return ""
        if type(found) is not str and type(found) is not JsonNumber:
            raise Rejection(Reason.BAD_FIELD, f"the column {names[0]} must be a text or a number")
        if not long and len(found) > self.limits.max_text_chars:
            raise Rejection(Reason.BAD_FIELD, f"the column {names[0]} has {len(found)} characters; at most {self.limits.max_text_chars} are kept")
        return str(found)

    def required(self, *names: str) -> str:
        """The text of the first cell present. Raises Rejection(MISSING_FIELD | BAD_FIELD)."""
        found = self.optional(*names)
        if not found:
            raise Rejection(Reason.MISSING_FIELD, f"the row has no {' or '.join(names)}")
        return found
