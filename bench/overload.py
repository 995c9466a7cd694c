"""Ten times the load that can be sustained, for five minutes: nothing is lost, memory stays bounded, and it recovers.

    python -m ratemill.bench.overload --minutes 5 --share 0.15

One real worker with all three agents, on a Kafka and an Elasticsearch of its own. The worker gets a stated share of one processor (share.py), so
that the machine can offer ten times what it sustains; everything else has what is left. First the sustainable rate is found: rates are offered for a
while each, and one is sustained when everything is rated and indexed at most five seconds later after its end than after that of the lowest, three
times out of three: at the edge of what a worker can do, once is chance. Then
ten times the greatest of them is offered, by a process of its own, as compressed batches. Whether the machine could offer so much is a check of its
own. Then capacity is added, as one would: the limit is lifted until everything is rated and indexed. With the limit in force again the sustainable
rate must be sustained as before, by the median of three. --share 0 takes the whole machine throughout.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer

from ..local.ports import free_ports
from ..local.stack import Stack
from ..schemas.errors import Unavailable
from ..streams.config import Config
from ..streams.lanes.base import QUEUED_RECORDS
from ..streams.topics import Topics
from ..streams.transport import RECORDS_PER_FETCH
from .apart import Apart
from .fill import RAW
from .limits import AGENTS, Check, Outcome, again, command, drained, parser, rating_worker, say, waiting, wrong_with
from .many import Many
from .memory import overloaded
from .probe import Metrics
from .report import table
from .run import Watch
from .share import share_of
from .worker import Worker

__all__ = ["main", "sustainable"]

RATES = (100, 250, 500, 1_000, 1_500, 2_000, 3_000, 4_000, 6_000, 8_000, 12_000, 16_000, 24_000)
STEP_S = 20.0
SUSTAINED_S = 5.0
TRIES = 3
TICK_S = 0.25
EVERY_S = 5.0
QUEUED = QUEUED_RECORDS + RECORDS_PER_FETCH  # records in a lane: its limit and one fetch more


class Look(msgspec.Struct):
    """One look at the worker under overload."""

    at_s: float
    offered: int
    rated: int
    waiting: int
    rss_mb: float
    queued: int
    cpu_s: float  # that it had used


async def _offer(bootstrap: str, topic: str, hour: int, first: int, rate: int, seconds: float) -> None:
    """The producer's process: publish events from number `first` on at a rate, and print what was reached."""
    many = Many(hour=hour)
    many.next = first
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, compression_type="lz4", max_batch_size=1 << 20, max_request_size=8 << 20
    )
    await producer.start()
    begin = time.monotonic()
    try:
        while (passed := time.monotonic() - begin) < seconds:
            due = first + int(min(seconds, passed + TICK_S) * rate)
            # At most a second's worth at once: what cannot be kept up with is not offered later.
            count = min(due - many.next, rate)
            await many.send(producer, topic, range(many.next, many.next + count))
            many.next += count
            if (early := begin + (many.next - first) / rate - time.monotonic()) > 0:
                await asyncio.sleep(min(early, TICK_S))
    finally:
        await producer.stop()
    print(json.dumps({"events": many.next - first, "seconds": round(time.monotonic() - begin, 2)}))


class _Bed:
    """The worker and what was offered to it."""

    def __init__(self, stack: Stack, config: Config, worker: Worker, watch: Watch) -> None:
        self.stack, self.config, self.worker, self.watch = stack, config, worker, watch
        self.sent = 0
        self.truth = Many()
        self.looks: list[Look] = []

    async def offer(self, rate: int, seconds: float, metrics_port: int = 0) -> dict[str, float]:
        """Offer a rate for a while, looking at the worker meanwhile if a port is given."""
        raw = next(iter(Topics.of(self.config.kafka).raw))
        async with Apart("overload", "--offer", self.stack.kafka, raw, self.truth.hour, self.sent, rate, seconds) as producer:
            ended = asyncio.ensure_future(producer.sent())
            while not ended.done():
                await asyncio.wait([ended], timeout=EVERY_S)
                if metrics_port:
                    await self.look(metrics_port)
            offered = await ended
        self.sent += int(offered["events"])
        return offered

    async def look(self, port: int) -> None:
        """Note how the worker is."""
        self.worker.check()
        metrics = await asyncio.to_thread(Metrics, port)
        rated = await self.watch.poll()
        look = Look(
            at_s=round(time.monotonic(), 1), offered=await self.watch.published(), rated=rated, waiting=await waiting(self.watch),
            rss_mb=round(self.worker.resident_bytes() / 1e6, 1), queued=int(metrics.greatest("ratemill_queued_records")),
            cpu_s=round(self.worker.usage().cpu_s, 2),
        )  # fmt: skip
        self.looks.append(look)
        if len(self.looks) % 6 == 1:
            say(f"overload: {look.offered:,} records offered, {look.rated:,} events rated, {look.waiting:,} line items to index, "
                f"memory {look.rss_mb:,.0f} MB, fullest queue {look.queued:,}")  # fmt: skip


    async def step(self, rate: int) -> float:
        """Offer a rate for a while; returns the seconds from then until everything was rated and indexed."""
        await self.offer(rate, STEP_S)
        ended = time.monotonic()
        took = round(await drained(self.watch, self.worker, self.sent) - ended, 1)
        say(f"overload: {rate:,} events/s for {STEP_S:g} s: drained after {took} s")
        return took


