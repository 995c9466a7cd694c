"""Events that count as something else, or not at all: amendments, cancellations, and backfills that can be reverted.

The original event stays on record: it was counted, is remembered, and a second delivery of it is a duplicate. What changes is
what it counts as. An amendment may come before its event is counted; both orders end in the same windows.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ...schemas.errors import Reason, Rejection
from ...schemas.times import format_time
from ...schemas.usage_event import UsageEvent
from .store import AMENDED, BACKFILL, BACKFILLED, FREED, ID_BYTES, Store

__all__ = ["Amendments", "Backfill", "Backfills", "Mark"]


class Mark(msgspec.Struct, array_like=True):
    """An amended event. counted: the original was seen; until then only the amendment is known."""

    original: UsageEvent
    now: UsageEvent | None  # what it counts as
    counted: bool
    # What it was amended to and no longer is, while it was not counted: once it is, their windows are used (with 0) as they are
    # when the event came first.
    before: list[UsageEvent] = []


class Backfill(msgspec.Struct, array_like=True):
    """A declared backfill: its event times in nanoseconds (to exclusive), and whether events may come."""

    from_ns: int
    to_ns: int
    open: bool = True
    reverted: bool = False


_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decode_mark = msgspec.msgpack.Decoder(Mark).decode
_decode_backfill = msgspec.msgpack.Decoder(Backfill).decode
_decode_event = msgspec.msgpack.Decoder(UsageEvent).decode


class Amendments:
    """Marks of amended events, by identity hash."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.puts: dict[bytes, bytes] = {}
        self.awaited: dict[bytes, Mark] = {}  # whose event was not counted yet
        for identity, value in store.scan(AMENDED):
            if value and not (mark := _decode_mark(value)).counted:
                self.awaited[identity] = mark

    def get(self, identity: bytes) -> Mark | None:
        """The mark of an event, if it was amended."""
        value = self.puts.get(AMENDED + identity)
        if value is None:
            value = self._store.get(AMENDED + identity)
        return _decode_mark(value) if value else None

    def put(self, identity: bytes, mark: Mark) -> None:
        """Keep a mark."""
        self.puts[AMENDED + identity] = _encode(mark)
        if mark.counted:
            self.awaited.pop(identity, None)
        else:
            self.awaited[identity] = mark

    def forget(self, identity: bytes) -> None:
        """The event is gone, and its mark with it."""
        if self._store.get(AMENDED + identity) or AMENDED + identity in self.puts:
            self.puts[AMENDED + identity] = b""
        self.awaited.pop(identity, None)


class Backfills:
    """Declared backfills, and a journal of the events that came with any backfill."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.puts: dict[bytes, bytes] = {}
        self._known = {name.decode(): _decode_backfill(value) for name, value in store.scan(BACKFILL) if value}
        self.freed = {identity for identity, value in store.scan(FREED) if value}  # may be counted once more
        self._used: list[bytes] = []
        self._freed_from: dict[str, bytes] = {}  # name -> first key of its journal that was freed; all behind it were too

    def get(self, name: str) -> Backfill | None:
        """A declared backfill."""
        return self._known.get(name)

    def put(self, name: str, backfill: Backfill) -> None:
        """Keep what is known of a backfill."""
        self._known[name] = backfill
        self.puts[BACKFILL + name.encode()] = _encode(backfill)

    def problem(self, event: UsageEvent) -> Rejection | None:
        """Why an event of a backfill cannot count: the backfill is over, or is about other times. An undeclared one takes anything."""
        known = self._known.get(event.backfill)
        if known is None:
            return None
        if known.reverted or not known.open:
            what = "was reverted" if known.reverted else "is closed"
            return Rejection(Reason.BACKFILL_OVER, f"backfill {event.backfill} {what}; publish under another name")
        if not known.from_ns <= event.time < known.to_ns:
            low, high = (format_time(t) for t in (known.from_ns, known.to_ns))
            return Rejection(Reason.OUTSIDE_BACKFILL, f"backfill {event.backfill} is declared for {low} to {high}")
        return None

    def journal(self, identity: bytes, event: UsageEvent) -> None:
        """Remember an event that came with a backfill."""
        self.puts[_journal_key(event.backfill) + identity] = _encode(event)

    def use_freed(self, identity: bytes) -> None:
        """A reverted event was counted once more. Until the commit it stays among the freed: the store still knows the old one."""
        self._used.append(identity)
        self.puts[FREED + identity] = b""

    def committed(self) -> None:
        """What changed is in the store."""
        self.puts = {}
        self.freed.difference_update(self._used)
        self._used = []

    def events(self, name: str) -> Iterator[tuple[bytes, UsageEvent]]:
        """Committed events of a backfill that still count, by identity hash; read only as far as it is asked for.

        What was freed before is not passed over again, so all of them in portions cost no more than all at once.
        """
        head = _journal_key(name)
        for key, value in self._store.below(head, self._freed_from.get(name, head + b"\xff" * (ID_BYTES + 1))):
            if value:
                yield key[len(head) :], _decode_event(value)

    def free(self, name: str, identity: bytes) -> None:
        """An event of a backfill counts no longer, and may be counted once more."""
        key = _journal_key(name) + identity
        self.puts[key] = b""
        self._freed_from[name] = min(key, self._freed_from.get(name, key))
        self.puts[FREED + identity] = b"1"
        self.freed.add(identity)


def _journal_key(name: str) -> bytes:
    return BACKFILLED + name.encode() + b"\0"
