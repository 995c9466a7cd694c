"""`make soak`: a steady load for half an hour, in which memory, file handles and RocksDB must stay what they are.

    python -m ratemill.bench.soak --minutes 30
    python -m ratemill.bench.soak --minutes 12 --rebalance       a second worker joins and leaves once a minute
    python -m ratemill.bench.soak --never-forget                 what the verdict must catch: buckets are not dropped; exits with 1

One real worker with all three agents, on a Kafka and an Elasticsearch of its own. The dedupe window is short, so that identities fall out of
it again and again; accounts, SKUs and hours are few, so that nothing else grows. At the end the oracle compares everything.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import msgspec

from ..local.stack import Stack
from ..streams.config import Config
from ..streams.topics import Topics
from .fill import PREFIX, RAW
from .flatness import FEWEST, Tolerance, judge
from .limits import AGENTS, Check, Outcome, again, command, drained, parser, rating_worker, say, truth_of, waiting, wrong_with
from .probe import Probe, Sample
from .report import table
from .run import Watch, copied
from .steady import Producing
from .worker import Worker

__all__ = ["main"]

DEDUPE_S = 180  # buckets of 90 s; remembered for 270 to 360 s
WARM_UP_S = 900.0  # by then buckets are dropped, and bounded caches are full, those of RocksDB and our own: docs/limits.md has the course
EVERY_S = 10.0
NEVER_S = 35 * 86_400
TOLERANCES = {
    "rss_mb": Tolerance(0.05, 8), "files": Tolerance(0, 12), "sockets": Tolerance(0, 2), "other": Tolerance(0, 2), "threads": Tolerance(0, 2),
    "state_mb": Tolerance(0.10, 3), "behind": Tolerance(0, 5_000), "waiting": Tolerance(0, 5_000),
}  # fmt: skip
TITLES = {
    "rss_mb": "resident memory, MB", "files": "open files", "sockets": "sockets", "other": "other descriptors", "threads": "threads",
    "state_mb": "RocksDB, MB", "behind": "events not yet rated", "waiting": "line items not yet indexed",
}  # fmt: skip


async def _soak(folder: Path, minutes: float, rate: int, rebalance: bool, never_forget: bool) -> Outcome:
    raw = RAW + "soak"
    rating = {"dedupe_window_s": NEVER_S if never_forget else DEDUPE_S}
    async with rating_worker(folder, raw, rating=rating) as (stack, config, worker, watch):
        second = _Second(folder, config) if rebalance else None
        try:
            say(f"soak: {rate:,} events/s for {minutes:g} minutes")
            samples, sent = await _run(stack, config, worker, watch, (minutes * 60, rate), second)
            await drained(watch, worker, int(sent["events"]))
            expected = await truth_of(stack.kafka, PREFIX + raw)
            wrong = await wrong_with(config, watch, expected)
            log = worker.log.read_bytes()
        finally:
            if second is not None:
                second.stop()
    _show(samples)
    verdicts = [judge(title, [s.at_s for s in samples], [getattr(s, name) for s in samples], _warm_up(minutes), TOLERANCES[name])
                for name, title in TITLES.items()]  # fmt: skip
    checks = [Check(v.name, v.flat, str(v).removeprefix(v.name + ": ")) for v in verdicts]
    checks.append(Check("nothing lost, nothing doubled", not wrong, "; ".join(wrong) or _words(sent, expected.duplicates)))
    # A broker that has just started does not know its groups yet, and the Kafka client calls that an error: it counts from the first partition on.
    worked = log[log.index(b"partition_owned") :]
    errors = [line for line in worked.splitlines() if b'"level": "error"' in line or b'"level": "critical"' in line]
    checks.append(Check("no error in the log of the worker", not errors, f"{len(errors)} errors" + (f": {errors[0][:200]!r}" if errors else "")))
    if second is None:
        checks.append(Check("no partition started again", worker.restarts == 0, again(worker.restarts, worker.why_again)))
    else:
        lanes = log.count(b"partition_owned")
        checks.append(Check("rebalances", second.joined > 0, f"a second worker joined {second.joined} times; lanes started {lanes} times"))
    figures = {"rate": rate, "minutes": minutes, "rebalances": second.joined if second else 0, "never_forget": never_forget, "sent": sent,
               "samples": samples, "verdicts": [v._asdict() for v in verdicts]}  # fmt: skip
    return Outcome(checks, figures)


def _warm_up(minutes: float) -> float:
    """Seconds that are not judged: until caches are full, or half of a run that is too short for that."""
    return min(WARM_UP_S, minutes * 30)


def _words(sent: dict[str, float], duplicates: int) -> str:
    late = sent["latest_tick_s"]
    return f"{sent['events']:,} events with {duplicates:,} duplicates in {sent['seconds']:,} s, the producer at most {late} s late; the oracle agrees"


class _Second:
    """A worker that joins for half a minute and leaves for half a minute."""

    def __init__(self, folder: Path, config: Config) -> None:
        self._folder = folder / "second"
        copied(folder / "run", config, self._folder)
        self._worker: Worker | None = None
        self.joined = 0

    def turn(self) -> None:
        """Join, or leave."""
        if self._worker is None:
            self._worker = Worker(self._folder, AGENTS, None)
            self.joined += 1
        else:
            self._worker.check()
            self.stop()

    def stop(self) -> None:
        """Leave."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None


