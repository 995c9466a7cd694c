"""Event to `usage.rated` and event to visible in Elasticsearch, at shares of what the machine can sustain.

    python -m ratemill.bench.latency_by_load
    python -m ratemill.bench.latency_by_load --capacity 6000 --shares 50 --seconds 120

One real worker with all three agents, through normalize, so the longest way. First the capacity is found, unless it is given: rates are
offered for a while each, one event per record, accounts and SKUs at random, so nearly every event restates a line item of its own. A rate is
sustained when everything is rated and indexed at most five seconds later after its end than after that of the lowest. Then each share of it
is offered. 50 events a second are markers: a reader of `usage.rated` (read_committed) and searches every 50 ms note when each marker shows
there for the first time. Nothing is pinned: broker, Elasticsearch, worker, producer, reader and searches share the machine.
"""

from __future__ import annotations

import asyncio
import math
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from ..local.stack import Stack
from ..streams.config import Config
from ..streams.topics import Topics
from .fill import PREFIX, RAW
from .latency import POLL_S, Machine, Markers, percentile
from .limits import Check, Outcome, again, command, drained, parser, rating_worker, say, truth_of, wrong_with
from .overload import sustainable
from .paced import TICKS_PER_S, Pacing, marker_prefix
from .report import table
from .run import Watch
from .worker import Worker

__all__ = ["Percentiles", "delays_in", "main", "percentiles"]

RATES = (1_000, 2_000, 3_000, 4_000, 6_000, 8_000, 10_000, 12_000, 15_000, 20_000, 25_000, 30_000)
STEP_S = 20
LATE_S = 2.0  # further behind its schedule the producer did not offer the rate
WARM_UP_S = 5
AIM_SHARE, AIM_S = 50, 2.0  # at half the capacity, 99% are visible within this
MISSING_AFTER_S = 60.0


class Percentiles(msgspec.Struct):
    """Of delays, in seconds."""

    p50: float
    p99: float
    p999: float
    longest: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.2f} s, p99 {self.p99:.2f} s, p99.9 {self.p999:.2f} s"


class Level(msgspec.Struct):
    """What was measured at one share of the capacity."""

    share: int  # percent
    rate: int
    events: int
    markers: int
    rated: Percentiles
    visible: Percentiles
    producer_late_s: float
    cpu_s: dict[str, float]
    machine_s: float


def percentiles(delays: Sequence[float]) -> Percentiles:
    """Nearest rank; a marker that never came counts as infinitely late."""
    found = [percentile(list(delays), share) for share in (0.5, 0.99, 0.999, 1.0)]
    return Percentiles(*(round(value, 3) for value in found))


def delays_in(values: Sequence[bytes], prefix: str, now_ns: int) -> dict[int, float]:
    """The markers of a run among line items, and how many seconds ago each was produced."""
    found: dict[int, float] = {}
    account = re.compile(rb'"BillingAccountId":"' + re.escape(prefix).encode() + rb'([0-9]+)-([0-9]+)"')
    for value in values:
        if (match := account.search(value)) is not None:
            found.setdefault(int(match[1]), (now_ns - int(match[2])) / 1e9)
    return found


class _Rated:
    """Reads `usage.rated` from its present end on, and notes when each marker of a run came."""

    def __init__(self, config: Config, first: int) -> None:
        self._topic, self._partitions = Topics.of(config.kafka).rated, config.kafka.partitions
        self._prefix = marker_prefix(first)
        self._consumer: Any = AIOKafkaConsumer(
            bootstrap_servers=config.kafka.bootstrap, enable_auto_commit=False, isolation_level="read_committed", fetch_max_wait_ms=50
        )
        self._reading: asyncio.Task[None] | None = None
        self.delays: dict[int, float] = {}

    async def __aenter__(self) -> _Rated:
        await self._consumer.start()
        tps = [TopicPartition(self._topic, p) for p in range(self._partitions)]
        self._consumer.assign(tps)
        await self._consumer.seek_to_end(*tps)
        self._reading = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
        await self._consumer.stop()

    async def _read(self) -> None:
        while True:
            fetched = await self._consumer.getmany(timeout_ms=50, max_records=2_000)
            values = [record.value for records in fetched.values() for record in records if record.value is not None]
            for number, delay in delays_in(values, self._prefix, time.time_ns()).items():
                self.delays.setdefault(number, delay)


