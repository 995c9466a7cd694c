"""One throughput run: from the first owned partition to the last committed event, CPU of the worker process only."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from ..schemas.errors import Unavailable
from ..streams.config import Config, load_config
from ..streams.prices_topic import publish_book
from ..streams.progress import Progress, decode_progress
from ..streams.topics import Topics
from .broker import Broker, Say, pin
from .calibrate import calibrate
from .fill import PREFIX, raw_topic
from .kafka_io import delete, read_all
from .oracle import Expected, Latest, Variance, compare, compare_variances, latest
from .shape import DRAFT, PARTITIONS, PRICES, Shape, price_book
from .worker import Usage, Worker

__all__ = [
    "AGENTS", "SETTLE_S", "Result", "Watch", "all_committed", "configure", "copied", "newest_rated", "owned",
    "run_once", "verify", "verify_shadow", "worker_and_other_cores",
]  # fmt: skip

# events: the second half of the hop alone; usage.events is filled before, in the packed form that normalize writes.
AGENTS = {"direct": ("rate",), "hop": ("normalize", "rate"), "events": ("rate",), "shadow": ("rate",)}
WITHOUT_HOP = ("direct", "shadow")  # shadow: as direct, with a draft of the price book beside the live one
OWNED_WITHIN_S = 120.0
STALLED_AFTER_S = 120.0
# The last commit is seen before the worker has taken it over into its local store: that work counts too.
SETTLE_S = 0.3


class Result(msgspec.Struct):
    """What one run measured."""

    path: str
    round: int
    events: int
    per_record: int
    wall_s: float
    cpu_s: float
    events_per_cpu_s: int
    calibration: int  # events per CPU-second of a bare loop right before: how fast the machine was
    peak_mb: int
    line_items_written: int
    line_items: int
    withdrawn: int
    restatement: float  # written per distinct line item
    restarts: int
    mismatches: list[str]
    threads: dict[str, float]  # CPU seconds by thread name and id, of those above 1%


def configure(
    folder: Path, bootstrap: str, path: str, raw: str, elasticsearch: str = "", *, rating: Mapping[str, int] | None = None, metrics_port: int = 0,
    partitions: int = PARTITIONS,
) -> Config:
    """A fresh folder with a configuration file: a group of its own, the default settings of rating but for those given."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    keyed = "account" if path in WITHOUT_HOP else ""
    lines = ["[kafka]", f'bootstrap = "{bootstrap}"', f'topic_prefix = "{PREFIX}"', f'group = "{uuid.uuid4().hex}"', f"partitions = {partitions}"]
    lines += [f'raw_topics = [{{name = "{raw}", provider = "cloudevents", keyed_by = "{keyed}"}}]']
    lines += ["[rating]", *(f"{name} = {value}" for name, value in (rating or {}).items())]
    lines += ["[worker]", f'data_dir = "{folder / "data"}"', f"metrics_port = {metrics_port}"]
    if elasticsearch:
        lines += ["[elasticsearch]", f'url = "{elasticsearch}"', f'index_prefix = "bench-{uuid.uuid4().hex[:8]}"']
    file = folder / "ratemill.toml"
    file.write_text("\n".join(lines) + "\n")
    return load_config(str(file), environment={})


def copied(folder: Path, config: Config, other: Path) -> None:
    """A folder with the configuration of a worker for another one of the same group: only where its local state is differs."""
    shutil.rmtree(other, ignore_errors=True)
    other.mkdir(parents=True)
    text = (folder / "ratemill.toml").read_text().replace(config.worker.data_dir, str(other / "data"))
    (other / "ratemill.toml").write_text(text)


