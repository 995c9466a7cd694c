"""Workers: the production worker without Faust, in a simulated process, and the group that gives them partitions.

What stands in for Faust fetches for the lanes that have room (by the transport's own `_getmany`), passes batches on through a stream
(to the worker's own `_feed`), and calls the worker's own `_on_revoked` and `_on_assigned`. The group is Kafka's: a member that is
not heard of for a session timeout is out, and everybody else is called together; whoever does not come within the rebalance
timeout is out too. A member that was put out learns of it when it is heard of again. Until then it works on: a zombie.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError
from faust.types import TP
from ratemill.sinks.elasticsearch import ElasticsearchSink
from ratemill.streams import transport
from ratemill.streams.app import RatemillWorker, _feed
from ratemill.streams.assignor import spread
from ratemill.streams.config import Config
from ratemill.streams.lanes.base import Batch, Lane
from ratemill.streams.lanes.rate import RateLane
from ratemill.streams.stopping import Stop
from ratemill.streams.topics import Topics

from .clients import poll
from .scheduler import START_NS, Process
from .sites import sites_of
from .world import TIMES, World

__all__ = ["Group", "Host", "config_of", "seldom_idle", "topics_of"]

PATIENCE = 10.0  # as Plan.idle_stretch, for who is woken by all that he waits for
IDLE_S = 10.0  # between two looks of a lane with nothing pending


@lru_cache(maxsize=200)
def config_of(partitions: int, commit_interval_s: float, number: int) -> Config:
    """Settings of one worker."""
    return Config.model_validate({
        "kafka": {
            "partitions": partitions, "session_timeout_s": TIMES.SESSION,
            "raw_topics": [{"name": "usage.raw.direct", "keyed_by": "account"}, {"name": "usage.raw.cloudevents"}],
        },
        "rating": {"commit_interval_s": commit_interval_s, "catch_up_interval_s": max(1.0, commit_interval_s), "commit_events": 100},
        "worker": {"data_dir": f"worker-{number}", "name": f"worker-{number}"},
    })  # fmt: skip


@lru_cache(maxsize=3)
def topics_of(partitions: int) -> dict[str, int]:
    """Partitions of every topic."""
    topics = Topics.of(config_of(partitions, 1.0, 0).kafka)
    names = [*topics.raw, topics.events, topics.rated, topics.dead_letter, topics.windows, topics.dedupe, topics.progress, topics.shadow]
    return dict.fromkeys(names, partitions) | {topics.prices: 1, topics.control: 1}


class _Stream:
    """Batches on their way to the agents."""

    def __init__(self, worker: Worker) -> None:
        self.app = worker.app
        self._waiting: deque[Batch] = deque()
        self._arrived: asyncio.Future[None] | None = None

    def push(self, batch: Batch) -> None:
        self._waiting.append(batch)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def clear(self) -> None:
        self._waiting.clear()

    def swap(self) -> bool:
        if len(self._waiting) > 1:
            self._waiting.rotate(1)
        return len(self._waiting) > 1

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> Batch:
        if not self._waiting:
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
            self._arrived = None
        else:
            await asyncio.sleep(0)
        return self._waiting.popleft() if self._waiting else await self.__anext__()


class _App:
    """What the worker and the transport ask of Faust."""

    def __init__(self, worker: Worker) -> None:
        self.ratemill = worker
        self.consumer: Consumer | None = None
        self.group: Group | None = None

    async def stop(self) -> None:
        if self.group is not None:
            self.group.left(asyncio.get_running_loop())  # type: ignore[arg-type]


class Consumer(transport.Consumer):  # type: ignore[misc]
    """The transport's consumer over the simulated log."""

    def __init__(self, worker: Worker, world: World) -> None:
        self.app = worker.app
        self.world = world
        self.positions: dict[TopicPartition, int] = {}
        self._interrupt: Callable[[], None] = lambda: None

    async def sleep(self, seconds: float) -> None:
        """Until a lane has room, which has sought before: until then there is nothing to fetch for."""
        loop = asyncio.get_running_loop()
        sought: asyncio.Future[None] = loop.create_future()
        self._interrupted(sought)
        timer = loop.call_later(seconds * self.world.plan.idle_stretch * PATIENCE, self._interrupt)
        await sought
        timer.cancel()

    def _interrupted(self, future: asyncio.Future[Any]) -> None:
        """The next seek or assignment ends what waits for this."""
        self._interrupt = lambda: future.done() or future.set_result(None)  # type: ignore[func-returns-value,assignment,return-value]

    async def seek(self, tp: TP, offset: int) -> None:
        if tp not in self.positions:
            raise IllegalStateError(f"No current assignment for partition {tp!r}")
        self.positions[TopicPartition(*tp)] = offset
        self._interrupt()

    def assign(self, tps: list[TopicPartition]) -> None:
        self.positions = dict.fromkeys(tps, 0)
        self._interrupt()

    async def fetched(self, active: set[TP], timeout_s: float) -> dict[TP, list[Any]]:
        """What Faust's own `_getmany` does."""

        tps = sorted(tp for tp in active if tp in self.positions)  # as good as TopicPartitions: equal, and of equal hashes
        if not tps:
            await asyncio.sleep(0.1)
            return {}
        process: Process = asyncio.get_running_loop()  # type: ignore[assignment]
        limit = transport.RECORDS_PER_FETCH
        return await poll(self.world, process, self.positions, tps, True, timeout_s * PATIENCE, limit, self._interrupted)  # type: ignore[return-value]


