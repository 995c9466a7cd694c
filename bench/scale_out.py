"""One, two and four workers over few and many partitions, and how long partitions stand still while a worker joins and leaves.

    python -m ratemill.bench.scale_out
    python -m ratemill.bench.scale_out --partitions 8 --workers 1,2 --rounds 3
    python -m ratemill.bench.scale_out --only rebalance

Throughput: the job of the bench (direct path, one event per record). The events lie in a Kafka transaction that is committed once all
workers own their partitions, so that all begin at once, and nothing is rated before. Each worker is pinned to one core, in turn; the broker
has all cores, so on a machine of two cores two workers share them with it: the wall shows that, events per CPU-second of the workers do not.

Rebalance: a worker under a steady load; a second one joins, leaves (SIGTERM), joins again and is killed (SIGKILL). The pause is the longest time
between two commits of one partition, read from the progress records of the workers' transactions.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..schemas.errors import Unavailable
from ..streams.prices_topic import publish_book
from ..streams.progress import decode_progress
from ..streams.topics import Topics, ensure_topics
from .broker import Broker, kafka
from .calibrate import calibrate
from .fill import PREFIX, RAW, producer_of, publish, raw_topic
from .gaps import longest_gap, settled, speedup
from .kafka_io import delete, read_all
from .limits import Check, Outcome, again, command, parser, say, truth_of
from .oracle import Expected, Truth
from .report import table
from .run import OWNED_WITHIN_S, SETTLE_S, Watch, all_committed, configure, copied, verify
from .shape import Shape, events, last_hour, price_book
from .steady import Producing
from .worker import Worker

__all__ = ["main"]

LEAST_SPEEDUP = 1.8  # of two workers, by CPU-seconds
TRANSACTION_MS = 600_000
RATE = 1_000  # events/s while workers join and leave
ALONE, JOINED, LEFT, BACK, KILLED = "alone", "a second joins", "it leaves (SIGTERM)", "it joins again", "it is killed (SIGKILL)"
AFTERWARDS_S = 10.0  # what is watched of each behind the moment in which all partitions are owned again
# A session must run out (10 s) until a killed worker's partitions move.
LONGEST_PAUSE_S = {ALONE: 5.0, JOINED: 15.0, LEFT: 15.0, BACK: 15.0, KILLED: 30.0}


class _Options(NamedTuple):
    """What the command line said."""

    events: int
    partitions: Sequence[int]
    workers: Sequence[int]
    rounds: int
    only: str | None


class Scaled(msgspec.Struct):
    """One run of several workers."""

    partitions: int
    workers: int
    events: int
    wall_s: float
    cpu_s: float  # of all workers
    events_per_cpu_s: int
    calibration: int
    peak_mb: int  # of all workers
    restarts: int
    wrong: list[str]


class Pause(msgspec.Struct):
    """The longest pause of a partition in one span."""

    what: str
    seconds: float
    lane: str


async def _settled(workers: Sequence[Worker], partitions: int) -> None:
    """Wait until all partitions are owned, by all of the workers."""
    deadline = time.monotonic() + OWNED_WITHIN_S
    while True:
        found = [settled(worker.log.read_bytes()) if worker.log.exists() else None for worker in workers]
        if sum(lanes or 0 for lanes in found) == partitions and all(found):
            return
        for worker in workers:
            worker.check()
        if time.monotonic() > deadline:
            raise Unavailable(f"the workers own {found} of {partitions} partitions; the end of the first one's log:\n{workers[0].log_end()}")
        await asyncio.sleep(0.2)


def _started(folders: Sequence[Path], cores: Sequence[int]) -> list[Worker]:
    return [Worker(folder, ("rate",), {cores[at % len(cores)]} if cores else None) for at, folder in enumerate(folders)]


async def _run(broker: Broker, folder: Path, shape: Shape, workers: int, truth: tuple[Expected, int]) -> Scaled:
    """So many workers over the whole topic."""
    expected, end_s = truth
    folders = [folder / f"worker-{number}" for number in range(workers)]
    config = configure(folders[0], broker.bootstrap, "direct", raw_topic(shape), partitions=shape.partitions)
    for other in folders[1:]:
        copied(folders[0], config, other)
    await delete(broker.bootstrap, PREFIX)
    await ensure_topics(config)
    await publish_book(config, price_book(), "bench.yaml", "bench", "bench")
    producer = producer_of(broker.bootstrap, transactional_id="bench-fill", transaction_timeout_ms=TRANSACTION_MS)
    await producer.start()
    started: list[Worker] = []
    try:
        await producer.begin_transaction()
        await publish(producer, PREFIX + raw_topic(shape), shape, end_s, lambda line: None)
        cores = sorted(os.sched_getaffinity(0), reverse=True) if hasattr(os, "sched_getaffinity") else []
        speed = calibrate()
        started += _started(folders, cores)
        await _settled(started, shape.partitions)
        async with Watch(config) as watch:
            before, restarts = [worker.usage() for worker in started], sum(worker.restarts for worker in started)
            begin = time.monotonic()
            await producer.commit_transaction()
            end = await all_committed(watch, started, shape.events)
            await asyncio.sleep(SETTLE_S)
            cpu = sum(worker.usage().cpu_s - was.cpu_s for worker, was in zip(started, before, strict=True))
            peak = sum(worker.peak_bytes() for worker in started)
            wrong = watch.mismatches(expected)
    finally:
        for worker in started:
            worker.stop()
        await producer.stop()
    wrong += (await verify(config, expected))[3]
    found = Scaled(
        shape.partitions, workers, shape.events, round(end - begin, 2), round(cpu, 2), round(shape.events / cpu), speed, round(peak / 1e6),
        sum(worker.restarts for worker in started) - restarts, wrong,
    )  # fmt: skip
    say(f"scale_out: {workers} workers, {shape.partitions} partitions: {found.events_per_cpu_s:,} events per CPU-second, {found.wall_s} s")
    return found


async def _throughput(broker: Broker, folder: Path, given: _Options) -> list[Scaled]:
    found, end_s, truth = [], last_hour(), Truth()
    for chunk in events(Shape(given.events), end_s):
        truth.add(value for _, value in chunk)
    expected = truth.expected()
    for _ in range(given.rounds):
        for number in given.partitions:
            for many in given.workers:
                found.append(await _run(broker, folder, Shape(given.events, partitions=number), many, (expected, end_s)))
    return found


async def _rebalance(broker: Broker, folder: Path) -> tuple[list[Pause], list[Check]]:
    """Let a second worker come and go under load."""
    raw, first = RAW + "rebalance", folder / "first"
    config = configure(first, broker.bootstrap, "direct", raw)
    await delete(broker.bootstrap, PREFIX)
    await ensure_topics(config)
    await publish_book(config, price_book(), "bench.yaml", "bench", "bench")
    second = folder / "second"
    copied(first, config, second)
    workers = [Worker(first, ("rate",), None)]
    begins: dict[str, float] = {}
    turns: dict[str, Callable[[], None]] = {
        ALONE: lambda: None, JOINED: lambda: workers.append(Worker(second, ("rate",), None)), LEFT: lambda: workers.pop().stop(),
        BACK: lambda: workers.append(Worker(second, ("rate",), None)), KILLED: lambda: workers.pop().kill(),
    }  # fmt: skip
    try:
        await _settled(workers, config.kafka.partitions)
        async with Producing(broker.bootstrap, PREFIX + raw, RATE, 3_600) as producer, Watch(config) as watch:
            await asyncio.sleep(5)
            for what, turn in turns.items():
                say(f"scale_out: {what}")
                begins[what] = time.time()
                await asyncio.to_thread(turn)
                await _settled(workers, config.kafka.partitions)
                say(f"scale_out: all partitions owned after {time.time() - begins[what]:.1f} s")
                await asyncio.sleep(AFTERWARDS_S)
            ends = [*list(begins.values())[1:], time.time()]
            sent = await producer.end()
            await all_committed(watch, workers[:1], int(sent["events"]))
            expected = await truth_of(broker.bootstrap, PREFIX + raw)
            wrong = watch.mismatches(expected)
        wrong += (await verify(config, expected))[3]
    finally:
        for worker in workers:
            worker.stop()
    commits: dict[str, list[float]] = {}
    async for records in read_all(broker.bootstrap, Topics.of(config.kafka).progress, config.kafka.partitions):
        for record in records:
            commits.setdefault(decode_progress(record.value).lane, []).append(record.timestamp / 1e3)
    pauses = []
    for (what, begin), end in zip(begins.items(), ends, strict=True):
        seconds, lane = longest_gap(commits, begin, end)
        pauses.append(Pause(what, round(seconds, 2), lane))
    checks = [Check(f"pause while {p.what}" if p.what != ALONE else "commits of a worker alone", p.seconds <= LONGEST_PAUSE_S[p.what],
                    f"{p.seconds:.1f} s at most between two commits of {p.lane} (allowed {LONGEST_PAUSE_S[p.what]:g})") for p in pauses]  # fmt: skip
    checks.append(Check("nothing lost, nothing doubled over the rebalances", not wrong, "; ".join(wrong) or f"{expected.received:,} events"))
    return pauses, checks


def _median(found: Sequence[Scaled], partitions: int, workers: int) -> float:
    return statistics.median(run.events_per_cpu_s for run in found if (run.partitions, run.workers) == (partitions, workers))


def _judged(found: Sequence[Scaled]) -> list[Check]:
    wrong = [f"{run.workers} workers, {run.partitions} partitions: {line}" for run in found for line in run.wrong]
    restarts = sum(run.restarts for run in found)
    checks = [Check("every total is right", not wrong, "; ".join(wrong) or f"{len(found)} runs"),
              Check("no partition started again", restarts == 0, again(restarts, ""))]  # fmt: skip
    grid = dict.fromkeys((run.partitions, run.workers) for run in found)
    for partitions, workers in grid:
        if workers == 2 and (partitions, 1) in grid:
            times = speedup(_median(found, partitions, 1), _median(found, partitions, 2), 2)
            checks.append(Check(f"2 workers over {partitions} partitions are worth at least {LEAST_SPEEDUP:g}, by CPU-seconds",
                                times >= LEAST_SPEEDUP, f"{times:.2f}"))  # fmt: skip
    return checks


def _show(found: Sequence[Scaled], pauses: Sequence[Pause]) -> None:
    if found:
        rows = []
        for run in found:
            alone = [r for r in found if r.partitions == run.partitions and r.workers == 1]
            worth = f"{speedup(_median(found, run.partitions, 1), run.events_per_cpu_s, run.workers):.2f}" if alone else ""
            took = (f"{run.events:,}", f"{run.wall_s:.1f}", f"{run.events / run.wall_s:,.0f}", f"{run.cpu_s:.1f}", f"{run.events_per_cpu_s:,}")
            rest = (worth, f"{run.calibration:,}", f"{run.peak_mb:,}", "MISMATCH" if run.wrong else "OK")
            rows.append((f"{run.workers} over {run.partitions}", *took, *rest))
        columns = ("workers over partitions", "events", "wall s", "a second", "CPU s", "per CPU-s", "worth", "bare loop", "peak MB", "checks")
        table("Scale-out: direct path, one event per record", columns, rows)
    if pauses:
        table("Longest pause of a partition", ("while", "s", "of"), [(p.what, f"{p.seconds:.1f}", p.lane) for p in pauses])


async def _scale_out(folder: Path, given: _Options) -> Outcome:
    found: list[Scaled] = []
    pauses: list[Pause] = []
    checks: list[Check] = []
    with kafka(folder, None, say) as broker:
        if given.only in (None, "throughput"):
            found = await _throughput(broker, folder / "run", given)
            checks += _judged(found)
        if given.only in (None, "rebalance"):
            pauses, more = await _rebalance(broker, folder / "run")
            checks += more
    _show(found, pauses)
    return Outcome(checks, {"runs": found, "pauses": pauses})


def main() -> int:
    """Run what was asked for; 1 when a check fails."""
    options = parser("scale_out", __doc__)
    options.add_argument("--events", type=int, default=500_000, metavar="N", help="of each run (default: 500,000)")
    options.add_argument("--partitions", default="8,64", metavar="P,…", help="of every topic (default: 8,64)")
    options.add_argument("--workers", default="1,2,4", metavar="W,…", help="how many at once (default: 1,2,4)")
    options.add_argument("--rounds", type=int, default=1, metavar="R", help="runs of each, interleaved (default: 1)")
    options.add_argument("--only", choices=["throughput", "rebalance"], help="one part only")
    given = options.parse_args()
    try:
        partitions, workers = ([int(number) for number in text.split(",")] for text in (given.partitions, given.workers))
    except ValueError:
        options.error("--partitions and --workers: numbers with commas between them, such as 8,64")
    if min(*partitions, *workers, given.events, given.rounds) < 1 or max(workers) > min(partitions):
        options.error("everything must be at least 1, and no worker without a partition")
    wanted = _Options(given.events, partitions, workers, given.rounds, given.only)
    return command("scale_out", given.dir, lambda folder: _scale_out(folder, wanted))


if __name__ == "__main__":
    sys.exit(main())
