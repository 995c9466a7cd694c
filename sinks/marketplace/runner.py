"""`ratemill marketplace report`: takes the lease, and goes through the steps until it is stopped. One process works; others wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

from ...schemas.errors import RatemillError
from ...schemas.line_item import RatedLineItem
from ...store.holding import Holding
from ...store.lease import LeaseLost
from .listings import Listing
from .reporter import Reporter, ReporterParts
from .standing import Standing

__all__ = ["LineItems", "Runner"]

_log = logging.getLogger("ratemill.marketplace")
_PAUSE_S = 1.0


class LineItems(Protocol):
    """What a reader of the rated topic yields; see `streams.rated_reader.RatedBatch`."""

    @property
    def items(self) -> Sequence[RatedLineItem]: ...
    @property
    def positions(self) -> Mapping[tuple[str, int], int]: ...
    @property
    def through(self) -> int: ...


class Runner:
    """read: line items from these positions on. look: reads how the outbox stands. once: end when all that is known is sent or waits."""

    def __init__(
        self, parts: ReporterParts, read: Callable[[Mapping[tuple[str, int], int]], AsyncGenerator[LineItems]], look: Callable[[], Standing],
        once: bool = False,
    ) -> None:  # fmt: skip
        self._parts, self._read, self._look, self._once = parts, read, look, once
        self._metrics = parts.metrics
        self._holding = Holding(parts.lease, parts.ask, self._report)
        self._listings = list(parts.listings.listings.values())

    async def run(self) -> None:
        """Until it is cancelled, or done; then the lease is free at once. Raises what no other try mends."""
        await self._holding.run(self._work, lambda error: not error.retriable)

    async def _work(self) -> None:
        """Until the lease is lost: raises LeaseLost; or, with `once`, until there is nothing more to do now."""
        _log.info("marketplace_works")
        self._metrics.works.set(1)
        reporter = Reporter(self._parts)
        try:
            async with asyncio.TaskGroup() as group:
                held = group.create_task(self._holding.renew())
                followed = group.create_task(self._follow(reporter))
                looked = group.create_task(self._holding.repeat("look", self._tell, _PAUSE_S))
                if self._once:
                    await followed
                    await asyncio.gather(*(self._send_all(reporter, listing) for listing in self._listings))
                    held.cancel()
                    looked.cancel()
                else:
                    for listing in self._listings:
                        group.create_task(self._holding.repeat(f"send {listing.name}", lambda each=listing: self._send_all(reporter, each), _PAUSE_S))  # type: ignore[misc]
        except* RatemillError as raised:
            raise raised.exceptions[0] from None
        finally:
            self._metrics.works.set(0)

    async def _follow(self, reporter: Reporter) -> None:
        """Read, count and freeze."""
        while True:
            try:
                async with aclosing(self._read(await reporter.begin())) as batches:
                    async for batch in batches:
                        await reporter.take(batch.items, batch.positions)
                        if batch.through:
                            self._metrics.read.set(batch.through)
                            await reporter.freeze(batch.through)
                            if self._once:
                                return
            except RatemillError as error:
                if isinstance(error, LeaseLost) or not error.retriable or self._once:
                    raise
                self._report("read", error)
                await asyncio.sleep(_PAUSE_S)

    async def _send_all(self, reporter: Reporter, listing: Listing) -> None:
        while await reporter.send(listing):
            pass

    async def _tell(self) -> None:
        """Set the gauges."""
        found = await self._parts.ask(self._look)
        now = self._parts.clock()
        for listing in self._listings:
            waiting = [each for each in found.waiting if each.listing == listing.name]
            behind = [each for each in found.behind if each.listing == listing.name]
            hours = [*(each.hour for each in waiting), *(each.next_hour for each in behind)]
            closes = [*(each.closes_at for each in waiting), *(each.closes_at for each in behind)]
            self._metrics.oldest.labels(listing.name).set(now - min(hours) if hours else 0)
            self._metrics.overdue.labels(listing.name).set(sum(each.overdue for each in waiting) + sum(each.behind for each in behind))
            self._metrics.closes_in.labels(listing.name).set(max(0, min(closes) - now) if closes else -1)
            for state in self._metrics.states:
                self._metrics.records.labels(listing.name, state).set(found.counts[listing.name, state])

    def _report(self, step: str, error: RatemillError) -> None:
        self._metrics.errors.labels(step).inc()
        _log.warning("marketplace_tries_again: %s: %s", step, error)
