"""A counter that only grows, as a meter shows it: what counts is by how much it grew since the sample before.

A value below the one before means that the counter began anew at 0, so the value itself counts. Growth belongs to the window of
the later sample. The first sample of all is where counting starts (`baseline`), or counts with its value (`count`).
"""

from __future__ import annotations

from decimal import Decimal

from ...pricing.money import EXACT, ZERO
from ..meter import Meter
from ..samples import Samples

__all__ = ["increase"]


def increase(meter: Meter, samples: Samples, low: int, high: int) -> Decimal | None:
    """Growth up to the samples in [low, high); None when there is none."""
    inside = samples.between(low, high)
    if not inside:
        return None
    earlier = samples.before(low)
    if earlier is None and not meter.count_first:
        earlier = inside[0]
    last = ZERO if earlier is None else earlier.quantity
    total = ZERO
    for sample in inside:
        value = sample.quantity
        total = EXACT.add(total, value if value < last else EXACT.subtract(value, last))
        last = value
    return total
