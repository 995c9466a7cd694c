"""Rows of provider exports as JSON objects with the column names, numbered so that equal-looking rows stay apart."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..schemas.decoders.reading import parse_json
from ..schemas.decoders.rows import annotate_rows
from ..schemas.errors import BadInput, Rejection
from ..schemas.limits import DEFAULT_LIMITS

__all__ = ["annotated_objects", "rows_of_csv"]

MAX_ROW_BYTES = 17 << 20  # more fits no raw topic


def rows_of_csv(lines: Iterable[tuple[int, bytes, int]], name: str, format: str) -> Iterator[tuple[int, bytes, str]]:
    """(line, JSON object, "") of each row, or (line, its raw bytes, flaw) for a row that does not fit the header.

    A row with fewer cells than the header was cut off: read with empty cells it would be another usage.
    """
    texts = _Texts(lines)
    reader = csv.reader(texts, strict=True)
    header = _header(reader, name, format)
    flaws: list[tuple[int, bytes, str]] = []
    begins = [0]

    def whole() -> Iterator[dict[str, Any]]:
        while True:
            begins[0] = texts.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                flaws.append((begins[0], texts.raw(), f"not CSV: {error}"))
                continue
            if not cells:
                continue
            if len(cells) != len(header):
                flaw = f"the row has {len(cells)} cells, the header {len(header)}; it was cut off, or a comma is not quoted"
                flaws.append((begins[0], texts.raw(), flaw))
                continue
            yield dict(zip(header, cells, strict=True))

    for row in annotate_rows(whole(), format, Path(name).name):
        yield from flaws
        flaws.clear()
        yield begins[0], json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape"), ""
    yield from flaws


class _Texts:
    """Lines of a file for the CSV reader, with the raw ones of the row that is being read. A quoted cell may hold line breaks, without end."""

    def __init__(self, lines: Iterable[tuple[int, bytes, int]]) -> None:
        self._lines = iter(lines)
        self._count = 0
        self._taken: list[bytes] = []
        self._size = 0

    def __iter__(self) -> _Texts:
        return self

    def __next__(self) -> str:
        _, line, size = next(self._lines)
        self._count += 1
        self._taken.append(line)
        self._size += len(line)
        if self._size > MAX_ROW_BYTES:
            raise csv.Error(f"the row has more than {MAX_ROW_BYTES} bytes; a quote is not closed")
        # Bytes that are no UTF-8 come out again as they were, and the decoder names them.
        return line.decode("utf-8", "surrogateescape") if not size else "\n"

    def begin_row(self) -> int:
        """Number of the line at which the next row begins, from 1."""
        self._taken, self._size = [], 0
        return self._count + 1

    def raw(self) -> bytes:
        """The row as it stands in the file."""
        return b"".join(self._taken)


def _header(reader: Any, name: str, format: str) -> list[str]:
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        raise BadInput(f"{name}:1: the header is not CSV: {error}") from error
    if not header:
        raise BadInput(f"{name}: the file is empty; a CSV begins with the names of its columns")
    twice = next((column for column in header if header.count(column) > 1), None)
    if twice is not None:
        raise BadInput(f"{name}:1: the column {twice[:60]!r} stands twice in the header; which one counts is unknown")
    if len(header) < 2:
        raise BadInput(f"{name}:1: the header has one column only; {format} rows are separated by commas")
    return header


def annotated_objects(rows: Iterable[tuple[int, bytes, Any]], format: str, file: str) -> Iterator[tuple[bytes, Any]]:
    """(value, companion) of each (number, value, companion): objects get `_file`, `_row` and `_occurrence` before their last brace.

    The rest of their bytes stays. What is not one object, or has a place of its own already, stays as it is.
    """
    passed: list[tuple[bytes, Any]] = []
    current: list[tuple[bytes, Any]] = []

    def objects() -> Iterator[dict[str, Any]]:
        for _, value, companion in rows:
            found: Any = None
            try:
                found = parse_json(value, DEFAULT_LIMITS)
            except Rejection:
                pass
            if type(found) is not dict or not found or "_row" in found or "_occurrence" in found or value[-1:] != b"}":
                passed.append((value, companion))
                continue
            current[:] = [(value, companion)]
            yield found

    for row in annotate_rows(objects(), format, file):
        yield from passed
        passed.clear()
        value, companion = current[0]
        extra = {key: row[key] for key in ("_file", "_row", "_occurrence") if key in row}
        yield value[:-1] + b"," + json.dumps(extra).encode()[1:], companion
    yield from passed
