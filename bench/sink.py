"""Line items into Elasticsearch: what the sink and the index agent reach of what Elasticsearch itself can take on this machine.

    python -m ratemill.bench.sink
    python -m ratemill.bench.sink --line-items 300000 --rounds 3

The same line items, three ways, in turn, each into an index with Ratemill's mapping:

    limit    ready-made bulk bodies, sent by the plain client: nothing is read or encoded in the measured time
    sink     ElasticsearchSink.write in this process, four writes at once as four lanes do, without Kafka
    agent    `ratemill worker --agents index` over `usage.rated` with these line items in four partitions, metrics and commits included

Then many restatements: a few line items, fifty revisions of each in `usage.rated`. What Elasticsearch was sent is asked of Elasticsearch (its
counts of indexing operations), and must be far fewer than the records; of one write exactly the newest revision of each.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil
from elasticsearch import AsyncElasticsearch

from ..local.stack import Stack
from ..sinks.documents import chunks, read_items
from ..sinks.elasticsearch import ElasticsearchSink
from ..sinks.metrics import CountingMetrics
from ..streams.config import Config
from ..streams.topics import Topics, ensure_topics
from .fill import PREFIX, RAW, producer_of
from .kafka_io import delete
from .limits import Check, Outcome, command, compare_documents, own_stack, parser, say, stored
from .month_items import MonthItems
from .oracle import latest
from .report import table
from .run import Watch, all_committed, configure, newest_rated, owned
from .shape import PARTITIONS
from .worker import Worker

__all__ = ["Way", "main", "revisions", "shares"]

WRITES_AT_ONCE = PARTITIONS
ITEMS_PER_WRITE = 4_000
IN_FLIGHT = 8  # bulk requests of the plain client
BULK_ITEMS, BULK_BYTES = 2_000, 4 << 20
RESTATED, REVISIONS = 2_000, 50
MOST_SENT = 0.4  # of the records of the restatements; it depends on how much waits when a write begins
WARM_UP = 50_000  # line items that are written before anything is measured
LIMIT, SINK, AGENT = "limit", "sink", "agent"


class Way(msgspec.Struct):
    """What one way reached."""

    way: str
    line_items: int
    wall_s: float
    cpu_s: float  # of the process that sends
    elasticsearch_cpu_s: float
    wrong: list[str]

    @property
    def per_s(self) -> float:
        """Documents a second."""
        return self.line_items / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        """Documents per CPU-second of the process that sends."""
        return self.line_items / max(self.cpu_s, 0.01)

    @property
    def per_server_s(self) -> float:
        """Documents per CPU-second of Elasticsearch."""
        return self.line_items / max(self.elasticsearch_cpu_s, 0.01)


def shares(ways: Sequence[Way]) -> dict[str, tuple[float, float]]:
    """(share of the limit's documents a second, share of its documents per CPU-second of Elasticsearch) of each way; medians of the rounds."""

    def median(way: str, figure: Callable[[Way], float]) -> float:
        return statistics.median(figure(each) for each in ways if each.way == way)

    def share(way: str, figure: Callable[[Way], float]) -> float:
        return median(way, figure) / median(LIMIT, figure)

    found = dict.fromkeys(each.way for each in ways)
    return {way: (share(way, lambda each: each.per_s), share(way, lambda each: each.per_server_s)) for way in found}


def revisions(items: Sequence[bytes], count: int) -> Iterable[list[bytes]]:
    """The same line items again and again, each time with a higher revision."""
    for revision in range(2, count + 2):
        yield [item.replace(b'"x_Revision":1,', b'"x_Revision":%d,' % revision) for item in items]


class _Server:
    """The CPU time of Elasticsearch."""

    def __init__(self, stack: Stack) -> None:
        process = psutil.Process(next(service.pid for service in stack.status().services if service.name == "elasticsearch"))
        self._family = [process, *process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Used so far, in seconds."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self._family))


async def _timed(way: str, count: int, server: _Server, work: Coroutine[Any, Any, list[str]]) -> Way:
    """Measure work that is done by this process."""
    begin, used, server_used = time.monotonic(), time.process_time(), server.cpu_s()
    wrong = await work
    return Way(way, count, time.monotonic() - begin, time.process_time() - used, server.cpu_s() - server_used, wrong)


def _prefix() -> str:
    return f"bench-{uuid.uuid4().hex[:8]}"


async def _limit(url: str, items: Sequence[bytes], server: _Server) -> Way:
    """Ready-made bodies by the plain client."""
    async with ElasticsearchSink(url, prefix=_prefix()) as sink, AsyncElasticsearch(url, request_timeout=60) as client:
        await sink.write(items[:1])  # makes the index of the month
        entries, _, _ = read_items(items)
        bodies = [body for _, body in chunks(entries, sink.names, BULK_ITEMS, BULK_BYTES)]
        left = iter(bodies)

        async def send() -> None:
            for body in left:
                await client.bulk(operations=body, filter_path=["errors"])  # type: ignore[arg-type]  # ready-made NDJSON

        async def send_all() -> list[str]:
            await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))
            return []

        found = await _timed(LIMIT, len(items), server, send_all())
        found.wrong += await _counted(client, sink.names.alias, len(items))
        await _drop(client, sink.names.pattern)
    return found


