"""Credits: amounts that pay charges until they expire.

A credit pays only charges of the slices in which it is valid, and only of its SKUs. Of what is due in a slice, credits pay in the
order of `order`; of one credit's SKUs, those listed first. Together they never pay more than is due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal

from ..money import ZERO, money
from .keys import joined, key
from .ledger import Ledger, grouped, payable
from .terms import Charge, Credit, Credits, meets

__all__ = ["apply_credits", "closing_balances", "opening_balances"]

ONE = money(1)

Rank = Callable[[Credit, Decimal], tuple[object, ...]]
ORDERS: dict[str, Rank] = {
    "expiry": lambda credit, balance: (credit.until, -credit.discount, balance, credit.id),
    "discount": lambda credit, balance: (-credit.discount, credit.until, balance, credit.id),
    "balance": lambda credit, balance: (balance, credit.until, -credit.discount, credit.id),
    "listed": lambda credit, balance: (),
}


def opening_balances(credits: tuple[Credit, ...], opening: Mapping[str, Decimal], start_s: int, end_s: int) -> dict[str, Decimal]:
    """Balances at the start of the month, or of the credit if it begins within: the whole amount unless something was used.

    A balance is never more than the amount, and never below zero.
    """
    return {
        credit.id: max(ZERO, min(opening.get(credit.id, credit.amount), credit.amount)) for credit in credits if meets(credit, start_s, end_s)
    }


def closing_balances(credits: tuple[Credit, ...], balances: Mapping[str, Decimal], end_s: int) -> dict[str, Decimal]:
    """Balances that the next month opens with; what has expired is forfeited."""
    return {credit.id: ZERO if credit.until <= end_s else balances[credit.id] for credit in credits if credit.id in balances}


def apply_credits(step: Credits, credits: tuple[Credit, ...], balances: dict[str, Decimal], ledger: Ledger) -> None:
    """Use credits slice by slice; `balances` holds afterwards what is left. One line item per credit and SKU, and per purchase."""
    _purchases(step, credits, ledger)
    held = [credit for credit in credits if credit.id in balances]
    if not held:
        return
    left = payable(grouped(ledger.seen(())))
    # Which SKUs a credit pays, and which first: asked once per credit, of the rows before any credit was used.
    pays = {credit.id: list(grouped(ledger.seen(credit.skus), credit.skus)) for credit in held}
    used: dict[tuple[str, str], list[Decimal]] = {}
    rank = ORDERS[step.order]
    for number in range(ledger.slices):
        low, high = ledger.bounds[number], ledger.bounds[number + 1]
        valid = [credit for credit in held if credit.since <= low and high <= credit.until and balances[credit.id]]
        for credit in sorted(valid, key=lambda one: rank(one, balances[one.id])):
            for sku in pays[credit.id]:
                paid = min(balances[credit.id], left[sku][number])
                if paid:
                    balances[credit.id] -= paid
                    left[sku][number] -= paid
                    used.setdefault((credit.id, sku), [ZERO] * ledger.slices)[number] += paid
    for credit in held:
        start, end = max(ledger.start, credit.since), min(ledger.end, credit.until)
        for sku in pays[credit.id]:
            amounts = used.get((credit.id, sku))
            if amounts is None:
                continue
            description = f"{credit.description or credit.id}: {sku}"
            line = ledger.share(step.id, key(sku, "used", credit.id), "Credit", sku, -sum(amounts, ZERO), ONE, description)
            ledger.post(line._replace(start=start, end=end), [-amount for amount in amounts])


def _purchases(step: Credits, credits: tuple[Credit, ...], ledger: Ledger) -> None:
    """Credits that begin in this month and are bought on this statement, at their discount. No credit pays for them."""
    for credit in credits:
        if credit.prepaid and ledger.start <= credit.since < ledger.end:
            label = f"{credit.description or credit.id}: purchase"
            price = ONE - credit.discount
            line = ledger.share(step.id, joined("purchase", credit.id), "Purchase", credit.sku, credit.amount, price, label)
            bought: Charge = line._replace(start=credit.since, end=ledger.end)
            ledger.post(bought, ledger.at(ledger.slice_of(credit.since), bought.cost), bought=True)
