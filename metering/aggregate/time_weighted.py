"""Quantity x time: each sample holds until the next one, for `gap_limit` at most.

The last sample of all holds for `gap_limit` under `carry_forward`, and not at all without it: then only what lies between two
samples counts. Of samples of one time, the last by (source, id) holds. Nothing holds beyond the meter's effective_to.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from ...pricing.money import EXACT, ZERO, money
from ..meter import Meter
from ..samples import Sample, Samples

__all__ = ["integral", "stretches"]


def integral(meter: Meter, samples: Samples, low: int, high: int) -> Decimal | None:
    """Exact quantity x nanoseconds in [low, high); None when no sample lies in it, and none holds into it."""
    inside = samples.between(low, high)
    carried = samples.before(low)
    found = [carried, *inside] if carried is not None else inside
    if not found:
        return None
    total = ZERO
    held = bool(inside)
    for index, sample in enumerate(found):
        last = index + 1 == len(found)
        # What follows the window cannot end a hold inside it; without carry_forward it decides whether there is one.
        following = found[index + 1] if not last else None if meter.carry_forward else samples.after(high)
        begin, end = max(sample.time_ns, low), min(_holds_until(meter, sample, following), high)
        if end > begin:
            held = True
            total = EXACT.add(total, EXACT.multiply(sample.quantity, money(end - begin)))
    return total if held else None


def stretches(meter: Meter, samples: Samples, time: int) -> Iterator[tuple[int, int]]:
    """Where the quantity in force may differ after samples of a time were added or removed: [low, high) each."""
    following = samples.after(time + 1)
    yield time, _least(meter, time + meter.gap_limit, following)
    if not meter.carry_forward:
        # The sample before may have been the last, which holds nothing, or may be the last now.
        earlier = samples.before(time)
        if earlier is not None:
            yield earlier.time_ns, min(earlier.time_ns + meter.gap_limit, time, meter.effective_to)


def _holds_until(meter: Meter, sample: Sample, following: Sample | None) -> int:
    if following is None and not meter.carry_forward:
        return sample.time_ns
    return _least(meter, sample.time_ns + meter.gap_limit, following)


def _least(meter: Meter, end: int, following: Sample | None) -> int:
    end = min(end, meter.effective_to)
    return end if following is None else min(end, following.time_ns)
