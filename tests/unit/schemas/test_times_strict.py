"""Times are exact, need a zone, and refuse what is not a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.times import format_time, parse_epoch_ms, parse_naive_utc, parse_spaced_time, parse_time, parse_us_date

# Hypothesis wants its bounds without a zone and adds one.
EARLIEST, LATEST = datetime(1700, 1, 1), datetime(2250, 1, 1)  # noqa: DTZ001
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(EARLIEST, LATEST, timezones=st.one_of(st.just(UTC), ZONES)))
def test_agrees_with_datetime(when: datetime) -> None:
    since = when - EPOCH
    ns = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
    assert parse_time(when.isoformat()) == ns
    assert parse_time(format_time(ns)) == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01z", 10**9),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2025-07-14T12:45:00.0000001Z", 1752497100 * 10**9 + 100),
        ("2024-02-29T00:00:00Z", 1709164800 * 10**9),
    ],
)
def test_known(text: str, ns: int) -> None:
    for _ in range(2):  # first the parser, then the cache of minutes
        assert parse_time(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-07-16", "2026-07-16T14:00:00", "2026-07-16 14:00:00Z", "2026-07-16T14:00Z", "2026-07-16T24:00:00Z",
        "2026-07-16T14:60:00Z", "2016-12-31T23:59:60Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-07-16T14:00:00.1234567890Z",
        "2026-07-16T14:00:00.Z", "2026-07-16T14:00:00+24:00", "2026-07-16T14:00:00+02", "2026-07-16T14:00:00Z ", "２026-07-16T14:00:00Z",
        "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1784210400", "2026-07-16T14:00:0xZ", "2026-07-16T14:00:00Z\n",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    parse_time("2026-07-16T14:00:00Z")  # its minute is known: the short way must be as strict
    with pytest.raises(Rejection) as caught:
        parse_time(text)
    assert caught.value.reason is Reason.BAD_TIME
    assert "\n" not in str(caught.value)


def test_leap_second_says_so() -> None:
    with pytest.raises(Rejection, match="leap second"):
        parse_time("2016-12-31T23:59:60Z")


def test_dialects() -> None:
    assert format_time(parse_epoch_ms("1611929698000")) == "2021-01-29T14:14:58Z"
    assert format_time(parse_spaced_time("2020-11-09 23:00:00+00:00")) == "2020-11-09T23:00:00Z"
    assert format_time(parse_spaced_time("2020-11-10 05:49:32.199000 UTC")) == "2020-11-10T05:49:32.199Z"
    assert format_time(parse_us_date("9/2/2023")) == format_time(parse_us_date("09/02/2023")) == "2023-09-02T00:00:00Z"
    assert format_time(parse_us_date("2023-09-02")) == format_time(parse_us_date("2023-09-02T00:00:00Z"))
    assert format_time(parse_naive_utc("2018-12-01T08:30:14")) == "2018-12-01T08:30:14Z"


@pytest.mark.parametrize("text", ["", "1.5", "1e3", "x", "9" * 15, "9" * 40, "-"])
def test_bad_milliseconds(text: str) -> None:
    with pytest.raises(Rejection) as caught:
        parse_epoch_ms(text)
    assert caught.value.reason is Reason.BAD_TIME


@pytest.mark.parametrize("text", ["13/01/2023", "2/30/2023", "1/1/23", "2023-02-30", "1/1/0001"])
def test_bad_us_dates(text: str) -> None:
    with pytest.raises(Rejection) as caught:
        parse_us_date(text)
    assert caught.value.reason is Reason.BAD_TIME