class _Bed:
    """The worker, and what was offered to it."""

    def __init__(self, stack: Stack, config: Config, worker: Worker, watch: Watch) -> None:
        self.stack, self.config, self.worker, self.watch = stack, config, worker, watch
        self.sent = 0
        self._raw = next(iter(Topics.of(config.kafka).raw))

    def _pacing(self, rate: int, seconds: int) -> Pacing:
        return Pacing(self.stack.kafka, self._raw, rate, seconds, self.sent)

    async def offer(self, rate: int, seconds: int) -> tuple[float, float]:
        """Offer a rate: (seconds until all was rated and indexed, seconds that the producer was late at most)."""
        async with self._pacing(rate, seconds) as producer:
            sent = await producer.sent()
        self.sent += int(sent["events"])
        ended = time.monotonic()
        return await drained(self.watch, self.worker, self.sent) - ended, sent["latest_tick_s"]

    async def level(self, share: int, rate: int, seconds: int) -> Level:
        """Offer a rate, and follow its markers."""
        say(f"latency: {share}% of the capacity, {rate:,} events/s for {WARM_UP_S} s of warm-up and {seconds} s")
        total = (WARM_UP_S + seconds) * TICKS_PER_S
        markers = Markers(self.stack.elasticsearch, self.config, self.sent)
        machine = Machine(self.stack, self.worker)
        try:
            async with _Rated(self.config, self.sent) as rated, self._pacing(rate, WARM_UP_S + seconds) as producer:
                ended = 0.0
                while min(len(markers.delays), len(rated.delays)) < total:
                    self.worker.check()
                    await markers.poll()
                    if not producer.running:
                        ended = ended or time.monotonic()
                        if time.monotonic() - ended > MISSING_AFTER_S:
                            break
                    await asyncio.sleep(POLL_S)
                cpu, machine_s = machine.used()
                sent = await producer.sent()
        finally:
            await markers.close()
        self.sent += int(sent["events"])
        await drained(self.watch, self.worker, self.sent)
        measured = range(WARM_UP_S * TICKS_PER_S, total)
        seen = [percentiles([by.get(number, math.inf) for number in measured]) for by in (rated.delays, markers.delays)]
        found = Level(share, rate, int(sent["events"]), len(measured), seen[0], seen[1], round(sent["latest_tick_s"], 2), cpu, machine_s)
        say(f"latency: {share}%: rated {found.rated}; visible {found.visible}")
        return found


async def _capacity(bed: _Bed) -> tuple[int, dict[int, list[float]]]:
    """The greatest rate that is sustained, and the seconds that each tried one took to drain."""

    async def step(rate: int) -> float:
        took, late = await bed.offer(rate, STEP_S)
        say(f"latency: {rate:,} events/s for {STEP_S} s: drained after {took:.1f} s, the producer at most {late:.1f} s late")
        return took if late <= LATE_S else math.inf

    # Later than by a tenth of the time it fell behind all the while, and no share of such a rate is what it says.
    return await sustainable(step, RATES, STEP_S / 10)


async def _levels(folder: Path, capacity: int, shares: Sequence[int], seconds: int) -> Outcome:
    raw = RAW + "latency"
    async with rating_worker(folder, raw) as (stack, config, worker, watch):
        bed = _Bed(stack, config, worker, watch)
        await bed.offer(RATES[0], WARM_UP_S)  # the index of the month is made, code paths are warm
        tried = dict[int, list[float]]()
        if not capacity:
            capacity, tried = await _capacity(bed)
        say(f"latency: the capacity is {capacity:,} events/s")
        levels = [await bed.level(share, max(TICKS_PER_S, capacity * share // 100), seconds) for share in shares]
        wrong = await wrong_with(config, watch, await truth_of(stack.kafka, PREFIX + raw))
    _show(levels)
    checks = [Check(f"{level.share}%: every marker came", math.isfinite(level.visible.longest) and math.isfinite(level.rated.longest),
                    f"{level.markers:,} markers") for level in levels]  # fmt: skip
    checks += [Check(f"{AIM_SHARE}%: p99 to visible under {AIM_S:g} s", level.visible.p99 < AIM_S, f"{level.visible.p99:.2f} s")
               for level in levels if level.share == AIM_SHARE]  # fmt: skip
    checks.append(Check("no partition started again", worker.restarts == 0, again(worker.restarts, worker.why_again)))
    checks.append(Check("nothing lost, nothing doubled", not wrong, "; ".join(wrong) or f"{bed.sent:,} events; the oracle agrees"))
    return Outcome(checks, {"capacity": capacity, "tried": tried, "levels": levels})


def _show(levels: Sequence[Level]) -> None:
    rows = []
    for level in levels:
        figures = [f"{value:.2f}" for each in (level.rated, level.visible) for value in msgspec.structs.astuple(each)]
        used = [f"{level.cpu_s.get(name, 0):.0f}" for name in ("worker", "kafka", "elasticsearch", "everything else")]
        rows.append((f"{level.share}%, {level.rate:,} events/s", *figures, *used, f"{level.machine_s:.0f}"))
    seconds = ("p50 s", "p99 s", "p99.9 s", "max s")
    columns = ("load", *(f"rated {s}" for s in seconds), *(f"visible {s}" for s in seconds), "worker CPU s", "Kafka", "Elasticsearch", "else", "of")
    table("Latency: from the producer to usage.rated, and to a search in Elasticsearch", columns, rows)


def main() -> int:
    """Run what was asked for; 1 when a check fails."""
    options = parser("latency_by_load", __doc__)
    options.add_argument("--capacity", type=int, default=0, metavar="N", help="events/s that are sustained; by default it is found first")
    options.add_argument("--shares", default="10,50,80", metavar="P,…", help="percent of the capacity (default: 10,50,80)")
    options.add_argument("--seconds", type=int, default=60, metavar="S", help="how long each share is measured (default: 60)")
    given = options.parse_args()
    try:
        shares = [int(share) for share in given.shares.split(",")]
    except ValueError:
        options.error(f"--shares {given.shares}: whole percents with commas between them, such as 10,50,80")
    if given.capacity < 0 or given.seconds < 1 or not all(0 < share <= 100 for share in shares):
        options.error("--capacity must not be negative, --seconds at least 1, and --shares 1 to 100")
    return command("latency_by_load", given.dir, lambda folder: _levels(folder, given.capacity, shares, given.seconds))


if __name__ == "__main__":
    sys.exit(main())