async def _sink(url: str, items: Sequence[bytes], server: _Server) -> Way:
    """The sink alone."""
    async with ElasticsearchSink(url, prefix=_prefix()) as sink:
        await sink.write(items[:1])
        left = iter(range(0, len(items), ITEMS_PER_WRITE))

        async def write() -> None:
            for at in left:
                await sink.write(items[at : at + ITEMS_PER_WRITE])

        async def write_all() -> list[str]:
            await asyncio.gather(*(write() for _ in range(WRITES_AT_ONCE)))
            return []

        found = await _timed(SINK, len(items), server, write_all())
        found.wrong += await _counted(sink.client, sink.names.alias, len(items))
        await _drop(sink.client, sink.names.pattern)
    return found


async def _drop(client: AsyncElasticsearch, pattern: str) -> None:
    for name in await client.indices.get(index=pattern):
        await client.indices.delete(index=name)


async def _counted(client: AsyncElasticsearch, alias: str, count: int) -> list[str]:
    await client.indices.refresh(index=alias)
    found = int((await client.count(index=alias))["count"])
    return [] if found == count else [f"{found:,} documents, expected {count:,}"]


async def _publish(config: Config, batches: Iterable[Sequence[bytes]]) -> int:
    """Line items into `usage.rated`, each account's in one partition. Returns how many."""
    await ensure_topics(config)
    topic, sent = Topics.of(config.kafka).rated, 0
    producer = producer_of(config.kafka.bootstrap)
    await producer.start()
    try:
        for items in batches:
            under_way = []
            for partition in range(PARTITIONS):
                batch = producer.create_batch()
                for item in items[partition::PARTITIONS]:
                    key = item[: item.index(b",")]  # any that is the same for each revision
                    if batch.append(key=key, value=item, timestamp=None) is None:
                        under_way.append(await producer.send_batch(batch, topic, partition=partition))
                        batch = producer.create_batch()
                        batch.append(key=key, value=item, timestamp=None)
                if batch.record_count():
                    under_way.append(await producer.send_batch(batch, topic, partition=partition))
            await asyncio.gather(*under_way)
            sent += len(items)
    finally:
        await producer.stop()
    return sent


async def _agent(stack: Stack, folder: Path, batches: Iterable[Sequence[bytes]], server: _Server) -> tuple[Way, Config]:
    """The index agent over a topic that is filled before it starts."""
    config = configure(folder, stack.kafka, "direct", RAW + "sink", stack.elasticsearch)
    await delete(stack.kafka, PREFIX)
    count = await _publish(config, batches)
    worker = Worker(folder, ("index",), None)
    try:
        async with Watch(config) as watch:
            begin, server_used = await owned(worker, PARTITIONS), server.cpu_s()
            end = await all_committed(watch, [worker], count, "index")
            found = Way(AGENT, count, end - begin.at, worker.usage().cpu_s - begin.cpu_s, server.cpu_s() - server_used, [])
            if (dead := sum(watch.total("index", "dead_lettered"))) > 0:
                found.wrong.append(f"{dead:,} dead letters")
    finally:
        worker.stop()
    found.wrong += compare_documents((await newest_rated(config)).items, await stored(config))
    return found, config


async def _operations(url: str, config: Config) -> int:
    """Documents that Elasticsearch was sent for the indexes of a configuration: those it took, and those it had newer."""
    async with AsyncElasticsearch(url) as client:
        found = await client.indices.stats(index=f"{config.elasticsearch.index_prefix}-line-items-*", metric="indexing")
    indexing = found["_all"]["primaries"]["indexing"]
    return int(indexing["index_total"]) + int(indexing["index_failed"])


