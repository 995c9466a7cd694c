"""One Ratemill on the shared stack, with names of its own: its topics, its worker processes, its traffic."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord
from ratemill.local.stack import Stack
from ratemill.streams.config import load_config
from ratemill.streams.prices_topic import publish_book
from ratemill.streams.topics import ensure_topics

from .traffic import DIRECT, HOPPED, PARTITIONS, PRICES, Message, make_traffic
from .zygote import start

__all__ = ["Bed", "Worker", "bed"]

Record = ConsumerRecord[bytes | None, bytes | None]
FULL_SPEED = 5_000.0  # records per second
MAIN = Path(__file__).with_name("worker_main.py")
ALL_AGENTS = ("normalize", "rate", "index")
# What a Ratemill writes and only it reads again, by the fields of streams.topics.Topics; everything else is the log.
OWN_TOPICS = {
    "usage.rated": "rated", "usage.dead-letter": "dead_letter", "ratemill.state.windows": "windows", "ratemill.state.dedupe": "dedupe",
    "ratemill.state.progress": "progress", "ratemill.shadow": "shadow",
}  # fmt: skip

CONFIG = """
[kafka]
bootstrap = "{kafka}"
topic_prefix = "{name}."
partitions = {partitions}
replication_factor = {replication_factor}
session_timeout_s = {session_timeout_s}
[[kafka.raw_topics]]
name = "{direct}"
keyed_by = "account"
[[kafka.raw_topics]]
name = "{hopped}"
[elasticsearch]
url = "{elasticsearch}"
index_prefix = "{name}"
[rating]
commit_interval_s = 0.2
{rating}
[worker]
log_format = "json"
"""


class Worker:
    """A worker process."""

    def __init__(
        self, name: str, config: Path, folder: Path, spec: dict[str, Any], agents: Sequence[str], log: Path, settings: dict[str, str]
    ) -> None:
        self.name = name
        self.log = log
        self._mine = log.with_suffix(".mine")
        spec = spec | {"mine": str(self._mine)}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RATEMILL_")}
        environment |= {
            "RATEMILL_CONFIG": str(config),
            "RATEMILL_WORKER__NAME": name,
            "RATEMILL_WORKER__DATA_DIR": str(folder),
            "RATEMILL_WORKER__AGENTS": ",".join(agents),
            **settings,
        }
        with log.open("ab") as output:
            self._process = start(str(MAIN), json.dumps(spec), cwd=log.parent, env=environment, output=output)
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        """Send a signal to this process only."""
        self._process.send_signal(number)

    def lay(self, failpoint: dict[str, Any]) -> None:
        """Install a failpoint in the running worker."""
        self._mine.write_text(json.dumps(failpoint))
        self.signal(signal.SIGUSR2)

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it lives."""
        return self._process.poll()

    def stopped(self) -> bool:
        """True while the kernel holds the process still (SIGSTOP)."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    async def ended(self, within_s: float = 60) -> int:
        """Wait for the end; returns the exit status."""
        await until(lambda: self.status is not None, within_s, f"worker {self.name} does not end; see {self.log}")
        return self._process.wait()

    async def kill(self) -> None:
        """kill -9, whatever state it is in."""
        if self.status is None:
            self.signal(signal.SIGKILL)
        await self.ended()

    async def terminate(self, within_s: float = 60) -> int:
        """SIGTERM, and wait for an orderly end."""
        if self.status is None:
            self.signal(signal.SIGTERM)
        return await self.ended(within_s)

    async def ready(self, lanes: int = 3 * PARTITIONS, within_s: float = 60) -> None:
        """Wait until this worker has restored so many lanes."""
        owned = lambda: self.logged("partition_owned") >= lanes or self.status is not None  # noqa: E731
        await until(owned, within_s, f"worker {self.name} is not ready; see {self.log}")
        assert self.status is None, f"worker {self.name} ended with status {self.status}; see {self.log}"

    def logged(self, event: str) -> int:
        """How often the log says this."""
        return self.log.read_text(errors="replace").count(f'"{event}"')

    def said(self, event: str) -> list[dict[str, Any]]:
        """What the log says of this, each time."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if f'"{event}"' in line]
        return [entry for entry in map(json.loads, lines) if entry.get("event") == event]