class Worker(RatemillWorker):
    """The production worker with a stub in the place of its Faust app."""

    def __init__(self, config: Config, partitions: dict[str, int], world: World) -> None:
        super().__init__(config, partitions)
        # Without `held` the plan alone says when commits come.
        self.context = self.context._replace(clock_ns=lambda: START_NS + int(world.scheduler.now * 1_000_000_000), held=None)
        self.app.consumer = self.consumer = Consumer(self, world)
        self.stream = _Stream(self)
        for follower in (self.books, self.controls):
            follower.record = self._telling(follower.record, world.scheduler.draw)  # type: ignore[method-assign]
        self._sink = self.sink = ElasticsearchSink(
            "http://simulated:9200",
            sleep=asyncio.sleep,
            clock=asyncio.get_running_loop().time,
            jitter=lambda delay: delay * (0.5 + world.scheduler.draw() / 2),
        )

    def _faust_app(self) -> Any:
        return _App(self)

    def _telling(self, take: Callable[[Any], None], draw: Callable[[], float]) -> Callable[[Any], None]:
        """What a lane with nothing pending looks for now and then, it is told within the time in which it would have looked (`seldom_idle`)."""

        def taken(record: Any) -> None:
            take(record)
            for lane in self.lanes:
                if isinstance(lane, RateLane):
                    asyncio.get_running_loop().call_later(draw() * self.config.rating.commit_interval_s, _look_up, lane)

        return taken

    @property
    def lanes(self) -> list[Lane]:
        """Lanes of the partitions that it believes it holds."""
        return list(dict.fromkeys(self._lanes.values()))


def _look_up(lane: Lane) -> None:
    if not lane.pending:
        lane._arrived.set()


def seldom_idle() -> None:
    """Let lanes with nothing pending look seldom for what there is to do besides: price books and requests, of which they are told."""
    wait = Lane._next
    Lane._next = lambda self, interval_s: wait(self, interval_s if self.pending else IDLE_S)  # type: ignore[method-assign]


