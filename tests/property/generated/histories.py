"""Histories: what happens to one partition, as a set of events and an order of requests.

A history is made of phases. Within a phase events, amendments and a new price book may come in any order (amendments among
themselves in theirs); what ends a phase is a barrier: what came before it is before it in every delivery.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from msgspec.structs import replace
from ratemill.schemas.usage_event import UsageEvent, canonical_map

from .chance import APRIL, BOUNDARIES, DAY, FEBRUARY, HOUR, MARCH, MAY, Chance
from .meters_drawn import Feed
from .worlds import World

__all__ = ["MONTH", "Amendment", "Backfill", "Close", "CloseBackfill", "History", "Phase", "Revert", "history_of", "identity_of"]

NS = 1_000_000_000
HOTTEST = (MARCH, MARCH + 9 * DAY, MARCH + 28 * DAY + HOUR, APRIL, *BOUNDARIES)
MONTH = 2026 * 12 + 2  # March


class Amendment(NamedTuple):
    """original: as it came. now: what it counts as, None for nothing."""

    original: UsageEvent
    now: UsageEvent | None


class Close(NamedTuple):
    """Months up to this one are closed."""

    month: int


class Revert(NamedTuple):
    """Everything of a backfill is taken back."""

    name: str


class CloseBackfill(NamedTuple):
    """No more events of a backfill are taken."""

    name: str


class Backfill(NamedTuple):
    """A backfill that is declared when its phase begins; nanoseconds."""

    name: str
    from_ns: int
    to_ns: int


class Phase(NamedTuple):
    """events: each identity once, and not one that counted before. again: events that were sent before, perhaps with another payload."""

    backfills: tuple[Backfill, ...]
    events: tuple[UsageEvent, ...]
    amendments: tuple[Amendment, ...]
    again: tuple[UsageEvent, ...]
    tariff: int | None  # number of the tariff that is published in this phase
    end: Close | Revert | CloseBackfill | None


class History(NamedTuple):
    """All phases in their order."""

    phases: tuple[Phase, ...]


def identity_of(event: UsageEvent) -> tuple[str, str, str]:
    """What tells events apart."""
    return event.account, event.source, event.id


def history_of(chance: Chance, world: World) -> History:
    """A history in a world."""
    return _Writer(chance, world).history()


class _Writer:
    def __init__(self, chance: Chance, world: World) -> None:
        self.chance = chance
        self.world = world
        self.hot = [chance.choice(HOTTEST) for _ in range(chance.randint(1, 3))]
        if chance.hits(0.15):
            self.hot.append(chance.choice((FEBRUARY + 27 * DAY, MAY + DAY)))
        self.numbers = iter(range(10**6))
        self.sent: list[UsageEvent] = []
        self.coming: list[UsageEvent] = []  # amended before they are sent, in a later phase
        self.gone: set[tuple[str, str, str]] = set()  # reverted
        self.later = False  # the second tariff may be known
        self.last: dict[str, UsageEvent] = {}
        self.backfills: list[Backfill] = []
        self.closed = 0
        self.tariffs: dict[int, int] = {}  # phase -> tariff that is published in it

    def history(self) -> History:
        chance = self.chance
        ends = self._ends()
        if chance.hits(0.45):
            first = chance.randrange(len(ends))
            self.tariffs[first] = 1
            # Back to the first one, where that does not take a meter away.
            if all(feed.since is None for feed in self.world.feeds) and first + 1 < len(ends) and chance.hits(0.5):
                self.tariffs[chance.randrange(first + 1, len(ends))] = 0
        phases = []
        for number, end in enumerate(ends):
            phases.append(self._phase(number, end))
            if isinstance(end, Close):
                self.closed = end.month
        return History(tuple(phases))

    def _ends(self) -> list[Close | Revert | CloseBackfill | None]:
        chance = self.chance
        ends: list[Close | Revert | CloseBackfill | None] = []
        if chance.hits(0.45):
            ends.append(Close(chance.choice((MONTH, MONTH, MONTH, MONTH - 1, MONTH + 1))))
            if chance.hits(0.4):
                ends.append(Close(ends[0].month + chance.choice((1, 1, 2))))  # type: ignore[union-attr]
        if chance.hits(0.2):
            ends.insert(chance.randint(0, len(ends)), Revert("old"))
            if chance.hits(0.3):
                ends.insert(chance.randrange(len(ends)), CloseBackfill("other"))
        return [*ends, None]

    def _phase(self, number: int, end: Close | Revert | CloseBackfill | None) -> Phase:
        chance = self.chance
        declared = self._declare(number)
        self.later = any(phase <= number for phase in self.tariffs)
        feeds = [feed for feed in self.world.feeds if self.later or feed.since != 0]
        fresh, self.coming = self.coming, []
        fresh += [self._event(chance.choice(feeds)) for _ in range(chance.choice((0, 1, 3, 8, 14, 20) if number else (2, 6, 12, 20, 45)))]
        if self.gone and chance.hits(0.6):
            fresh += self._recounted()
        if chance.hits(0.2) and number < 2:
            self.coming = [self._event(chance.choice(feeds)) for _ in range(2)]
        amendments = self._amendments(fresh, feeds)
        again = [chance.choice([*self.sent, *fresh]) for _ in range(len(fresh) // 3)] if fresh else []
        again = [self._conflict(e) if chance.hits(0.1) and e in self.sent and not self._is_gone(e) else e for e in again]
        self.sent += fresh
        if isinstance(end, Revert):
            self.gone |= {identity_of(event) for event in self.sent if event.backfill == end.name}
        return Phase(tuple(declared), tuple(fresh), tuple(amendments), tuple(again), self.tariffs.get(number), end)

    def _declare(self, number: int) -> list[Backfill]:
        if number or self.chance.hits(0.5):
            return []
        wide = Backfill("old", (FEBRUARY - DAY) * NS, (MAY + 30 * DAY) * NS)
        narrow = Backfill("other", MARCH * NS, (MARCH + 12 * DAY) * NS)
        self.backfills = self.chance.some([wide, narrow], 1, 2)
        return self.backfills

    def _event(self, feed: Feed) -> UsageEvent:
        chance = self.chance
        backfill = chance.choice(("old", "other", "undeclared")) if chance.hits(0.12) else ""
        at = chance.choice(self.hot) + chance.choice((0, 0, 0, HOUR, -HOUR, 2 * HOUR, 5 * HOUR, DAY, -DAY))
        at += chance.choice((0, 0, 1, 59, 1_800, 3_599))
        if feed.since is not None and not self.later:
            at = min(at, feed.since - 1)  # the second tariff was not late
        event = UsageEvent(
            chance.choice(self.world.accounts), chance.choice(("p", "q")), f"e{next(self.numbers)}", feed.event, at * NS + chance.choice((0, 0, 1)),
            self._quantity(feed), chance.choice(feed.units), chance.choice(("", "aws", "gcp")), chance.choice(("", "eu", "us")),
            chance.choice(("", "r1", "r2")), self._dimensions(), "", backfill,
        )  # fmt: skip
        like = self.last.get(feed.event)
        if like is not None and chance.hits(0.4):
            # Into the window of another one.
            fields = ("account", "time", "region", "resource", "dimensions")
            event = replace(event, **{field: getattr(like, field) for field in fields if field != "time" or chance.hits(0.7)})
        self.last[feed.event] = event
        return event

    def _quantity(self, feed: Feed) -> Decimal:
        return Decimal(self.chance.choice(feed.quantities))

    def _dimensions(self) -> str:
        chance = self.chance
        found = chance.maybe(0.5, {"tier": chance.choice(("hot", "cold"))}) | chance.maybe(0.6, {"user": chance.choice(("u1", "u2", "u3"))})
        found |= chance.maybe(0.6, {"price": chance.choice(("1", "0.5", "0.02", "free"))})
        found |= chance.maybe(0.8, {"factor": chance.choice(("2", "0.5"))})
        return canonical_map(found)

    def _amendments(self, fresh: list[UsageEvent], feeds: list[Feed]) -> list[Amendment]:
        """Of events of this phase, of earlier ones and of later ones; some twice."""
        chance = self.chance
        found: list[Amendment] = []
        if not chance.hits(0.55):
            return found
        for _ in range(chance.randint(1, 4)):
            pool = chance.choice((fresh, fresh, self.sent, self.coming))
            pool = [event for event in pool if not self._is_gone(event)]
            if not pool:
                continue
            original = chance.choice([amendment.original for amendment in found] if found and chance.hits(0.4) else pool)
            found.append(Amendment(original, self._replacement(original, feeds)))
        return found

    def _replacement(self, original: UsageEvent, feeds: list[Feed]) -> UsageEvent | None:
        chance = self.chance
        if chance.hits(0.3):
            return None
        if chance.hits(0.1):
            return original
        other = self._event(chance.choice(feeds))
        if chance.hits(0.3):
            return replace(other, account=original.account, source=original.source, id=original.id, backfill=original.backfill)
        fields = chance.some(("time", "quantity", "region", "resource", "provider", "dimensions"), 1, 2)
        feed = next((feed for feed in self.world.feeds if feed.event == original.sku), feeds[0])
        other = replace(self._event(feed), quantity=self._quantity(feed))
        return replace(original, **{field: getattr(other, field) for field in fields})

    def _recounted(self) -> list[UsageEvent]:
        """Reverted events, sent once more under another name."""
        back = [event for event in self.sent if self._is_gone(event)]
        chosen = self.chance.some(back, 1, 3)
        self.gone -= {identity_of(event) for event in chosen}
        self.sent = [event for event in self.sent if event not in chosen]
        return [replace(event, backfill=self.chance.choice(("", "undeclared"))) for event in chosen]

    def _is_gone(self, event: UsageEvent) -> bool:
        return identity_of(event) in self.gone

    def _conflict(self, event: UsageEvent) -> UsageEvent:
        return replace(event, quantity=event.quantity + 1)
