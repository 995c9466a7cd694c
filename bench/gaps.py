"""What a worker owns by its log, how long partitions stood still, and how much several workers are worth: the pure part of `scale_out`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec

__all__ = ["longest_gap", "settled", "speedup"]


def longest_gap(commits: Mapping[str, Sequence[float]], begin: float, end: float) -> tuple[float, str]:
    """The longest time in a span in which a partition committed nothing: (seconds, lane).

    commits: lane -> times of its commits, growing. What began before the span counts from there; what goes on behind it counts up to its end, so
    a lane that stood still for good is not overlooked.
    """
    found = (0.0, "")
    for lane, times in commits.items():
        before = [at for at in times if at <= begin][-1:] or [begin]
        edges = [*before, *(at for at in times if begin < at < end), end]
        found = max([found, *((later - earlier, lane) for earlier, later in itertools.pairwise(edges))])
    return found


def speedup(alone: float, together: float, workers: int) -> float:
    """How many workers alone the workers together are worth; both are events per CPU-second, and what costs nothing is worth its number."""
    return workers * together / alone


def settled(log: bytes) -> int | None:
    """How many lanes a worker owns, by its log in JSON lines; None while one of its latest assignment is not owned yet."""
    wanted: set[str] | None = None
    got: set[str] = set()
    for line in log.splitlines():
        if b'"assigned"' not in line and b'"partition_owned"' not in line:
            continue
        try:
            said = msgspec.json.decode(line)
        except msgspec.DecodeError:  # not written to its end yet
            continue
        if said.get("event") == "assigned":
            wanted, got = set(said["lanes"]), set()
        elif said.get("event") == "partition_owned":
            got.add(said["lane"])
    return len(wanted) if wanted is not None and wanted <= got else None
