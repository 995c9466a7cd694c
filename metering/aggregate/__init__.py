"""Aggregations of samples, one file each. A window's quantity is a pure function of the set of samples.

Two functions, the same for all aggregations:

    window_value      the quantity of one window
    windows_touched   which windows may have another quantity after samples were added or removed

Whoever recomputes the touched windows after each change has, at any time, what computing all windows from all samples gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from ...schemas.times import NS
from ..calendar import Calendar
from ..exact import Factor
from ..meter import DAY, Meter
from ..samples import Samples
from . import counter, time_weighted, windowed

__all__ = ["window_value", "windows_touched"]


def window_value(meter: Meter, default: Calendar, samples: Samples, start_s: int) -> Decimal | None:
    """Quantity of the window that starts there (seconds), in the meter's unit, converted and rounded as the meter says.

    None: the window has no sample, and nothing is carried into it. default: the calendar of a meter that names none.
    """
    low, high = start_s * NS, (meter.calendar or default).end(start_s) * NS
    if meter.aggregation == "time_weighted":
        value = time_weighted.integral(meter, samples, low, high)
    elif meter.aggregation == "counter":
        value = counter.increase(meter, samples, low, high)
    else:
        value = windowed.of(meter.aggregation, samples.between(low, high))
    if value is None or meter.factor is None or meter.additive:  # samples of additive meters are converted one by one, when they are read
        return value
    if meter.month_digits is not None:
        first, past = (meter.calendar or default).period("month", start_s)
        return _part_of_month(meter.factor.fraction, past - first, meter.month_digits).times(value)
    return meter.factor.times(value)


@lru_cache(maxsize=1_024)
def _part_of_month(per_day: Fraction, month_s: int, digits: int) -> Factor:
    """The factor of a month that is so many seconds long, from that of a day: such as 1/30, and with a change of clocks 24/743."""
    return Factor(per_day * Fraction(DAY, month_s * NS), digits)


def windows_touched(meter: Meter, default: Calendar, samples: Samples, times: Iterable[int]) -> set[int]:
    """Starts (seconds) of the windows whose value may differ now that samples of these times (nanoseconds) were added or removed.

    samples: the state after the change. All changes since the values were computed must be named.
    """
    days = meter.calendar or default
    found: set[int] = set()
    for time in set(times):
        found.add(days.start(time // NS))
        if meter.aggregation == "counter":
            following = samples.after(time + 1)
            if following is not None:  # it counts from this sample
                found.add(days.start(following.time_ns // NS))
        elif meter.aggregation == "time_weighted":
            for low, high in time_weighted.stretches(meter, samples, time):
                start = days.start(low // NS)
                while start * NS < high:
                    found.add(start)
                    start = days.end(start)
    return found
