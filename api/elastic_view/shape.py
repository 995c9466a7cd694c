"""From exact totals of line items to instances, products, product line items, segments and tiers. Pure; see docs/elastic-view.md.

Amounts are JSON numbers in this interface. They are written digit by digit, as the decimals that they are: no float comes near them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from ...pricing.money import ZERO, money, plain, quotient
from ...sinks.costs import CostRow

__all__ = ["BY", "CHART_BY", "WHOLE", "chart", "instances", "products", "resource_of"]

# What the rows that are shaped here are grouped by.
BY = ("resource", "sku", "unit", "consumed_unit", "service", "service_category", "price", "price_version", "model", "component")
CHART_BY = ("day", "resource", "sku", "service", "service_category")

WHOLE = "organization"  # the instance of line items that have no resource: charges of the whole account
INSTANCE_TYPE = "deployment"  # what ess_billing takes for a hosted one; it counts everything else as serverless
_TIERED = frozenset({"graduated", "volume"})

Json = dict[str, Any]
Bucketing = Literal["daily", "monthly"]
GroupBy = Literal["product", "product_family"]


def instances(rows: Sequence[CostRow]) -> Json:
    """The answer of `costs/instances`: what each resource costs, and its product line items."""
    found = [
        {"id": resource, "name": resource, "type": INSTANCE_TYPE, "total_ecu": _number(_billed(own)),
         "product_line_items": _product_line_items(own)}
        for resource, own in _grouped(rows, resource_of)
    ]  # fmt: skip
    return {"total_ecu": _number(_billed(rows)), "instances": found}


def products(rows: Sequence[CostRow], group_by: GroupBy = "product_family") -> Json:
    """The answer of `costs/items`: what each service category, or each service, costs, and its product line items."""
    dimension = "service" if group_by == "product" else "service_category"
    found = [
        {"type": kind, "total_ecu": _number(_billed(own)), "product_line_items": _product_line_items(own)}
        for kind, own in _grouped(rows, lambda row: row.group[dimension] or "")
    ]
    return {"total_ecu": _number(_billed(rows)), "products": found}


def chart(rows: Sequence[CostRow], bucketing: Bucketing, of_instance: bool, milliseconds: Callable[[str], int]) -> Json:
    """The answer of `charts`: cost by day or calendar month (UTC) of each instance, or of each SKU of one instance.

    rows: by CHART_BY. milliseconds: since 1970, of a time `YYYY-MM-DDTHH:MM:SSZ`. Days and months without a cost are left out.
    """
    until = 10 if bucketing == "daily" else 7
    data = [
        {
            "timestamp": milliseconds(f"{bucket}-01"[:10] + "T00:00:00Z"),
            "values": [
                {"id": id, "name": _name(own[-1]) if of_instance else id, "type": _type(own[-1]) if of_instance else INSTANCE_TYPE,
                 "value": _number(_billed(own))}
                for id, own in _grouped(there, (lambda row: row.group["sku"] or "") if of_instance else resource_of)
            ],
        }
        for bucket, there in _grouped(rows, lambda row: (row.group["day"] or "")[:until])
    ]  # fmt: skip
    return {"data": data}


def resource_of(row: CostRow) -> str:
    """The instance that a row belongs to."""
    return row.group["resource"] or WHOLE


def _product_line_items(rows: Sequence[CostRow]) -> list[Json]:
    """One for each SKU and unit: ess_billing takes two of one SKU, instance and day that cost the same for one."""
    return [_product_line_item(own, unit) for (_, unit), own in _grouped(rows, lambda row: (row.group["sku"] or "", _unit(row)))]


def _product_line_item(rows: Sequence[CostRow], unit: str) -> Json:
    newest = max(rows, key=lambda row: (row.last or "", row.group["price_version"] or ""))
    total, quantity = _billed(rows), _quantity(rows)
    amount = _quantity_of(quantity, unit)
    return {
        "name": _name(newest), "sku": newest.group["sku"] or "", "type": _type(newest), "kind": newest.group["service"], "unit": unit,
        "total_ecu": _number(total), "quantity": amount, "display_quantity": {**amount, "type": "default"},
        "rate": _rate(total, quantity, unit), "quantities": _segments(rows, unit),
    }  # fmt: skip


def _segments(rows: Sequence[CostRow], unit: str) -> list[Json]:
    """One for each version of a price, by time. None where one rate held throughout and has no tiers: they would say nothing new."""
    by_price = _grouped(rows, lambda row: (row.group["price"] or "", row.group["price_version"] or ""))
    if len(by_price) == 1 and not _tiered(rows):
        return []
    return [_segment(own, unit) for _, own in sorted(by_price, key=lambda each: (min(row.first or "" for row in each[1]), each[0]))]


def _segment(rows: Sequence[CostRow], unit: str) -> Json:
    total, quantity = _billed(rows), _quantity(rows)
    tiers = _grouped(rows, lambda row: row.group["component"] or "") if _tiered(rows) else []
    return {
        "from": min(row.first or "" for row in rows), "to": max(row.last or "" for row in rows),
        "total_ecu": _number(total), "quantity": _quantity_of(quantity, unit), "rate": _rate(total, quantity, unit),
        "tiers": [_tier(own, unit) for _, own in sorted(tiers, key=lambda tier: _natural(tier[0]))],
    }  # fmt: skip


def _tier(rows: Sequence[CostRow], unit: str) -> Json:
    """Line items do not hold the bounds of their tier, so it has none here."""
    total, quantity = _billed(rows), _quantity(rows)
    amounts = {"total_ecu": _number(total), "quantity": _quantity_of(quantity, unit), "rate": _rate(total, quantity, unit)}
    return {"min": 0, "max": None, **amounts}


def _tiered(rows: Iterable[CostRow]) -> bool:
    """Whether more than one rate may hold for usage at a time: by tiers, or by the cells of a matrix."""
    versions: dict[Any, set[str | None]] = {}
    for row in (row for row in rows if row.group["consumed_unit"]):
        if row.group["model"] in _TIERED:
            return True
        versions.setdefault((row.group["price"], row.group["price_version"]), set()).add(row.group["component"])
    return any(len(components) > 1 for components in versions.values())


def _unit(row: CostRow) -> str:
    """Of what was consumed; of fees, minimums, credits and the like, which consume nothing, what they are counted in."""
    return row.group["consumed_unit"] or row.group["unit"] or ""


def _quantity(rows: Iterable[CostRow]) -> Decimal:
    amounts = (row.consumed_quantity if row.group["consumed_unit"] else row.pricing_quantity for row in rows)
    return sum((money(amount or "0") for amount in amounts), ZERO)


def _billed(rows: Iterable[CostRow]) -> Decimal:
    return sum((money(row.billed_cost) for row in rows), ZERO)


def _name(row: CostRow) -> str:
    service, sku = row.group["service"] or "", row.group["sku"] or ""
    return f"{service}, {sku}" if service not in ("", sku) else sku


def _type(row: CostRow) -> str:
    return row.group["service_category"] or ""


def _quantity_of(quantity: Decimal, unit: str) -> Json:
    return {"value": _number(quantity), "formatted_value": f"{plain(quantity)} {unit}"}


def _rate(total: Decimal, quantity: Decimal, unit: str) -> Json:
    rate = quotient(total, quantity)
    return {"value": _number(rate), "formatted_value": f"{plain(rate)} per {unit}"}


def _number(value: Decimal) -> msgspec.Raw:
    return msgspec.Raw(plain(value).encode())


def _natural(text: str) -> list[tuple[int, str]]:
    """So that tier-10 comes behind tier-2."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split("([0-9]+)", text)]


def _grouped(rows: Iterable[CostRow], key: Callable[[CostRow], Any]) -> list[tuple[Any, list[CostRow]]]:
    """Groups in the order of their keys."""
    groups: dict[Any, list[CostRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return sorted(groups.items(), key=lambda group: group[0])