async def sustainable(
    step: Callable[[int], Awaitable[float]], rates: Sequence[int] = RATES, within_s: float = SUSTAINED_S
) -> tuple[int, dict[int, list[float]]]:
    """The greatest rate that is sustained, and the seconds that each tried one took to drain, each time.

    step: offers a rate, returns these seconds. rates: in events/s, ascending. within_s: how much longer than the lowest one may take.
    """
    tried = dict[int, list[float]]()
    for rate in rates:
        tried[rate] = [await step(rate)]
        if tried[rate][0] > tried[rates[0]][0] + within_s:
            break
    lowest = tried[rates[0]][0]
    for rate in sorted(tried, reverse=True):
        while max(tried[rate]) <= lowest + within_s:
            if len(tried[rate]) == TRIES:
                return rate, tried
            tried[rate].append(await step(rate))
    return rates[0], tried


class _Found(NamedTuple):
    """What was seen of an overload, beside the looks. Times in seconds, from the end of the load on."""

    sustained: int
    tried: dict[int, list[float]]
    offered: dict[str, float]
    share: float  # of a processor, that the worker used under overload
    calm_mb: float  # before it
    behind: int
    rated_s: float
    drained_s: float
    again_s: list[float]  # what the sustainable rate took to drain afterwards


async def _scene(bed: _Bed, port: int, minutes: float, times: float, sustained: int, share: float) -> _Found:
    """Find what is sustained, overload, add capacity, drain, and see that it is as before."""
    worker = bed.worker
    with share_of(worker.pid, share):
        await bed.offer(RATES[0], 5)  # the index of the month is made, code paths are warm
        await drained(bed.watch, worker, bed.sent)
        if sustained:
            tried = {sustained: [await bed.step(sustained) for _ in range(TRIES)]}
        else:
            sustained, tried = await sustainable(bed.step)
        say(f"overload: {sustained * times:,.0f} events/s for {minutes:g} minutes")
        calm = worker.resident_bytes() / 1e6
        offered = await bed.offer(round(sustained * times), minutes * 60, port)
        ended, used = time.monotonic(), _used(bed.looks)
        behind = bed.sent - await bed.watch.poll()
    say(f"overload: {behind:,} events wait" + ("; the limit of the worker is lifted" if share else ""))
    rated_s = await _rated(bed, port) - ended
    drained_s = await drained(bed.watch, worker, bed.sent) - ended
    with share_of(worker.pid, share):
        again_s = [await bed.step(sustained) for _ in range(TRIES)]
    return _Found(sustained, tried, offered, used, calm, behind, rated_s, drained_s, again_s)


def _used(looks: list[Look]) -> float:
    """The share of a processor that the worker used since the first events were offered: until then it had nothing to do."""
    loaded = [look for look in looks if look.offered > looks[0].offered]
    if len(loaded) < 2:
        return 0.0
    return (loaded[-1].cpu_s - loaded[0].cpu_s) / (loaded[-1].at_s - loaded[0].at_s)


async def _overload(folder: Path, minutes: float, times: float, sustained: int, share: float) -> Outcome:
    port = free_ports(1)[0]
    async with rating_worker(folder, RAW + "overload", metrics_port=port) as (stack, config, worker, watch):
        bed = _Bed(stack, config, worker, watch)
        found = await _scene(bed, port, minutes, times, sustained, share)
        bed.truth.next = bed.sent
        wrong = await wrong_with(config, watch, bed.truth.expected(bed.sent, 0))
        peak = worker.peak_bytes() / 1e6
    parts = {"before": found.calm_mb, **overloaded(config, len(AGENTS))}
    _show(bed.looks)
    table("Memory that is allowed, MB", tuple(parts), [tuple(f"{part:,.0f}" for part in parts.values())])
    checks = _judged(bed, found, times, share, (peak, sum(parts.values())), wrong)
    return Outcome(checks, {**found._asdict(), "limit": share, "peak_mb": round(peak), "allowed_mb": parts, "looks": bed.looks})


