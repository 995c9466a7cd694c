"""Virtual time, and one event loop for each simulated worker process: what runs next follows from the seed alone.

A `Process` is an event loop without selectors, threads or a clock of its own. Within a process callbacks run in the order in which
asyncio promises; which process runs next, and when a message arrives, is drawn. A process can be stopped (its timers and answers
pile up until it is revived), and it can be killed behind any step, that is at any await: its tasks are never resumed, no `finally`
of theirs runs, and what others send to it is lost.

A step takes a microsecond. When nobody has anything to do, time jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from heapq import heappop, heappush
from random import Random
from types import CoroutineType
from typing import Any

__all__ = ["START_NS", "Handle", "Process", "Scheduler", "forget_tasks", "moment", "quick_tasks", "quiet_burials"]

START_NS = 1_794_139_200_000_000_000  # 2026-11-08T12:00:00Z: in the middle of a month, every time
STEP_S = 1e-6
MOST_STEPS = 100_000  # more than any world takes
_set_running_loop = asyncio._set_running_loop
_Future, _Task = asyncio.Future, asyncio.Task


class Handle(list[Any]):
    """A callback to come and its arguments, where asyncio may want to cancel it."""

    __slots__ = ("process", "when_")

    def cancel(self) -> None:
        self[:] = None, ()

    def cancelled(self) -> bool:
        return self[0] is None

    def when(self) -> float:
        return self.when_  # type: ignore[no-any-return]


class Scheduler:
    """The one place where anything happens. `at` and `after` are the hands of the world: they reach every process."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.draw = random.random
        self.now = 0.0  # seconds since the start
        self.steps = 0
        self.done = False
        self.ready: list[Process] = []
        self._timers: list[tuple[float, int, Any, tuple[Any, ...]]] = []  # when, number, what to do or a handle, arguments
        self._number = 0
        self.broken: list[str] = []  # callbacks that raised: a mistake of the simulation itself

    def at(self, when: float, action: Any, *args: Any) -> None:
        """Let the world act at a time; or a handle, whose process then acts."""
        self._number += 1
        heappush(self._timers, (when, self._number, action, args))

    def after(self, delay: float, action: Callable[..., Any], *args: Any) -> None:
        """Let the world act after a delay."""
        self._number += 1
        heappush(self._timers, (self.now + delay, self._number, action, args))

    def forget(self) -> None:
        """Drop what was still to come: it holds on to everything else."""
        self._timers.clear()
        self.ready.clear()

    def run(self) -> None:
        """Until `done`, or until nothing is left that could happen."""
        ready, timers, draw, running, steps = self.ready, self._timers, self.draw, None, 0
        try:
            while not self.done:
                if ready:
                    process = ready[int(draw() * len(ready))] if len(ready) > 1 else ready[0]
                    queue = process.queue
                    callback, args = queue.popleft()
                    if not queue:
                        ready.remove(process)
                    if callback is None:
                        continue
                    steps += 1
                    self.now += STEP_S
                    if running is not process:
                        running = process
                        _set_running_loop(process)
                    try:
                        callback(*args)
                    except Exception as error:  # tasks keep theirs
                        self.broken.append(f"a callback raised {error!r}")
                    if process.doomed_in:
                        process.doomed_in -= 1
                        if not process.doomed_in:
                            process.on_doom()
                    if steps >= MOST_STEPS:
                        self.broken.append(f"no end after {steps} steps: something spins")
                        self.done = True
                elif timers:
                    when, _, what, args = heappop(timers)
                    if type(what) is not Handle:
                        if when > self.now:
                            self.now = when
                        what(*args)
                    elif what[0] is not None:
                        if when > self.now:
                            self.now = when
                        what.process.enqueue(what)
                else:
                    return
        finally:
            self.steps = steps
            _set_running_loop(None)