class Host:
    """One machine: its disk stays when its worker dies, and a new process may be started on it."""

    def __init__(self, world: World, group: Group, number: int) -> None:
        self.world = world
        self.group = group
        self.number = number
        self.name = f"worker-{number}"
        self.process: Process | None = None
        self.worker: Worker | None = None
        self.starts = 0
        self.deaf_until = 0.0  # the group's coordinator and this worker do not hear each other
        self.processes: list[Process] = []

    @property
    def up(self) -> bool:
        return self.process is not None and self.process.alive

    def start(self) -> None:
        """Start a process, unless one runs."""
        if self.up:
            return
        self.starts += 1
        process = self.process = Process(self.world.scheduler, self.name)
        process.world = self.world  # type: ignore[attr-defined]
        process.on_doom = self.crash
        self.processes.append(process)
        self.world.trace(f"world         {self.name} starts")
        self.guard(process, self._main(process))

    def guard(self, process: Process, work: Coroutine[Any, Any, None]) -> None:
        """Run what must not fail: a worker would end itself."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self.world.violate(f"{self.name}: {error!r} {''.join(traceback.format_tb(error.__traceback__)[-2:])}")

        process.create_task(work).add_done_callback(ended)

    async def _main(self, process: Process) -> None:
        plan = self.world.plan
        worker = self.worker = Worker(config_of(plan.partitions, plan.commit_interval_s, self.number), topics_of(plan.partitions), self.world)
        worker.app.group = self.group
        worker.books.start()
        worker.controls.start()
        # Indexes are made with all that the template says: nothing else depends on it.
        worker._starting_sink = asyncio.ensure_future(worker.sink.start()) if plan.prepares else process.create_future()
        self.guard(process, _feed(worker.stream))
        self.guard(process, self._fetch(worker))
        self.group.join(Member(self, process, worker))

    async def _fetch(self, worker: Worker) -> None:
        world = self.world
        while True:
            batches = await worker.consumer._getmany(set(worker._lanes), 1.0)
            for (batch,) in batches.values():
                dice = world.scheduler.draw() if world.broken_deliveries else 1.0
                if dice < 0.2:
                    world.count("deliveries dropped")
                    continue
                worker.stream.push(batch)
                if dice < 0.4:
                    world.count("deliveries doubled")
                    worker.stream.push(batch)
                elif dice < 0.7 and worker.stream.swap():
                    world.count("deliveries swapped")

    def crash(self) -> None:
        """kill -9, now."""
        process = self.process
        if process is None or not process.alive:
            return
        self.world.sites |= sites_of(process)
        process.kill()
        lost = self.world.disks.crash(f"{self.name}/")
        self.world.count("crashes")
        if lost:
            self.world.count("writes lost on disks")
        self.world.trace(f"world         {self.name} is killed; {lost} writes were not flushed")

    def leave(self) -> None:
        """SIGTERM: the worker leaves by itself."""
        if self.up and self.process is not None and self.worker is not None:
            self.world.count("left")
            self.guard(self.process, self._leave(self.process, self.worker))

    async def _leave(self, process: Process, worker: Worker) -> None:
        await worker._leave(Stop())
        self.world.trace(f"world         {self.name} has left")
        self.world.scheduler.after(0, lambda: (process.kill(), self.world.disks.crash(f"{self.name}/")))  # type: ignore[func-returns-value,arg-type,return-value]


class Member:
    """A process in the group."""

    def __init__(self, host: Host, process: Process, worker: Worker) -> None:
        self.host = host
        self.process = process
        self.worker = worker
        self.joined = 0  # the last generation that it came to
        self.silent_since: float | None = None

    def heard(self, now: float) -> bool:
        host = self.host
        return self.process.alive and not self.process.stalled and host.deaf_until <= now and host.world.kafka.cut_until.get(host.name, 0.0) <= now


@lru_cache(maxsize=100)
def _shares(partitions: int, names: tuple[str, ...]) -> list[tuple[int, list[TopicPartition]]]:
    """Who of some members, by place and name of its worker, gets what."""
    topics, ids = Topics.of(config_of(partitions, 1.0, 0).kafka), [str(at) for at in range(len(names))]
    sources = [*topics.hopped, *topics.rate_sources, topics.rated]
    shares = spread(
        dict.fromkeys(sources, range(partitions)),
        dict.fromkeys(ids, sources),
        {id_: name.encode() for id_, name in zip(ids, names, strict=True)},
        frozenset(topics.rate_sources),
    )
    return [(int(id_), [TopicPartition(topic, number) for topic in share for number in share[topic]]) for id_, share in shares.items()]


class Group:
    """The coordinator of the consumer group."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.members: list[Member] = []
        self.generation = 0
        self.balancing = False
        self.assigned: dict[TopicPartition, str] = {}
        world.every(TIMES.SESSION / 2, self._look)

    def join(self, member: Member) -> None:
        self.members.append(member)
        self.rebalance("a worker joins")

    def left(self, process: Process) -> None:
        self.members = [member for member in self.members if member.process is not process]
        self.rebalance("a worker leaves")

    def _look(self) -> None:
        now, out = self.world.scheduler.now, []
        for member in self.members:
            if member.heard(now):
                member.silent_since = None
            elif member.silent_since is None:
                member.silent_since = now
            elif now - member.silent_since > 0.9 * TIMES.SESSION:  # the second look after the one that noticed
                out.append(member)
        if out:
            self._put_out(out)
            self.rebalance(f"{', '.join(member.host.name for member in out)} not heard of")

    def _put_out(self, out: list[Member]) -> None:
        self.members = [member for member in self.members if member not in out]
        for member in out:
            if member.process.alive:
                self.world.count("zombies")
                self._tell_when_heard(member)

    def _tell_when_heard(self, member: Member) -> None:
        """A zombie learns what it is with the first heartbeat that comes through, and joins again."""
        if not member.process.alive:
            return
        if member.heard(self.world.scheduler.now):
            self._after(member, TIMES.HEARTBEAT, lambda: member.host.guard(member.process, self._join_again(member)))
        else:
            self.world.scheduler.after(TIMES.HEARTBEAT, lambda: self._tell_when_heard(member))

    async def _join_again(self, member: Member) -> None:
        await self._revoke(member)
        if member not in self.members:
            self.join(member)

    async def _revoke(self, member: Member) -> None:
        worker = member.worker
        if self.world.scheduler.draw() < 0.8:
            worker.stream.clear()
        await worker._on_revoked(worker.app, set(worker._lanes))

    def _after(self, member: Member, seconds: float, action: Callable[[], Any]) -> None:
        """Something reaches a member, if it is still there; while it is stopped, it waits for it."""
        self.world.scheduler.after(seconds * self.world.scheduler.draw(), lambda: action() if member.process.alive else None)

    def rebalance(self, why: str) -> None:
        """Call everybody together."""
        self.generation += 1
        generation = self.generation
        self.balancing = True
        self.world.count("rebalances")
        self.world.trace(f"group         generation {generation}: {why}")
        for member in self.members:
            self._call(member, generation)
        self.world.scheduler.after(TIMES.REBALANCE, lambda: self._close(generation))

    def _call(self, member: Member, generation: int) -> None:
        if generation != self.generation or member not in self.members:
            return
        if member.heard(self.world.scheduler.now):
            self._after(member, TIMES.HEARTBEAT, lambda: member.host.guard(member.process, self._come(member, generation)))
        else:
            self.world.scheduler.after(TIMES.HEARTBEAT, lambda: self._call(member, generation))

    async def _come(self, member: Member, generation: int) -> None:
        if generation != self.generation:
            return  # called again meanwhile
        await self._revoke(member)
        self.world.scheduler.after(0.01, lambda: self._came(member, generation))

    def _came(self, member: Member, generation: int) -> None:
        if member in self.members and generation == self.generation:
            member.joined = generation
            if all(other.joined == generation for other in self.members):
                self._assign(generation)

    def _close(self, generation: int) -> None:
        if generation == self.generation and self.balancing:
            self._put_out([member for member in self.members if member.joined != generation])
            self._assign(generation)

    def _assign(self, generation: int) -> None:
        self.balancing = False
        if not self.members:
            return
        shares = _shares(self.world.plan.partitions, tuple(member.host.name for member in self.members))
        for at, tps in shares:
            member = self.members[at]
            self._after(member, 0.2, lambda member=member, tps=tps: member.host.guard(member.process, self._give(member, generation, tps)))  # type: ignore[misc]

    async def _give(self, member: Member, generation: int, tps: list[TopicPartition]) -> None:
        if generation == self.generation or member not in self.members:  # else it is being called again already
            member.worker.consumer.assign(tps)
            await member.worker._on_assigned(member.worker.app, {TP(*tp) for tp in tps})
