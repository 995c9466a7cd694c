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


def rows_of_csv(lines: Iterable[tuple[int, bytes, int]], name: str, format: str) -> Iterator[tuple[int, bytes, str]]:
    """(line, JSON object, "") of each row, or (line, its raw bytes, flaw) for a row that does not fit the header.

    A row with fewer cells than the header was cut off: read with empty cells it would be another usage.
    """
    taken: list[bytes] = []  # raw lines of the row being read

    def texts() -> Iterator[str]:
        for _, line, size in lines:
            taken.append(line)
            # Bytes that are no UTF-8 come out again as they were, and the decoder names them.
            yield line.decode("utf-8", "surrogateescape") if not size else "\n"

    reader = csv.reader(texts(), strict=True)
    header = _header(reader, name, format)
    taken.clear()
    flaws: list[tuple[int, bytes, str]] = []
    begins = [0]

    def whole() -> Iterator[dict[str, Any]]:
        while True:
            begins[0] = reader.line_num + 1
            taken.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                flaws.append((begins[0], b"".join(taken), f"not CSV: {error}"))
                continue
            if not cells:
                continue
            if len(cells) != len(header):
                flaw = f"the row has {len(cells)} cells, the header {len(header)}; it was cut off, or a comma is not quoted"
                flaws.append((begins[0], b"".join(taken), flaw))
                continue
            yield dict(zip(header, cells, strict=True))

    for row in annotate_rows(whole(), format, Path(name).name):
        yield from flaws
        flaws.clear()
        yield begins[0], json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogateescape"), ""
    yield from flaws


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
