"""Whether each row is right in itself, exactly: arithmetic, periods, and what may not be null. Pure, and made of nothing that wrote the row.

The validator of the FOCUS project does not look at the arithmetic (docs/focus.md); this does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, localcontext

from ...pricing.money import EXACT, ZERO, money
from ...schemas.errors import Rejection
from ...schemas.times import NS, format_time, parse_time
from .columns import DECIMALS, MANDATORY, TIMES, columns_of
from .projection import Row

__all__ = ["Checked", "check"]

_EXAMPLES = 5  # breaches that are told in full


@dataclass
class Checked:
    """What came of a check. breaches: how many rows break each rule; examples: the first of them, one line each."""

    rows: int = 0
    breaches: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    billed: dict[str, Decimal] = field(default_factory=dict)  # BilledCost by currency


def check(rows: Iterable[Row], version: str) -> Checked:
    """Check rows as they were read back from a file."""
    found, seen, columns = Checked(), set[str | None](), set(columns_of(version))
    with localcontext(EXACT):
        for row in rows:
            found.rows += 1
            breaches = [("columns", "")] if set(row) != columns else list(_breaches(row))
            if not breaches:
                if row["x_LineItemId"] in seen:
                    breaches = [("x_LineItemId is there once", "")]
                seen.add(row["x_LineItemId"])
                currency = row["BillingCurrency"] or ""
                found.billed[currency] = found.billed.get(currency, ZERO) + money(row["BilledCost"] or "0")
            for rule, detail in breaches:
                found.breaches[rule] += 1
                if len(found.examples) < _EXAMPLES:
                    found.examples.append(f"row {found.rows} ({row.get('x_LineItemId')}): {rule}{': ' if detail else ''}{detail}")
    return found


def _breaches(row: Row) -> Iterator[tuple[str, str]]:
    """(rule, what is there) of each rule that a row breaks; what follows from a broken one is not looked at."""
    if missing := sorted(name for name in MANDATORY & row.keys() if row[name] is None):
        yield "not null", ", ".join(missing)
        return
    amounts: dict[str, Decimal] = {}
    for name in sorted(DECIMALS):
        if (text := row[name]) is not None:
            value = _amount(text)
            if value is None:
                yield "a plain decimal", f"{name} {text[:60]}"
                return
            amounts[name] = value
    yield from _arithmetic(row, amounts)
    yield from _kinds(row, amounts)
    yield from _periods(row)


def _amount(text: str) -> Decimal | None:
    """A number as FOCUS writes it: digits, a point, a minus; no exponent, as only numbers without one are read the same everywhere."""
    if not text.isascii() or set(text) - set("0123456789.-"):
        return None
    try:
        return money(text)
    except ValueError:
        return None


def _arithmetic(row: Row, amounts: dict[str, Decimal]) -> Iterator[tuple[str, str]]:
    """List and contracted cost are unit price x quantity, of corrections too; what is billed is what was contracted, and nothing is amortized."""
    for kind in ("List", "Contracted"):
        price, quantity, cost = amounts.get(f"{kind}UnitPrice"), amounts.get("PricingQuantity"), amounts[f"{kind}Cost"]
        if price is not None and quantity is not None and price * quantity != cost:
            yield f"{kind}Cost = {kind}UnitPrice x PricingQuantity", f"{cost:f} for {price:f} x {quantity:f}"
        if price is not None and price < 0:
            yield f"{kind}UnitPrice is not negative", f"{price:f}"
    for name, other in (("BilledCost", "ContractedCost"), ("EffectiveCost", "BilledCost")):
        if amounts[name] != amounts[other]:
            yield f"{name} = {other}", f"{amounts[name]:f}, {amounts[other]:f}"


def _kinds(row: Row, amounts: dict[str, Decimal]) -> Iterator[tuple[str, str]]:
    category, correction = row["ChargeCategory"], row["ChargeClass"]
    if category not in ("Usage", "Purchase", "Credit", "Adjustment", "Tax"):
        yield "ChargeCategory is one of FOCUS", str(category)
    if correction not in (None, "Correction"):
        yield "ChargeClass is null or Correction", str(correction)
    if category in ("Usage", "Purchase") and correction is None:
        priced = ("PricingQuantity", "PricingUnit", "ListUnitPrice", "ContractedUnitPrice", "SkuPriceId")
        if missing := [name for name in priced if row[name] is None]:
            yield "usage and purchases have a price", ", ".join(missing)
    if category != "Usage" and "ConsumedQuantity" in amounts:
        yield "only usage is consumed", str(category)
    if (row["ConsumedQuantity"] is None) != (row["ConsumedUnit"] is None):
        yield "ConsumedQuantity has a unit", ""
    currency = row["BillingCurrency"] or ""
    if not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()):
        yield "BillingCurrency is a code of ISO 4217", currency[:20]


def _periods(row: Row) -> Iterator[tuple[str, str]]:
    """Starts before ends, in UTC; a charge lies in the month that bills it, a correction does not begin after it."""
    at: dict[str, int] = {}
    for name in sorted(TIMES):
        text = row[name] or ""
        try:
            at[name] = parse_time(text)
        except Rejection:
            at[name] = -1
        if at[name] < 0 or at[name] % NS or format_time(at[name]) != text:
            yield "a time as YYYY-MM-DDTHH:MM:SSZ", f"{name} {text[:40]}"
            return
    for kind in ("Billing", "Charge"):
        if at[f"{kind}PeriodStart"] >= at[f"{kind}PeriodEnd"]:
            yield f"{kind}PeriodStart is before {kind}PeriodEnd", f"{row[f'{kind}PeriodStart']}, {row[f'{kind}PeriodEnd']}"
    inside = at["BillingPeriodStart"] <= at["ChargePeriodStart"] and at["ChargePeriodEnd"] <= at["BillingPeriodEnd"]
    if row["ChargeClass"] is None and not inside:
        yield "the charge lies in its billing period", f"{row['ChargePeriodStart']} to {row['ChargePeriodEnd']}"
    if row["ChargeClass"] is not None and at["ChargePeriodStart"] >= at["BillingPeriodStart"]:
        yield "a correction is of an earlier period", f"{row['ChargePeriodStart']} in {row['BillingPeriodStart']}"
