"""Rows without an id of their own (Azure cost exports, GCP billing exports): telling equal-looking rows apart.

Their identity is composed of fields that a later export does not change (never an amount or a price). Two rows of one
file can agree in all of them. Whoever reads the file therefore numbers such rows with `annotate_rows`:

    _occurrence   1 for the first row of the file with this identity, 2 for the second, …; part of the identity from 2 on
    _file, _row   name of the file and 1-based number of the row in it, to find it again

The occurrence number survives what a row number does not: the same export fetched again under another name, or with
rows inserted before. A row that has `_row` and no `_occurrence` is told apart by `_file` and `_row`; publishing it
again from another file then counts it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import xxhash

from ..errors import Reason, Rejection
from ..limits import DEFAULT_LIMITS, Limits
from .documents import Row
from .reading import canonical_json, composed_id

__all__ = ["annotate_rows", "row_id"]


def row_id(kind: str, parts: list[Any], row: Row) -> str:
    """The composed id of a row, with its occurrence or its place in the file where that is given. Raises Rejection."""
    occurrence = row.optional("_occurrence")
    place: list[Any] = []
    if occurrence:
        if not (occurrence.isascii() and occurrence.isdigit()):
            raise Rejection(Reason.BAD_FIELD, "_occurrence must be a whole number from 1")
        if int(occurrence[:18]) > 1:
            place = [int(occurrence[:18])]
    elif row.optional("_row"):
        place = [row.optional("_file"), row.optional("_row")]
    return composed_id(kind, parts + place)


def annotate_rows(rows: Iterable[Mapping[str, Any]], format: str, file: str, limits: Limits = DEFAULT_LIMITS) -> Iterator[dict[str, Any]]:
    """The rows of one file with `_file`, `_row` and, for formats without an id, `_occurrence`.

    Holds 16 bytes per row of the file. Rows that cannot be identified keep only `_file` and `_row`: the decoder says why.
    """
    from .azure_cost import identity_parts as azure_parts  # they need row_id from here
    from .gcp_billing import identity_parts as gcp_parts

    identity_parts = {"azure-cost": azure_parts, "gcp-billing": gcp_parts}.get(format)
    seen: dict[bytes, int] = {}
    for number, row in enumerate(rows, start=1):
        annotated = {**row, "_file": file, "_row": str(number)}
        if identity_parts is not None:
            try:
                key = xxhash.xxh3_128_digest(canonical_json(identity_parts(Row(dict(row), limits))).encode("utf-8", "surrogatepass"))
            except Rejection:
                yield annotated
                continue
            seen[key] = seen.get(key, 0) + 1
            annotated["_occurrence"] = str(seen[key])
        yield annotated
