"""How much was used: quantities by SKU and unit, as the line items of usage say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elasticsearch import AsyncElasticsearch

from ..pricing.money import ZERO, money, plain
from ..sinks.costs import costs
from ..sinks.dimensions import Where, Within
from .amounts import Amount

__all__ = ["UsageRow", "UsageView", "read_usage"]

_UNITS = ("sku", "unit", "consumed_unit")


@dataclass(frozen=True)
class UsageRow:
    """Usage of one group and SKU in one unit. Quantities are exact plain decimals: consumed as metered, pricing in the unit of the price."""

    group: dict[str, str | None]
    consumed_quantity: Amount
    consumed_unit: str
    pricing_quantity: Amount
    pricing_unit: str
    line_items: int
    unpriced: int


@dataclass(frozen=True)
class UsageView:
    """Rows by group."""

    rows: list[UsageRow]


async def read_usage(
    client: AsyncElasticsearch, prefix: str, *, account: str | None, by: Sequence[str], period: str | None, where: Where, within: Within,
    most_rows: int,
) -> UsageView:  # fmt: skip
    """Read from Elasticsearch what filters_of chooses, by SKU and what else `by` names. Raises BadInput (more than most_rows), Unavailable."""
    shown = tuple(dict.fromkeys((*by, "sku")))
    rows = await costs(
        client, prefix, account=account, by=(*shown, *_UNITS[1:]), period=period, where={"category": "Usage", **where}, within=within,
        most_rows=most_rows,
    )  # fmt: skip
    # Currencies are no matter of quantities: accounts that pay in several are added here.
    found: dict[tuple[str | None, ...], UsageRow] = {}
    for row in rows:
        if (consumed_unit := row.group["consumed_unit"]) is None:
            continue  # a charge that counts as usage, such as an uplift, consumes nothing
        key = tuple(row.group.values())
        before = found.get(key)
        found[key] = UsageRow(
            {name: row.group[name] for name in shown},
            _sum(row.consumed_quantity, before.consumed_quantity if before else None), consumed_unit,
            _sum(row.pricing_quantity, before.pricing_quantity if before else None), row.group["unit"] or "",
            row.line_items + (before.line_items if before else 0), row.unpriced + (before.unpriced if before else 0),
        )  # fmt: skip
    return UsageView([found[key] for key in sorted(found, key=lambda key: [(value is None, value or "") for value in key])])


def _sum(one: str | None, other: str | None) -> str:
    return plain(sum((money(each) for each in (one, other) if each is not None), ZERO))
