"""Deliveries: one history played to the core, as a lane would play it, in some order, in some batches, with some restarts.

`Delivery.play` returns when everything was committed; what readers of the topic see is folded on the way, and what they must never
see (a line item twice in a commit, an unchanged one, one of a closed month) fails at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace
from ratemill.schemas.line_item import RatedLineItem, decode_line_item
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.core import state as state_module
from ratemill.streams.core.corrections import Closed
from ratemill.streams.core.requests import amend, close_backfill, open_backfill, revert_backfill
from ratemill.streams.core.segments import Rates
from ratemill.streams.core.state import PartitionState, Settings, written
from ratemill.streams.core.store import Effects, MemoryStore, Store
from ratemill.streams.core.sweep import Target, Wanted, definition, rerate, sweep

from .chance import DAY, MARCH, Chance
from .histories import MONTH, Amendment, Close, CloseBackfill, History, Phase, Revert
from .worlds import World

__all__ = ["Delivery", "Items", "Play", "Topic", "differences", "month_of_item", "month_of_text"]

ALL = 1_000_000
_months: dict[str, int] = {}


def month_of_text(period_start: str) -> int:
    """The month that begins there, in any time zone: what lies two weeks later tells it."""
    found = _months.get(period_start)
    if found is None:
        year, month, day = int(period_start[:4]), int(period_start[5:7]), int(period_start[8:10])
        found = _months[period_start] = year * 12 + month - 1 + (day > 15)
    return found


def month_of_item(item: RatedLineItem) -> int:
    """The billing month of a line item."""
    return month_of_text(item.billing_period_start)


Items = Mapping[str, RatedLineItem]


def differences(found: Items, wanted: Items) -> str:
    """Line items of which two sets differ; "" for none."""
    lines = []
    for name in [*found, *(name for name in wanted if name not in found)]:
        one, other = found.get(name), wanted.get(name)
        if one is None or other is None:
            lines.append(f"{'missing' if one is None else 'too many'}: {one or other}")
        elif one != other:
            pairs = ((key, getattr(one, key), getattr(other, key)) for key in one.__struct_fields__)
            lines.append(", ".join(f"{key} {this!r} and not {that!r}" for key, this, that in pairs if this != that) + f": {one}")
    return "\n".join(lines[:4]) + (f"\n… {len(lines)} in all" if len(lines) > 4 else "")


class Topic:
    """What a reader of the line items sees: of each id the highest revision."""

    def __init__(self) -> None:
        self.latest: dict[str, RatedLineItem] = {}
        self.closed = 0

    def take(self, commit: Iterable[tuple[bytes, bytes]], again: bool = False) -> None:
        """The line items of one commit. again: of a rerate, which writes also what has not changed."""
        seen: set[str] = set()
        for key, value in commit:
            item = decode_line_item(value)
            name = key.decode()
            assert name == item.x_line_item_id
            assert name not in seen, f"one commit wrote a line item twice: {item}"
            seen.add(name)
            old = self.latest.get(name)
            assert month_of_item(item) > self.closed, f"a line item of a closed month was written: {item}; before: {old}"
            if old is not None:
                assert item.x_revision > old.x_revision, f"a revision did not grow: {item}"
                assert again or not same(item, old), f"an unchanged line item was written again: {item}"
            elif item.x_withdrawn:
                raise AssertionError(f"what never was is withdrawn: {item}")
            self.latest[name] = item

    def present(self) -> dict[str, RatedLineItem]:
        """Line items that stand, without what depends on how they came about."""
        found = {}
        for name, item in self.latest.items():
            if item.x_withdrawn:
                assert item.billed_cost == item.effective_cost == item.list_cost == item.contracted_cost == item.pricing_quantity == "0", item
                continue
            found[name] = replace(item, x_revision=0, x_cause="")
        return found


def same(one: RatedLineItem, other: RatedLineItem) -> bool:
    """Whether two revisions say the same."""
    revision, cause = one.x_revision, one.x_cause
    one.x_revision, one.x_cause = other.x_revision, other.x_cause
    equal = one == other
    one.x_revision, one.x_cause = revision, cause
    return equal


class Play(NamedTuple):
    """How a history is played."""

    at_once: bool = False  # all of a phase in one commit, in the order written, without restarts
    deduplicate: bool = True
    owns: Callable[[str], bool] = lambda account: True  # accounts of the partition; others are left out
    store: Store | None = None  # None: one in memory


class Delivery:
    """One play of a history."""

    def __init__(self, chance: Chance, world: World, history: History, play: Play, at_barrier: Callable[[Delivery, int], None] | None = None) -> None:
        """at_barrier: called after each phase, before the request that ends it, with the number of the phase."""
        self.chance, self.world, self.history, self.play_as = chance, world, history, play
        self.store: Store = play.store or MemoryStore()
        self.rates: Rates = world.rates[0]
        self.closed = Closed()
        self.topic = Topic()
        self.revision = self.counted = 0
        self.now_s = MARCH
        cached = ALL if play.at_once else chance.choice((4, 20, ALL))
        self._settings = Settings(window_s=world.window_s, cached_entries=cached, deduplicate=play.deduplicate)
        self._at_barrier = at_barrier
        self.state = self._fresh()

    def _fresh(self) -> PartitionState:
        return PartitionState(self.store, self.rates, self._settings, self.closed)

    def play(self) -> Delivery:
        """Everything, to the end. The core's own limits are small ones at times, so that they are reached."""
        small = not self.play_as.at_once and self.chance.hits(0.3)
        kept = state_module.GROUPS_AT_ONCE, state_module.ACCOUNTS_CACHED
        state_module.GROUPS_AT_ONCE, state_module.ACCOUNTS_CACHED = (1, 0) if small else kept
        try:
            return self._play()
        finally:
            state_module.GROUPS_AT_ONCE, state_module.ACCOUNTS_CACHED = kept

    def _play(self) -> Delivery:
        for number, phase in enumerate(self.history.phases):
            self._phase(phase)
            if self._at_barrier is not None:
                self._at_barrier(self, number)
            self._end(phase.end)
        return self

    # -- a phase -----------------------------------------------------------------------------------------------------

    def _phase(self, phase: Phase) -> None:
        for backfill in phase.backfills:
            assert open_backfill(self.state, *backfill).applied
        if phase.backfills:
            self._commit()
        for step in self._at_once(phase) if self.play_as.at_once else self._steps(phase):
            self._step(step)
        self._commit()

    def _at_once(self, phase: Phase) -> list[Any]:
        tariff = [] if phase.tariff is None else [phase.tariff]
        owns = self.play_as.owns
        events = tuple(event for event in (*phase.events, *phase.again) if owns(event.account))
        return [*tariff, events, *(amendment for amendment in phase.amendments if owns(amendment.original.account))]

    def _steps(self, phase: Phase) -> list[Any]:
        """Batches of events, amendments, the new tariff, restarts: in an order that the phase allows."""
        chance = self.chance
        feeds = {feed.event: feed for feed in self.world.feeds}
        coming = [*phase.events, *phase.again, *(amendment.now for amendment in phase.amendments if amendment.now is not None)]
        waits = any(event.sku in feeds and feeds[event.sku].awaits(event.time // 10**9) for event in coming)
        events = list(phase.events)
        chance.shuffle(events)
        steps: list[Any] = []
        while events:
            size = chance.choice((1, 2, 5, 30))
            steps.append(tuple(events[:size]))
            events = events[size:]
        spots = sorted(chance.randint(0, len(steps)) for _ in phase.amendments)
        for at, amendment in zip(reversed(spots), reversed(phase.amendments), strict=True):
            steps.insert(at, amendment)
        for event in phase.again:
            steps.insert(chance.randint(0, len(steps)), (event,))
        for _ in range(chance.choice((0, 0, 1, 2))):
            steps.insert(chance.randint(0, len(steps)), chance.choice(("restart", "restart", "rerate", "commit")))
        if phase.tariff is not None:
            steps.insert(0 if waits else chance.randint(0, len(steps)), phase.tariff)
        return steps

    def _step(self, step: Any) -> None:
        if isinstance(step, int):
            self._commit()
            self._sweep(Target(self.world.rates[step], self.closed.month), f"price_book:{step}")
        elif step == "restart":
            self._commit()
            self.state = self._fresh()
        elif step == "rerate":
            self._commit()
            self._rerate()
        elif step == "commit":
            self._commit()
        elif isinstance(step, Amendment):
            self._commit()
            if not self.play_as.at_once and self.chance.hits(0.1):
                self._die(lambda state: amend(state, step.original, step.now))
            amend(self.state, step.original, step.now)
            if self.chance.hits(0.5):
                self._commit("control:amend")
        else:
            self._add(step)

    def _add(self, events: Sequence[UsageEvent]) -> None:
        if not self.play_as.at_once and self.chance.hits(0.1):
            self._commit()
            self._die(lambda state: state.add(events))
        added = self.state.add(events)
        assert added.counted + added.duplicates + len(added.conflicts) + len(added.rejected) == len(events)
        self.counted += added.counted
        if self.play_as.at_once or self.chance.hits(0.5):
            self._commit()

    def _die(self, act: Callable[[PartitionState], object]) -> None:
        """Do something, and lose it before it is durable; half of the time with its line items on their way."""
        act(self.state)
        effects = self.state.seal(self.now_s, self.revision + 1)
        if self.chance.hits(0.5):
            list(effects.line_items)
        self.state = self._fresh()

    def _commit(self, cause: str = "") -> None:
        self._next()
        effects = self.state.seal(self.now_s, self.revision, cause)
        line_items = list(effects.line_items)
        self.topic.take(line_items)
        unpriced = sum(b'"x_Unpriced":true' in value for _, value in line_items)
        assert sum(effects.unpriced) == unpriced, f"{unpriced} line items without a price, and {sum(effects.unpriced)} told"
        self.store.apply(effects)
        self.state.committed()

    def _next(self) -> None:
        self.revision += self.chance.choice((1, 1, 7))
        self.now_s += self.chance.choice((0, 60, 3 * DAY))

    # -- barriers ----------------------------------------------------------------------------------------------------

    def _end(self, end: Close | Revert | CloseBackfill | None) -> None:
        if isinstance(end, Close):
            self._close(end.month)
        elif isinstance(end, CloseBackfill):
            close_backfill(self.state, end.name)
            self._commit("control:close-backfill")
        elif isinstance(end, Revert):
            done = False
            while not done:
                if not self.play_as.at_once and self.chance.hits(0.3):
                    self._die(lambda state: revert_backfill(state, end.name, 1))
                _, done = revert_backfill(self.state, end.name, ALL if self.play_as.at_once else self.chance.choice((1, 2, ALL)))
                self._commit("control:revert")

    def _close(self, month: int) -> None:
        before = self.closed.month
        wanted = [] if self._at_barrier is None else list(definition(self.store, self.rates, self.closed, month))
        self._sweep(Target(self.rates, month), "control:close")
        if self._at_barrier is not None:
            found = {name: item for name, item in self.topic.present().items() if month_of_item(item) > before}
            by_name = {item.x_line_item_id: item for item in wanted}
            assert found == by_name, f"a close did not lead to what it should:\n{differences(found, by_name)}"

    def _sweep(self, target: Target, cause: str) -> None:
        """Everything that is stored, some groups per commit; all memory may be lost between two commits."""
        limit = ALL if self.play_as.at_once else self.chance.choice((1, 2, 3, ALL))
        after, done = b"", False
        while not done:
            swept = sweep(self.state, target, after, limit, self.play_as.owns)
            assert swept.groups <= limit
            self._next()
            self.topic.take(written(swept.items, self.revision, cause)[0])
            self.store.apply(Effects((), swept.puts, {}, 0, []))
            after, done = swept.after, swept.done
            if not done and self.chance.hits(0.4):
                self.state = self._fresh()
        self.topic.closed = target.closed
        closed = Closed(target.closed, target.rates, self.closed.first) if target.closed > self.closed.month else None
        self.state.use(target.rates, closed)
        self.rates, self.closed = target.rates, self.state.closed

    def _rerate(self) -> None:
        chance = self.chance
        account, sku = chance.choice(("", *self.world.accounts)), chance.choice(("", *(feed.event for feed in self.world.feeds)))
        limit, after, done = chance.choice((1, 2, ALL)), b"", False
        wanted = Wanted(account, sku, chance.choice((0, 0, MONTH, MONTH + 1)))
        before = self.topic.present()
        while not done:
            swept = rerate(self.state, wanted, after, limit)
            self._next()
            self.topic.take(written(swept.items, self.revision, "control:rerate")[0], again=True)
            after, done = swept.after, swept.done
        after_it = self.topic.present()
        assert after_it == before, f"a rerate changed what stood:\n{differences(after_it, before)}"
