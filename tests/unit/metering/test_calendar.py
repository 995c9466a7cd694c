"""Windows tile time in every zone, whatever it does to its clocks, and UTC agrees with the months of price books."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.metering.calendar import WINDOWS, Calendar, calendar
from ratemill.pricing.exchange import UTC_MONTHS
from ratemill.pricing.zones import known_timezone, zone_of

# Each does something of its own: Lord Howe moves by 30 minutes, St. John's moved at one minute past midnight until 2011, Havana and
# Sao Paulo leap over midnight, Kathmandu is 5:45 ahead, Apia left out a whole day in 2011, Dublin's winter time is the exception.
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "America/Havana", "America/Sao_Paulo",
    "Asia/Kathmandu", "Europe/Dublin", "Pacific/Apia",
]  # fmt: skip
FIRST, LAST = 946_684_800, 4_102_444_800  # years 2000 to 2099: those of events


def rules(zone: str) -> tzinfo:
    """The rules that the calendar has: those of the machine may be older."""
    return zone_of(zone)


def at(zone: str, text: str, fold: int = 0) -> int:
    """Seconds of a local time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=rules(zone), fold=fold).timestamp())


@cache
def changes(zone: str, year: int = 2026) -> list[int]:
    """Seconds at which the offset changes within a year."""
    info = rules(zone)
    minutes = range(at("UTC", f"{year}-01-01"), at("UTC", f"{year + 1}-01-01"), 1800)
    offsets = [datetime.fromtimestamp(minute, info).utcoffset() for minute in minutes]
    return [minute for minute, before, now in zip(minutes[1:], offsets, offsets[1:], strict=False) if before != now]


@st.composite
def zoned(draw: st.DrawFn) -> tuple[str, int]:
    """A zone and a moment; near the changes of its clocks is where mistakes are."""
    zone = draw(st.sampled_from(ZONES))
    found = changes(zone, draw(st.sampled_from([2009, 2011, 2026])))
    if not found or draw(st.integers(0, 3)) == 0:
        return zone, draw(st.integers(FIRST, LAST))
    return zone, draw(st.sampled_from(found)) + draw(st.integers(-7_200, 7_200) | st.integers(-90_000, 90_000))


moments = st.integers(FIRST, LAST)


@settings(max_examples=300)
@given(zoned(), st.sampled_from(WINDOWS))
def test_windows_tile_time(there: tuple[str, int], window: str) -> None:
    zone, moment = there
    days = Calendar(window, zone)
    start = days.start(moment)
    end = days.end(start)
    assert end == days.end(moment)
    assert start <= moment < end
    assert days.start(start) == days.start(end - 1) == start
    assert days.start(end) == end
    assert days.start(start - 1) < start
    assert days.end(days.start(start - 1)) == start


@given(zoned())
def test_longer_windows_are_made_of_shorter_ones(there: tuple[str, int]) -> None:
    zone, moment = there
    for short, long in (("minute", "hour"), ("hour", "day"), ("day", "month")):
        start = calendar(long, zone).start(moment)
        assert calendar(short, zone).start(start) == start
    hours = calendar("hour", zone)
    month = hours.month_of(moment)
    assert hours.month_start(month) == calendar("month", zone).start(moment) <= moment < hours.month_start(month + 1)
    assert hours.month_of(hours.month_start(month)) == month
    assert hours.month_of(hours.month_start(month) - 1) == month - 1


@settings(max_examples=300)
@given(zoned())
def test_windows_begin_at_full_local_times_or_where_the_clocks_change(there: tuple[str, int]) -> None:
    zone, moment = there
    info = rules(zone)
    for window, full in (("minute", "%S"), ("hour", "%M%S"), ("day", "%H%M%S")):
        start = calendar(window, zone).start(moment)
        before, local = (datetime.fromtimestamp(t, info) for t in (start - 1, start))
        assert int(local.strftime(full)) == 0 or before.utcoffset() != local.utcoffset()
        if window == "day":
            assert before.date() < local.date()
            continue
        # And at all of them: no other instant of the window is a full time or a change of the clocks.
        for t in range(start + 60, calendar(window, zone).end(start), 60):
            earlier, now = (datetime.fromtimestamp(t - n, info) for n in (60, 0))
            assert int(now.strftime(full)) != 0
            assert earlier.utcoffset() == now.utcoffset()


@given(moments, st.sampled_from(["month", "day", "hour"]))
def test_utc_is_as_in_price_books(moment: int, accumulate: str) -> None:
    hours, month = calendar(3_600), UTC_MONTHS.month_of(moment)
    assert hours.month_of(moment) == month
    assert hours.month_start(month) == UTC_MONTHS.month_start(month)
    length = {"day": 86_400, "hour": 3_600}.get(accumulate, 0)
    start = moment - moment % length if length else UTC_MONTHS.month_start(month)
    assert hours.period(accumulate, moment) == (start, start + length if length else UTC_MONTHS.month_start(month + 1))


