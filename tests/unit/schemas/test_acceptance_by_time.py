"""One rule for acceptance by time, live and offline."""

from __future__ import annotations

import msgspec
import pytest
from ratemill.schemas.acceptance import check_time
from ratemill.schemas.errors import Reason
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.schemas.quantity import ZERO
from ratemill.schemas.times import NS, parse_time
from ratemill.schemas.usage_event import UsageEvent

NOW = parse_time("2026-07-16T14:00:00Z")
DAY = 86_400 * NS


def reason(time: int, *, live: bool, backfill: str = "", now: int = NOW) -> Reason | None:
    event = UsageEvent("a", "s", "1", "sku", time, ZERO, "u", backfill=backfill)
    found = check_time(event, now, DEFAULT_LIMITS, live)
    if found is not None:
        assert "\n" not in str(found)
    return None if found is None else found.reason


@pytest.mark.parametrize(
    ("time", "live", "backfill", "offline"),
    [
        (NOW, None, None, None),
        (NOW - 35 * DAY, None, None, None),
        (NOW - 35 * DAY - 1, Reason.TOO_OLD, None, None),
        (NOW + 300 * NS, None, None, None),
        (NOW + 300 * NS + 1, Reason.IN_THE_FUTURE, Reason.IN_THE_FUTURE, None),
        (NOW + 366 * DAY, Reason.IN_THE_FUTURE, Reason.IN_THE_FUTURE, None),
        (NOW + 366 * DAY + 1, Reason.IN_THE_FUTURE, Reason.IN_THE_FUTURE, Reason.IN_THE_FUTURE),
        (parse_time("1970-01-01T00:00:00Z"), Reason.TOO_OLD, Reason.BAD_TIME, Reason.BAD_TIME),
        (parse_time("1999-12-31T23:59:59.999999999Z"), Reason.TOO_OLD, Reason.BAD_TIME, Reason.BAD_TIME),
        (parse_time("2000-01-01T00:00:00Z"), Reason.TOO_OLD, None, None),
        (parse_time("2100-01-01T00:00:00Z"), Reason.BAD_TIME, Reason.BAD_TIME, Reason.BAD_TIME),
    ],
)
def test_bounds(time: int, live: Reason | None, backfill: Reason | None, offline: Reason | None) -> None:
    assert reason(time, live=True) is live
    assert reason(time, live=True, backfill="2024") is backfill
    assert reason(time, live=False) is offline


def test_the_last_instant_before_2100_is_an_accepted_year() -> None:
    last = parse_time("2099-12-31T23:59:59.999999999Z")
    assert reason(last, live=True, now=last) is None
    assert reason(last + 1, live=True, now=last) is Reason.BAD_TIME


def test_limits_are_settings() -> None:
    event = UsageEvent("a", "s", "1", "sku", NOW - 2 * DAY, ZERO, "u")
    tight = msgspec.structs.replace(event, time=NOW - DAY)
    from dataclasses import replace

    limits = replace(DEFAULT_LIMITS, max_event_age_s=86_400)
    assert check_time(tight, NOW, limits, True) is None
    found = check_time(event, NOW, limits, True)
    assert found is not None
    assert found.reason is Reason.TOO_OLD
    assert "1 days" in found.detail
