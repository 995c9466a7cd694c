"""The part of a monthly amount that belongs to a part of the month, exactly or rounded by a stated rule."""

from __future__ import annotations

from decimal import Decimal, Inexact

from ..money import EXACT, ZERO, money

__all__ = ["prorated"]

DAY = 86_400
# A month in local time can have a day of 23 or 25 hours; days are counted from the start of the month and tolerate that.
CLOCK_CHANGE = 3_600
TWO = money(2)


def prorated(amount: Decimal, how: str, digits: int, since: int, until: int | None, bounds: tuple[int, ...]) -> list[Decimal]:
    """Share of each slice of the month in a monthly amount (not negative) that is due from `since` to `until`.

    how: second (by the seconds in force), day (a day on which it is in force for any time counts whole), none (the whole amount,
    in the slice in which it begins). The shares sum to the share of the month: amount x part / month. Where that is not a finite
    decimal it is rounded to `digits` after the point, half_even; so is each sum through the end of a slice.
    """
    start, end = bounds[0], bounds[-1]
    first, past = max(start, since), end if until is None else min(end, until)
    slices = [ZERO] * (len(bounds) - 1)
    before = ZERO
    for number, bound in enumerate(bounds[1:]):
        through = min(bound, past)
        if through <= first:
            continue
        if how == "none":
            slices[number] = amount
            return slices
        if how == "day":
            part, whole = _days_begun(through - start) - _days_past(first - start), _days_begun(end - start)
        else:
            part, whole = through - first, end - start
        share = _quotient(amount * money(part), money(whole), digits)
        slices[number] = share - before
        before = share
    return slices


def _days_past(seconds: int) -> int:
    """Number of the day, from 0, in which a moment lies, so many seconds after the start of the month."""
    return (seconds + CLOCK_CHANGE) // DAY


def _days_begun(seconds: int) -> int:
    """How many days of the month have begun before a moment."""
    return -(-(seconds - CLOCK_CHANGE) // DAY)


def _quotient(dividend: Decimal, divisor: Decimal, digits: int) -> Decimal:
    """dividend / divisor, exactly if it is a finite decimal, else rounded to the nearest. Neither is negative."""
    try:
        return EXACT.divide(dividend, divisor)
    except Inexact:
        # No tie can come here (what lies half way is a finite decimal), so half_even is the same as any other way to the nearest.
        whole, rest = divmod(dividend.scaleb(digits, EXACT), divisor)
        return (whole + (rest * TWO > divisor)).scaleb(-digits, EXACT)
