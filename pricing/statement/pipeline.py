"""The pipeline: an account's month, step by step in the order written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext

from ..money import EXACT, ZERO
from ..slices import slice_costs
from .allowance import apply_allowance
from .commitment import apply_commitments
from .credits import apply_credits, closing_balances, opening_balances
from .discount import apply_discount
from .ledger import Ledger, Row, Stretch
from .recurring import apply_fees
from .rounding import apply_rounding
from .spend import apply_maximum, apply_minimum
from .terms import (
    Allowance,
    Commitments,
    Credits,
    Discount,
    Fees,
    Maximum,
    Minimum,
    RoundTotal,
    Statement,
    Step,
    Terms,
    Uplift,
    Usage,
    month_between,
)  # fmt: skip
from .uplift import apply_uplift

__all__ = ["statement"]


def statement(
    terms: Terms, month_start_s: int, month_end_s: int, usage: Sequence[Usage], opening: Mapping[str, Decimal], final: bool
) -> Statement:
    """Charges of one account's month beyond its usage. Pure: equal input gives an equal answer, whatever its order.

    usage: every stretch of the month, each with one mapping per slice between the instants of `terms.cuts`; raises ValueError
    for another number of slices. opening: what was left of each credit when the month began (`closing` of the month before); a
    credit that is not named was never used. final: the month is over, so what is only due then is in.
    """
    with localcontext(EXACT):
        ledger = Ledger((month_start_s, *terms.cuts(month_start_s, month_end_s), month_end_s), terms.currency, final)
        _enter_usage(ledger, usage)
        balances = opening_balances(terms.credits, opening, month_start_s, month_end_s)
        for step in terms.steps_in(month_between(month_start_s, month_end_s)):
            _apply(step, terms, balances, ledger)
        return Statement(tuple(ledger.charges), closing_balances(terms.credits, balances, month_end_s))


def _apply(step: Step, terms: Terms, balances: dict[str, Decimal], ledger: Ledger) -> None:
    """One step; what it does is in a file of its own."""
    match step:
        case Allowance():
            apply_allowance(step, ledger)
        case Discount():
            apply_discount(step, ledger)
        case Minimum():
            apply_minimum(step, ledger)
        case Maximum():
            apply_maximum(step, ledger)
        case Uplift():
            apply_uplift(step, ledger)
        case Fees():
            apply_fees(step, terms.fees, ledger)
        case Commitments():
            apply_commitments(step, terms.commitments, ledger)
        case Credits():
            apply_credits(step, terms.credits, balances, ledger)
        case RoundTotal():
            apply_rounding(step, ledger)


def _enter_usage(ledger: Ledger, usage: Sequence[Usage]) -> None:
    """What the prices of the SKUs make of the usage: one row per SKU, also where that is 0 or there is no price."""
    amounts: dict[str, list[Decimal]] = {}
    for stretch in sorted(usage, key=lambda one: (one.sku, one.start, one.end, one.unit, one.price.id if one.price else "")):
        if len(stretch.slices) != ledger.slices:
            raise ValueError(f"usage of {stretch.sku} comes in {len(stretch.slices)} slices, and the month has {ledger.slices}")
        if not stretch.used and not any(stretch.slices):
            continue
        sums = amounts.setdefault(stretch.sku, [ZERO] * ledger.slices)
        if stretch.price is None:
            continue
        costs = slice_costs(stretch.price, stretch.slices, stretch.used, final=ledger.final)
        ledger.stretches.append(Stretch(stretch, costs))
        amounts[stretch.sku] = [a + b for a, b in zip(sums, costs, strict=True)]
    ledger.rows += [Row(sku, "", sums) for sku, sums in amounts.items()]
