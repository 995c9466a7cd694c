"""Windows and periods as plain integers and texts: seconds since 1970 in UTC, cached, because few differ."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["month_of", "month_start", "period_bounds", "text"]


@lru_cache(maxsize=65_536)
def text(seconds: int) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ` of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=65_536)
def month_of(seconds: int) -> int:
    """Calendar month in UTC as one number, 12 x year + month - 1: what a billing period is keyed by."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.year * 12 + moment.month - 1


@lru_cache(maxsize=4_096)
def month_start(month: int) -> int:
    """First second of a month as given by `month_of`."""
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())


@lru_cache(maxsize=65_536)
def period_bounds(accumulate: str, seconds: int) -> tuple[int, int]:
    """Start (inclusive) and end (exclusive) of the accumulation period that holds a moment, in seconds."""
    if accumulate == "month":
        month = month_of(seconds)
        return month_start(month), month_start(month + 1)
    length = {"day": 86_400, "hour": 3_600}[accumulate]
    start = seconds - seconds % length
    return start, start + length