class Process(asyncio.AbstractEventLoop):
    """One operating system process with its event loop."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self.began = scheduler.now
        self.queue: deque[Sequence[Any]] = deque()  # (callback, arguments)
        self.alive = True
        self.stalled = False
        self.doomed_in = 0  # steps, behind the last of which it dies; 0: it does not
        self.on_doom: Callable[[], None] = self.kill
        self.tasks: list[asyncio.Task[Any]] = []
        self.complaints: list[dict[str, Any]] = []

    # -- what happens to a process -----------------------------------------------------------------------------------

    def enqueue(self, handle: Sequence[Any]) -> None:
        if self.alive:
            if not self.queue and not self.stalled:
                self.scheduler.ready.append(self)
            self.queue.append(handle)

    def kill(self) -> None:
        """kill -9: nothing of it runs any more."""
        if self.queue and not self.stalled:
            self.scheduler.ready.remove(self)
        self.alive = False
        self.queue.clear()
        self.doomed_in = 0

    def stall(self) -> None:
        """SIGSTOP."""
        if not self.stalled:
            self.stalled = True
            if self.queue:
                self.scheduler.ready.remove(self)

    def revive(self) -> None:
        """SIGCONT: it goes on where it was, and sees how late it is."""
        if self.stalled:
            self.stalled = False
            if self.queue and self.alive:
                self.scheduler.ready.append(self)

    def doom(self, steps: int) -> None:
        """Let it die behind so many of its steps."""
        self.doomed_in = steps

    def bury(self) -> None:
        """Free what a dead process still holds. The world is over by then: what `finally` blocks do now reaches nobody."""
        self.alive = False
        _set_running_loop(self)
        try:
            for task in self.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    _close(task.get_coro())
        finally:
            _set_running_loop(None)
        self.tasks.clear()
        self.queue.clear()
        self.complaints.clear()

    # -- what asyncio asks of a loop ---------------------------------------------------------------------------------

    def time(self) -> float:
        return self.scheduler.now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Any:
        # Everything runs in one context: a process sets no context variable that another one reads.
        # Futures and tasks name their context, and cancel nothing of what they ask for.
        handle: Sequence[Any] = (callback, args) if context is not None else Handle((callback, args))
        if self.alive:
            queue = self.queue
            if not queue and not self.stalled:
                self.scheduler.ready.append(self)
            queue.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Handle:  # type: ignore[override]
        return self.call_at(self.scheduler.now + delay, callback, *args)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> Handle:  # type: ignore[override]
        handle = Handle((callback, args))
        handle.process, handle.when_ = self, when
        if self.alive:
            self.scheduler.at(when, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None) -> asyncio.Task[Any]:  # type: ignore[override]
        task = _Task(coro, loop=self, name=name or self.name, context=context)
        self.tasks.append(task)
        return task

    get_debug = bool  # says False, and is asked for every future
    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(context)


async def moment() -> None:
    """An await that takes no time. Only who is about to die stops there: for all others it would be one step more."""
    if asyncio.get_running_loop().doomed_in:  # type: ignore[attr-defined]
        await asyncio.sleep(0)


def _close(coro: Any) -> None:
    """Close a suspended coroutine, whatever its `finally` blocks await or raise."""
    for _ in range(20):
        try:
            coro.close()
            return
        except BaseException:
            continue


def quiet_burials() -> None:
    """Coroutines of killed processes end by being closed: Python's remarks about that are of no interest."""
    sys.unraisablehook = lambda _: None


def quick_tasks() -> None:
    """Most of what is to become a task is a coroutine: asyncio asks for everything else first."""
    whole, running = asyncio.ensure_future, asyncio.get_running_loop

    def ensure_future(awaitable: Any, *, loop: Any = None) -> Any:
        if type(awaitable) is CoroutineType and loop is None:
            return running().create_task(awaitable)
        return whole(awaitable, loop=loop)

    asyncio.ensure_future = asyncio.tasks.ensure_future = ensure_future


def forget_tasks() -> None:
    """Nobody asks asyncio for all tasks, and to note them in a weak set takes longer than to make them."""
    known = getattr(asyncio.tasks, "_all_tasks", None)  # of Python 3.11
    if known is not None:
        known.add = id
