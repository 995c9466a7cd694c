"""A process that works only while it holds a lease: it waits for it, renews it, and stops in time when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from ..schemas.errors import RatemillError, Unavailable
from .lease import Lease, LeaseLost

__all__ = ["Holding"]


class Holding:
    """ask: runs a blocking call in a thread, and returns its result. report: hears of an error of a step that is tried again."""

    def __init__(self, lease: Lease, ask: Callable[..., Awaitable[Any]], report: Callable[[str, RatemillError], None]) -> None:
        self._lease, self._ask, self._report = lease, ask, report

    async def run(self, work: Callable[[], Awaitable[None]], lasts: Callable[[RatemillError], bool] = lambda _: False) -> None:
        """Do the work, each time that the lease is ours, until it returns or this is cancelled; then the lease is free at once.

        lasts: whether an error of the work is one that another try does not mend; it is raised. The others are reported.
        """
        try:
            while True:
                try:
                    while not await self._ask(self._lease.take):
                        await asyncio.sleep(self._lease.seconds / 20)
                    await work()
                    return
                except RatemillError as error:  # the database, or another one has the lease
                    if lasts(error):
                        raise
                    self._report("lease", error)
                    await asyncio.sleep(self._lease.seconds / 20)
        finally:
            if self._lease.left() > 0:
                with suppress(Unavailable):  # it ends by itself
                    self._lease.release()

    async def renew(self) -> None:
        """Renew it again and again. Raises LeaseLost, before anybody else can have it."""
        while True:
            await asyncio.sleep(self._lease.seconds / 6)
            try:
                await self._ask(self._lease.renew)
            except LeaseLost:
                raise
            except Unavailable as error:
                self._report("lease", error)
            if self._lease.left() <= 0:
                raise LeaseLost("the lease could not be renewed in time; this process waits for it")

    async def repeat(self, step: str, work: Callable[[], Awaitable[None]], pause_s: float) -> None:
        """Do a step again and again, this long after it ended or failed. Raises LeaseLost."""
        while True:
            try:
                await work()
            except LeaseLost:
                raise
            except RatemillError as error:
                self._report(step, error)
            await asyncio.sleep(pause_s)
