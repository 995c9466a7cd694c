"""Work on Kafka for requests: beside the event loop that answers them, and for a limited time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ...api.problems import Problem
from ...pricing.money import use_exact_arithmetic
from ...streams.config import Config
from ..dead_letter_topic import on_kafka

__all__ = ["Jobs"]

T = TypeVar("T")
THREADS = 12  # more than the gates of `api.ports.Ports` let in together, so that prices do not wait behind them


class Jobs:
    """Each piece of work has a thread and an event loop of its own: reading and adding up a partition keeps a processor busy for seconds."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._pool = ThreadPoolExecutor(THREADS, "kafka", initializer=use_exact_arithmetic)
        self._running: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]] = set()

    async def run(self, work: Callable[[], Awaitable[T]], within_s: float) -> T:
        """What the work gives. Raises Unavailable when Kafka is not there, Problem 504 when it takes longer, and what the work raises."""

        async def limited() -> T:
            task = asyncio.ensure_future(work())
            mine = asyncio.get_running_loop(), task
            self._running.add(mine)
            try:
                await asyncio.wait({task}, timeout=within_s)
                if not task.done():  # it is cancelled, and waited for, when its event loop ends
                    raise Problem(504, "too-slow", f"this takes longer than {within_s:g} s; ask for less, or use the command line")
                return task.result()
            finally:
                self._running.discard(mine)

        return await asyncio.get_running_loop().run_in_executor(self._pool, on_kafka, self._config, limited)

    async def compute(self, function: Callable[..., T], *arguments: object) -> T:
        """What a function gives, called in a thread, with exact arithmetic."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Cancel what is under way."""
        for loop, task in list(self._running):
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(task.cancel)
        self._pool.shutdown(cancel_futures=True)