class Watch:
    """Follows the progress topic and adds up what the lanes have committed."""

    def __init__(self, config: Config) -> None:
        self._topics = Topics.of(config.kafka)
        self._bootstrap = config.kafka.bootstrap
        self._partitions = config.kafka.partitions
        self._lanes: dict[str, Progress] = {}
        self._asked: Any = None
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=config.kafka.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level="read_committed", fetch_max_wait_ms=50,
        )  # fmt: skip

    async def __aenter__(self) -> Watch:
        await self._consumer.start()
        tps = [TopicPartition(self._topics.progress, p) for p in range(self._partitions)]
        self._consumer.assign(tps)
        await self._consumer.seek_to_beginning(*tps)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()
        if self._asked is not None:
            await self._asked.stop()

    async def _ends(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        tps = [TopicPartition(topic, p) for topic in topics for p in range(self._partitions)]
        if self._asked is None:
            self._asked = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False, isolation_level="read_committed")
            await self._asked.start()
        self._asked.assign(tps)
        self._asked.pause(*tps)  # only asked where things are
        ends: dict[TopicPartition, int] = await self._asked.end_offsets(tps)
        return ends

    async def waiting(self) -> int:
        """Offsets of `usage.rated` that the index agent has not committed, markers of transactions included; as of the last `poll`."""
        ends = await self._ends([self._topics.rated])
        done = {tp: lane.next_offsets.get(tp.topic, 0) for tp in ends if (lane := self._lanes.get(f"index-{tp.partition}"))}
        return sum(end - done.get(tp, 0) for tp, end in ends.items())

    async def published(self) -> int:
        """Records in the raw topics, whose producer uses no transactions."""
        return sum((await self._ends(self._topics.raw)).values())

    async def poll(self) -> int:
        """Events that have come to their end in committed transactions."""
        for _ in range(5):  # the first answer was fetched after the poll before, however long ago that was
            fetched = await self._consumer.getmany(timeout_ms=50)
            for record in (record for records in fetched.values() for record in records):
                progress = decode_progress(record.value)
                self._lanes[progress.lane] = progress
            if not fetched:
                break
        return sum(self.total("rate", "received")) + sum(self.total("normalize", "dead_lettered"))

    def total(self, agent: str, counter: str) -> list[int]:
        """One of the conservation counters, for each source of each lane of an agent."""
        return [getattr(c, counter) for lane in self._lanes.values() if lane.lane.startswith(agent) for c in lane.sources.values()]

    def mismatches(self, expected: Expected) -> list[str]:
        """Counters that the oracle does not agree with."""
        wrong = []
        unique = expected.received - expected.duplicates
        for name, want in (("received", expected.received), ("duplicates", expected.duplicates), ("counted", unique), ("dead_lettered", 0)):
            if (got := sum(self.total("rate", name))) != want:
                wrong.append(f"counter {name} is {got}, expected {want}")
        if (letters := sum(self.total("normalize", "dead_lettered"))) != 0:
            wrong.append(f"normalize has dead-lettered {letters} events, expected 0")
        return wrong


async def owned(worker: Worker, lanes: int) -> Usage:
    """Wait until all lanes own their partitions; returns what the process had used when the first did."""
    deadline = time.monotonic() + OWNED_WITHIN_S
    while worker.owned < lanes:
        worker.check()
        if time.monotonic() > deadline:
            raise Unavailable(f"the worker did not own its partitions within {OWNED_WITHIN_S:.0f} s; the end of its log:\n{worker.log_end()}")
        await asyncio.sleep(0.02)
    if worker.first_owned is None:
        raise Unavailable("the worker owns partitions without having said so")
    return worker.first_owned


async def all_committed(watch: Watch, workers: Sequence[Worker], events: int, agent: str = "") -> float:
    """Wait until so much has been committed; returns when that was seen (monotonic). Raises Unavailable when nothing moves.

    agent: count what this one has received, instead of events that have come to their end.
    """
    done, changed = -1, time.monotonic()
    while True:
        now = await watch.poll()
        if agent:
            now = sum(watch.total(agent, "received"))
        if now != done:
            done, changed = now, time.monotonic()
        if done >= events:
            return changed
        for worker in workers:
            worker.check()
        if time.monotonic() - changed > STALLED_AFTER_S:
            what = f"no progress beyond {done:,} of {events:,} for {STALLED_AFTER_S:.0f} s"
            raise Unavailable(f"{what}; the end of the worker's log:\n{workers[0].log_end()}")


async def _normalized(config: Config, folder: Path, shape: Shape, say: Say) -> None:
    """Let the agent normalize alone write all events to `usage.events`."""
    say("events: normalize packs the events")
    worker = Worker(folder, ("normalize",), None)
    try:
        async with Watch(config) as watch:
            await owned(worker, shape.partitions)
            await all_committed(watch, [worker], shape.events, "normalize")
    finally:
        worker.stop()


async def _all_told(config: Config, worker: Worker) -> None:
    """Wait until the records of the shadow tell of everything: writing them is a part of what it costs."""
    deadline = time.monotonic() + STALLED_AFTER_S
    while True:
        statuses: dict[int, bytes] = {}
        async for records in read_all(config.kafka.bootstrap, Topics.of(config.kafka).shadow, config.kafka.partitions):
            statuses |= {r.partition: r.value for r in records if r.key == b"\0status"}
        said = [msgspec.json.decode(value) for value in statuses.values()]
        if len(said) == config.kafka.partitions and all(status["complete"] and not status["untold"] for status in said):
            return
        worker.check()
        if time.monotonic() > deadline:
            raise Unavailable(f"the shadow does not tell of all usage: {said}; the end of the worker's log:\n{worker.log_end()}")
        await asyncio.sleep(1)


