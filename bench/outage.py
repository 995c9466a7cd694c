"""Elasticsearch away for ten minutes under steady load: rating goes on, memory stays bounded, and afterwards everything becomes visible.

    python -m ratemill.bench.outage --minutes 10

One real worker with all three agents, on a Kafka and an Elasticsearch of its own. Elasticsearch is killed (SIGKILL) a minute after the load began,
and started again on its data; the load goes on until everything has been indexed. Then the oracle compares everything.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ..local.ports import free_ports
from ..local.stack import Stack
from ..schemas.errors import Unavailable
from ..streams.config import Config
from ..streams.topics import Topics
from .fill import PREFIX, RAW
from .limits import AGENTS, Check, Outcome, again, command, drained, parser, rating_worker, say, truth_of, waiting, wrong_with
from .memory import without_elasticsearch
from .probe import Metrics
from .report import table
from .run import Watch
from .steady import Producing
from .worker import Worker

__all__ = ["main"]

WARM_UP_S = 300.0  # a worker grows in its first minutes whatever happens (docs/limits.md): what it has then is no measure
EVERY_S = 5.0
DRAIN_WITHIN_S = 900.0
AFTER_S = 30.0
BEFORE, AWAY, BACK = "before", "away", "back"
FRESH_S = 5.0  # seconds from an event's arrival to its rating, as a median over the outage; or what it was before, if the machine is that busy


class Look(msgspec.Struct):
    """One look at the worker."""

    phase: str
    at_s: float
    rss_mb: float
    queued: int  # records in the fullest queue
    waiting: int  # line items not yet indexed
    told: int  # the same as the worker's metrics tell it: what an alarm would see
    normalize_s: float  # from arrival to commit, mean over the commits since the look before
    rate_s: float


class _Eye:
    """Takes looks."""

    def __init__(self, worker: Worker, port: int, watch: Watch, rated: str) -> None:
        self._worker, self._port, self._watch, self._rated = worker, port, watch, rated
        self._begin = time.monotonic()
        self._before: dict[str, tuple[float, float]] = {}
        self.looks: list[Look] = []

    async def look(self, phase: str) -> Look:
        self._worker.check()
        metrics = await asyncio.to_thread(Metrics, self._port)
        stages = {}
        for agent in ("normalize", "rate"):
            total, count = (metrics.total(f"ratemill_stage_seconds_{part}", agent=agent) for part in ("sum", "count"))
            old_total, old_count = self._before.get(agent, (0.0, 0.0))
            self._before[agent] = total, count
            stages[agent] = round((total - old_total) / max(1.0, count - old_count), 2)
        await self._watch.poll()
        at_s, rss_mb = round(time.monotonic() - self._begin, 1), round(self._worker.resident_bytes() / 1e6, 1)
        queued = int(metrics.greatest("ratemill_queued_records"))
        told = int(metrics.total("ratemill_lag_records", topic=self._rated))
        found = Look(phase, at_s, rss_mb, queued, await waiting(self._watch), told, stages["normalize"], stages["rate"])
        self.looks.append(found)
        if len(self.looks) % 6 == 1:
            say(f"outage: Elasticsearch {phase}; memory {found.rss_mb:,.0f} MB, event to rated {found.normalize_s + found.rate_s:.1f} s, "
                f"{found.waiting:,} line items wait")  # fmt: skip
        return found

    async def keep_looking(self, phase: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(EVERY_S)
            await self.look(phase)


async def _scene(stack: Stack, eye: _Eye, minutes: float) -> tuple[float, float]:
    """Before, away, back: (seconds that Elasticsearch took to answer, seconds from then until no more waited than before)."""
    await eye.keep_looking(BEFORE, WARM_UP_S)
    usual = max(look.waiting for look in eye.looks)  # under load some are always on their way
    say(f"outage: killing Elasticsearch for {minutes:g} minutes")
    await asyncio.to_thread(stack.kill, "elasticsearch")
    await eye.keep_looking(AWAY, minutes * 60)
    begin = time.monotonic()
    await asyncio.to_thread(stack.restart, "elasticsearch", say)
    answered = time.monotonic()
    while (await eye.look(BACK)).waiting > usual:
        if time.monotonic() - answered > DRAIN_WITHIN_S:
            raise Unavailable(f"{eye.looks[-1].waiting:,} line items still wait {DRAIN_WITHIN_S:.0f} s after Elasticsearch came back")
        await asyncio.sleep(1)
    drained_at = time.monotonic()
    await eye.keep_looking(BACK, AFTER_S)
    return answered - begin, drained_at - answered


async def _outage(folder: Path, minutes: float, rate: int) -> Outcome:
    port, raw = free_ports(1)[0], RAW + "outage"
    most = minutes * 60 + WARM_UP_S + DRAIN_WITHIN_S + 300
    async with (
        rating_worker(folder, raw, metrics_port=port) as (stack, config, worker, watch),
        Producing(stack.kafka, PREFIX + raw, rate, most) as producer,
    ):
        eye = _Eye(worker, port, watch, Topics.of(config.kafka).rated)
        back_s, drain_s = await _scene(stack, eye, minutes)
        sent = await producer.end()
        wrong, duplicates = await _compared(config, watch, worker, int(sent["events"]))
    more = without_elasticsearch(config, len(AGENTS), round((eye.looks[-1].at_s - WARM_UP_S) * rate))
    return _judged(eye.looks, (minutes, rate, back_s, drain_s), sent, wrong, duplicates, (worker.restarts, worker.why_again), more)


async def _compared(config: Config, watch: Watch, worker: Worker, events: int) -> tuple[list[str], int]:
    await drained(watch, worker, events)
    expected = await truth_of(config.kafka.bootstrap, next(iter(Topics.of(config.kafka).raw)))
    return await wrong_with(config, watch, expected), expected.duplicates


def _judged(
    looks: list[Look], how: tuple[float, int, float, float], sent: dict[str, float], wrong: list[str], duplicates: int, restarts: tuple[int, str],
    more: Mapping[str, float],
) -> Outcome:  # fmt: skip
    minutes, rate, back_s, drain_s = how
    rows = []
    for phase in (BEFORE, AWAY, BACK):
        its = [look for look in looks if look.phase == phase]
        fresh = [look.normalize_s + look.rate_s for look in its]
        most = (max(figures) for figures in ([look.rss_mb for look in its], *zip(*[(k.queued, k.waiting, k.told) for k in its], strict=True)))
        rows.append((phase, f"{len(its)}", f"{statistics.median(fresh):.1f}", f"{max(fresh):.1f}", *(f"{figure:,.0f}" for figure in most)))
    columns = ("Elasticsearch", "looks", "event to rated: median s", "longest s", "greatest memory MB", "fullest queue", "to index", "lag metric")
    table(f"An outage of {minutes:g} minutes at {rate:,} events/s", columns, rows)
    table("Memory that is allowed beyond what it was before, MB", tuple(more), [tuple(f"{part:,.0f}" for part in more.values())])
    away = [look for look in looks if look.phase == AWAY]
    allowed = sum(more.values())
    calm = max(look.rss_mb for look in looks if look.phase == BEFORE)
    peak = max(look.rss_mb for look in looks if look.phase != BEFORE)
    meanwhile, usual = (statistics.median([look.normalize_s + look.rate_s for look in looks if look.phase == phase]) for phase in (AWAY, BEFORE))
    checks = [
        Check("rating went on", meanwhile <= max(FRESH_S, usual), f"{meanwhile:.1f} s from arrival to rating in the median, {usual:.1f} s before"),
        Check("memory stayed bounded", peak - calm <= allowed, f"{calm:,.0f} MB before, at most {peak:,.0f} from then on (+{allowed:.0f} allowed)"),
        Check("line items waited", away[-1].waiting > 0, f"{away[-1].waiting:,} when Elasticsearch came back, which took {back_s:.0f} s"),
        Check("metrics told of it", away[-1].told > away[-1].waiting / 2, f"ratemill_lag_records {away[-1].told:,} when {away[-1].waiting:,} waited"),
        Check("it drained", True, f"{drain_s:.0f} s after Elasticsearch answered, the load going on"),
        Check("no partition started again", restarts[0] == 0, again(*restarts)),
        Check("nothing lost, nothing doubled", not wrong,
              "; ".join(wrong) or f"{sent['events']:,} events with {duplicates:,} duplicates; every document is the line item of usage.rated"),
    ]  # fmt: skip
    figures = {"minutes": minutes, "rate": rate, "back_s": round(back_s, 1), "drain_s": round(drain_s, 1), "allowed_mb": more,
               "sent": sent, "looks": looks}
    return Outcome(checks, figures)


def main() -> int:
    """Run what was asked for; 1 when a check fails."""
    options = parser("outage", __doc__)
    options.add_argument("--minutes", type=float, default=10, metavar="M", help="how long Elasticsearch is away (default: 10)")
    options.add_argument("--rate", type=int, default=1_000, metavar="N", help="events per second (default: 1,000)")
    given = options.parse_args()
    if given.minutes <= 0.2 or given.rate < 10:
        options.error("--minutes must be more than 0.2 and --rate at least 10")
    return command("outage", given.dir, lambda folder: _outage(folder, given.minutes, given.rate))


if __name__ == "__main__":
    sys.exit(main())
