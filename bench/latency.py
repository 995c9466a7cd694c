"""Event to visible: from the moment an event is handed to the Kafka producer until a search in Elasticsearch finds its line item.

A steady stream of events comes from a process of its own; 50 of them a second are markers, each the only event of its account. The
bench asks Elasticsearch for markers again and again, and notes when it sees each for the first time. Nothing is pinned: broker,
Elasticsearch, worker, producer and searches share the machine.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from pathlib import Path

import msgspec
import psutil
from elasticsearch import ApiError, AsyncElasticsearch

from ..local.stack import Stack
from ..streams.config import Config
from ..streams.prices_topic import publish_book
from .broker import MAX_LIFETIME_S, Say
from .fill import PREFIX, RAW
from .kafka_io import read_all
from .oracle import Expected, expect
from .paced import TICKS_PER_S, Pacing, marker_prefix
from .run import Watch, configure, owned, verify
from .shape import PARTITIONS, price_book
from .worker import Worker

__all__ = ["LatencyResult", "Machine", "Markers", "percentile", "run_latency"]

AGENTS = ("normalize", "rate", "index")
RATE = 5_000
WARM_UP_S = 10
MEASURED_S = 60
POLL_S = 0.05
MISSING_AFTER_S = 240.0


class LatencyResult(msgspec.Struct):
    """What the latency run measured. Seconds."""

    events: int
    events_per_s: float
    producer_late_s: float
    markers: int
    p50_s: float
    p99_s: float
    max_s: float
    p99_each_10_s: list[float]
    cpu_s: dict[str, float]  # of the worker, the servers, and everything else on this machine
    machine_s: float  # CPU seconds that all cores together had
    documents: int
    restarts: int
    mismatches: list[str]


def percentile(values: list[float], share: float) -> float:
    """Nearest rank: the smallest value that at least this share of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


class Machine:
    """CPU seconds of the servers, the worker and the rest of the machine, since it was made."""

    def __init__(self, stack: Stack, worker: Worker) -> None:
        self._processes = {service.name: psutil.Process(service.pid) for service in stack.status().services}
        self._worker = worker
        self._begin, self._began = self._now(), time.monotonic()

    def _now(self) -> dict[str, float]:
        used = {"worker": self._worker.usage().cpu_s}
        for name, process in self._processes.items():
            family = [process, *process.children(recursive=True)]  # a bound on its life makes the server a child of another process
            used[name] = sum(t.user + t.system for t in (p.cpu_times() for p in family))
        machine = psutil.cpu_times()._asdict()
        used["everything else"] = sum(machine[kind] for kind in ("user", "nice", "system", "irq", "softirq") if kind in machine) - sum(used.values())
        return used

    def used(self) -> tuple[dict[str, float], float]:
        """(CPU seconds by part, CPU seconds that the machine had)."""
        machine = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return {name: round(seconds - self._begin[name], 1) for name, seconds in self._now().items()}, round(machine, 1)


class Markers:
    """The markers of one run of `paced` that Elasticsearch has shown so far."""

    def __init__(self, url: str, config: Config, first: int = 0) -> None:
        self._client = AsyncElasticsearch(url, max_retries=0, request_timeout=30)
        self._index = f"{config.elasticsearch.index_prefix}-line-items"
        self._prefix = marker_prefix(first)
        self.delays: dict[int, float] = {}
        self._lowest = 0  # all below have been seen

    async def poll(self) -> None:
        """Search once, and note the delay of each marker seen for the first time."""
        wanted = {"range": {"BillingAccountId": {"gte": f"{self._prefix}{self._lowest:06d}", "lt": self._prefix + "~"}}}
        try:
            answer = await self._client.search(
                index=self._index, query=wanted, size=10_000, source=False, docvalue_fields=[{"field": "BillingAccountId"}],
                track_total_hits=False, ignore_unavailable=True, allow_no_indices=True,
            )  # fmt: skip
        except ApiError as error:
            if error.status_code == 503:  # the index was made just now and has no shard to search yet: nothing is visible
                return
            raise
        now_ns = time.time_ns()
        for hit in answer["hits"]["hits"]:
            number, produced_ns = hit["fields"]["BillingAccountId"][0].removeprefix(self._prefix).split("-")
            self.delays.setdefault(int(number), (now_ns - int(produced_ns)) / 1e9)
        while self._lowest in self.delays:
            self._lowest += 1

    async def documents(self) -> int:
        """Line items in the index, searchable."""
        await self._client.indices.refresh(index=self._index)
        return int((await self._client.count(index=self._index))["count"])

    async def close(self) -> None:
        await self._client.close()