async def _run(
    stack: Stack, config: Config, worker: Worker, watch: Watch, how: tuple[float, int], second: _Second | None
) -> tuple[list[Sample], dict[str, float]]:
    """Produce, and take samples until the producer has ended."""
    seconds, rate = how
    raw = next(iter(Topics.of(config.kafka).raw))
    probe = Probe(worker.pid, Path(config.worker.data_dir), stack.dir / "kafka" / "data", config.kafka.topic_prefix)
    samples: list[Sample] = []
    begin = time.monotonic()
    async with Producing(stack.kafka, raw, rate, seconds) as producer:
        while producer.running:
            await asyncio.sleep(EVERY_S)
            worker.check()
            at = time.monotonic() - begin
            behind = await watch.published() - await watch.poll()
            sample = probe.take(at, max(0, behind), await waiting(watch))
            samples.append(sample)
            if len(samples) % 6 == 1:
                memory = f"memory {sample.rss_mb:,.0f} MB, descriptors {sample.files + sample.sockets + sample.other}"
                say(f"soak: {at / 60:.1f} of {seconds / 60:g} minutes; {memory}, RocksDB {sample.state_mb:.1f} MB, behind {behind:,} events")
            if second is not None and len(samples) % 3 == 0:
                await asyncio.to_thread(second.turn)
        return samples, await producer.end()


def _show(samples: list[Sample]) -> None:
    columns = ("minute", "memory MB", "files", "sockets", "other", "threads", "RocksDB MB", "changelogs MB", "behind", "to index")
    rows = []
    for sample in samples[:: max(1, len(samples) // 30)]:
        figures = msgspec.structs.astuple(sample)
        rows.append((f"{sample.at_s / 60:.1f}", *(f"{figure:,.1f}" if isinstance(figure, float) else f"{figure:,}" for figure in figures[1:])))
    table("Soak: one worker, all agents", columns, rows)


def main() -> int:
    """Run what was asked for; 1 when anything grows or disagrees."""
    options = parser("soak", __doc__)
    options.add_argument("--minutes", type=float, default=30, metavar="M", help="how long (default: 30)")
    options.add_argument("--rate", type=int, default=1_000, metavar="N", help="events per second (default: 1,000)")
    options.add_argument("--rebalance", action="store_true", help="let a second worker join and leave once a minute")
    options.add_argument("--never-forget", action="store_true", help="negative control: a dedupe window of 35 days, so no bucket is dropped")
    given = options.parse_args()
    if given.minutes * 60 * 2 / 3 < FEWEST * EVERY_S or given.rate < 10:
        options.error(f"--minutes must be at least {FEWEST * EVERY_S * 1.5 / 60 + 0.2:.1f} and --rate at least 10")
    return command("soak", given.dir, lambda folder: _soak(folder, given.minutes, given.rate, given.rebalance, given.never_forget))


if __name__ == "__main__":
    sys.exit(main())
