"""The cost of an event must not depend on how many came before, nor on how many windows are open.

    python -m ratemill.bench.flat_cost
    python -m ratemill.bench.flat_cost --events 0 --windows 1000,10000,100000,1000000

Events: a real worker (agent `rate`, 50 events per record, 5,000 windows) counts so many, each of which it remembers, in steps of 250,000; the CPU of
the process for each step, divided by that of a bare loop at the time, must not grow by more than a fifth.

Windows: in this process, without Kafka, by the same classes (PartitionState and RocksStore). So many windows are opened; then commits of 10,000
events touch 1,000 windows of 1,000 groups (an account's month of a SKU), others every time, spread over all. So a commit has the same to do and
to write whatever is open.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .calibrate import calibrate
from .flatness import FEWEST, Tolerance, judge
from .in_process import HOURS, Rating, window_event
from .limits import Check, Outcome, command, parser, say
from .report import table
from .restore import bed_of, compared, feed
from .run import Watch
from .shape import last_hour

__all__ = ["Step", "decades", "groups_of", "main", "touched"]

STEP = 250_000
GROWTH = 0.2
TOUCHED, EVENTS_PER_WINDOW = 1_000, 10  # of one commit
COMMITS, ROUNDS = 100, 3  # enough for RocksDB's memtables to be as full as they are on average
OPENED_AT_ONCE = 50_000


class Step(msgspec.Struct):
    """What some events cost."""

    events: int  # counted when the step ended
    us: float  # CPU of the process for one
    bare: float  # the same of the bare loop

    @property
    def times(self) -> float:
        """In bare loops."""
        return self.us / self.bare


class Opened(msgspec.Struct):
    """What an event costs with so many windows open."""

    windows: int
    us: float
    bare: float
    line_items: float  # of one event


def decades(steps: Sequence[Step]) -> list[tuple[str, list[Step]]]:
    """Steps by the power of ten that was counted when they ended."""
    found: dict[int, list[Step]] = {}
    for step in steps:
        found.setdefault(len(str(step.events)) - 1, []).append(step)
    return [(f"10^{power} to 10^{power + 1}", found[power]) for power in sorted(found)]


def groups_of(windows: int) -> int:
    """How many groups so many windows are in: with up to 24 windows each, but never fewer groups than a commit touches."""
    return max(TOUCHED, -(-windows // HOURS))


def touched(windows: int, commit: int) -> list[tuple[int, int]]:
    """(group, hours back) of the windows that a commit touches: each of another group, spread over all, others every time while there are others."""
    groups = groups_of(windows)
    stride = groups // TOUCHED
    return [((number * stride + commit) % groups, commit % max(1, windows // groups)) for number in range(TOUCHED)]


async def _events(folder: Path, count: int) -> tuple[list[Step], list[str]]:
    """The cost of each step of a worker that counts so many events."""
    steps: list[Step] = []
    async with bed_of(folder) as (bed, producer):
        worker, _, _ = await bed.start()
        async with Watch(bed.config) as watch:
            used, before = worker.usage().cpu_s, 0
            # The first steps are small: what the first hundred thousand cost, and what starting up does, can then be told apart.
            for until, step in ((min(100_000, count), 50_000), (count, STEP)):
                async for counted in feed(bed, producer, watch, until, step):
                    now = worker.usage().cpu_s
                    steps.append(Step(counted, round((now - used) / (counted - before) * 1e6, 2), round(1e6 / calibrate(), 3)))
                    used, before = worker.usage().cpu_s, counted
                    if len(steps) % 5 == 0:
                        say(f"flat_cost: {counted:,} events, {steps[-1].us:.1f} us each, {steps[-1].times:.1f} bare loops")
            wrong = watch.mismatches(bed.many.expected(bed.sent, 0))
        bed.stop()
        wrong += await compared(bed)
    return steps, wrong


def _opened(folder: Path, windows: int) -> Opened:
    """The cost of an event with so many windows open. Raises ValueError when an event does not count."""
    rating, hour, groups = Rating(folder), last_hour(), groups_of(windows)
    for first in range(0, windows, OPENED_AT_ONCE):
        numbers = range(first, min(first + OPENED_AT_ONCE, windows))
        rating.count_all(window_event(number % groups, number // groups, hour, number) for number in numbers)
    number, items, costs = windows, 0, []
    for _ in range(ROUNDS):
        bare, used = 1e6 / calibrate(), 0.0
        for commit in range(COMMITS):
            its = [window_event(*window, hour, number + at) for at, window in enumerate(touched(windows, commit) * EVENTS_PER_WINDOW)]
            number += len(its)
            begin = time.thread_time()
            items += rating.count_all(its)
            used += time.thread_time() - begin
        costs.append((used / (COMMITS * len(its)) * 1e6, bare))
    rating.close()
    us, bare = min(costs, key=lambda cost: cost[0] / cost[1])
    found = Opened(windows, round(us, 2), round(bare, 3), round(items / (number - windows), 3))
    say(f"flat_cost: {windows:,} windows open: {found.us:.1f} us an event, {found.us / found.bare:.1f} bare loops")
    return found


def _checks(steps: Sequence[Step], wrong: Sequence[str], opened: Sequence[Opened]) -> list[Check]:
    checks = []
    if steps:
        behind = [step for step in steps if step.events > 100_000]
        if len(behind) >= FEWEST:
            verdict = judge("cost of an event", [s.events for s in behind], [s.times for s in behind], 0, Tolerance(GROWTH, 0))
            checks.append(Check(f"the cost of an event is flat up to {steps[-1].events:,}", verdict.flat, str(verdict)))
        checks.append(Check("nothing lost, nothing doubled", not wrong, "; ".join(wrong) or f"{steps[-1].events:,} events; the oracle agrees"))
    if len(opened) > 1:
        ratio = (opened[-1].us / opened[-1].bare) / (opened[0].us / opened[0].bare)
        checks.append(Check(f"the cost of an event is flat from {opened[0].windows:,} to {opened[-1].windows:,} open windows", ratio <= 1 + GROWTH,
                            f"{ratio:.2f} times"))  # fmt: skip
    return checks


async def _flat_cost(folder: Path, events: int, windows: Sequence[int]) -> Outcome:
    opened = [_opened(folder / f"windows-{count}", count) for count in windows]
    steps, wrong = await _events(folder, events) if events else ([], [])
    if steps:
        rows = []
        for name, its in decades(steps):
            us, times = (statistics.median(figures) for figures in ([s.us for s in its], [s.times for s in its]))
            rows.append((name, f"{len(its)}", f"{us:.2f}", f"{1e6 / us:,.0f}", f"{times:.2f}"))
        table("Cost of an event by how many came before: a worker, agent rate", ("events", "steps", "us", "per CPU-s", "bare loops"), rows)
    if opened:
        columns = ("windows", "us", "bare loops", "line items an event")
        table("Cost of an event by open windows: in process, without Kafka and decoding", columns,
              [(f"{o.windows:,}", f"{o.us:.2f}", f"{o.us / o.bare:.2f}", f"{o.line_items:.3f}") for o in opened])  # fmt: skip
    return Outcome(_checks(steps, wrong, opened), {"steps": steps, "windows": opened})


def main() -> int:
    """Run what was asked for; 1 when a check fails."""
    options = parser("flat_cost", __doc__)
    options.add_argument("--events", type=int, default=10_000_000, metavar="N", help="that the worker counts; 0: none (default: 10,000,000)")
    options.add_argument("--windows", default="1000,10000,100000,1000000", metavar="N,…", help="open ones, growing; 0: none (default: 10^3 to 10^6)")
    given = options.parse_args()
    try:
        windows = [int(count) for count in given.windows.split(",") if count != "0"]
    except ValueError:
        options.error(f"--windows {given.windows}: numbers with commas between them, such as 1000,1000000")
    if given.events < 0 or windows != sorted(set(windows)) or min(windows, default=TOUCHED) < TOUCHED or not (given.events or windows):
        options.error(f"--events must not be negative, --windows must grow from {TOUCHED:,} or more, and one of them must not be 0")
    return command("flat_cost", given.dir, lambda folder: _flat_cost(folder, given.events, windows))


if __name__ == "__main__":
    sys.exit(main())
