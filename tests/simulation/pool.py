"""Many seeds on all cores: processes that do nothing else, with what fixes a seed set for them."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["COMMAND", "Report", "run_seeds"]

COMMAND = "cd tests && ../.venv/bin/python -m simulation"
CHUNK = 25
ENOUGH = 5  # failing seeds, and no more are run

# One process imports everything once; each pool is forked from it, and changes only itself.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([f"{__package__}.run", f"{__package__}.install", f"{__package__}.breaches"])


@dataclass
class Report:
    """What many seeds came to."""

    seeds: int = 0
    seconds: float = 0.0  # of wall clock
    processor_s: float = 0.0
    failures: dict[int, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)  # how often something happened
    worlds: Counter[str] = field(default_factory=Counter)  # in how many worlds
    sites: Counter[Any] = field(default_factory=Counter)  # awaits at which workers died
    steps: int = 0
    virtual_s: float = 0.0
    healed_s: float = 0.0  # the longest time from the last fault to rest

    def add(self, other: Report) -> None:
        self.seeds += other.seeds
        self.failures |= other.failures
        for name in ("counts", "worlds", "sites"):
            getattr(self, name).update(getattr(other, name))
        self.steps += other.steps
        self.processor_s += other.processor_s
        self.virtual_s += other.virtual_s
        self.healed_s = max(self.healed_s, other.healed_s)

    def __str__(self) -> str:
        text = (
            f"{self.seeds} seeds in {self.seconds:.0f} s ({1_000 * self.processor_s / max(1, self.seeds):.1f} ms of processor time each): "
            f"{self.counts['crashes']} crashes, {self.virtual_s / 3_600:.1f} h of virtual time"
        )
        lines = [f"seed {seed}: {'; '.join(found)[:1500]}\n  {COMMAND} {seed} --trace" for seed, found in sorted(self.failures.items())]
        return "\n".join([text, *lines])


def _prepare(breach: str) -> None:
    from .breaches import BREACHES
    from .install import install

    install()
    if breach:
        BREACHES[breach]()


def _run(seeds: list[int]) -> Report:
    from .run import simulate

    report, began = Report(), time.process_time()
    for seed in seeds:
        result = simulate(seed)
        report.seeds += 1
        report.steps += result.steps
        report.virtual_s += result.seconds
        report.healed_s = max(report.healed_s, result.healed_in)
        report.counts.update(result.counts)
        report.worlds.update(dict.fromkeys(result.counts, 1))
        report.sites.update(result.sites)
        if result.violations:
            report.failures[seed] = result.violations
    report.processor_s = time.process_time() - began
    return report


def run_seeds(
    seeds: Iterable[int], *, breach: str = "", enough: int = ENOUGH, chunk: int = CHUNK, told: Callable[[str], None] = lambda _: None
) -> Report:
    """Run seeds in fresh processes, one for each core; `told` hears a line every few seconds. Stops after `enough` failures."""
    seeds = list(seeds)
    chunks = [seeds[at : at + chunk] for at in range(0, len(seeds), chunk)]
    total, began = Report(), time.monotonic()
    heard = began
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"  # sets must have the same order every time
    try:
        with _CONTEXT.Pool(min(len(chunks), len(os.sched_getaffinity(0))), _prepare, (breach,)) as pool:
            for report in pool.imap(_run, chunks):
                total.add(report)
                total.seconds = time.monotonic() - began
                if time.monotonic() - heard > 5:
                    heard = time.monotonic()
                    told(f"{total.seeds} of {len(seeds)} seeds, {len(total.failures)} failed, {total.seconds:.0f} s")
                if len(total.failures) >= enough:
                    break
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before
    return total
