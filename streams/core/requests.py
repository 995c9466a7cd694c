"""What people ask of the state while it runs: that an event counts as another one, that a backfill never was."""

from __future__ import annotations

from decimal import localcontext
from typing import NamedTuple

from ...pricing.money import EXACT
from ...schemas.errors import Rejection
from ...schemas.usage_event import UsageEvent, identify
from .amendments import Backfill, Mark
from .state import PartitionState

__all__ = ["Outcome", "amend", "close_backfill", "open_backfill", "revert_backfill"]


class Outcome(NamedTuple):
    """What came of a request: one line for a person, whether anything was changed, and numbers."""

    text: str
    applied: bool = True
    counts: dict[str, int] = {}  # noqa: RUF012 - never changed


def amend(state: PartitionState, original: UsageEvent, replacement: UsageEvent | None) -> Outcome:
    """Let an event count as another one, or not at all. The effects come with the next `seal`."""
    identity, _ = identify(original)
    mark = state.amendments.get(identity)
    if mark is None:
        known = state.known(original)
        if known is None:
            return Outcome("not applied: another event was counted under this account, source and id", False)
        mark = Mark(original, original, known)
    elif mark.original != original:
        return Outcome("not applied: it was amended before, as another original event", False)
    if mark.now == replacement:
        return Outcome("nothing to do: it already counts so", False)
    try:
        with localcontext(EXACT):
            if replacement is not None:
                state.check(replacement)
            # First the old one goes: of a meter that keeps samples both are the same sample.
            if mark.counted and mark.now is not None:
                state.contribute(mark.now, -1)
            if mark.counted and replacement is not None:
                state.contribute(replacement, 1)
    except Rejection as rejection:
        return Outcome(f"not applied: {rejection}", False)
    before = [] if mark.counted else [*mark.before, *([mark.now] if mark.now is not None and mark.now != original else [])]
    state.amendments.put(identity, Mark(original, replacement, mark.counted, before))
    what = "cancelled" if replacement is None else "amended"
    return Outcome(what if mark.counted else f"{what} before it was counted; it takes effect when the event comes", counts={"events": 1})


def open_backfill(state: PartitionState, name: str, from_ns: int, to_ns: int) -> Outcome:
    """Declare a backfill. A reverted one stays closed: its name tells what came with it."""
    known = state.backfills.get(name)
    if known is not None and known.reverted:
        return Outcome(f"not applied: backfill {name} was reverted; use another name", False)
    state.backfills.put(name, Backfill(from_ns, to_ns))
    return Outcome("opened" if known is None else "opened again")


def close_backfill(state: PartitionState, name: str) -> Outcome:
    """No more events of this backfill. One that was never declared is closed too."""
    known = state.backfills.get(name) or Backfill(-(1 << 62), 1 << 62)
    if not known.open:
        return Outcome("nothing to do: it is closed", False)
    state.backfills.put(name, Backfill(known.from_ns, known.to_ns, open=False))
    return Outcome("closed")


def revert_backfill(state: PartitionState, name: str, limit: int) -> tuple[int, bool]:
    """Let up to `limit` committed events of a backfill count no longer: (how many, whether these were the last).

    What was counted of them is taken back, amendments of them too; each may be counted once more, under another name.
    """
    reverted = 0
    done = True
    with localcontext(EXACT):
        for identity, event in state.backfills.events(name):
            if reverted == limit:
                done = False
                break
            mark = state.amendments.get(identity)
            now = event if mark is None else mark.now
            if now is not None:
                state.contribute(now, -1)
            state.amendments.forget(identity)
            state.backfills.free(name, identity)
            reverted += 1
    known = state.backfills.get(name) or Backfill(-(1 << 62), 1 << 62)
    state.backfills.put(name, Backfill(known.from_ns, known.to_ns, open=False, reverted=True))
    return reverted, done
