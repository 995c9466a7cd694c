"""Commitments: an amount per month that is due whether or not it is used up, and the price of what exceeds it."""

from __future__ import annotations

from decimal import Decimal

from ..money import ZERO, money
from .keys import joined, key
from .ledger import Ledger, grouped, payable, take
from .proration import prorated
from .terms import Charge, Commitment, Commitments, meets

__all__ = ["apply_commitments"]

ONE = money(1)


def apply_commitments(step: Commitments, commitments: tuple[Commitment, ...], ledger: Ledger) -> None:
    """Each commitment in the order written; it sees what the one before left. Only charges of the slices in which it holds count."""
    for commitment in commitments:
        if meets(commitment, ledger.start, ledger.end):
            _apply(step.id, commitment, ledger)


def _apply(origin: str, commitment: Commitment, ledger: Ledger) -> None:
    """A shortfall or a purchase of the whole and what is drawn from it; then the price of what exceeds the commitment."""
    first, past = max(ledger.start, commitment.since), ledger.end if commitment.until is None else min(ledger.end, commitment.until)
    inside = [first <= low and high <= past for low, high in zip(ledger.bounds, ledger.bounds[1:], strict=False)]
    committed = sum(prorated(commitment.amount, commitment.prorate, commitment.digits, first, past, ledger.bounds), ZERO)
    found = grouped(ledger.seen(commitment.skus), commitment.skus)
    counted = {sku: [amount if held else ZERO for amount, held in zip(amounts, inside, strict=True)] for sku, amounts in found.items()}
    missing = committed - sum((amount for amounts in counted.values() for amount in amounts), ZERO)
    label = commitment.description or commitment.id
    if commitment.prepaid:
        name = joined("purchase", commitment.id)
        purchase = Charge(origin, name, "Purchase", commitment.sku, ONE, "Months", committed, committed, label, first, past, True)
        ledger.post_about(commitment.skus, commitment.id, purchase, ledger.at(inside.index(True), committed))
    elif missing > ZERO and (ledger.final or commitment.always):
        name = joined("shortfall", commitment.id)
        shortfall = ledger.whole(origin, name, "Adjustment", commitment.sku, missing, f"{label}: shortfall")
        last = max(number for number, held in enumerate(inside) if held)
        shortfall = shortfall._replace(start=first, end=past, recurring=True)
        ledger.post_about(commitment.skus, commitment.id, shortfall, ledger.at(last, missing))
    if not (commitment.prepaid or commitment.surcharge or commitment.discount):
        return
    for sku, amounts in payable(counted).items():
        covered = take(amounts, committed)
        drawn = sum(covered, ZERO)
        committed -= drawn
        if commitment.prepaid:
            line = ledger.share(origin, key(sku, "drawn", commitment.id), "Credit", sku, -drawn, ONE, f"{label}: prepaid {sku}")
            ledger.post(line._replace(start=first, end=past), [-amount for amount in covered])
        _overage(origin, commitment, sku, [amount - part for amount, part in zip(amounts, covered, strict=True)], (first, past), ledger)


def _overage(origin: str, commitment: Commitment, sku: str, excess: list[Decimal], period: tuple[int, int], ledger: Ledger) -> None:
    """Percentage on or off an SKU's charges beyond the commitment."""
    share = commitment.surcharge - commitment.discount
    base = sum(excess, ZERO)
    category, sign = ("Usage", ONE) if share > ZERO else ("Credit", -ONE)
    description = f"{commitment.description or commitment.id}: {sku} beyond the commitment"
    line = ledger.share(origin, key(sku, "overage", commitment.id), category, sku, base * sign, abs(share), description)
    ledger.post(line._replace(start=period[0], end=period[1]), [amount * share for amount in excess])
