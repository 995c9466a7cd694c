"""One seed, from an empty world to the verdict."""

from __future__ import annotations

import gc
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from aiokafka import TopicPartition
from ratemill.pricing.book import EMPTY_BOOK
from ratemill.schemas.control import encode_control
from ratemill.streams.prices_topic import PublishedBook

from .faults import Faults
from .plans import Plan, plan_of
from .scheduler import START_NS
from .sites import Site
from .traffic import BOOKS, case_of
from .verdict import Auditor
from .workers import Group, Host
from .world import World

__all__ = ["Result", "simulate"]

LOOK_S = 0.4
GLANCE_S = 2.0  # until the last fault
PATIENCE_S = 90.0  # after the last fault everything must be done within this virtual time


@dataclass
class Result:
    """What became of a seed."""

    seed: int
    violations: list[str]
    counts: dict[str, int]
    steps: int
    seconds: float  # virtual
    healed_in: float  # seconds from the last fault to rest
    sites: set[Site]  # awaits at which workers died
    lines: list[str]

    @property
    def digest(self) -> str:
        """Of all that happened, where it was traced."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()[:16]


@lru_cache(maxsize=8)
def _published(number: int) -> tuple[bytes, bytes, str]:
    """Key, value and digest of a price book's record."""
    record = PublishedBook(BOOKS[number], "prices.yaml", "operator", "prices", START_NS)
    digest = record.tariff().digest
    return f"{digest}:{number}".encode(), msgspec.json.encode(record), digest


def simulate(seed: int, plan: Plan | None = None, *, traced: bool = False) -> Result:
    """Run a seed. The same seed and plan give the same result, step by step."""
    # The worlds before this one are gone: mostly only what is young is looked at, that is they, and not all that is kept.
    gc.collect(0 if seed % 200 else 2)
    plan = plan or plan_of(seed)
    world = World.make(seed, plan, traced=traced)
    hosts: list[Host] = []
    try:
        return _run(world, hosts)
    finally:
        for host in hosts:
            for process in host.processes:
                process.bury()
        world.scheduler.forget()


def _run(world: World, hosts: list[Host]) -> Result:
    plan, scheduler = world.plan, world.scheduler
    case = case_of(plan.case, plan.partitions)
    group = Group(world)
    hosts += [Host(world, group, number) for number in range(plan.workers)]
    auditor = Auditor(world, case, hosts)
    faults = Faults(world, hosts, group)
    world.broker.slow_markers = plan.slow_markers
    topics = auditor.topics
    for number, at in enumerate(plan.books):
        key, value, _ = _published(len(plan.books) - 1 - number)
        scheduler.at(at, lambda key=key, value=value: world.broker.publish(TopicPartition(topics.prices, 0), key, value))  # type: ignore[misc]
    _publish(world, case.messages)
    for share, request in case.requests:
        record = request.id.encode(), encode_control(request)
        scheduler.at(share * plan.publishing_s, lambda record=record: world.broker.publish(TopicPartition(topics.control, 0), *record))  # type: ignore[misc]
    for host in hosts:
        scheduler.after(0.05 * scheduler.draw(), host.start)
    scheduler.at(plan.heal_s, faults.heal)
    rested = _Rest(world, auditor, _published(0)[2] if plan.books else EMPTY_BOOK.digest)
    scheduler.after(GLANCE_S, rested.look)
    scheduler.run()
    violations = world.violations + scheduler.broken + rested.found
    if not scheduler.done and not violations:
        violations.append("nothing is left that could happen, and the work is not done")
    counts = {**world.counts, **world.broker.counts, **world.cluster.counts, **{f"kafka: {k}": v for k, v in world.kafka.counts.items()}}
    counts |= {f"elasticsearch: {k}": v for k, v in world.elasticsearch.counts.items()}
    return Result(world.seed, violations, counts, scheduler.steps, scheduler.now, scheduler.now - plan.heal_s, world.sites, world.lines or [])


def _publish(world: World, messages: Any) -> None:
    """Publish in order, in bursts."""
    draw, at = world.scheduler.draw, 0.0
    gap = 2 * world.plan.publishing_s / len(messages)
    for tp, key, value in messages:
        if draw() < 0.6:
            at = min(at + gap * draw() / 0.6, world.plan.publishing_s)
        world.scheduler.at(at, lambda tp=tp, key=key, value=value: world.broker.publish(tp, key, value))


class _Rest:
    """Looks whether all is done, and then whether it is right."""

    def __init__(self, world: World, auditor: Auditor, digest: str) -> None:
        self.world = world
        self.auditor = auditor
        self.digest = digest
        self.found: list[str] = []

    def look(self) -> None:
        world, now = self.world, self.world.scheduler.now
        dead = self.auditor.dead_lanes()
        if world.violations or dead:
            self._end(dead)
        elif now < world.plan.heal_s:
            world.scheduler.at(min(now + GLANCE_S, world.plan.heal_s + LOOK_S), self.look)
        else:
            world.scheduler.after(LOOK_S, self.look)
            unfinished = self.auditor.unfinished(self.digest)
            if not unfinished:
                self._end(self.auditor.verdict())
            elif now > world.plan.heal_s + PATIENCE_S:
                self._end([f"not done {PATIENCE_S:g} s after the last fault: {unfinished}"])

    def _end(self, found: list[str]) -> None:
        self.found = found
        self.world.scheduler.done = True
