"""From facts to an explanation: pure, the same facts always give the same one."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import NamedTuple

from ...pricing.money import EXACT, ZERO, plain
from ...pricing.months import billing_month
from ...schemas.explanation import Arithmetic, Events, Explanation, Value
from ...schemas.line_item import RatedLineItem
from ...schemas.times import NS
from ...schemas.usage_event import UsageEvent
from ...streams.core.amendments import Amendments
from ...streams.core.items import derived_id
from ...streams.core.segments import Rates
from ...streams.core.store import AMENDED, MemoryStore
from . import audit, words
from .account import charge_of_account
from .arithmetic import by_window, of_period, unpriced
from .facts import Facts, seconds
from .metered import Metered, of_meters
from .recompute import Correction, Rerated, group_of, kind_of, rerate, store_of
from .tally import Tally
from .worth import additive, scope_of, worth_of

__all__ = ["Explained", "begin", "finish", "tally_of"]


class Explained(NamedTuple):
    """Facts, and what follows from them before the events are known.

    made: the line item made anew, None when by the state there is none. impossible: why it could not be made, "" when it could.
    usage: its group, where it is a line item of usage; rates: by which it was made. metered: what its meters say.
    """

    facts: Facts
    store: MemoryStore
    rates: Rates | None
    made: RatedLineItem | None
    arithmetic: list[Arithmetic]
    impossible: str
    usage: Rerated | None
    metered: Metered = Metered([], [])

    @property
    def since_s(self) -> int:
        """No event behind the line item is of an earlier time (seconds since 1970)."""
        if self.metered.before is not None:
            return self.metered.before.time_ns // NS
        return self.usage.since if self.usage is not None and not self.usage.key else seconds(self.facts.stored.charge_period_start)

    @property
    def invoiced(self) -> bool:
        """Whether the line item rests on what was counted when the last month was closed, and on no more."""
        return self.usage is not None and self.usage.invoiced

    @property
    def ends(self) -> Mapping[str, int] | None:
        """Source topic -> first offset of events that are not in it; None when that is not known."""
        if not self.invoiced:
            return self.facts.next_offsets
        close = self.facts.last_close
        return None if close is None else close.next_offsets

    @property
    def adds_up(self) -> bool:
        """Whether the events behind it are to add up to its usage; those that a meter samples are not."""
        return self.usage is not None and self.rates is not None and additive(self.usage.group, self.rates)

    @property
    def expected(self) -> Decimal:
        """What the events must add up to: the whole window, or the whole period."""
        if self.usage is None:
            return ZERO
        key = self.usage.key
        with localcontext(EXACT):
            return sum((entry.quantity for entry in self.usage.entries if not key or entry.key == key), ZERO)


def begin(facts: Facts) -> Explained:
    """Make the line item anew, with its arithmetic."""
    item, closed, store = facts.stored, facts.closed, store_of(facts.state)
    book = facts.in_force
    if book is None:
        return Explained(facts, store, None, None, [], f"price book {facts.book[:12]} is not on the topic", None)
    rates = closed.rates if closed.rates is not None and facts.is_closed(facts.period) else book.rates
    if kind_of(item) == "account":
        with localcontext(EXACT):
            charged = charge_of_account(item, store, book.rates, closed)
            if charged.correction is not None:
                charged.arithmetic.insert(0, _difference(item, charged.correction))
        return Explained(facts, store, rates, charged.item, charged.arithmetic, charged.impossible, None)
    key = group_of(item, [each.rates for each in (book, *reversed(facts.publications))])
    if key is None:
        return Explained(facts, store, rates, None, [], f"no published price book has its price {item.x_price_id or '(none)'}", None)
    usage = rerate(item, key, store, book.rates, closed)
    with localcontext(EXACT):
        arithmetic = _arithmetic(item, usage)
        if usage.correction is not None:
            arithmetic.insert(0, _difference(item, usage.correction))
        metered = of_meters(usage, rates, store, usage.invoiced)
    return Explained(facts, store, rates, usage.item, arithmetic + metered.shown, usage.impossible, usage, metered)


def _arithmetic(item: RatedLineItem, usage: Rerated) -> list[Arithmetic]:
    price, own = usage.price, [entry for entry in usage.entries if entry.key == usage.key]
    if not usage.key:
        return [] if price is None else [of_period(price, usage.entries, usage.charges, item.x_component, usage.since)]
    if not own:
        return []
    if price is None:
        return [unpriced(own[0].quantity, item.x_component)]
    return [by_window(price, usage.entries, usage.key, item.x_component, usage.since)]


def _difference(item: RatedLineItem, between: Correction) -> Arithmetic:
    """A correction: what ought to have been, less what was invoiced."""
    values = []
    for name, each in (("invoiced", between.invoiced), ("ought to have been", between.ought)):
        what = "nothing" if each is None else f"{each.pricing_quantity} × {each.list_unit_price or '0'} = {each.billed_cost}"
        values.append(Value(name, what))
    what = f"{item.pricing_quantity} × {item.list_unit_price or '0'} = {item.billed_cost}"
    values.append(Value("this correction", what, _half(item) if between.invoiced and between.ought else ""))
    return Arithmetic(f"correction of {item.x_corrected_period}: what ought to have been, less what was invoiced", values)


def _half(item: RatedLineItem) -> str:
    """Which of the two corrections this is that stand for a difference together; "" for one that stands for it alone."""
    kinds = {derived_id(item.x_corrected_line_item_id, kind, billing_month(item)): kind for kind in ("reversal", "rebooked")}
    return {
        "reversal": "takes back what was invoiced; another correction books what ought to have been",
        "rebooked": "books what ought to have been; another correction takes back what was invoiced",
    }.get(kinds.get(item.x_line_item_id, ""), "")


def tally_of(explained: Explained, page: int, size: int) -> Tally | None:
    """What adds up the events behind a line item of usage; None where there are none: a charge of the account, or withdrawn with its price."""
    usage, rates = explained.usage, explained.rates
    if usage is None or rates is None or (explained.facts.stored.x_withdrawn and not usage.entries):
        return None
    worth = worth_of(usage, usage.group, rates)
    scope = scope_of(usage, usage.group, rates.calendar_of(usage.group.sku, usage.group.unit))
    return Tally(worth, _amended(explained.store), scope, page, size, explained.metered.before)


def _amended(store: MemoryStore) -> dict[tuple[str, str], UsageEvent | None]:
    """What amended events count as, by source and id."""
    marks = Amendments(store)
    found: dict[tuple[str, str], UsageEvent | None] = {}
    for identity, value in store.scan(AMENDED):
        if value and (mark := marks.get(identity)) is not None and mark.now != mark.original:
            found[mark.original.source, mark.original.id] = mark.now
    return found


def _no_events(explained: Explained) -> str:
    if kind_of(explained.facts.stored) == "account":
        return "a charge of the account rests on all of its usage: explain the line items of its SKUs"
    if explained.usage is not None and explained.facts.stored.x_withdrawn and not explained.usage.entries:
        return "a line item that was withdrawn with its price, or with its usage, rests on none"
    return "not looked for"


def finish(explained: Explained, tally: Tally | None) -> Explanation:
    """The explanation, with the events if they were looked for."""
    facts, usage = explained.facts, explained.usage
    item = facts.stored
    if tally is not None:
        events = tally.finish()
        if explained.invoiced and not events.note:
            if explained.ends is None:
                events.note = "the close of its month is not on ratemill.control, so events that came after it cannot be told apart"
            elif events.amended:
                events.note = "events of its month were amended, perhaps after it was closed"
    else:
        events = Events(scope=_no_events(explained))
    with localcontext(EXACT):
        checks = [
            audit.product(item),
            audit.recomputed(item, explained.made, usage, explained.impossible, facts),
            *audit.by_hand(facts, explained.arithmetic),
            audit.published(facts),
            audit.indexed(facts),
            audit.ordered(facts.written),
            *explained.metered.checks,
        ]
        if tally is not None:
            if explained.adds_up:
                events.expected = plain(explained.expected)
                checks.append(audit.events(tally.quantity, explained.expected, events, facts))
            else:
                checks.append(audit.samples(tally.quantity, explained.metered.readings, events, facts, explained.invoiced))
    return Explanation(
        line_item=words.subject(facts),
        verdict=audit.verdict(checks),
        audit=checks,
        price=words.price_facts(facts),
        terms=words.terms_facts(facts),
        unpriced=words.why_unpriced(facts) if item.x_unpriced else "",
        arithmetic=explained.arithmetic,
        revisions=[words.revision(facts, record) for record in facts.written],
        revisions_note=words.revisions_note(facts),
        corrections=[words.correction(each) for each in audit.corrections_of(facts)],
        events=events,
        partition=facts.partition,
        read_from=facts.read_from,
    )