async def until(condition: Any, within_s: float, otherwise: str, poll_s: float = 0.05) -> None:
    """Wait for a condition; fail with a text when it does not come true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{otherwise} (waited {within_s:.0f} s)"
        await asyncio.sleep(poll_s)


class Bed:
    """Topics, configuration, traffic and workers of one test."""

    def __init__(self, stack: Stack, folder: Path, seed: int, count: int, session_timeout_s: float, rating: str = "") -> None:
        # EXACTLY_ONCE_SEED=7 runs the same scenarios with other traffic.
        seed += 1_000 * int(os.environ.get("EXACTLY_ONCE_SEED", "0"))
        self.stack, self.folder, self.seed = stack, folder, seed
        self.name = f"eo{uuid.uuid4().hex[:8]}"
        self.beside = ""  # name of a second Ratemill over the same log: see `second`
        self.prices = PRICES
        self.digest = ""  # of the price book that was published last
        self.workers: list[Worker] = []
        self.settings: dict[str, str] = {}  # more of the workers' environment
        self._others: list[Bed] = []
        self._progress: dict[str, bytes] = {}  # of each lane, as of what was read of it
        self._read_to: dict[tuple[str, int], int] = {}
        self.traffic = make_traffic(seed, count, time.time())
        self.published = 0
        self._per_second = FULL_SPEED
        self._publishing: asyncio.Task[None] | None = None
        self._gate = asyncio.Event()
        self._gate.set()
        self._path = folder / "ratemill.toml"
        self._path.write_text(
            CONFIG.format(
                kafka=stack.kafka, elasticsearch=stack.elasticsearch, name=self.name, partitions=PARTITIONS,
                replication_factor=stack.kafka_brokers, session_timeout_s=session_timeout_s, direct=DIRECT, hopped=HOPPED, rating=rating,
            )
        )  # fmt: skip
        self.config = load_config(str(self._path), environment={})

    def topic(self, name: str) -> str:
        """Full name of a topic."""
        return f"{self.name}.{self.beside if name in OWN_TOPICS else ''}{name}"

    def second(self, name: str) -> Bed:
        """Another Ratemill over the same log (raw topics, usage.events, prices, requests), with its own state, results, group and indexes."""
        other = copy(self)
        other.beside = f"{name}."
        other.workers, other._others, other._progress, other._read_to = [], [], {}, {}
        self._others.append(other)
        return other

    # -- workers -----------------------------------------------------------------------------------------------------

    def worker(
        self, name: str, *, failpoints: Sequence[dict[str, Any]] = (), breaks: Sequence[str] = (), agents: Sequence[str] = ALL_AGENTS,
        deaf_s: float = 0, lifetime_s: int = 240, step: int = 0, settings: dict[str, str] | None = None,
    ) -> Worker:  # fmt: skip
        """Start a worker; the same name finds the same data folder again. step: groups, or events, in one commit of a request's work.

        settings: more of its environment, such as {"RATEMILL_RATING__COMMIT_INTERVAL_S": "5"}.
        """
        spec = {
            "failpoints": list(failpoints), "breaks": list(breaks), "deaf_s": deaf_s, "lifetime_s": lifetime_s, "step": step,
            "beside": self.beside, "own": OWN_TOPICS,
        }  # fmt: skip
        log = self.folder / f"{self.beside}{name}-{len(self.workers)}.log"
        own = {"RATEMILL_KAFKA__GROUP": "second", "RATEMILL_ELASTICSEARCH__INDEX_PREFIX": self.index} if self.beside else {}
        made = Worker(name, self._path, self.data_dir(name), spec, agents, log, self.settings | own | (settings or {}))
        self.workers.append(made)
        return made

    def data_dir(self, name: str) -> Path:
        """Local disk of a worker."""
        return self.folder / "data" / f"{self.beside}{name}"

    @property
    def index(self) -> str:
        """First part of the names of its indexes."""
        return f"{self.name}-{self.beside}".rstrip(".-")

    # -- traffic -----------------------------------------------------------------------------------------------------

    async def publish_prices(self, prices: list[dict[str, Any]]) -> str:
        """Publish a price book, for the engine and for the oracle; returns its digest."""
        self.prices = prices
        text = yaml.safe_dump({"currency": "USD", "prices": prices}, sort_keys=False)
        self.digest = (await publish_book(self.config, text, "test", "test", "test")).digest
        return self.digest

    def start_traffic(self, per_second: float) -> None:
        """Publish in the background: slowly, so that the faults fall into it on any machine; `settle` publishes the rest at full speed."""
        self._per_second = per_second
        self._publishing = asyncio.get_running_loop().create_task(self._publish(self.traffic))

    async def _publish(self, messages: Sequence[Message]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.stack.kafka, acks="all", enable_idempotence=True, linger_ms=5)
        await producer.start()
        try:
            for at in range(0, len(messages), 50):
                await self._gate.wait()
                began = time.monotonic()
                for m in messages[at : at + 50]:
                    await producer.send(self.topic(m.topic), m.value, m.key, m.partition)
                await producer.flush()
                self.published += len(messages[at : at + 50])
                await asyncio.sleep(max(0.0, began + 50 / self._per_second - time.monotonic()))
        finally:
            await producer.stop()

    def hold_traffic(self) -> None:
        """Publish no more until `resume_traffic`."""
        self._gate.clear()

    def resume_traffic(self) -> None:
        """Go on publishing."""
        self._gate.set()

    async def traffic_done(self) -> None:
        """Publish the rest without a pause, once the faults are over, and wait for its end."""
        self._per_second = FULL_SPEED
        self.resume_traffic()
        if self._publishing is not None:
            await self._publishing

    @property
    def mid_run(self) -> bool:
        """True while traffic is under way: something was published, and not all."""
        return 0 < self.published < len(self.traffic)

    # -- reading -----------------------------------------------------------------------------------------------------

    async def read(self, *topics: str, committed: bool = True, since: Mapping[tuple[str, int], int] | None = None) -> list[Record]:
        """All records of topics, committed ones only or all, in log order within each partition.

        since: where to begin in some partitions, by topic as given here and partition.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.stack.kafka, enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level="read_committed" if committed else "read_uncommitted", fetch_max_wait_ms=50, max_partition_fetch_bytes=4 << 20,
        )  # fmt: skip
        await consumer.start()
        try:
            tps = [TopicPartition(self.topic(t), p) for t in topics for p in range(PARTITIONS)]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            await consumer.seek_to_beginning(*tps)
            for (topic, partition), offset in (since or {}).items():
                consumer.seek(TopicPartition(self.topic(topic), partition), offset)
            records: list[Record] = []
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for batch in (await consumer.getmany(*tps, timeout_ms=100, max_records=20_000)).values():
                    records += batch
        finally:
            await consumer.stop()
        return records

    async def open_transactions(self) -> list[str]:
        """Partitions whose readers wait for the end of a transaction: last stable offset below the high watermark."""
        ends = []
        for level in ("read_committed", "read_uncommitted"):
            consumer = AIOKafkaConsumer(bootstrap_servers=self.stack.kafka, enable_auto_commit=False, isolation_level=level)
            await consumer.start()
            try:
                topics = [self.topic(t) for t in ("usage.events", "usage.rated", "ratemill.state.progress")]
                tps = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
                consumer.assign(tps)
                consumer.pause(*tps)
                ends.append(await consumer.end_offsets(tps))
            finally:
                await consumer.stop()
        return [f"{tp.topic}-{tp.partition}: {stable} of {ends[1][tp]}" for tp, stable in ends[0].items() if stable < ends[1][tp]]

    async def progress(self) -> dict[str, dict[str, Any]]:
        """Last committed progress of every lane."""
        topic = "ratemill.state.progress"
        for r in await self.read(topic, since=self._read_to):  # tests ask often: what was read before is remembered
            self._progress[(r.key or b"").decode()] = r.value or b"{}"
            self._read_to[topic, r.partition] = r.offset + 1
        return {lane: json.loads(value) for lane, value in self._progress.items()}

    async def rated(self) -> int:
        """Events that rating has taken, as of its commits."""
        progress = await self.progress()
        return sum(source.get("received", 0) for lane, p in progress.items() if lane.startswith("rate-") for source in p.get("sources", {}).values())

    async def rated_beyond(self, events: int, within_s: float = 60) -> int:
        """Wait until rating has taken more than so many events; returns how many."""
        deadline = time.monotonic() + within_s
        while (now := await self.rated()) <= events:
            assert time.monotonic() < deadline, f"rating stays at {now} events (waited {within_s:.0f} s); seed {self.seed}, logs in {self.folder}"
            await asyncio.sleep(0.2)
        return now

    async def idle(self, within_s: float = 60) -> None:
        """Wait until what was published so far was normalized, rated and indexed; traffic must be held."""
        await asyncio.sleep(0.3)
        await self.caught_up(within_s, ALL_AGENTS)

    async def priced_by(self, digest: str, within_s: float = 60) -> None:
        """Wait until every rating lane has taken a price book over."""
        deadline = time.monotonic() + within_s
        while True:
            lanes = {lane: p for lane, p in (await self.progress()).items() if lane.startswith("rate-")}
            if len(lanes) == PARTITIONS and all(p.get("book") == digest and not p.get("repricing") for p in lanes.values()):
                return
            assert time.monotonic() < deadline, f"price book {digest[:12]} was not taken over: {lanes}; logs in {self.folder}"
            await asyncio.sleep(0.2)

    async def settle(self, within_s: float = 90, agents: Sequence[str] = ALL_AGENTS) -> None:
        """Wait until everything published was normalized, rated and indexed."""
        await self.traffic_done()
        await self.caught_up(within_s, agents)

    async def caught_up(self, within_s: float, agents: Sequence[str] = ALL_AGENTS) -> None:
        """Wait until what is in the raw topics now was normalized, rated and indexed."""
        deadline = time.monotonic() + within_s
        steps = {"normalize": [HOPPED], "rate": [DIRECT, "usage.events"], "index": ["usage.rated"]}
        for agent in agents:
            while behind := await self._behind(agent, steps[agent]):
                ended = [f"{w.name}: {w.status}" for w in self.workers if w.status not in (None, 0, -9)]
                where = f"seed {self.seed}; ended: {ended}; logs in {self.folder}"
                assert time.monotonic() < deadline, f"not done after {within_s:.0f} s: {behind}; {where}"
                await asyncio.sleep(0.3)

    async def _behind(self, agent: str, topics: Sequence[str]) -> list[str]:
        progress = await self.progress()
        reached: dict[tuple[str, int], int] = {}
        for topic, partition in product(topics, range(PARTITIONS)):
            full = self.topic(topic)
            lane = f"normalize-{full}-{partition}" if agent == "normalize" else f"{agent}-{partition}"
            reached[topic, partition] = progress.get(lane, {}).get("next_offsets", {}).get(full, 0)
        left = Counter((r.topic, r.partition) for r in await self.read(*topics, since=reached))
        return [f"{agent} has {count} records of {topic}-{partition} to go" for (topic, partition), count in left.items()]

    async def close(self) -> None:
        """End every process and task of this test."""
        for other in self._others:
            await other.close()
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)
        for worker in self.workers:
            await worker.kill()


@asynccontextmanager
async def bed(
    stack: Stack, folder: Path, seed: int, count: int = 6_000, session_timeout_s: float = 3, prices: Any = PRICES, rating: str = ""
) -> AsyncIterator[Bed]:
    """A test's own Ratemill: topics made, prices published, no worker yet. rating: more settings of that section, as TOML."""
    made = Bed(stack, folder, seed, count, session_timeout_s, rating)
    await ensure_topics(made.config)
    if prices:
        await made.publish_prices(prices)
    try:
        yield made
    finally:
        await made.close()