def _judged(bed: _Bed, found: _Found, times: float, share: float, memory: tuple[float, float], wrong: list[str]) -> list[Check]:
    sustained, offered, before_s = found.sustained, found.offered, found.tried[found.sustained]
    reached = offered["events"] / offered["seconds"]
    queued = max(look.queued for look in bed.looks)
    peak, allowed = memory
    limit = f"{share:g} are the limit, lifted while it drained" if share else "no limit was set"
    return [
        Check("the worker had no more than its share", not share or found.share <= 1.1 * share,  # less, if a busy machine has no more for it
              f"{found.share:.3f} of a processor under overload; {limit}"),
        Check(f"{times:g} times the sustainable load was offered", reached >= 0.95 * sustained * times,
              f"{reached:,.0f} events/s for {offered['seconds']:,.0f} s, {reached / sustained:.1f} times the {sustained:,} that are sustained"),
        Check("it was too much", found.behind > sustained * SUSTAINED_S, f"{found.behind:,} events were not rated when the load ended"),
        Check("memory stayed bounded", peak <= allowed, f"{peak:,.0f} MB at most (allowed {allowed:,.0f}), {found.calm_mb:,.0f} before"),
        Check("queues stayed bounded", queued <= QUEUED, f"{queued:,} records in the fullest (allowed {QUEUED:,}); the others waited in Kafka"),
        Check("it recovered", median(found.again_s) <= median(before_s) + SUSTAINED_S,
              f"everything rated {found.rated_s:.0f} s after the load ended, and indexed after {found.drained_s:.0f} s; "
              f"{found.behind / max(found.rated_s, 1):,.0f} events/s meanwhile; then {sustained:,} events/s were drained after "
              f"{_list(found.again_s)} s, before the overload after {_list(before_s)} s"),
        Check("no partition started again", bed.worker.restarts == 0, again(bed.worker.restarts, bed.worker.why_again)),
        Check("nothing lost, nothing doubled", not wrong, "; ".join(wrong) or f"{bed.sent:,} events; every document is the line item of usage.rated"),
    ]  # fmt: skip


async def _rated(bed: _Bed, port: int) -> float:
    """Wait until everything is rated; returns when it was (monotonic). Raises Unavailable when nothing moves."""
    moved, done = time.monotonic(), -1
    told = moved
    while (now := await bed.watch.poll()) < bed.sent:
        if now != done:
            done, moved = now, time.monotonic()
        if time.monotonic() - moved > 120:
            raise Unavailable(f"{now:,} of {bed.sent:,} events are rated, and nothing moves:\n{bed.worker.log_end()}")
        if time.monotonic() - told > EVERY_S:
            told = time.monotonic()
            await bed.look(port)
        await asyncio.sleep(0.2)
    return time.monotonic()


def _list(seconds: list[float]) -> str:
    return ", ".join(f"{each:g}" for each in seconds)


def _show(looks: list[Look]) -> None:
    rows = []
    for look in looks[:: max(1, len(looks) // 25)]:
        at = f"{look.at_s - looks[0].at_s:.0f}"
        rows.append((at, f"{look.offered:,}", f"{look.rated:,}", f"{look.waiting:,}", f"{look.rss_mb:,.0f}", f"{look.queued:,}"))
    table("Overload: one worker, all agents", ("s", "records offered", "events rated", "to index", "memory MB", "fullest queue"), rows)


def main() -> int:
    """Run what was asked for; 1 when a check fails."""
    if sys.argv[1:2] == ["--offer"]:  # the producer's process
        bootstrap, topic, hour, first, rate, seconds = sys.argv[2:]
        asyncio.run(_offer(bootstrap, topic, int(hour), int(first), int(rate), float(seconds)))
        return 0
    options = parser("overload", __doc__)
    options.add_argument("--minutes", type=float, default=5, metavar="M", help="how long the overload lasts (default: 5)")
    options.add_argument("--times", type=float, default=10, metavar="X", help="how many times the sustainable rate (default: 10)")
    options.add_argument("--sustained", type=int, default=0, metavar="N", help="the sustainable rate in events/s; by default it is found first")
    options.add_argument("--share", type=float, default=0.15, metavar="S",
                         help="of one processor for the worker while a rate is offered; 0: no limit (default: 0.15)")  # fmt: skip
    given = options.parse_args()
    if given.minutes <= 0 or given.times <= 1 or given.sustained < 0 or not 0 <= given.share <= 1:
        options.error("--minutes must be more than 0, --times more than 1, --sustained not negative and --share between 0 and 1")
    return command("overload", given.dir, lambda folder: _overload(folder, given.minutes, given.times, given.sustained, given.share))


if __name__ == "__main__":
    sys.exit(main())