@given(zoned(), st.sampled_from(["month", "day", "hour"]))
def test_periods_are_the_windows_of_their_length(there: tuple[str, int], accumulate: str) -> None:
    zone, moment = there
    start, end = calendar("minute", zone).period(accumulate, moment)
    same = calendar(accumulate, zone)
    assert (start, end) == (same.start(moment), same.end(start))


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("Europe/Berlin", "2026-03-29", [3600] * 23), ("Europe/Berlin", "2026-10-25", [3600] * 25), ("America/New_York", "2026-11-01", [3600] * 25)],
)
def test_a_day_on_which_clocks_change(zone: str, day: str, hours: list[int]) -> None:
    assert lengths(zone, day) == hours


def test_half_an_hour_on_lord_howe() -> None:
    # 2:00 becomes 2:30 in October, 2:00 becomes 1:30 in April: the changed hour has 30 minutes in both.
    assert lengths("Australia/Lord_Howe", "2026-10-04") == [3600, 3600, 1800] + [3600] * 21
    assert lengths("Australia/Lord_Howe", "2026-04-05") == [3600, 3600, 1800] + [3600] * 22


def lengths(zone: str, day: str) -> list[int]:
    """Seconds of each hour of a day."""
    start, end = calendar("hour", zone).period("day", at(zone, f"{day}T12:00"))
    assert start == at(zone, f"{day}T00:00")
    found = []
    while start < end:
        found.append(calendar("hour", zone).end(start) - start)
        start = calendar("hour", zone).end(start)
    assert start == end
    return found


def test_a_day_begins_at_the_first_instant_of_its_date() -> None:
    days = calendar("day", "America/Havana")  # 2026-03-08: 0:00 becomes 1:00
    assert days.start(at("America/Havana", "2026-03-08T12:00")) == at("America/Havana", "2026-03-08T01:00")
    # 2009-11-01 0:01 became 2009-10-31 23:01 in St. John's: November had begun, and does not end again.
    days = calendar("day", "America/St_Johns")
    november = at("America/St_Johns", "2009-11-01T00:00")
    assert days.start(at("America/St_Johns", "2009-10-31T23:30", fold=1)) == november
    assert days.month_of(november) == days.month_of(november + 1800) == 2009 * 12 + 10
    assert days.month_of(november - 1) == 2009 * 12 + 9
    # 1919-03-30 23:30 became 1919-03-31 0:30 in Toronto: the day begins with the leap.
    assert calendar("day", "America/Toronto").start(at("America/Toronto", "1919-03-31T12:00")) == at("America/Toronto", "1919-03-31T00:30")
    # 2011-12-30 did not happen in Apia.
    days = calendar("day", "Pacific/Apia")
    assert days.end(at("Pacific/Apia", "2011-12-29T00:00")) == at("Pacific/Apia", "2011-12-31T00:00")


def test_a_month_in_berlin_begins_before_that_of_utc() -> None:
    berlin = calendar("hour", "Europe/Berlin")
    start = berlin.month_start(2026 * 12 + 6)
    assert datetime.fromtimestamp(start, UTC).isoformat() == "2026-06-30T22:00:00+00:00"
    assert (berlin.month_of(start), calendar("hour").month_of(start)) == (2026 * 12 + 6, 2026 * 12 + 5)


def test_lengths_in_seconds() -> None:
    quarters = calendar(900)
    assert (quarters.start(1_799), quarters.end(900), quarters.start(-1)) == (900, 1_800, -900)
    assert calendar(3_600) is calendar("hour") is calendar("hour", "Etc/UTC")
    assert calendar(60) is calendar("minute", "UTC")


@pytest.mark.parametrize(
    ("window", "zone"),
    [(7, "UTC"), (0, "UTC"), (-60, "UTC"), (7_200, "UTC"), (900, "Europe/Berlin"), ("week", "UTC"), ("hour", "Europe/Atlantis"), ("day", "../UTC")],
)
def test_what_is_not_a_calendar(window: str | int, zone: str) -> None:
    with pytest.raises(ValueError, match=r"zone|window"):
        calendar(window, zone)


def test_zones_that_depend_on_the_machine_are_not_known() -> None:
    assert known_timezone("Europe/Berlin")
    assert known_timezone("UTC")
    assert not any(known_timezone(name) for name in ("localtime", "posixrules", "right/Europe/Berlin", "Factory", "Europe", "", "europe/berlin"))
    with pytest.raises(ValueError):
        calendar("hour", "localtime")


def test_full_caches_are_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratemill.metering.calendar._CACHED", 3)
    hours = Calendar("hour", "Europe/Berlin")
    starts = [hours.start(FIRST + n * 86_400) for n in range(20)]
    assert starts == [FIRST + n * 86_400 for n in range(20)]
    months = [hours.month_of(FIRST + n * 86_400) for n in range(60)]
    assert months == sorted(months)
