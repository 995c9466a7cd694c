"""Where the worker's time goes: `python -m ratemill.bench.profiled OUT worker …` runs `ratemill worker …` under cProfile.

Every Python thread has a profile of its own, in CPU time of that thread, so waiting costs nothing. Profiling makes calls dearer than
they are: compare shares, and compare nothing with a run without it. What is not Python (RocksDB's threads) shows in CPU per thread only.
"""

from __future__ import annotations

import cProfile
import functools
import importlib
import pstats
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .run import Result

__all__ = ["main", "report"]

TOP = 40
LEAST_SHARE = 0.01


def main() -> None:
    """Profile the command; writes OUT.THREAD.prof for each thread."""
    out = Path(sys.argv[1])
    # Imports are start-up, not work.
    importlib.import_module("ratemill.streams.app")
    command = importlib.import_module("ratemill.cli.main")
    profiles: list[tuple[str, cProfile.Profile]] = [("main", cProfile.Profile(time.thread_time))]
    start = threading.Thread.start

    def profiled(name: str, run: Callable[[], None]) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append((f"{len(profiles)}-{name.replace('/', '_')[:60]}", profile))
        profile.runcall(run)

    def started(thread: threading.Thread) -> None:
        thread.run = functools.partial(profiled, thread.name, thread.run)  # type: ignore[method-assign]
        start(thread)

    threading.Thread.start = started  # type: ignore[method-assign, assignment]
    sys.argv = ["ratemill", *sys.argv[2:]]
    try:
        profiles[0][1].runcall(command.main)
    finally:
        for name, profile in profiles:
            profile.dump_stats(f"{out}.{name}.prof")


def report(out: Path, result: Result) -> None:
    """Print the top of each thread's profile by own time, and CPU per thread."""
    print(f"\n{result.path}: CPU seconds per thread, of {result.cpu_s:.1f} (with the profiler's own cost)")
    for thread, seconds in result.threads.items():
        print(f"  {seconds:8.2f}  {100 * seconds / result.cpu_s:5.1f}%  {thread}")
    found = []
    for file in sorted(out.parent.glob(f"{out.name}.*.prof")):
        try:
            found.append((file, pstats.Stats(str(file))))
        except TypeError:  # a thread that did nothing
            continue
    everything = sum(stats.total_tt for _, stats in found) or 1.0  # type: ignore[attr-defined]
    for file, stats in found:
        total = stats.total_tt  # type: ignore[attr-defined]
        if total > LEAST_SHARE * everything:
            print(f"\n{file.name}: {total:.1f} s of Python and what it calls")
            stats.sort_stats("tottime").print_stats(TOP)


if __name__ == "__main__":
    main()
