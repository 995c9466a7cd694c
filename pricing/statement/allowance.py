"""An allowance that several SKUs share, such as 100 GB of egress and traffic between nodes together: that much is not charged.

Each SKU's share of it is worth what the price makes of the difference, price(total - share) - price(total), so it takes the
cheapest or the dearest tier away as the price itself says. A share that saves nothing (units that are free already, a volume tier
in which fewer units cost more) is not used, and stays for the next SKU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from ..money import ZERO, plain
from ..slices import slice_costs
from .keys import key
from .ledger import Ledger, Stretch
from .terms import Allowance

__all__ = ["apply_allowance"]


def apply_allowance(step: Allowance, ledger: Ledger) -> None:
    """One credit per SKU. Within an SKU the share goes to what was used first."""
    left = step.quantity
    shares: dict[str, Decimal] = {}
    saved: dict[str, list[Decimal]] = {}
    for stretch in in_order(step, ledger.stretches):
        price = stretch.usage.price
        share = min(left, total_of(stretch.slices))
        if share <= ZERO or price is None:
            continue
        slices = without(stretch.slices, share)
        costs = slice_costs(price, slices, stretch.usage.used, final=ledger.final)
        differences = [after - before for after, before in zip(costs, stretch.costs, strict=True)]
        if sum(differences, ZERO) >= ZERO:
            continue
        stretch.slices, stretch.costs = slices, costs
        left -= share
        sku = stretch.usage.sku
        shares[sku] = shares.get(sku, ZERO) + share
        before = saved.get(sku)
        saved[sku] = differences if before is None else [a + b for a, b in zip(before, differences, strict=True)]
    for sku, amounts in saved.items():
        description = f"{step.description or step.id}: {plain(shares[sku])} {step.unit} of {sku}"
        ledger.post(ledger.whole(step.id, key(sku), "Credit", sku, sum(amounts, ZERO), description), amounts)


def in_order(step: Allowance, stretches: Sequence[Stretch]) -> list[Stretch]:
    """The stretches that share the allowance, in the order in which they do. `stretches` come in the order of time for each SKU."""
    places = {sku: place for place, sku in enumerate(step.skus)}
    found = [stretch for stretch in stretches if stretch.usage.sku in places and stretch.usage.unit == step.unit]
    found.sort(key=lambda stretch: places[stretch.usage.sku])
    if step.order != "listed":
        sign = 1 if step.order == "cheapest_first" else -1
        found.sort(key=lambda stretch: sign * cost_per_unit(stretch))
    return found


def cost_per_unit(stretch: Stretch) -> Fraction:
    """What a unit of it costs on average, as an exact fraction that is only compared; 0 where nothing was used."""
    total = total_of(stretch.slices)
    return Fraction(sum(stretch.costs, ZERO)) / Fraction(total) if total else Fraction(0)


def total_of(slices: Sequence[Mapping[int, Decimal]]) -> Decimal:
    """Quantity of a stretch; a price book allows no allowance over prices with more than one cell."""
    return sum((quantity for quantities in slices for quantity in quantities.values()), ZERO)


def without(slices: Sequence[Mapping[int, Decimal]], share: Decimal) -> list[Mapping[int, Decimal]]:
    """The slices after the first `share` units, which are at most the total, are taken away."""
    result: list[Mapping[int, Decimal]] = []
    through = before = ZERO
    for quantities in slices:
        through += sum(quantities.values(), ZERO)
        left = through - min(share, max(through, ZERO))
        result.append({0: left - before} if quantities else quantities)
        before = left
    return result
