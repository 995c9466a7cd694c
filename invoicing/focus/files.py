"""Rows to files and back, without losing a digit. Parquet needs pyarrow, the extra `parquet`, which is imported only then."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from ...pricing.money import money, plain
from ...schemas.errors import BadInput
from ...schemas.times import NS, format_time, parse_time
from .columns import DECIMALS, TIMES, columns_of
from .projection import Row

__all__ = ["FORMATS", "SCALE", "read_rows", "write_rows"]

FORMATS = ("parquet", "csv")
SCALE = 20  # digits after the point of amounts in Parquet; 18 are left before it
_PRECISION = 38  # what decimal128 has, and what readers such as DuckDB, Spark and BigQuery take exactly
_GROUP = 10_000  # rows


def write_rows(rows: Iterable[Row], version: str, path: Path, format: str, scale: int = SCALE) -> int:
    """Write a file; it has its name when it is whole. Returns how many rows it has. scale: digits after the point in Parquet, 0 to 38.

    Raises BadInput for an amount that does not fit exactly, without pyarrow, and where the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        written = (_write_parquet if format == "parquet" else _write_csv)(rows, version, part, scale)
        part.replace(path)
        return written
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}; name another file") from error
    finally:
        part.unlink(missing_ok=True)


def read_rows(path: Path, format: str) -> Iterator[Row]:
    """The rows of a file: amounts as plain decimals, times as `YYYY-MM-DDTHH:MM:SSZ`. Raises BadInput."""
    return _read_parquet(path) if format == "parquet" else _read_csv(path)


def _write_csv(rows: Iterable[Row], version: str, path: Path, scale: int) -> int:
    written = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns_of(version), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row)  # null is an empty field
            written += 1
    return written


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: value or None for name, value in row.items()}


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise BadInput("Parquet needs pyarrow: install ratemill[parquet], or say --format csv") from error


def _write_parquet(rows: Iterable[Row], version: str, path: Path, scale: int) -> int:
    arrow, parquet = _arrow()
    amount, time = arrow.decimal128(_PRECISION, scale), arrow.timestamp("ms", "UTC")
    names = columns_of(version)
    schema = arrow.schema([(name, amount if name in DECIMALS else time if name in TIMES else arrow.string()) for name in names])
    schema = schema.with_metadata({"FocusVersion": version})
    left, written = iter(rows), 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(left, _GROUP)):
            writer.write_table(arrow.table({name: _column(group, name, scale) for name in names}, schema))
            written += len(group)
    return written


def _column(rows: list[Row], name: str, scale: int) -> list[Any]:
    if name in TIMES:
        return [None if (text := row[name]) is None else datetime.fromtimestamp(parse_time(text) // NS, UTC) for row in rows]
    if name not in DECIMALS:
        return [row[name] for row in rows]
    for row in rows:
        whole, _, fraction = (row[name] or "0").lstrip("-").partition(".")
        if len(fraction) > scale:
            raise BadInput(f"{name} {row[name]} of line item {row['x_LineItemId']} has {len(fraction)} digits after the point: say --scale "
                           f"{len(fraction)}, or --format csv")  # fmt: skip
        if len(whole.lstrip("0")) > _PRECISION - scale:
            raise BadInput(f"{name} {row[name]} of line item {row['x_LineItemId']} does not fit beside {scale} digits after the point: say a smaller "
                           "--scale, or --format csv")  # fmt: skip
    return [None if (text := row[name]) is None else money(text) for row in rows]


def _read_parquet(path: Path) -> Iterator[Row]:
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                yield {name: _text(name, value) for name, value in row.items()}


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if name in DECIMALS:
        return plain(value)
    return format_time(int(value.timestamp()) * NS) if name in TIMES else str(value)
