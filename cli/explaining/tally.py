"""The events behind a line item: which of them count, and what they add up to. Pure; events come one by one and are not kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, localcontext

from ...metering.samples import Sample
from ...pricing.money import EXACT, ZERO, plain
from ...schemas.control import Origin
from ...schemas.explanation import Events, EventShown
from ...schemas.times import format_time
from ...schemas.usage_event import UsageEvent, identify

__all__ = ["Amendments", "Tally", "Worth"]

Worth = Callable[[UsageEvent], Decimal | None]  # what an event adds to the line item's window or period; None: it is not about it
Amendments = Mapping[tuple[str, str], UsageEvent | None]  # (source, id) -> what the event counts as now; None: not at all
SLACK = 1_000


class Tally:
    """Adds events up, and keeps those of one page: the page is by (time, source, id), whatever the order in the log.

    before: a reading of an earlier time that a window rests on: its event is shown among the others, and does not add to them.

    Memory: the identities of what counts, and page x size events.
    """

    def __init__(
        self, worth: Worth, amendments: Amendments, scope: str, page: int = 1, size: int = 20, before: Sample | None = None
    ) -> None:
        self._before = None if before is None else (before.source, before.id)
        self._reading = ZERO if before is None else before.quantity
        self._worth, self._amendments, self._scope = worth, amendments, scope
        self._page, self._size = page, size
        self.restart()

    def restart(self) -> None:
        """Begin anew, before the events are gone through once more."""
        self.events = Events(scope=self._scope, looked_for=True, page=self._page)
        self._seen: set[bytes] = set()
        self._taken_back: set[bytes] = set()
        self._held: list[tuple[tuple[int, str, str], EventShown]] = []
        self._sum = ZERO

    @property
    def quantity(self) -> Decimal:
        """What all that counts adds up to."""
        return self._sum

    def wanted(self, event: UsageEvent) -> bool:
        """Whether an event of the account has to be looked at."""
        return self._worth(event) is not None or (event.source, event.id) in self._amendments or (event.source, event.id) == self._before

    def reject(self, event: UsageEvent) -> None:
        """Take an event that ended in the dead letters."""
        if self._worth(event) is not None:
            self.events.rejected += 1

    def take(self, event: UsageEvent, origin: Origin, position: Origin, reverted: Mapping[str, Mapping[str, int]]) -> None:
        """Take an event that is in the log at `position` and not in the dead letters. reverted: see Facts."""
        cut = reverted.get(event.backfill, {}) if event.backfill else {}
        if position.offset < cut.get(position.topic, 0):
            self.take_back(event)
        else:
            self.add(event, origin, all(position.offset >= each.get(position.topic, 0) for each in reverted.values()))

    def take_back(self, event: UsageEvent) -> None:
        """Take an event that came with a backfill that was reverted: it counts no more, but may come once more."""
        if self._worth(event) is None:
            return
        identity = identify(event)[0]
        if identity not in self._seen:
            self._taken_back.add(identity)
            self.events.reverted += 1

    def add(self, event: UsageEvent, origin: Origin, again: bool = True) -> None:
        """Take an event that is in the log and not in the dead letters. again: it came after every revert, so it may count once more."""
        name = (event.source, event.id)
        counts: UsageEvent | None = event
        note = ""
        if name in self._amendments:
            counts = self._amendments[name]
            note = "cancelled" if counts is None else f"amended, was {plain(event.quantity)} {event.unit}"
        with localcontext(EXACT):
            worth = None if counts is None else self._worth(counts)
            if worth is None and self._worth(event) is None and name != self._before:
                return  # neither as it came nor as amended is it about the line item
            identity = identify(event)[0]
            if identity in self._seen or (identity in self._taken_back and not again):
                self.events.duplicates += 1
                return
            self._seen.add(identity)
            self.events.amended += bool(note)
            if name == self._before:
                worth = self._reading
                note = ", ".join([*filter(None, [note]), "before the window"])
            elif worth is None:
                note += "" if counts is None else "; now it counts elsewhere"
            else:
                self.events.counted += 1
                self._sum += worth
        self._hold(counts or event, ZERO if worth is None else worth, origin, note)

    def _hold(self, event: UsageEvent, worth: Decimal, origin: Origin, note: str) -> None:
        shown = EventShown(
            event.source, event.id, format_time(event.time), plain(worth), event.unit,
            origin.topic, origin.partition, origin.offset, origin.index, note,
        )  # fmt: skip
        self._held.append(((event.time, event.source, event.id), shown))
        room = self._page * self._size
        if len(self._held) > 2 * room + SLACK:
            self._held.sort(key=lambda pair: pair[0])
            del self._held[room:]

    def finish(self) -> Events:
        """Everything added up, with the events of the page."""
        events = self.events
        events.quantity = plain(self._sum)
        events.pages = max(1, -(-len(self._seen) // self._size)) if self._size else 1
        self._held.sort(key=lambda pair: pair[0])
        first = (self._page - 1) * self._size
        events.shown = [shown for _, shown in self._held[first : first + self._size]]
        return events
