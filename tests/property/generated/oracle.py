"""What a history comes to, computed from its events alone, without the core.

The oracle keeps every event that counts, adds usage up by window, prices each stretch with `period_cost` and each account's month
with `statement`, and remembers what was so when a month was closed. It shares with the core what has tests of its own (the
models, the statement, the aggregation of a window's samples), and nothing of how the core keeps, orders and restates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import NamedTuple

from ratemill.metering.aggregate import window_value, windows_touched
from ratemill.metering.meter import Meter
from ratemill.metering.samples import Sample, SampleList
from ratemill.pricing.models import cell_of, entry_price, period_cost
from ratemill.pricing.money import EXACT, ZERO
from ratemill.pricing.price import Price
from ratemill.pricing.statement import Statement, Usage, statement
from ratemill.schemas.errors import Rejection
from ratemill.schemas.usage_event import UsageEvent, identify
from ratemill.streams.core.segments import Rates

from .histories import Amendment, Backfill, Close, CloseBackfill, Phase, Revert, identity_of
from .worlds import World

__all__ = ["Group", "Oracle", "StretchName", "stretch_name"]

NS = 1_000_000_000


class Group(NamedTuple):
    """Usage of one SKU in one month."""

    account: str
    sku: str
    unit: str
    month: int


class StretchName(NamedTuple):
    """One price in one accumulation period of a group. price_id "": no price."""

    group: Group
    price_id: str
    start: int


@dataclass
class Counted:
    """What is known of one identity."""

    print_: bytes = b""
    counts: list[UsageEvent] = field(default_factory=list)  # every form in which it ever counted; the last one may count now
    now: UsageEvent | None = None
    original: UsageEvent | None = None
    amended: bool = False
    forms: list[UsageEvent] = field(default_factory=list)  # amended before it came: every form since
    journal: str = ""  # backfill it came with


class Oracle:
    """Follows a history phase by phase."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rates = world.rates[0]
        self.known: dict[tuple[str, str, str], Counted] = {}
        self.backfills: dict[str, tuple[Backfill, bool]] = {}  # and whether events may come
        self.touched: list[UsageEvent] = []  # everything that ever counted, be it for a moment
        self.counted = 0  # events, one that was reverted and sent again twice
        self.first = self.closed = 0  # month of the first close, and of the last one

    # -- what counts -------------------------------------------------------------------------------------------------

    def phase(self, phase: Phase) -> None:
        """Everything of a phase but its end."""
        for backfill in phase.backfills:
            self.backfills[backfill.name] = backfill, True
        if phase.tariff is not None:
            self.rates = self.world.rates[phase.tariff]
        for event in (*phase.events, *phase.again):
            self._event(event)
        for amendment in phase.amendments:
            self._amend(amendment)

    def end(self, end: Close | Revert | CloseBackfill | None) -> None:
        """The end of a phase."""
        if isinstance(end, Close):
            self.first, self.closed = self.first or end.month, end.month
        elif isinstance(end, CloseBackfill):
            known = self.backfills.get(end.name, (Backfill(end.name, -(1 << 62), 1 << 62), True))
            self.backfills[end.name] = known[0], False
        elif isinstance(end, Revert):
            known = self.backfills.get(end.name, (Backfill(end.name, -(1 << 62), 1 << 62), True))
            self.backfills[end.name] = known[0], False
            for identity in [identity for identity, counted in self.known.items() if counted.journal == end.name]:
                del self.known[identity]

    def _readable(self, event: UsageEvent) -> bool:
        try:
            if event.sku in self.rates.meters.claimed:
                self.rates.meters.read(event)
        except Rejection:
            return False
        return True

    def _event(self, event: UsageEvent) -> None:
        identity, print_ = identity_of(event), identify(event)[1]
        known = self.known.get(identity)
        if known is not None and known.print_:
            return  # a duplicate, or a conflict
        if event.backfill in self.backfills:
            backfill, open_ = self.backfills[event.backfill]
            if not open_ or not backfill.from_ns <= event.time < backfill.to_ns:
                return
        if not self._readable(event):
            return
        counted = Counted(print_, [event], event, event, journal=event.backfill)
        if known is not None and known.original is not None and identify(known.original)[1] == print_:
            counted.amended, counted.original, counted.now = True, known.original, known.now
            counted.counts += known.forms
        self.known[identity] = counted
        self.touched += counted.counts
        self.counted += 1

    def _amend(self, amendment: Amendment) -> None:
        original, now = amendment
        identity, print_ = identity_of(original), identify(original)[1]
        counted = self.known.get(identity)
        if counted is None:
            if now is not None and not self._readable(now):
                return
            self.known[identity] = Counted(b"", [], now, original, True, [] if now is None else [now])
            return
        if counted.print_ and counted.print_ != print_:
            return
        if counted.amended and counted.original != original:
            return
        if counted.now == now or (now is not None and not self._readable(now)):
            return
        counted.amended, counted.original, counted.now = True, original, now
        if now is None:
            return
        if counted.print_:
            counted.counts.append(now)
            self.touched.append(now)
        else:
            counted.forms.append(now)

    # -- quantities --------------------------------------------------------------------------------------------------

    def entries(self) -> dict[Group, dict[tuple[int, str, str, str], Decimal]]:
        """Quantity of every window that holds usage, or once held usage that adds up."""
        found: dict[Group, dict[tuple[int, str, str, str], Decimal]] = {}
        samples: dict[tuple[str, Meter, str, str, str, str], list[Sample]] = {}
        for event in self.touched:
            self._enter(event, 0, found, samples)
        for counted in self.known.values():
            if counted.print_ and counted.now is not None:
                self._enter(counted.now, 1, found, samples)
        for (account, meter, unit, *place), members in samples.items():
            listed = SampleList(members)
            its = self.rates.calendar_of(meter.sku, unit)
            for start in windows_touched(meter, self.rates.default, listed, [sample.time_ns for sample in members]):
                value = window_value(meter, self.rates.default, listed, start)
                if value is not None:
                    found.setdefault(Group(account, meter.sku, unit, its.month_of(start)), {})[(start, *place)] = value  # type: ignore[index]
        return found

    def _enter(
        self, event: UsageEvent, times: int, found: dict[Group, dict[tuple[int, str, str, str], Decimal]],
        samples: dict[tuple[str, Meter, str, str, str, str], list[Sample]],
    ) -> None:  # fmt: skip
        if event.sku not in self.rates.meters.claimed:
            its = self.rates.default
            start = its.start(event.time // NS)
            cells = found.setdefault(Group(event.account, event.sku, event.unit, its.month_of(start)), {})
            key = start, event.region, event.resource, event.dimensions
            cells[key] = cells.get(key, ZERO) + event.quantity * times
            return
        for one in self.rates.meters.read(event):
            if not one.meter.additive:
                if times:
                    sample = Sample(event.time, event.source, event.id, one.quantity, one.text, event.provider)
                    samples.setdefault((event.account, one.meter, one.unit, one.region, one.resource, one.dimensions), []).append(sample)
                continue
            its = self.rates.calendar_of(one.meter.sku, one.unit)
            start = its.start(event.time // NS)
            cells = found.setdefault(Group(event.account, one.meter.sku, one.unit, its.month_of(start)), {})
            key = start, one.region, one.resource, one.dimensions
            cells[key] = cells.get(key, ZERO) + one.quantity * times

    # -- costs -------------------------------------------------------------------------------------------------------

    def usages(self) -> dict[StretchName, Usage]:
        """The usage of every stretch, cut into the slices of its account's month."""
        found: dict[StretchName, Usage] = {}
        for group, cells in self.entries().items():
            for (start, *place), quantity in sorted(cells.items()):
                name, price, bounds = stretch_name(self.rates, group, start)
                usage = found.get(name)
                if usage is None:
                    cuts = self._cuts(group)
                    usage = found[name] = Usage(group.sku, group.unit, price, *bounds, tuple({} for _ in range(len(cuts) + 1)), True)
                cell = None if price is None else cell_of(price, start, *place)
                if price is None or cell is None:
                    continue
                if price.model == "dynamic":
                    quantity *= entry_price(price, cell, place[2])
                its = usage.slices[sum(1 for cut in self._cuts(group) if cut <= start)]
                its[cell] = its.get(cell, ZERO) + quantity  # type: ignore[index]
        return found

    def _cuts(self, group: Group) -> tuple[int, ...]:
        terms, its = self.rates.book.terms_of(group.account), self.rates.default
        return terms.cuts(its.month_start(group.month), its.month_start(group.month + 1)) if terms else ()

    def stretch_costs(self, final_through: int) -> dict[StretchName, Decimal]:
        """What every stretch costs. final_through: months up to this one are over."""
        found = {}
        for name, usage in self.usages().items():
            if usage.price is not None:
                found[name] = _cost(usage.price, usage, name.group.month <= final_through)
        return found

    def group_costs(self, final_through: int) -> dict[Group, Decimal]:
        """What every group costs."""
        return _by_group(self.stretch_costs(final_through))

    # -- statements --------------------------------------------------------------------------------------------------

    def statements(self) -> dict[tuple[str, int], Statement]:
        """Statements by account and month, each following from the one before; those of closed months as they ought to be."""
        used: dict[str, dict[int, list[Usage]]] = {}
        for name, usage in self.usages().items():
            of_account = used.setdefault(name.group.account, {})
            if usage.price is not None:
                of_account.setdefault(name.group.month, []).append(usage)
        # Who used nothing has a statement only when a month is closed, and only if the tariff names it.
        for contract in self.rates.book.contracts if self.closed else ():
            used.setdefault(contract, {})
        found: dict[tuple[str, int], Statement] = {}
        for account, by_month in sorted(used.items()):
            terms = self.rates.book.terms_of(account)
            begins = [*by_month]
            if self.closed and account in self.rates.book.contracts:
                begins.append(self.first)  # the tariff knows of it before it uses anything
            if terms is None or not begins:
                continue
            balances: Mapping[str, Decimal] = {}
            for month in range(min(begins), max([*begins, self.closed]) + 1):
                start, end = (self.rates.default.month_start(m) for m in (month, month + 1))
                usage = by_month.get(month, [])
                if usage or terms.due(start, end):
                    made = found[account, month] = statement(terms, start, end, usage, balances, month <= self.closed)
                    balances = made.closing
        return found


def _cost(price: Price, usage: Usage, final: bool) -> Decimal:
    together: dict[int, Decimal] = {}
    with localcontext(EXACT):
        for its in usage.slices:
            for cell, quantity in its.items():
                together[cell] = together.get(cell, ZERO) + quantity
    return period_cost(price, together, True, final=final)


def _by_group(costs: Mapping[StretchName, Decimal]) -> dict[Group, Decimal]:
    found: dict[Group, Decimal] = {}
    with localcontext(EXACT):
        for name, cost in costs.items():
            found[name.group] = found.get(name.group, ZERO) + cost
    return found


def stretch_name(rates: Rates, group: Group, start: int) -> tuple[StretchName, Price | None, tuple[int, int]]:
    """The stretch that a window falls into, its price, and its bounds in seconds (without a price: 0)."""
    its = rates.calendar_of(group.sku, group.unit)
    price = rates.book.price_at(group.sku, group.unit, start * NS, group.account, its)
    if price is None:
        return StretchName(group, "", 0), None, (0, 0)
    first, past = its.period(price.accumulate, start)
    low = max(first, -(-price.effective_from // NS))
    high = past if price.effective_to is None else min(past, -(-price.effective_to // NS))
    return StretchName(group, price.id, low), price, (low, high)
