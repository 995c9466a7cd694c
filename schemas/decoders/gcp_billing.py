"""GCP billing export rows as JSON: nested as BigQuery gives them, or flattened to dotted columns as CSV exports have them.

Source of the columns: "Structure of Standard (and Detailed) data export" of Cloud Billing. The priced quantity is
usage.amount_in_pricing_units in usage.pricing_unit, because that is what the catalogue's unit price multiplies.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..errors import Reason, Rejection
from ..limits import Limits
from ..quantity import parse_quantity
from ..times import format_time, parse_spaced_time
from ..usage_event import UsageEvent, canonical_map
from .documents import Entries, Row, each_document
from .reading import JsonNumber, as_object, map_text, parse_json, text_of
from .rows import row_id

__all__ = ["decode_gcp_billing", "identity_parts"]

Headers = Sequence[tuple[str, bytes]]
_NESTED = ("service", "sku", "project", "location", "usage", "invoice", "resource")
# `{'key': 'a', 'value': "b's"}`: labels as some flatteners print them, in Python's spelling instead of JSON.
_QUOTED = r"""(?:'((?:[^'\\]|\\.)*+)'|"((?:[^"\\]|\\.)*+)")"""
_PAIR = re.compile(r"\s*,?\s*\{\s*'key':\s*" + _QUOTED + r",\s*'value':\s*" + _QUOTED + r"\s*\}", re.DOTALL)


def decode_gcp_billing(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """Billing export rows. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: [billing_row(obj, limits)])


def billing_row(obj: Any, limits: Limits) -> UsageEvent:
    """The usage event of one row. Raises Rejection."""
    row = Row(_flat(as_object(obj, "the row")), limits)
    kind = row.optional("cost_type") or "regular"
    if kind != "regular":
        raise Rejection(Reason.NOT_SUPPORTED, f"a row of cost_type {kind[:40]!r} is money without usage; rows of cost_type regular are metered")
    billing_account = row.required("billing_account_id")
    zone = row.optional("location.zone")
    dimensions = {"service_id": row.optional("service.id"), "zone": zone}
    return UsageEvent(
        account=text_of(row.optional("project.id") or billing_account, "project.id", limits),
        source=text_of(f"gcp:billing:{billing_account}", "billing_account_id", limits),
        id=row_id("gcp-billing", identity_parts(row), row),
        sku=text_of(row.required("sku.id"), "sku.id", limits),
        time=parse_spaced_time(row.required("usage_start_time")),
        quantity=parse_quantity(row.required("usage.amount_in_pricing_units"), limits.max_quantity_digits),
        unit=text_of(row.required("usage.pricing_unit"), "usage.pricing_unit", limits),
        provider="gcp",
        region=text_of(row.optional("location.region", "location.location"), "location.region", limits),
        resource=text_of(row.optional("resource.global_name", "resource.name"), "resource.name", limits),
        dimensions=map_text({k: v for k, v in dimensions.items() if v}, "the dimensions", limits),
        tags=_labels(row, "labels"),
    )


def identity_parts(row: Row) -> list[Any]:
    """What identifies a row, beside its occurrence in the file: no amount, no cost, no credit. Raises Rejection."""
    if any(isinstance(row.cell(name), dict) for name in _NESTED):
        row = Row(_flat(dict(row.columns)), row.limits)
    end, export = row.optional("usage_end_time"), row.optional("export_time")
    return [
        row.required("billing_account_id"),
        row.optional("project.id"),
        row.optional("service.id"),
        row.required("sku.id"),
        format_time(parse_spaced_time(row.required("usage_start_time"))),
        format_time(parse_spaced_time(end)) if end else "",
        _labels(row, "labels"),
        _labels(row, "system_labels"),
        row.optional("location.location"),
        row.optional("location.zone"),
        row.optional("resource.global_name", "resource.name"),
        row.optional("cost_type") or "regular",
        format_time(parse_spaced_time(export)) if export else "",
    ]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Nested records as dotted columns, one level deep; a row that is flat already comes back as it is."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key in _NESTED and isinstance(value, dict):
            flat.update((f"{key}.{inner}", item) for inner, item in as_object(value, key).items())
        else:
            flat[key] = value
    return flat


def _labels(row: Row, column: str) -> str:
    """`[{"key": k, "value": v}]`, as JSON, as its text, or in Python's spelling, to the canonical map. Raises Rejection(BAD_FIELD)."""
    found: Any = row.cell(column)
    if found is None:
        return canonical_map({})
    if type(found) is str:
        try:
            found = parse_json(found.encode("utf-8", "surrogatepass"), row.limits)
        except Rejection:
            found = _python_labels(found, column)
    if isinstance(found, dict):
        return map_text(found, column, row.limits, controls=True)
    if not isinstance(found, list):
        raise Rejection(Reason.BAD_FIELD, f"{column} is not a list of keys and values")
    labels: dict[str, Any] = {}
    for label in found:
        pair = as_object(label, f"an entry of {column}")
        key, value = pair.get("key"), pair.get("value")
        if type(key) is not str or not (value is None or type(value) is str or type(value) is JsonNumber):
            raise Rejection(Reason.BAD_FIELD, f"an entry of {column} has no key and value")
        labels[key] = value
    return map_text(labels, column, row.limits, controls=True)


def _python_labels(text: str, column: str) -> list[dict[str, str]]:
    inner = text.strip()
    labels: list[dict[str, str]] = []
    if inner[:1] == "[" and inner[-1:] == "]":
        inner, at = inner[1:-1], 0
        while found := _PAIR.match(inner, at):
            key, value = (re.sub(r"\\(.)", r"\1", a if a is not None else b) for a, b in ((found[1], found[2]), (found[3], found[4])))
            labels.append({"key": key, "value": value})
            at = found.end()
        if not inner[at:].strip():
            return labels
    raise Rejection(Reason.BAD_FIELD, f"{column} is neither JSON nor a printed list of keys and values")
