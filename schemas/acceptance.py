"""Acceptance by time: one pure rule for the live pipeline and for offline rating. The clock is an argument."""

from __future__ import annotations

from functools import lru_cache

from .errors import Reason, Rejection
from .limits import Limits
from .times import NS, format_time, year_start
from .usage_event import UsageEvent

__all__ = ["check_time"]


@lru_cache(maxsize=16)
def _years(limits: Limits) -> tuple[int, int]:
    return year_start(limits.earliest_year), year_start(limits.latest_year)


def check_time(event: UsageEvent, now_ns: int, limits: Limits, live: bool) -> Rejection | None:
    """Why this event's time cannot count, or None.

    live: TOO_OLD beyond max_event_age_s, unless the event belongs to a declared backfill (then only the years bound it);
    IN_THE_FUTURE beyond max_clock_skew_s. Offline: no oldest age, and max_offline_ahead_s instead of the clock skew.
    BAD_TIME outside [earliest_year, latest_year) in every mode; a live event from 1970 is TOO_OLD, which names the cure.
    """
    time = event.time
    ahead = limits.max_clock_skew_s if live else limits.max_offline_ahead_s
    age = now_ns - time
    fresh = not live or age <= limits.max_event_age_s * NS
    first, end = _years(limits)
    if fresh and age >= -ahead * NS and first <= time < end:
        return None
    if not fresh and not event.backfill:
        days = limits.max_event_age_s // 86_400
        return Rejection(
            Reason.TOO_OLD, f"{format_time(time)} is older than {days} days; publish it as a declared backfill (header ratemill-backfill: NAME)"
        )
    if not first <= time < end:
        return Rejection(Reason.BAD_TIME, f"{format_time(time)} is outside the years {limits.earliest_year} to {limits.latest_year - 1}")
    if age < -ahead * NS:
        return Rejection(Reason.IN_THE_FUTURE, f"{format_time(time)} is more than {ahead} s ahead of {format_time(now_ns)}; check the sender's clock")
    return None
