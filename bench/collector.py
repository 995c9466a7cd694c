"""What the collector SDK costs: CPU time of making, accepting and delivering an event. `python -m ratemill.bench.collector [--kafka]`

Accepting is measured with a target that acknowledges at once; --kafka delivers to an embedded Kafka as well. CPU time is that of the whole process:
the thread that delivers is in it. Wall time says what the disk's fsync takes, and little else.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ..collectors.sdk import AsyncPublisher, Event, KafkaTarget, Outcome, Publisher, Target, usage
from ..collectors.sdk.spool import Row
from ..local.stack import Stack

ACCOUNTS = 200


class Nowhere:
    """Acknowledges everything."""

    def connect(self) -> Nowhere:
        return self

    def deliver(self, rows: Sequence[Row]) -> Outcome:
        return Outcome(list(rows), [])

    def close(self) -> None:
        pass


def made(count: int) -> list[Event]:
    """Events of many accounts, as a collector of resources makes them."""
    return [
        usage(
            account=f"account-{n % ACCOUNTS}", source="bench/collector", resource=f"i-{n:012d}", sku="compute.hours", quantity="0.25", unit="Hours",
            start="2026-11-27T10:00:00Z", end="2026-11-27T10:15:00Z", provider="aws", region="eu-west-1", dimensions={"tier": "hot"},
        )
        for n in range(count)
    ]  # fmt: skip


def measured(name: str, events: int, work: Callable[[], object]) -> None:
    """Do something, and print what it took for each event."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{name}: cpu_us={1e6 * cpu / events:.2f} wall_us={1e6 * wall / events:.2f} events={events}", flush=True)


def published(target: Target, spool: Path, events: Sequence[Event], at_once: int, fsync: bool = True) -> None:
    """Accept all, so many at once, and wait until they are acknowledged."""
    with Publisher(target, spool, fsync=fsync) as publisher:
        for at in range(0, len(events), at_once):
            publisher.put_many(events[at : at + at_once])
        assert publisher.flush(300), publisher.metrics()


async def published_async(spool: Path, events: Sequence[Event]) -> None:
    """Each put by a task of its own, 1,000 of them at a time."""
    async with AsyncPublisher(Nowhere(), spool) as publisher:
        for at in range(0, len(events), 1_000):
            await asyncio.gather(*(publisher.put(event) for event in events[at : at + 1_000]))


def main() -> None:
    """Measure, and print a line for each case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kafka", action="store_true", help="deliver to an embedded Kafka as well")
    asked = parser.parse_args()
    count = asked.events
    measured("usage()", count, lambda: made(count))
    events = made(count)
    print(f"bytes_of_an_event={len(events[0].body)}")
    with TemporaryDirectory() as name:
        folder = Path(name)
        measured("put", count // 50, lambda: published(Nowhere(), folder / "one", events[: count // 50], 1))
        measured("put fsync=False", count // 50, lambda: published(Nowhere(), folder / "fast", events[: count // 50], 1, fsync=False))
        for at_once in (100, 1_000):
            measured(f"put_many {at_once}", count, lambda at_once=at_once: published(Nowhere(), folder / f"m{at_once}", events, at_once))  # type: ignore[misc]
        measured("AsyncPublisher.put", count, lambda: asyncio.run(published_async(folder / "async", events)))
        if asked.kafka:
            _with_kafka(folder, events)


def _with_kafka(folder: Path, events: Sequence[Event]) -> None:
    stack = Stack(folder / "stack", max_lifetime=600)
    stack.up()
    try:
        compressions: tuple[Literal["gzip", "lz4", "zstd"] | None, ...] = (None, "gzip", "lz4", "zstd")
        for compression in compressions:
            target = KafkaTarget(stack.kafka, f"bench-{compression}", compression=compression)
            asyncio.run(_make_topic(target))
            work = lambda target=target: published(target, folder / f"k{target.compression}", events, 1_000)  # noqa: E731
            measured(f"put_many 1000, Kafka, {compression}", len(events), work)
    finally:
        stack.down(wipe=True)


async def _make_topic(target: KafkaTarget) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=target.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(target.topic, 8, 1)])
    finally:
        await admin.close()


if __name__ == "__main__":
    main()