async def newest_rated(config: Config) -> Latest:
    """The newest revisions on `usage.rated`."""
    newest = latest(())
    async for records in read_all(config.kafka.bootstrap, Topics.of(config.kafka).rated, config.kafka.partitions):
        newest = latest((r.value for r in records if r.value is not None), newest)
    return newest


async def verify(config: Config, expected: Expected) -> tuple[int, int, int, list[str]]:
    """Compare `usage.rated` with the oracle: (records written, distinct line items, of these withdrawn, mismatches)."""
    newest = await newest_rated(config)
    wrong = compare(expected, {sku.name: sku.tiers for sku in PRICES}, newest.items.values())
    return newest.written, len(newest.items), sum(item.withdrawn for item in newest.items.values()), wrong


async def verify_shadow(config: Config, expected: Expected) -> list[str]:
    """Compare what the draft would have cost with the oracle."""
    latest: dict[bytes, bytes] = {}
    async for records in read_all(config.kafka.bootstrap, Topics.of(config.kafka).shadow, config.kafka.partitions):
        latest |= {r.key: r.value for r in records if not r.key.startswith(b"\0")}
    live, draft = ({sku.name: sku.tiers for sku in prices} for prices in (PRICES, DRAFT))
    return compare_variances(expected, live, draft, [msgspec.json.decode(value, type=Variance) for value in latest.values() if value])


async def run_once(
    broker: Broker, folder: Path, path: str, round_: int, shape: Shape, expected: Expected, say: Say, through: Sequence[str] = ()
) -> Result:
    """Run the worker over the whole topic with fresh state, group and output topics; through: a module that runs it, and where that writes to."""
    raw = raw_topic(shape)
    config = configure(folder, broker.bootstrap, path, raw, partitions=shape.partitions)
    await delete(broker.bootstrap, PREFIX, keep=frozenset({PREFIX + raw}))
    await publish_book(config, price_book(), "bench.yaml", "bench", "bench")
    if path == "shadow":
        await publish_book(config, price_book(DRAFT), "draft.yaml", "bench", "bench", draft=True)
    cores = worker_and_other_cores()
    if cores is not None and broker.pid is not None:
        pin(broker.pid, cores[1])
    if path == "events":
        await _normalized(config, folder, shape, say)
    speed = calibrate()
    say(f"{path}, round {round_}: starting the worker")
    worker = Worker(folder, AGENTS[path], None if cores is None else cores[0], through)
    try:
        async with Watch(config) as watch:
            begin = await owned(worker, shape.partitions * len(AGENTS[path]))
            end = await all_committed(watch, [worker], shape.events)
            if path == "shadow":
                await _all_told(config, worker)
            await asyncio.sleep(SETTLE_S)
            after, peak = worker.usage(), worker.peak_bytes()
            names = worker.thread_names()
            counters = watch.mismatches(expected)
    finally:
        worker.stop()
    say(f"{path}, round {round_}: comparing with the oracle")
    written, distinct, withdrawn, wrong = await verify(config, expected)
    if path == "shadow":
        wrong += await verify_shadow(config, expected)
    cpu = after.cpu_s - begin.cpu_s
    return Result(
        path=path, round=round_, events=shape.events, per_record=shape.per_record, wall_s=round(end - begin.at, 2), cpu_s=round(cpu, 2),
        events_per_cpu_s=round(shape.events / cpu), calibration=speed, peak_mb=round(peak / 1e6),
        line_items_written=written, line_items=distinct, withdrawn=withdrawn, restatement=round(written / max(1, distinct), 2),
        restarts=worker.restarts, mismatches=counters + wrong, threads=_threads(begin, after, names, cpu),
    )  # fmt: skip


def worker_and_other_cores() -> tuple[set[int], set[int]] | None:
    """(the worker's core, the others); None where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    cores: Sequence[int] = sorted(os.sched_getaffinity(0))
    return {cores[-1]}, set(cores[:-1]) or {cores[-1]}


def _threads(begin: Usage, after: Usage, names: dict[int, str], cpu: float) -> dict[str, float]:
    used = {tid: seconds - begin.threads.get(tid, 0.0) for tid, seconds in after.threads.items()}
    first = min(used, default=0)
    order = sorted(used, key=lambda tid: -used[tid])
    return {f"{'main' if tid == first else names.get(tid, '')} {tid - first}": round(used[tid], 2) for tid in order if used[tid] > cpu / 100}
