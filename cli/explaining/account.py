"""A charge of the account's month made anew: usage of every SKU, then the pipeline of adjustments, step by step.

The account's running totals, which the partition keeps so that it need not add everything up at each commit, are not used: the
usage is added up from the windows, so an error in those totals shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext
from typing import NamedTuple

import msgspec

from ...pricing.models import period_cost
from ...pricing.money import EXACT, ZERO, money, plain
from ...pricing.statement import Charge, CorrectionTotal, Statement, Terms, Usage, statement
from ...schemas.control import month_number, month_text
from ...schemas.line_item import RatedLineItem
from ...streams.core.corrections import Closed, corrected_cost, corrections
from ...streams.core.groups import Group
from ...streams.core.items import statement_item
from ...streams.core.segments import Rates
from ...streams.core.state import stored_groups
from ...streams.core.store import BALANCES, ENTRY, MemoryStore
from .explanation import Arithmetic, Step, Value

__all__ = ["Charged", "charge_of_account"]

SKUS_SHOWN = 30
_decode_balances = msgspec.json.Decoder(dict[str, str]).decode


class Charged(NamedTuple):
    """A charge made anew, and how. item: None when by the state there is no such charge; impossible: why it was not made."""

    item: RatedLineItem | None
    arithmetic: list[Arithmetic]
    impossible: str = ""


class _Month(NamedTuple):
    """What goes into one statement."""

    usage: list[Usage]
    corrections: list[CorrectionTotal]


def charge_of_account(item: RatedLineItem, store: MemoryStore, rates: Rates, closed: Closed) -> Charged:
    """Make a charge of an account anew. store: everything of the account; rates: those in force; closed: the last closed month."""
    account = item.billing_account_id
    month = month_number(item.billing_period_start[:7])
    final = month <= closed.month
    used = rates if not final else closed.rates
    terms = None if used is None else used.of(account).terms
    if used is None or terms is None:
        return Charged(None, [], "" if used is not None else "the price book with which its month was closed is not on the topic")
    if final and (month < closed.month or terms.credits):
        why = "what was left of the credits before it is not kept" if terms.credits else "only the last one is as it was invoiced"
        return Charged(None, [], f"its month is closed, and {why}")
    with localcontext(EXACT):
        months = dict(_months(store, account, used, closed, final))
        opening: Mapping[str, Decimal] = {} if final else _opening(store, account)
        for number, its, made in _chain(terms, used, months, month, opening, final):
            if number == month:
                found = {each.x_line_item_id: each for each in _items(made, used.of(account), account, month)}
                return Charged(found.get(item.x_line_item_id), [_pipeline(item, terms, its, made, opening, month, final)])
            opening = made.closing
    return Charged(None, [])


def _months(store: MemoryStore, account: str, rates: Rates, closed: Closed, final: bool) -> Iterator[tuple[int, _Month]]:
    """What the account used and corrected, by the month in which it is billed."""
    found: dict[int, _Month] = {}
    for prefix, key in stored_groups(store):
        if key.account != account:
            continue
        if final:
            if key.month == closed.month:
                _note(found, key.month, closed.base(store, key))
            continue
        if key.month > closed.month:
            _note(found, key.month, Group(key, rates).load(store.scan(ENTRY + prefix)))
            continue
        now = Group(key, rates, final=True).load(store.scan(ENTRY + prefix))
        billed_in = closed.month + 1
        items = corrections(closed.base(store, key).line_items(), now.line_items(), now.calendar, key.month, billed_in)
        if items:
            its = found.setdefault(billed_in, _Month([], []))
            its.corrections.append(CorrectionTotal(key.sku, key.unit, key.month, corrected_cost(items)))
    yield from found.items()


def _note(found: dict[int, _Month], month: int, group: Group) -> None:
    for segment in group.segments.values():
        stretch = segment.stretch
        if stretch.price is not None and segment.used:
            slices = tuple(dict(its) for its in segment.quantities())
            usage = Usage(group.key.sku, group.key.unit, stretch.price, stretch.start, stretch.end, slices, True)
            found.setdefault(month, _Month([], [])).usage.append(usage)


def _chain(
    terms: Terms, rates: Rates, months: Mapping[int, _Month], last: int, opening: Mapping[str, Decimal], final: bool
) -> Iterator[tuple[int, _Month, Statement]]:
    """Statements from the first open month to `last`: what is left of the credits goes from one to the next."""
    for number in range(min([*months, last]), last + 1):
        start, end = rates.default.month_start(number), rates.default.month_start(number + 1)
        its = months.get(number, _Month([], []))
        if its.usage or its.corrections or terms.due(start, end):
            made = statement(terms, start, end, its.usage, its.corrections, opening, final)
            opening = made.closing
            yield number, its, made


def _items(made: Statement, rates: Rates, account: str, month: int) -> Iterator[RatedLineItem]:
    start, end = rates.default.month_start(month), rates.default.month_start(month + 1)
    for charge in made.charges:
        yield statement_item(rates.names, account, rates.names.currency, month, start, end, charge)


def _opening(store: MemoryStore, account: str) -> dict[str, Decimal]:
    stored = store.get(BALANCES + account.encode())
    return {name: money(left) for name, left in _decode_balances(stored).items()} if stored else {}


def _pipeline(
    item: RatedLineItem, terms: Terms, its: _Month, made: Statement, opening: Mapping[str, Decimal], month: int, final: bool
) -> Arithmetic:
    """The month from the usage of each SKU to what is due, one step after another."""
    steps: list[Step] = []
    due = ZERO
    costs: dict[str, Decimal] = {}
    for usage in its.usage:
        if usage.price is not None:
            together: dict[int, Decimal] = {}
            for cells in usage.slices:
                for cell, quantity in cells.items():
                    together[cell] = together.get(cell, ZERO) + quantity
            costs[usage.sku] = costs.get(usage.sku, ZERO) + period_cost(usage.price, together, usage.used, final=final)
    for number, (sku, cost) in enumerate(sorted(costs.items())):
        due += cost
        if number < SKUS_SHOWN:
            steps.append(Step(f"usage of {sku}", plain(cost), plain(due)))
        elif number == len(costs) - 1:
            rest = due - money(steps[-1].due)
            steps.append(Step(f"usage of {len(costs) - SKUS_SHOWN:,} more SKUs", plain(rest), plain(due)))
    for correction in its.corrections:
        due += correction.cost
        steps.append(Step(f"corrections of {correction.sku}", plain(correction.cost), plain(due), f"of {month_text(correction.month)}"))
    for charge in made.charges:
        due += charge.cost
        this = (charge.adjustment, charge.key) == (item.x_adjustment, item.x_component)
        steps.append(Step(f"{charge.adjustment}", plain(charge.cost), plain(due), _words(charge), this=this))
    return Arithmetic(
        title=f"the account's {month_text(month)}: usage, then the adjustments in the order written",
        values=list(_credits(terms, opening, made)),
        steps=steps,
    )


def _words(charge: Charge) -> str:
    unit = f" {charge.unit}" if charge.unit else ""
    sku = f" on {charge.sku}" if charge.sku and charge.sku != charge.adjustment else ""
    return f"{charge.description}: {plain(charge.quantity)}{unit} × {plain(charge.unit_price)}{sku}"


def _credits(terms: Terms, opening: Mapping[str, Decimal], made: Statement) -> Iterator[Value]:
    """Opening and closing balance of every credit that was valid in the month."""
    for credit in terms.credits:
        if credit.id in made.closing:
            before, after = opening.get(credit.id, credit.amount), made.closing[credit.id]
            yield Value(f"credit {credit.id}", f"{plain(before)} → {plain(after)}", "opening → closing balance")
