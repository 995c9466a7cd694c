"""How a rate lane runs a draft of the price book beside the live one: begun, gone on with and ended between commits.

The tallies of the shadow and its records go into the transaction of the usage that they count, so they are lost or doubled by no
crash. Line items do not depend on any of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.segments import Rates
from ..core.shadow import Shadow, ShadowEffects
from ..core.store import Effects

if TYPE_CHECKING:
    from .rate import RateLane

__all__ = ["Shadowing"]

SWEPT_PER_COMMIT = 1_000  # groups, or keys of what goes

# A record stands for all usage of an account in a month: writing it for every commit would cost more than rating does.
TOLD_EVERY_S = 5.0

_NOTHING = ShadowEffects([], [])


class Shadowing:
    """The shadow of one rate lane, while there is a draft."""

    def __init__(self, lane: RateLane) -> None:
        self._lane = lane
        self._shadow: Shadow | None = None
        self._draft: tuple[str, str, Rates] | None = None  # digests of draft and live book, and the draft's rates
        self._told_at = 0.0  # monotonic seconds
        self.made = _NOTHING  # of the commit under way

    def forget(self) -> None:
        """The state was built anew: so will the shadow be, from the store."""
        self._shadow = None
        self.made = _NOTHING

    async def next(self) -> None:
        """With nothing pending: follow what is published, and do what is to be done once, some of it per commit.

        Usage that waits comes first, but for one commit: so the sweep ends however busy the partition is.
        """
        while self._follow():
            await self._lane.finish(self._lane.write(Effects((), [], {}, 0, [])))
            if self._lane.queued or self._lane.ending:
                return

    def _follow(self) -> bool:
        """Take over another draft, live book or closed month. True when a commit's worth of work was prepared."""
        lane, state = self._lane, self._lane.state
        draft, closed = self._draft_rates(state.rates), state.closed
        if self._shadow is None or not self._shadow.of(state.rates, draft, closed.month):
            cached = max(1_000, lane.context.config.rating.cached_entries // lane.context.config.kafka.partitions // 4)
            self._shadow = Shadow(state.store, state.rates, draft, closed, lane.context.clock_ns(), cached_atoms=cached)
            lane.log.info("shadow", phase=self._shadow.phase, draft="" if draft is None else draft.digest[:12])
        shadow = self._shadow
        # Without a draft the step must not even ask.
        state.watch = None if shadow.phase == "off" else shadow
        if not shadow.busy:
            return shadow.untold and self._due()
        shadow.sweep(SWEPT_PER_COMMIT)
        if not shadow.busy:
            lane.log.info("shadow", phase=shadow.phase, groups=shadow.groups)
        return True

    def _draft_rates(self, live: Rates) -> Rates | None:
        tariff = self._lane.books.draft
        if tariff is None:
            return None
        if self._draft is None or self._draft[:2] != (tariff.digest, live.digest):
            # Usage is metered once, by the live meters, whatever meters the draft names.
            self._draft = tariff.digest, live.digest, Rates(tariff.book, live.window_s, live.meters, tariff.digest)
        return self._draft[2]

    def _due(self) -> bool:
        return time.monotonic() >= self._told_at + TOLD_EVERY_S

    # -- in the transaction of a commit ------------------------------------------------------------------------------

    def puts(self) -> Iterator[tuple[bytes, bytes | None]]:
        """What goes to the changelog of windows, behind all that the commit itself puts there."""
        self.made = _NOTHING
        if self._shadow is not None:
            tell = self._shadow.busy or self._due()
            self.made = self._shadow.effects(tell)
            if tell:
                self._told_at = time.monotonic()
        yield from self.made.puts

    def records(self) -> Iterator[tuple[bytes, bytes | None]]:
        """What goes to the topic of the shadow, behind `puts`."""
        yield from self.made.records

    def committed(self) -> None:
        """The transaction is durable, and the local store has taken it over."""
        self.made = _NOTHING
        if self._shadow is not None:
            self._shadow.committed()
