"""A charge of the account's month made anew: usage of every SKU, then the pipeline of adjustments, step by step.

The account's running totals, which the partition keeps so that it need not add everything up at each commit, are not used: the
usage is added up from the windows, so an error in those totals shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal, localcontext
from typing import NamedTuple

from ...pricing.models import period_cost
from ...pricing.money import EXACT, ZERO, money, plain
from ...pricing.slices import together
from ...pricing.statement import Charge, Terms
from ...schemas.control import month_number
from ...schemas.explanation import Arithmetic, Step, Value
from ...schemas.line_item import RatedLineItem
from ...streams.core.chain import Chain, Month, row_of, usages_of
from ...streams.core.corrections import Closed, corrections
from ...streams.core.groups import Group
from ...streams.core.segments import Rates
from ...streams.core.state import stored_groups
from ...streams.core.store import ENTRY, MemoryStore
from .facts import period_of
from .recompute import Correction

__all__ = ["Charged", "charge_of_account"]

SKUS_SHOWN = 30


class Charged(NamedTuple):
    """A charge made anew, and how. item: None when by the state there is no such charge; impossible: why it was not made."""

    item: RatedLineItem | None
    arithmetic: list[Arithmetic]
    impossible: str = ""
    correction: Correction | None = None


class _Month(NamedTuple):
    """A month of the account, and its charges by line item id."""

    of: Month
    items: dict[str, RatedLineItem]


def charge_of_account(item: RatedLineItem, store: MemoryStore, rates: Rates, closed: Closed) -> Charged:
    """Make a charge of an account anew. store: all usage of the account; rates: those in force; closed: the closed months."""
    account, month = item.billing_account_id, month_number(period_of(item))
    if closed.month and closed.rates is None and (month <= closed.month or item.x_corrected_period):
        return Charged(None, [], "the price book with which its month was closed is not on the topic")
    with localcontext(EXACT):
        if month <= closed.month and not item.x_corrected_period:
            return _of(item, _invoiced(store, account, closed).get(month), closed.rates or rates)
        now = _chain(rates.of(account), account, _usage(store, account, rates, closed), closed)
        if not item.x_corrected_period:
            return _of(item, now.get(month), rates)
        corrected = month_number(item.x_corrected_period)
        was = _invoiced(store, account, closed).get(corrected)
        ought = now.get(corrected)
        before, after = ({} if each is None else each.items for each in (was, ought))
        made = corrections(before, after, rates.default, corrected, month).get(item.x_line_item_id)
        name = item.x_corrected_line_item_id
        found = _of(item, ought, rates)._replace(item=made, correction=Correction(before.get(name), after.get(name)))
        if month <= closed.month:
            why = f"it was billed in {period_of(item)}, which is closed too; what it was the difference to is not kept"
            return found._replace(item=None, impossible=why)
        return found


def _of(item: RatedLineItem, month: _Month | None, rates: Rates) -> Charged:
    terms = rates.of(item.billing_account_id).terms
    if month is None or terms is None:
        return Charged(None, [])
    return Charged(month.items.get(item.x_line_item_id), [_pipeline(item, terms, month.of)])


def _invoiced(store: MemoryStore, account: str, closed: Closed) -> dict[int, _Month]:
    """The closed months as they were at the last close."""
    if closed.rates is None:
        return {}
    groups = (closed.base(store, key) for _, key in stored_groups(store) if key.account == account and key.month <= closed.month)
    return _chain(closed.rates.of(account), account, groups, closed)


def _usage(store: MemoryStore, account: str, rates: Rates, closed: Closed) -> Iterator[Group]:
    """All usage as it is now."""
    for prefix, key in stored_groups(store):
        if key.account == account:
            yield Group(key, rates, key.month <= closed.month).load(store.scan(ENTRY + prefix))


def _chain(rates: Rates, account: str, groups: Iterable[Group], closed: Closed) -> dict[int, _Month]:
    """Every month that has a statement: what is left of the credits goes from one to the next."""
    rows = {row_of(group.key.month, usage): usage for group in groups for usage in usages_of(group)}
    chain = Chain(account, rates, rows)
    return {month.month: _Month(month, chain.items(month)) for month in chain.months(closed.first, closed.month, closed.month)}


# -- told ------------------------------------------------------------------------------------------------------------


def _pipeline(item: RatedLineItem, terms: Terms, month: Month) -> Arithmetic:
    """The month from the usage of each SKU to what is due, one step after another."""
    steps: list[Step] = []
    due = ZERO
    costs = _costs(month)
    for number, (sku, cost) in enumerate(sorted(costs.items())):
        due += cost
        if number < SKUS_SHOWN:
            steps.append(Step(f"usage of {sku}", plain(cost), plain(due)))
        elif number == len(costs) - 1:
            rest = due - money(steps[-1].due)
            steps.append(Step(f"usage of {len(costs) - SKUS_SHOWN:,} more SKUs", plain(rest), plain(due)))
    for charge in month.made.charges:
        due += charge.cost
        this = (charge.adjustment, charge.key) == (item.x_adjustment, item.x_component)
        steps.append(Step(charge.adjustment, plain(charge.cost), plain(due), _words(charge), this=this))
    name = item.x_corrected_period or period_of(item)
    title = f"the account's {name}: usage, then the adjustments in the order written"
    return Arithmetic(title, list(_credits(terms, month)), steps=steps)


def _costs(month: Month) -> dict[str, Decimal]:
    """What the prices of the SKUs make of the usage."""
    costs: dict[str, Decimal] = {}
    for usage in month.usage:
        if usage.price is not None:
            cost = period_cost(usage.price, together(usage.slices), usage.used, final=month.final)
            costs[usage.sku] = costs.get(usage.sku, ZERO) + cost
    return costs


def _words(charge: Charge) -> str:
    unit = f" {charge.unit}" if charge.unit else ""
    sku = f" on {charge.sku}" if charge.sku and charge.sku != charge.adjustment else ""
    return f"{charge.description}: {plain(charge.quantity)}{unit} × {plain(charge.unit_price)}{sku}"


def _credits(terms: Terms, month: Month) -> Iterator[Value]:
    """Opening and closing balance of every credit that was valid in the month."""
    for credit in terms.credits:
        if credit.id in month.made.closing:
            before, after = month.opening.get(credit.id, credit.amount), month.made.closing[credit.id]
            yield Value(f"credit {credit.id}", f"{plain(before)} → {plain(after)}", "opening → closing balance")
