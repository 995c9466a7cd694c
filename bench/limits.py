"""What the programs that try limits share: `soak`, `overload`, `outage`, `restore`, and those that measure like them.

Each starts what it needs on free ports in a folder of its own, runs the real worker, prints a table and what was checked, keeps the
figures as JSON in `bench/results/`, and exits with 0 only when every check holds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from elasticsearch import AsyncElasticsearch

from ..local.stack import Stack
from ..schemas.errors import RatemillError, Unavailable
from ..streams.config import Config
from ..streams.prices_topic import publish_book
from .broker import MAX_LIFETIME_S, work_dir
from .kafka_io import read_all
from .oracle import Expected, Item, Truth, compare
from .report import keep
from .run import Watch, configure, newest_rated, owned
from .shape import PARTITIONS, PRICES, price_book
from .worker import Worker

__all__ = [
    "AGENTS", "Check", "Outcome", "again", "command", "compare_documents", "drained", "own_stack", "parser",
    "rating_worker", "say", "stored", "truth_of", "waiting", "wrong_with",
]  # fmt: skip

AGENTS = ("normalize", "rate", "index")
# What counts as no lag: behind the last record of a partition stands the marker of its transaction, perhaps several.
MARKERS = 4 * PARTITIONS
STALLED_S = 300.0


class Check(NamedTuple):
    """One thing that had to hold."""

    what: str
    holds: bool
    found: str


class Outcome(NamedTuple):
    """What a program found."""

    checks: Sequence[Check]
    figures: Mapping[str, Any]  # for the JSON file


def say(line: str) -> None:
    """A status line on standard error."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def again(times: int, why: str) -> str:
    """How often partitions started again, and why the first one did."""
    return f"{times} times" + (f"; the first: {why}" if why else "")


def load() -> float:
    """Load average of the machine over the last minute; 0 where the system does not tell."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else 0.0


def parser(name: str, what: str | None) -> argparse.ArgumentParser:
    """Options that all of them have."""
    made = argparse.ArgumentParser(prog=f"python -m ratemill.bench.{name}", description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--dir", type=Path, metavar="DIR", help="keep logs and data here; by default a folder that is removed at the end")
    return made


def command(name: str, folder: Path | None, program: Callable[[Path], Coroutine[Any, Any, Outcome]]) -> int:
    """Run a program in its folder; print and keep what it found. Returns the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a polite end must still end the servers and the worker
    begin = load()
    try:
        with work_dir(folder) as place:
            outcome = asyncio.run(program(place))
    except RatemillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    file = keep(name, {**outcome.figures, "load": [begin, load()], "checks": [check._asdict() for check in outcome.checks]})
    print()
    for check in outcome.checks:
        print(f"{'OK  ' if check.holds else 'FAIL'} {check.what}: {check.found}")
    print(f"load of the machine: {begin} before, {load()} after; figures: {file.name}")
    return 0 if all(check.holds for check in outcome.checks) else 1


@contextmanager
def own_stack(folder: Path) -> Iterator[Stack]:
    """A Kafka and an Elasticsearch in the folder, ended and wiped afterwards."""
    stack = Stack(folder / "stack", max_lifetime=MAX_LIFETIME_S)
    try:
        stack.up(say)
        yield stack
    finally:
        stack.down(wipe=True)


@asynccontextmanager
async def rating_worker(
    folder: Path, raw: str, *, rating: Mapping[str, int] | None = None, metrics_port: int = 0
) -> AsyncIterator[tuple[Stack, Config, Worker, Watch]]:
    """One real worker with all three agents over a raw topic (named without the prefix), on a stack of its own; it owns its partitions."""
    with own_stack(folder) as stack:
        config = configure(folder / "run", stack.kafka, "hop", raw, stack.elasticsearch, rating=rating, metrics_port=metrics_port)
        await publish_book(config, price_book(), "bench.yaml", "bench", "bench")
        worker = Worker(folder / "run", AGENTS, None)
        try:
            await owned(worker, PARTITIONS * len(AGENTS))
            async with Watch(config) as watch:
                yield stack, config, worker, watch
        finally:
            worker.stop()


async def truth_of(bootstrap: str, topic: str) -> Expected:
    """What the oracle makes of a raw topic."""
    say("the oracle reads the raw topic")
    truth = Truth()
    async for records in read_all(bootstrap, topic, PARTITIONS):
        truth.add(r.value for r in records if r.value is not None)
    return truth.expected()


async def waiting(watch: Watch) -> int:
    """Records of usage.rated that the index agent has still to write to Elasticsearch."""
    return max(0, await watch.waiting() - MARKERS)


async def drained(watch: Watch, worker: Worker, events: int) -> float:
    """Wait until all events are rated and indexed; returns when that was so (monotonic). Raises Unavailable when nothing moves."""
    before, moved = (-1, -1), time.monotonic()
    told = 0.0
    while True:
        now = (await watch.poll(), await waiting(watch))
        if now[0] >= events and now[1] == 0:
            return time.monotonic()
        if now != before:
            before, moved = now, time.monotonic()
        worker.check()
        if time.monotonic() - moved > STALLED_S:
            raise Unavailable(f"{now[0]:,} of {events:,} events rated, {now[1]:,} line items not indexed, and nothing moves:\n{worker.log_end()}")
        if time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"rated {now[0]:,} of {events:,} events; {now[1]:,} line items to index")
        await asyncio.sleep(0.5)


async def wrong_with(config: Config, watch: Watch, expected: Expected) -> list[str]:
    """Everything in which the counters, usage.rated and Elasticsearch disagree with the oracle; [] when nothing does."""
    await watch.poll()
    wrong = watch.mismatches(expected)
    newest = await newest_rated(config)
    wrong += compare(expected, {sku.name: sku.tiers for sku in PRICES}, newest.items.values())
    documents: dict[str, Item] = {}
    for _ in range(60):  # the last commits of the index agent are a moment behind
        documents = await stored(config)
        if not (differing := compare_documents(newest.items, documents)):
            return wrong
        await asyncio.sleep(1)
    return wrong + differing


def compare_documents(rated: Mapping[str, Item], documents: Mapping[str, Item]) -> list[str]:
    """In what the documents of Elasticsearch are not the newest line items of usage.rated, in words."""
    differing = [id_ for id_ in rated.keys() | documents.keys() if rated.get(id_) != documents.get(id_)]
    if not differing:
        return []
    first = differing[0]
    return [f"{len(differing)} documents differ from usage.rated; the first: {documents.get(first)}, expected {rated.get(first)}"]


async def stored(config: Config) -> dict[str, Item]:
    """Every line item of the Elasticsearch indexes of a configuration, by its id."""
    found: dict[str, Item] = {}
    index = f"{config.elasticsearch.index_prefix}-line-items"
    async with AsyncElasticsearch(config.elasticsearch.url, request_timeout=60) as client:
        await client.indices.refresh(index=index)
        pit = (await client.open_point_in_time(index=index, keep_alive="2m"))["id"]
        after: list[Any] | None = None
        while True:
            kept = {"id": pit, "keep_alive": "2m"}
            hits = (await client.search(pit=kept, size=5_000, sort=[{"_shard_doc": "asc"}], search_after=after))["hits"]["hits"]
            for hit in hits:
                item = msgspec.convert(hit["_source"], type=Item)
                found[item.id] = item
            if len(hits) < 5_000:
                await client.close_point_in_time(id=pit)
                return found
            after = hits[-1]["sort"]
