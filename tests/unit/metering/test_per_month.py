"""`per: month`: what was held on average over a calendar month, however long that month is."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from ratemill.metering.aggregate import window_value
from ratemill.metering.calendar import calendar
from ratemill.metering.meter import Meter
from ratemill.metering.meters_form import parse_meters
from ratemill.metering.samples import Sample, SampleList
from ratemill.schemas.errors import BadPriceBook

NS = 10**9
YAML = """
meters:
  - {{id: m, event: storage, aggregation: time_weighted, per: month, gap_limit: 2h, unit: GB-Mo, window: {window}, timezone: {zone}, {more}}}
"""


def meter(window: str = "month", zone: str = "UTC", more: str = "digits: 12") -> Meter:
    (found,) = parse_meters(YAML.format(window=window, zone=zone, more=more), "m.yaml").all
    return found


def second(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def hourly(start: int, sizes: list[tuple[int, str]]) -> SampleList:
    """So many hours of each size, one sample an hour."""
    every = [size for hours, size in sizes for _ in range(hours)]
    return SampleList(Sample((start + hour * 3_600) * NS, "s", str(hour), Decimal(size), "", "") for hour, size in enumerate(every))


def value(of: Meter, samples: SampleList, start: int) -> Decimal | None:
    return window_value(of, calendar("hour", "UTC"), samples, start)


def test_the_vendor_s_worked_example() -> None:
    # 100 GB for 10 days and 130 GB for the other 20 of April 2019 are 120 GB of that month.
    april = second("2019-04-01")
    assert value(meter(), hourly(april, [(240, "100"), (480, "130")]), april) == 120


@pytest.mark.parametrize(("month", "hours"), [("2026-02-01", 672), ("2028-02-01", 696), ("2026-09-01", 720), ("2026-10-01", 744)])
def test_what_is_held_all_month_is_its_quantity_whatever_the_month(month: str, hours: int) -> None:
    start = second(month)
    assert value(meter(), hourly(start, [(hours, "37.5")]), start) == Decimal("37.5")


def test_a_month_in_which_clocks_change_is_as_long_as_it_is() -> None:
    zone = "Europe/Berlin"
    october = second("2026-10-01", zone)
    assert value(meter(zone=zone), hourly(october, [(745, "8")]), october) == 8
    # The last sample holds for two hours, so without the last two of them an hour is missing.
    assert value(meter(zone=zone), hourly(october, [(743, "8")]), october) == (Decimal(8) * 744 / 745).quantize(Decimal("1e-12"))


def test_windows_shorter_than_the_month_are_parts_of_it() -> None:
    september = second("2026-09-01")
    samples = hourly(september, [(720, "100")])
    assert value(meter("hour"), samples, september + 7_200) == Decimal("0.138888888889")  # 100 / 720
    assert value(meter("day"), samples, september) == Decimal("3.333333333333")


def test_it_needs_digits_and_is_another_definition_than_per_day() -> None:
    with pytest.raises(BadPriceBook, match="no `digits`"):
        meter(more="carry_forward: true")
    per_day = YAML.replace("per: month", "per: day").replace("GB-Mo", "GB-d")
    (other,) = parse_meters(per_day.format(window="month", zone="UTC", more="digits: 12"), "m.yaml").all
    assert other.version != meter().version
    assert meter(more="digits: 6").version != meter().version
