"""A charge of the account's month made anew: usage of every SKU, then the pipeline of adjustments, step by step.

The account's running totals, which the partition keeps so that it need not add everything up at each commit, are not used: the
usage is added up from the windows, so an error in those totals shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, localcontext
from typing import NamedTuple

from ...pricing.models import period_cost
from ...pricing.money import EXACT, ZERO, money, plain
from ...pricing.statement import Charge, Statement, Terms, Usage, statement
from ...schemas.control import month_number
from ...schemas.line_item import RatedLineItem
from ...streams.core.corrections import Closed, corrections
from ...streams.core.groups import Group
from ...streams.core.items import statement_item
from ...streams.core.segments import Rates
from ...streams.core.state import stored_groups
from ...streams.core.store import ENTRY, MemoryStore
from .explanation import Arithmetic, Step, Value
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
    """One month of the account: what went into its statement, and what came out. final: the month is closed."""

    usage: list[Usage]
    opening: Mapping[str, Decimal]
    made: Statement
    items: dict[str, RatedLineItem]
    final: bool


def charge_of_account(item: RatedLineItem, store: MemoryStore, rates: Rates, closed: Closed) -> Charged:
    """Make a charge of an account anew. store: all usage of the account; rates: those in force; closed: the closed months."""
    account, month = item.billing_account_id, month_number(period_of(item))
    if closed.month and closed.rates is None and (month <= closed.month or item.x_corrected_period):
        return Charged(None, [], "the price book with which its month was closed is not on the topic")
    with localcontext(EXACT):
        if month <= closed.month and not item.x_corrected_period:
            return _of(item, _invoiced(store, account, closed).get(month), closed.rates or rates)
        now = _chain(rates.of(account), account, _usage(store, account, rates, closed), closed, closed.month)
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
    return Charged(month.items.get(item.x_line_item_id), [_pipeline(item, terms, month)])


def _invoiced(store: MemoryStore, account: str, closed: Closed) -> dict[int, _Month]:
    """The closed months as they were at the last close."""
    if closed.rates is None:
        return {}
    groups = (closed.base(store, key) for _, key in stored_groups(store) if key.account == account and key.month <= closed.month)
    return _chain(closed.rates.of(account), account, groups, closed, closed.month)


def _usage(store: MemoryStore, account: str, rates: Rates, closed: Closed) -> Iterator[Group]:
    """All usage as it is now."""
    for prefix, key in stored_groups(store):
        if key.account == account:
            yield Group(key, rates, key.month <= closed.month).load(store.scan(ENTRY + prefix))


def _chain(rates: Rates, account: str, groups: Iterable[Group], closed: Closed, final_through: int) -> dict[int, _Month]:
    """Every month from the first one on: what is left of the credits goes from one to the next."""
    terms, its = rates.terms, rates.default
    if terms is None:
        return {}
    used: dict[int, list[Usage]] = {month: [] for month in (closed.first, closed.month) if month}
    for group in groups:
        _note(used.setdefault(group.key.month, []), group)
    found: dict[int, _Month] = {}
    opening: Mapping[str, Decimal] = {}
    for month in range(min(used, default=1), max(used, default=0) + 1):
        usage = used.get(month, [])
        start, end = its.month_start(month), its.month_start(month + 1)
        if not usage and not terms.due(start, end):
            continue
        final = month <= final_through
        made = statement(terms, start, end, usage, opening, final)
        items = [statement_item(rates.names, account, rates.service_of(charge.sku, month), month, start, end, charge) for charge in made.charges]
        found[month] = _Month(usage, opening, made, {each.x_line_item_id: each for each in items}, final)
        opening = made.closing
    return found


def _note(usage: list[Usage], group: Group) -> None:
    for segment in group.segments.values():
        stretch = segment.stretch
        if stretch.price is not None and segment.used:
            slices = tuple(dict(its) for its in segment.quantities())
            usage.append(Usage(group.key.sku, group.key.unit, stretch.price, stretch.start, stretch.end, slices, True))


# -- told ------------------------------------------------------------------------------------------------------------


def _pipeline(item: RatedLineItem, terms: Terms, month: _Month) -> Arithmetic:
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


def _costs(month: _Month) -> dict[str, Decimal]:
    """What the prices of the SKUs make of the usage."""
    costs: dict[str, Decimal] = {}
    for usage in month.usage:
        if usage.price is not None:
            together: dict[int, Decimal] = {}
            for cells in usage.slices:
                for cell, quantity in cells.items():
                    together[cell] = together.get(cell, ZERO) + quantity
            costs[usage.sku] = costs.get(usage.sku, ZERO) + period_cost(usage.price, together, usage.used, final=month.final)
    return costs


def _words(charge: Charge) -> str:
    unit = f" {charge.unit}" if charge.unit else ""
    sku = f" on {charge.sku}" if charge.sku and charge.sku != charge.adjustment else ""
    return f"{charge.description}: {plain(charge.quantity)}{unit} × {plain(charge.unit_price)}{sku}"


def _credits(terms: Terms, month: _Month) -> Iterator[Value]:
    """Opening and closing balance of every credit that was valid in the month."""
    for credit in terms.credits:
        if credit.id in month.made.closing:
            before, after = month.opening.get(credit.id, credit.amount), month.made.closing[credit.id]
            yield Value(f"credit {credit.id}", f"{plain(before)} → {plain(after)}", "opening → closing balance")
