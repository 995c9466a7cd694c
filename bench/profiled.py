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
# Parts of the path of an event, none inside another: (end of the file's path, function, what it does).
PARTS = (
    ("lanes/decoding.py", "decode_batch", "decode and check"),
    ("core/state.py", "add", "deduplicate and add to windows"),
    ("core/state.py", "seal", "price, and make line items and changelog entries"),
    ("lanes/normalize.py", "_packed", "pack for usage.events"),
    ("streams/ledger.py", "_send", "fill producer batches"),
    ("producer/sender.py", "_send_produce_req", "send producer batches"),
    ("streams/rocks.py", "write", "local store"),
)
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
    _print_parts(everything, [stats for _, stats in found])
    for file, stats in found:
        total = stats.total_tt  # type: ignore[attr-defined]
        if total > LEAST_SHARE * everything:
            print(f"\n{file.name}: {total:.1f} s of Python and what it calls")
            stats.sort_stats("tottime").print_stats(TOP)


def _print_parts(everything: float, profiles: list[pstats.Stats]) -> None:
    print(f"\nparts of {everything:.1f} s in Python threads and what they call")
    for where, function, what in PARTS:
        used = 0.0
        for stats in profiles:
            for (file, _, name), row in stats.stats.items():  # type: ignore[attr-defined]
                if name == function and file.endswith(where):
                    used += row[3]  # with everything it calls
        print(f"  {used:8.2f}  {100 * used / everything:5.1f}%  {what}")


if __name__ == "__main__":
    main()
