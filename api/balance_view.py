"""What became of an account's credits and commitments, as far as its line items tell.

The charges of a statement are line items whose keys name the credit or commitment (docs/statements.md). What was granted, and until
when, stands in the tariff: no line item says it before the first use, and none that something was forfeited.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from elasticsearch import AsyncElasticsearch

from ..pricing.money import ZERO, money, plain
from ..pricing.statement.keys import parts_of
from ..sinks.costs import CostRow, costs
from ..sinks.periods import ClosedPeriods, read_closed
from .amounts import Amount

__all__ = ["Balance", "CommitmentBalance", "CommitmentMonth", "CreditBalance", "CreditMonth", "balance_of", "read_balance"]

_BY = ("period", "corrected", "adjustment", "component", "category", "unit")
# First part of a key -> category of its line items; None: either. Usage and fees have keys of other forms.
_KINDS = {"used": "Credit", "purchase": "Purchase", "drawn": "Credit", "shortfall": "Adjustment", "overage": None}


@dataclass(frozen=True)
class CreditMonth:
    """What a credit paid of one month `YYYY-MM`, corrections of that month included. status: final | estimate."""

    period: str
    status: str
    used: Amount


@dataclass(frozen=True)
class CreditBalance:
    """One credit. used: what it paid so far. For one that was bought: bought, paid: its worth and its cost; left: bought less used."""

    id: str
    currency: str
    used: Amount
    bought: Amount | None
    paid: Amount | None
    left: Amount | None
    months: list[CreditMonth]


@dataclass(frozen=True)
class CommitmentMonth:
    """One month `YYYY-MM` of a commitment, corrections of that month included; overage is below zero for a discount."""

    period: str
    status: str
    purchased: Amount
    drawn: Amount
    shortfall: Amount
    overage: Amount


@dataclass(frozen=True)
class CommitmentBalance:
    """One commitment. purchased, drawn: of a prepaid one; shortfall: of one that is not; overage: on or off what exceeded it."""

    id: str
    currency: str
    purchased: Amount
    drawn: Amount
    shortfall: Amount
    overage: Amount
    months: list[CommitmentMonth]


@dataclass(frozen=True)
class Balance:
    """Credits and commitments of an account that left line items, by id and currency. Amounts are exact plain decimals."""

    account: str
    credits: list[CreditBalance]
    commitments: list[CommitmentBalance]


class _Sums:
    """What the line items of one credit or commitment come to: in all, and by the month that they are about."""

    def __init__(self) -> None:
        self.amounts: dict[tuple[str, str], Decimal] = {}  # (month, name)
        self.open: set[str] = set()  # months that a line item of an open month is about

    def add(self, month: str, name: str, amount: Decimal) -> None:
        self.amounts[month, name] = self.amounts.get((month, name), ZERO) + amount

    def of(self, name: str, month: str = "") -> str:
        return plain(sum((amount for (each, kind), amount in self.amounts.items() if kind == name and month in ("", each)), ZERO))

    def months(self) -> list[tuple[str, str]]:
        return [(month, "estimate" if month in self.open else "final") for month in sorted({month for month, _ in self.amounts})]


async def read_balance(client: AsyncElasticsearch, prefix: str, account: str, most_rows: int) -> Balance:
    """Read from Elasticsearch. most_rows: raise BadInput beyond so many charges. Raises BadInput, Unavailable."""
    closed = await read_closed(client, prefix)  # first: a month that is closed in between is called an estimate, never the other way round
    # Usage has a price; charges of the statement have none.
    return balance_of(account, await costs(client, prefix, account=account, by=_BY, where={"price": ""}, most_rows=most_rows), closed)


def balance_of(account: str, rows: Iterable[CostRow], closed: ClosedPeriods) -> Balance:
    """rows: charges of the account, grouped by period, corrected, adjustment, component, category and unit."""
    credits: dict[tuple[str, str], _Sums] = {}
    commitments: dict[tuple[str, str], _Sums] = {}
    for row in rows:
        value = {name: text or "" for name, text in row.group.items()}
        kind, *rest = parts_of(value["component"])
        if kind not in _KINDS or not rest or not value["adjustment"] or _KINDS[kind] not in (None, value["category"]):
            continue
        bought = kind == "purchase" and value["unit"] == row.currency  # money at a discount; commitments are bought by the month
        sums = (credits if bought or kind == "used" else commitments).setdefault((rest[0], row.currency), _Sums())
        month = value["corrected"] or value["period"]
        quantity, cost = money(row.pricing_quantity or "0"), money(row.billed_cost)
        sums.add(month, kind, quantity if bought else -cost if kind in ("used", "drawn") else cost)
        if bought:
            sums.add(month, "paid", cost)
        if closed.status(value["period"]) == "estimate":
            sums.open.add(month)
    return Balance(
        account,
        [_credit(*key, sums) for key, sums in sorted(credits.items())],
        [_commitment(*key, sums) for key, sums in sorted(commitments.items())],
    )


def _credit(id: str, currency: str, sums: _Sums) -> CreditBalance:
    bought = any(name == "purchase" for _, name in sums.amounts)
    return CreditBalance(
        id, currency, sums.of("used"),
        sums.of("purchase") if bought else None,
        sums.of("paid") if bought else None,
        plain(money(sums.of("purchase")) - money(sums.of("used"))) if bought else None,
        [CreditMonth(month, status, sums.of("used", month)) for month, status in sums.months()],
    )  # fmt: skip


def _commitment(id: str, currency: str, sums: _Sums) -> CommitmentBalance:
    def amounts(month: str = "") -> tuple[str, str, str, str]:
        return sums.of("purchase", month), sums.of("drawn", month), sums.of("shortfall", month), sums.of("overage", month)

    return CommitmentBalance(id, currency, *amounts(), [CommitmentMonth(month, status, *amounts(month)) for month, status in sums.months()])
