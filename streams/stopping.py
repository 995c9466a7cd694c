"""From SIGTERM to the end of the process: one bound for all of it, whoever does not answer.

    signal        lanes take no more and commit what they have taken
    COMMITTED_S   what has not committed by then is dropped: the next owner reads it again
    LEFT_S        by now the group is left, so that others take over at once, and all connections are closed
    END_S         the process ends as it is, with the status that it would have had
    SHUTDOWN_S    what is promised; the rest is slack for a machine under load

A second signal ends the process at once; within AGAIN_S it is the same one (`timeout` and shells tell the process and its group).

The bound is the same when a worker ends because of an error: a client that was stopped while it joined its group may leave a thread behind, for which
Python would wait for ever, and a supervisor with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from types import FrameType
from typing import Any, TypeVar

import structlog

__all__ = ["COMMITTED_S", "LEFT_S", "SHUTDOWN_S", "Stop"]

SHUTDOWN_S = 10.0
COMMITTED_S = 6.0
LEFT_S = 8.0
END_S = 9.0
GIVE_UP_S = 0.5
AGAIN_S = 0.5
T = TypeVar("T")


class Stop:
    """The request to end, and the time since it came. Made in the event loop that it is for."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self._status, self._reason = 0, ""  # of a process that ends unfinished
        self._loop = asyncio.get_running_loop()
        self._began = 0.0  # monotonic seconds; 0: not asked yet
        self._listens = False

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on, in the main thread, and hold this process to its bound."""
        self._listens = True
        # Not through the loop: it may be busy, and the time counts from the signal.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            if self.seconds() < AGAIN_S:
                return
            os._exit(128 + number)
        self.begin()
        self._loop.call_soon_threadsafe(self.event.set)

    def _guard(self) -> None:
        time.sleep(END_S)
        log = structlog.get_logger("ratemill.worker").bind(**({"error": self._reason} if self._reason else {}))
        log.warning("worker_ends_unfinished", seconds=END_S, detail="something does not answer; nothing is lost")
        sys.stderr.flush()
        os._exit(self._status)

    @property
    def asked(self) -> bool:
        """Whether the end was asked for, or has begun for another reason."""
        return self._began > 0

    def begin(self) -> None:
        """The time counts from now, unless it does already."""
        if self._began:
            return
        self._began = time.monotonic()
        if self._listens:
            threading.Thread(target=self._guard, name="shutdown", daemon=True).start()

    def failed(self, status: int, reason: str) -> None:
        """The process ends because of an error: with which exit status, and what a person should know."""
        self._status, self._reason = status, reason

    def seconds(self) -> float:
        """Seconds since the request."""
        return time.monotonic() - self._began

    def left(self, bound_s: float) -> float:
        """Seconds until a bound, at least a moment."""
        return max(0.05, bound_s - self.seconds())

    async def unless(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of some work; None when the end is asked for before it is there."""
        task, asked = asyncio.ensure_future(work), asyncio.ensure_future(self.event.wait())
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait([task], timeout=GIVE_UP_S)
        return None
