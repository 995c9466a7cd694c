"""`ratemill marketplace report`: takes the lease, and goes through the steps until it is stopped. One process works; others wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Protocol

from ...schemas.errors import RatemillError, Unavailable
from ...schemas.line_item import RatedLineItem
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
        self._lease, self._metrics = parts.lease, parts.metrics
        self._listings = list(parts.listings.listings.values())

    async def run(self) -> None:
        """Until it is cancelled, or done; then the lease is free at once."""
        try:
            while True:
                try:
                    while not await self._parts.ask(self._lease.take):
                        await asyncio.sleep(self._lease.seconds / 20)
                    await self._work()
                    return
                except RatemillError as error:
                    if not (isinstance(error, LeaseLost) or error.retriable):
                        raise
                    self._report("lease", error)
                    await asyncio.sleep(min(_PAUSE_S, self._lease.seconds / 20))
        finally:
            if self._lease.left() > 0:
                with suppress(Unavailable):  # it ends by itself
                    self._lease.release()

    async def _work(self) -> None:
        """Until the lease is lost: raises LeaseLost; or, with `once`, until there is nothing more to do now."""
        _log.info("marketplace_works")
        self._metrics.works.set(1)
        reporter = Reporter(self._parts)
        try:
            async with asyncio.TaskGroup() as group:
                held = group.create_task(self._hold())
                followed = group.create_task(self._follow(reporter))
                looked = group.create_task(self._repeat("look", self._tell))
                if self._once:
                    await followed
                    await asyncio.gather(*(self._send_all(reporter, listing) for listing in self._listings))
                    held.cancel()
                    looked.cancel()
                else:
                    for listing in self._listings:
                        group.create_task(self._repeat(f"send {listing.name}", lambda each=listing: self._send_all(reporter, each)))  # type: ignore[misc]
        except* RatemillError as raised:
            raise raised.exceptions[0] from None
        finally:
            self._metrics.works.set(0)

    async def _hold(self) -> None:
        while True:
            await asyncio.sleep(self._lease.seconds / 6)
            try:
                await self._parts.ask(self._lease.renew)
            except LeaseLost:
                raise
            except Unavailable as error:
                self._report("lease", error)
            if self._lease.left() <= 0:
                raise LeaseLost("the lease could not be renewed in time; this process waits for it")

    async def _repeat(self, step: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except LeaseLost:
                raise
            except RatemillError as error:
                self._report(step, error)
            await asyncio.sleep(_PAUSE_S)

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
            self._metrics.oldest.labels(listing.name).set(now - waiting[0].hour if waiting else 0)
            self._metrics.overdue.labels(listing.name).set(sum(each.overdue for each in waiting))
            self._metrics.closes_in.labels(listing.name).set(max(0, min(each.closes_at for each in waiting) - now) if waiting else -1)
            for state in self._metrics.states:
                self._metrics.records.labels(listing.name, state).set(found.counts[listing.name, state])

    def _report(self, step: str, error: RatemillError) -> None:
        self._metrics.errors.labels(step).inc()
        _log.warning("marketplace_tries_again: %s: %s", step, error)