async def _follow(markers: Markers, producer: Pacing, worker: Worker, expected_markers: int, watch: Watch, say: Say) -> None:
    """Poll until the producer has ended and all markers were seen, or too long nothing came. Every 10 s, say how far each agent is."""
    ended = None
    told = time.monotonic()
    while len(markers.delays) < expected_markers:
        worker.check()
        await markers.poll()
        if time.monotonic() - told >= 10:
            told = time.monotonic()
            await watch.poll()
            stages = ", ".join(f"{agent} {sum(watch.total(agent, 'received')):,}" for agent in AGENTS)
            say(f"latency: committed by {stages}; markers visible {len(markers.delays):,}")
        if ended is None and not producer.running:
            ended = time.monotonic()
        if ended is not None and time.monotonic() - ended > MISSING_AFTER_S:
            return
        await asyncio.sleep(POLL_S)


async def _measure(stack: Stack, folder: Path, say: Say) -> LatencyResult:
    raw = RAW + "latency"
    config = configure(folder, stack.kafka, "hop", raw, stack.elasticsearch)
    await publish_book(config, price_book(), "bench.yaml", "bench", "bench")
    worker = Worker(folder, AGENTS, None)
    markers = Markers(stack.elasticsearch, config)
    seconds = WARM_UP_S + MEASURED_S
    try:
        await owned(worker, PARTITIONS * len(AGENTS))
        say(f"latency: {RATE:,} events/s for {WARM_UP_S} s of warm-up and {MEASURED_S} s")
        async with Pacing(stack.kafka, PREFIX + raw, RATE, seconds) as producer:
            machine = Machine(stack, worker)
            async with Watch(config) as watch:
                await _follow(markers, producer, worker, seconds * TICKS_PER_S, watch, say)
            cpu, machine_s = machine.used()
            paced = await producer.sent()
        expected = await _expected(stack.kafka, PREFIX + raw)
        async with Watch(config) as watch:
            deadline = time.monotonic() + MISSING_AFTER_S
            while await watch.poll() < expected.received and time.monotonic() < deadline:
                worker.check()
            wrong = watch.mismatches(expected)
        _, distinct, _, more = await verify(config, expected)
        documents = await _settled(markers, distinct)
    finally:
        worker.stop()
        await markers.close()
    wrong += more
    if documents != distinct:
        wrong.append(f"{documents} line items in Elasticsearch, {distinct} on the rated topic")
    if (missing := seconds * TICKS_PER_S - len(markers.delays)) > 0:
        wrong.append(f"{missing} markers never became visible")
    measured = range(WARM_UP_S * TICKS_PER_S, seconds * TICKS_PER_S)
    delays = [markers.delays.get(number, math.inf) for number in measured]  # one that never came is later than any
    return LatencyResult(
        events=int(paced["events"]), events_per_s=round(paced["events"] / paced["seconds"], 1), producer_late_s=round(paced["latest_tick_s"], 3),
        markers=len(delays), p50_s=round(percentile(delays, 0.5), 2), p99_s=round(percentile(delays, 0.99), 2), max_s=round(max(delays), 2),
        p99_each_10_s=_p99_each_10_s(markers.delays), cpu_s=cpu, machine_s=machine_s, documents=documents, restarts=worker.restarts, mismatches=wrong,
    )  # fmt: skip


def _p99_each_10_s(delays: dict[int, float]) -> list[float]:
    slices: dict[int, list[float]] = {}
    for number, delay in delays.items():
        slices.setdefault(number // (10 * TICKS_PER_S), []).append(delay)
    return [round(percentile(slices[at], 0.99), 2) for at in sorted(slices)]


async def _expected(bootstrap: str, topic: str) -> Expected:
    return expect([r.value async for records in read_all(bootstrap, topic, PARTITIONS) for r in records if r.value is not None])


async def _settled(markers: Markers, distinct: int) -> int:
    """Number of documents, once it is that of the rated topic or has had its time."""
    deadline = time.monotonic() + MISSING_AFTER_S
    while (documents := await markers.documents()) != distinct and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    return documents


def run_latency(folder: Path, say: Say) -> LatencyResult:
    """Start a Kafka and an Elasticsearch of its own, measure, and end them."""
    stack = Stack(folder / "stack", max_lifetime=MAX_LIFETIME_S)
    try:
        stack.up(say)
        return asyncio.run(_measure(stack, folder / "run-latency", say))
    finally:
        stack.down(wipe=True)
