"""Whether a series of samples has stopped growing. Pure: a soak's verdict, and what shows in the tests that it can fail.

A series may swing (RocksDB fills and compacts, a collector frees in bursts), so no single sample decides. After the warm-up it must not
grow by both measures: the Theil-Sen slope (the median of the slopes of all pairs) over the whole time, and the median of the last third
against that of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["FEWEST", "Tolerance", "Verdict", "judge", "theil_sen"]

FEWEST = 9  # samples behind the warm-up: three in each third


class Tolerance(NamedTuple):
    """Growth from first to last sample that still counts as flat: a share of the median, or an absolute amount, whichever is more."""

    share: float
    least: float


class Verdict(NamedTuple):
    """What was found about one series, in its own unit."""

    name: str
    thirds: tuple[float, float, float]  # medians
    growth: float  # slope x time
    allowed: float
    flat: bool

    def __str__(self) -> str:
        first, middle, last = self.thirds
        how = "flat" if self.flat else "GROWS"
        medians = f"medians of the thirds {first:,.1f}, {middle:,.1f}, {last:,.1f}"
        return f"{self.name}: {how}; {medians}; slope {self.growth:+,.1f} (allowed {self.allowed:,.1f})"


def theil_sen(times: Sequence[float], values: Sequence[float]) -> float:
    """Median of the slopes of all pairs, in units of the values per unit of the times. Needs two different times."""
    x, y = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    i, j = np.triu_indices(len(x), 1)
    apart = x[j] != x[i]
    return float(np.median((y[j] - y[i])[apart] / (x[j] - x[i])[apart]))


def judge(name: str, times: Sequence[float], values: Sequence[float], warm_up: float, tolerance: Tolerance) -> Verdict:
    """The verdict on a series; samples before `warm_up` (same unit as times) are left out. Raises ValueError with fewer than FEWEST left."""
    kept = [(t, v) for t, v in zip(times, values, strict=True) if t >= warm_up]
    if len(kept) < FEWEST:
        raise ValueError(f"{name}: {len(kept)} samples behind the warm-up, {FEWEST} are needed")
    x, y = [t for t, _ in kept], [v for _, v in kept]
    thirds = [float(np.median(part)) for part in np.array_split(y, 3)]
    growth = theil_sen(x, y) * (x[-1] - x[0])
    allowed = max(tolerance.least, tolerance.share * float(np.median(y)))
    grows = growth > allowed and thirds[2] - thirds[0] > allowed
    return Verdict(name, (thirds[0], thirds[1], thirds[2]), growth, allowed, not grows)
