"""Between a process and Kafka or Elasticsearch: requests take time, get lost, arrive late, or lose their answer.

A request that fails is, to its sender, the same in all four cases:

    refused   the connection breaks before anything arrives
    lost      it arrives, and is answered; the connection breaks before the answer arrives
    late      the connection breaks; the request lies in the server's buffer, and takes effect later, perhaps behind its own repetition
    silent    nothing comes back until the client gives up, whether it arrived (then: now or late) or not

A process that is killed leaves its requests behind: each still arrives, or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .scheduler import Process, Scheduler

__all__ = ["KINDS", "LATE", "Network"]

KINDS = REFUSED, LOST, LATE, SILENT = "refused", "lost", "late", "silent"

AMONG = {"EndTxn": ("AddPartitionsToTxn", "Produce", "AddOffsetsToTxn"), "POST _bulk": ("POST _bulk",)}


class Network:
    """The way to one server. `faulty` is how likely a request fails; `down_until` and `paused_until` are about the server."""

    def __init__(self, scheduler: Scheduler, name: str, broken: Callable[[], Exception], silent: Callable[[], Exception], patience_s: float) -> None:
        self._scheduler = scheduler
        self._draw = scheduler.draw
        self.name = name
        self._broken = broken
        self._silent = silent
        self.patience_s = patience_s  # when a client gives up
        self.faulty = 0.0
        self.kinds = KINDS
        self.slow = 0.01  # seconds a message takes, at most, mostly
        self.down_until = 0.0
        self.paused_until = 0.0
        self.cut_until: dict[str, float] = {}  # process -> until when nothing of it arrives
        self.counts: dict[str, int] = {}
        self.trace: Callable[[str], None] | None = None
        self.on_request: Callable[[Process, str], None] | None = None
        self.forced = ""  # how the request that is being sent fails
        self._late: list[tuple[Process, tuple[str, ...], int, Callable[[], None]]] = []  # behind so many more such requests of a process it arrives

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def troubled(self, process: Process) -> bool:
        """Whether anything stands between a process and the server now."""
        now = self._scheduler.now
        return bool(self.faulty or self.forced) or self.down_until > now or self.paused_until > now or self.cut_until.get(process.name, 0.0) > now

    def request(self, process: Process, what: str, serve: Callable[[], Any]) -> asyncio.Future[Any]:
        """Ask the server: `serve` runs when the request arrives, and its result, or what it raises, is the answer."""
        future: asyncio.Future[Any] = asyncio.Future(loop=process)
        scheduler, draw = self._scheduler, self._draw
        now, dice = scheduler.now, draw()
        if self.on_request is not None:
            self.on_request(process, what)
        if self._late:
            self._arrive(process, what)
        delay = self.slow * dice * dice if dice < 0.98 else self.slow * 20 * draw()
        arrives = now + delay
        if self.down_until > now:
            self.forced = ""
            scheduler.at(arrives, self._fail, process, future, what, self._broken)
            return future
        if self.paused_until > now:
            arrives = self.paused_until + delay
        if (until := self.cut_until.get(process.name, 0.0)) > now:
            self.count(f"{what} {SILENT}")
            if draw() < 0.5:
                scheduler.at(until + delay, lambda: self._serve_unheard(process, what, serve))
            scheduler.at(now + self.patience_s, lambda: self._fail(process, future, what, self._silent))
        elif self.forced or (self.faulty and draw() < self.faulty):
            kind, self.forced = self.forced or self.kinds[int(draw() * len(self.kinds))], ""
            self._failing(process, future, what, serve, arrives, kind)
        elif arrives - now > self.patience_s:  # while the server is paused
            self.count(f"{what} {SILENT}")
            scheduler.at(arrives, lambda: self._serve_unheard(process, what, serve))
            scheduler.at(now + self.patience_s, lambda: self._fail(process, future, what, self._silent))
        else:
            scheduler.at(arrives, self._serve, process, future, what, serve)
        return future

    def _arrive(self, process: Process, what: str) -> None:
        still = []
        for sender, among, behind, arrive in self._late:
            if sender is process and (not among or what in among):
                behind -= 1
            if behind > 0:
                still.append((sender, among, behind, arrive))
            else:
                self._scheduler.after(self.slow * self._draw(), arrive)
        self._late = still

    def _failing(self, process: Process, future: asyncio.Future[Any], what: str, serve: Callable[[], Any], arrives: float, kind: str) -> None:
        draw, scheduler = self._draw, self._scheduler
        self.count(f"{what} {kind}")
        if kind is LOST or (kind is SILENT and draw() < 0.3):
            scheduler.at(arrives, lambda: self._serve_unheard(process, what, serve))
        elif kind is LATE or (kind is SILENT and draw() < 0.3):
            late = lambda: self._serve_unheard(process, f"{what} (late)", serve)  # noqa: E731
            if draw() < 0.5:
                scheduler.at(arrives + self.patience_s * draw() ** 2, late)
            else:
                # Where it can do most harm.
                self._late.append((process, AMONG.get(what, ()), int(1 + 3 * draw()), late))
        if kind is SILENT:
            scheduler.at(scheduler.now + self.patience_s, lambda: self._fail(process, future, what, self._silent))
        else:
            scheduler.at(arrives + self.slow * draw(), lambda: self._fail(process, future, what, self._broken))

    def _serve(self, process: Process, future: asyncio.Future[Any], what: str, serve: Callable[[], Any]) -> None:
        if not process.alive and self._draw() < 0.5:
            self.count(f"{what} of a dead process lost")
            return
        try:
            result, error = serve(), None
        except Exception as raised:
            result, error = None, raised
        if self.trace is not None:
            self.trace(f"{self.name:13} {process.name}: {what}{'' if error is None else f' -> {error!r}'[:150]}")
        if not process.alive:
            self.count(f"{what} of a dead process")
        elif error is None:
            self._scheduler.after(self.slow * self._draw() ** 2, _answer, future, result)
        else:
            self._scheduler.after(self.slow * self._draw() ** 2, _refuse, future, error)

    def _serve_unheard(self, process: Process, what: str, serve: Callable[[], Any]) -> None:
        try:
            serve()
            outcome = "and nobody hears the answer"
            self.count(f"{what} took effect unheard")
        except Exception as raised:
            outcome = f"-> {raised!r}, unheard"
        if self.trace is not None:
            self.trace(f"{self.name:13} {process.name}: {what} {outcome}"[:200])

    def _fail(self, process: Process, future: asyncio.Future[Any], what: str, error: Callable[[], Exception]) -> None:
        if self.trace is not None and process.alive:
            self.trace(f"{self.name:13} {process.name}: {what} fails at the client: {error()!r}"[:200])
        _refuse(future, error())


def _answer(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _refuse(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