async def _restated(stack: Stack, folder: Path, server: _Server) -> tuple[list[Check], dict[str, Any]]:
    """Many revisions of a few line items."""
    items = [item for chunk in MonthItems(RESTATED).chunks() for item in chunk][:RESTATED]
    few = items[:80]
    flush = [item for revision in revisions(few, REVISIONS) for item in revision]
    counts = CountingMetrics()
    async with ElasticsearchSink(stack.elasticsearch, prefix=_prefix(), metrics=counts) as sink:
        await sink.write(flush)
        stats = await sink.client.indices.stats(index=sink.names.pattern, metric="indexing")
        sent_at_once = int(stats["_all"]["primaries"]["indexing"]["index_total"])
        await _drop(sink.client, sink.names.pattern)
    newest = latest(flush).items
    say(f"sink: {REVISIONS} revisions of {len(items):,} line items in usage.rated")
    way, config = await _agent(stack, folder / "restated", revisions(items, REVISIONS), server)
    sent, records = await _operations(stack.elasticsearch, config), len(items) * REVISIONS
    checks = [
        Check("of one write, only the newest revision of each is sent", sent_at_once == len(newest) == len(few),
              f"{len(flush):,} line items, {len(few)} of them different: {sent_at_once} sent"),
        Check(f"of {REVISIONS} revisions in the topic at most {MOST_SENT:.0%} are sent", sent <= MOST_SENT * records,
              f"{records:,} records, {sent:,} documents sent, {sent / records:.1%}; {records / way.wall_s:,.0f} records/s"),
        Check("each document is the newest revision", not way.wrong, "; ".join(way.wrong) or f"{len(items):,} documents"),
    ]  # fmt: skip
    return checks, {"restated": way, "records": records, "sent": sent}


async def _measure(folder: Path, line_items: int, rounds: int) -> Outcome:
    items = [item for chunk in MonthItems(line_items).chunks() for item in chunk]
    ways: list[Way] = []
    with own_stack(folder) as stack:
        server = _Server(stack)
        await _sink(stack.elasticsearch, items[:WARM_UP], server)  # Elasticsearch compiles its code
        for round_ in range(1, rounds + 1):
            for step in (_limit, _sink)[:: 1 if round_ % 2 else -1]:  # neither is always the first
                ways.append(await step(stack.elasticsearch, items, server))
                say(f"sink: round {round_}, {ways[-1].way}: {ways[-1].per_s:,.0f} documents/s")
            batches = (items[at : at + 10_000] for at in range(0, len(items), 10_000))
            way, config = await _agent(stack, folder / "agent", batches, server)
            ways.append(way)
            say(f"sink: round {round_}, {AGENT}: {way.per_s:,.0f} documents/s")
            async with AsyncElasticsearch(stack.elasticsearch) as client:
                await _drop(client, f"{config.elasticsearch.index_prefix}-line-items-*")
        checks, figures = await _restated(stack, folder, server)
    part = shares(ways)
    _show(ways)
    wrong = [f"{way.way}: {line}" for way in ways for line in way.wrong]
    for name in (SINK, AGENT):
        print(f"{name}: {part[name][0]:.0%} of the limit's documents a second, {part[name][1]:.0%} of its documents per CPU-second of Elasticsearch")
    checks.insert(0, Check("every line item is a document, as it was written", not wrong, "; ".join(wrong) or f"{len(items):,} each time"))
    return Outcome(checks, {"ways": ways, "shares": part, **figures})


def _show(ways: Sequence[Way]) -> None:
    rows = []
    for w in ways:
        per = (f"{w.per_s:,.0f}", f"{w.per_cpu_s:,.0f}", f"{w.per_server_s:,.0f}")
        rows.append((w.way, f"{w.line_items:,}", f"{w.wall_s:.1f}", f"{w.cpu_s:.1f}", f"{w.elasticsearch_cpu_s:.1f}", *per))
    columns = ("way", "line items", "wall s", "CPU s", "Elasticsearch CPU s", "a second", "per CPU-s", "per CPU-s of Elasticsearch")
    table("Line items into Elasticsearch, nothing pinned", columns, rows)


def main() -> int:
    """Run what was asked for; 1 when a check fails."""
    options = parser("sink", __doc__)
    options.add_argument("--line-items", type=int, default=100_000, metavar="N", help="written each time (default: 100,000)")
    options.add_argument("--rounds", type=int, default=2, metavar="R", help="of the three ways in turn (default: 2)")
    given = options.parse_args()
    if given.line_items < ITEMS_PER_WRITE or given.rounds < 1:
        options.error(f"--line-items must be at least {ITEMS_PER_WRITE:,} and --rounds at least 1")
    return command("sink", given.dir, lambda folder: _measure(folder, given.line_items, given.rounds))


if __name__ == "__main__":
    sys.exit(main())
