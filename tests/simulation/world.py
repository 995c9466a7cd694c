"""One simulated world: its servers, its disks, and the plan that says what happens in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaConnectionError, RequestTimedOutError
from elasticsearch import ConnectionError as ElasticsearchConnectionError
from elasticsearch import ConnectionTimeout

from .broker import Broker
from .network import Network
from .scheduler import Scheduler

if TYPE_CHECKING:
    from .disk import Disks
    from .elastic import Cluster
    from .plans import Plan
    from .sites import Site

__all__ = ["TIMES", "World"]


class TIMES:
    """Seconds. All are a tenth of what they are in production, so their proportions hold."""

    SESSION = 1.0
    REBALANCE = 3 * SESSION
    HEARTBEAT = SESSION / 5
    REQUEST = 3.0
    TRANSACTION = 6.0
    STALLED = 9.0
    FINISH = 0.5
    STOP = 1.0
    COMMITTED = 0.6
    LEFT = 0.8
    CUT = 0.05
    OR_END = 0.2


@dataclass
class World:
    """Everything that is not a worker."""

    seed: int
    plan: Plan
    scheduler: Scheduler
    broker: Broker
    kafka: Network
    elasticsearch: Network
    disks: Disks
    cluster: Cluster
    counts: dict[str, int] = field(default_factory=dict)
    lines: list[str] | None = None  # the trace, where one is wanted
    violations: list[str] = field(default_factory=list)
    broken_deliveries: bool = False
    sites: set[Site] = field(default_factory=set)  # awaits at which workers died

    @classmethod
    def make(cls, seed: int, plan: Plan, *, traced: bool = False) -> World:
        """A world in which nothing has happened yet."""
        from .disk import Disks
        from .elastic import Cluster

        scheduler = Scheduler(Random(seed))
        kafka = Network(scheduler, "kafka", KafkaConnectionError, RequestTimedOutError, TIMES.REQUEST)
        elasticsearch = Network(scheduler, "elasticsearch", _broken, _silent, TIMES.REQUEST)
        world = cls(seed, plan, scheduler, Broker(scheduler), kafka, elasticsearch, Disks(), Cluster(scheduler.draw))
        if traced:
            world.lines = []
            kafka.trace = elasticsearch.trace = world.trace
        return world

    @classmethod
    def current(cls) -> World:
        """The world of the process that is running."""
        return asyncio.get_running_loop().world  # type: ignore[attr-defined,no-any-return]

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def trace(self, line: str) -> None:
        if self.lines is not None:
            self.lines.append(f"{self.scheduler.now:10.4f} {line}")

    def violate(self, what: str) -> None:
        """Note what must never be."""
        self.trace(f"VIOLATION     {what}")
        self.violations.append(what)

    def every(self, seconds: float, action: Callable[[], Any]) -> None:
        """Let the world act again and again."""

        def again() -> None:
            action()
            if not self.scheduler.done:
                self.scheduler.after(seconds, again)

        self.scheduler.after(seconds, again)


def _broken() -> Exception:
    return ElasticsearchConnectionError("Connection reset by peer")


def _silent() -> Exception:
    return ConnectionTimeout("Connection timed out")
