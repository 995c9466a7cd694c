"""Bands of the week by the clocks of a time zone: every window has one, also on the days on which clocks are changed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.pricing import Price, cell_of, entry_price, parse_price_book, period_cost
from ratemill.pricing.models import tier_name
from ratemill.pricing.money import ZERO, money
from ratemill.pricing.selection import DAYS, MINUTES_OF_WEEK, OTHERWISE, Band, Schedule, clock_text, stretches_of
from ratemill.schemas.errors import BadPriceBook

BERLIN: dict[str, Any] = {
    "timezone": "Europe/Berlin",
    "bands": [
        {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "20:00", "unit_price": "0.30"},
        {"days": ["fri"], "from": "22:00", "to": "06:00", "unit_price": "0.50"},
    ],
    "otherwise": {"unit_price": "0.20"},
}


def built(fields: dict[str, Any]) -> Price:
    price = {"id": "p", "sku": "s", "unit": "kWh", "model": "time_of_day", **fields}
    return parse_price_book(json.dumps({"currency": "EUR", "prices": [price]}), "book.yaml").prices[0]


def price_at(price: Price, text: str) -> Decimal:
    """The unit price of a window that begins at a time in UTC."""
    cell = cell_of(price, int(datetime.fromisoformat(text).timestamp()), "", "", "")
    assert cell is not None
    return entry_price(price, cell, "")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2026-01-05T06:59:00Z", "0.2"),  # Monday 07:59 in Berlin, one hour ahead in winter
        ("2026-01-05T07:00:00Z", "0.3"),
        ("2026-01-05T18:59:00Z", "0.3"),
        ("2026-01-05T19:00:00Z", "0.2"),
        ("2026-07-06T06:00:00Z", "0.3"),  # two hours ahead in summer
        ("2026-01-10T12:00:00Z", "0.2"),  # Saturday
        ("2026-01-09T20:59:00Z", "0.2"),  # Friday, before and after 22:00
        ("2026-01-09T21:00:00Z", "0.5"),
        ("2026-01-10T04:59:00Z", "0.5"),  # the band of Friday runs into Saturday, until 06:00
        ("2026-01-10T05:00:00Z", "0.2"),
        ("2026-01-10T22:00:00Z", "0.2"),  # and Saturday has none
    ],
)
def test_prices_by_hand(start: str, expected: str) -> None:
    assert price_at(built(BERLIN), start) == money(expected)


def test_a_band_has_the_length_that_the_clocks_give_it() -> None:
    night = {"timezone": "Europe/Berlin", "bands": [{"from": "01:00", "to": "04:00", "unit_price": "1"}], "otherwise": {"unit_price": "0"}}
    price = built(night)

    def hours(day: str) -> Decimal:
        start = int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) - 2 * 3_600
        cells = [cell_of(price, start + hour * 3_600, "", "", "") for hour in range(24)]
        return sum((entry_price(price, cell, "") for cell in cells if cell is not None), ZERO)

    assert (hours("2026-03-28"), hours("2026-03-29"), hours("2026-10-25")) == (3, 2, 4)


def test_a_zone_that_is_half_an_hour_off() -> None:
    price = built({"timezone": "Asia/Kolkata", "bands": [{"from": "08:00", "to": "09:00", "unit_price": "1"}], "otherwise": {"unit_price": "2"}})
    assert [price_at(price, f"2026-01-05T0{time}:00Z") for time in ("2:29", "2:30", "3:00", "3:29", "3:30")] == [2, 1, 1, 1, 2]


def test_a_band_over_midnight_of_sunday_runs_into_monday() -> None:
    bands = [{"days": ["sun"], "from": "23:00", "to": "01:00", "unit_price": "1"}]
    price = built({"timezone": "UTC", "bands": bands, "otherwise": {"unit_price": "2"}})
    starts = ["2026-01-04T22:59:00Z", "2026-01-04T23:00:00Z", "2026-01-05T00:59:00Z", "2026-01-05T01:00:00Z", "2026-01-11T23:00:00Z"]
    assert [price_at(price, start) for start in starts] == [2, 1, 1, 2, 1]


def test_bands_that_fill_the_week_need_no_otherwise() -> None:
    bands = [{"days": ["sat", "sun"], "unit_price": "1"}, {"days": list(DAYS[:5]), "from": "00:00", "to": "24:00", "unit_price": "2"}]
    price = built({"timezone": "UTC", "bands": bands})
    assert len(price.tiers) == 2
    assert (price_at(price, "2026-01-04T23:59:00Z"), price_at(price, "2026-01-05T00:00:00Z")) == (1, 2)


def test_names_and_versions() -> None:
    price = built(BERLIN)
    assert [tier_name(price, index) for index in range(3)] == ["band-1", "band-2", "otherwise"]
    assert [tier.sku_price_id for tier in price.tiers] == ["s/kWh/band-1", "s/kWh/band-2", "s/kWh/otherwise"]
    assert price.by_window
    assert price.selector
    others = [BERLIN, BERLIN | {"timezone": "Europe/Paris"}, BERLIN | {"bands": BERLIN["bands"][:1]}]
    assert len({built(fields).version for fields in others}) == 3


MINUTES = st.integers(0, 24 * 12).map(lambda number: number * 5)
BANDS = st.builds(
    Band,
    st.sets(st.integers(0, 6), min_size=1, max_size=3).map(lambda days: tuple(sorted(days))),
    MINUTES.filter(lambda minute: minute < 24 * 60),
    MINUTES,
).filter(lambda band: band.since != band.until)


def holds(band: Band, minute: int) -> bool:
    """The definition, minute by minute: some day on which the band begins is not yet over."""
    length = (band.until - band.since) % (24 * 60) or 24 * 60
    return any((minute - day * 24 * 60 - band.since) % MINUTES_OF_WEEK < length for day in band.days)


@settings(max_examples=60, deadline=None)
@given(st.lists(BANDS, min_size=1, max_size=3))
def test_bands_are_refused_if_and_only_if_a_minute_has_two(bands: list[Band]) -> None:
    written = [
        {"days": [DAYS[day] for day in band.days], "from": clock_text(band.since), "to": clock_text(band.until), "unit_price": "1"} for band in bands
    ]
    minutes = [[index for index, band in enumerate(bands) if holds(band, minute)] for minute in range(0, MINUTES_OF_WEEK, 5)]
    full = all(minutes)
    fields = {"timezone": "UTC", "bands": written} | ({} if full else {"otherwise": {"unit_price": "2"}})
    if any(len(found) > 1 for found in minutes):
        with pytest.raises(BadPriceBook, match="overlaps band"):
            built(fields)
        return
    price = built(fields)
    monday = 4 * 86_400  # 1970-01-05
    cells = [cell_of(price, monday + minute * 60, "", "", "") for minute in range(0, MINUTES_OF_WEEK, 5)]
    assert cells == [found[0] if found else len(bands) for found in minutes]
    assert sum(past - first for band in bands for first, past in stretches_of(band)) == 5 * sum(cell != len(bands) for cell in cells)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 4_000_000_000), st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]))
def test_the_band_is_that_of_the_local_clock(time_s: int, zone: str) -> None:
    schedule = Schedule(zone, (Band((0, 1, 2, 3, 4), 480, 1200), Band((5,), 0, 1440)))
    local = datetime.fromtimestamp(time_s, UTC).astimezone(ZoneInfo(zone))
    expected = 1 if local.weekday() == 5 else 0 if local.weekday() < 5 and 8 <= local.hour < 20 else OTHERWISE
    assert schedule.band_at(time_s) == expected


def test_the_clock_of_another_zone_finds_another_band() -> None:
    schedules = [Schedule(zone, (Band((0, 1, 2, 3, 4), 480, 1200),)) for zone in ("Europe/Berlin", "UTC")]
    winter_morning = int(datetime(2026, 1, 5, 7, 30, tzinfo=UTC).timestamp())
    assert [schedule.band_at(winter_morning) for schedule in schedules] == [0, OTHERWISE]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400_000), st.integers(-5, 20)), max_size=30))
def test_cells_partition_the_entries(used: list[tuple[int, int]]) -> None:
    """Every window is in one cell; what the cells cost is what the windows cost one by one."""
    price = built(BERLIN)
    quantities: dict[int, Decimal] = {}
    windows = ZERO
    for hour, number in used:
        cell = cell_of(price, hour * 3_600, "", "", "")
        assert cell is not None
        quantities[cell] = quantities.get(cell, ZERO) + money(number)
        windows += money(number) * entry_price(price, cell, "")
    assert period_cost(price, quantities) == windows
    assert sum(quantities.values(), ZERO) == sum(number for _, number in used)


FROM_LINE_5 = "timezone: UTC, otherwise: {unit_price: 1}, bands: [\n "
ONE = '{from: "08:00", to: "20:00", unit_price: 1}'
MISTAKES: dict[str, tuple[str, list[str]]] = {
    "no zone": (f"bands: [{ONE}], otherwise: {{unit_price: 1}}", ["3: price `a` has no `timezone`"]),
    "unknown zone": (
        f"timezone: Europe/Berlinn, bands: [{ONE}], otherwise: {{unit_price: 1}}",
        ["4: `timezone` is `Europe/Berlinn`, which is not known; did you mean `Europe/Berlin`?"],
    ),
    "a path as zone": (f"timezone: ../../etc/passwd, bands: [{ONE}], otherwise: {{unit_price: 1}}", ["4: `timezone` is `../../etc/passwd`"]),
    "no bands": ("timezone: UTC, otherwise: {unit_price: 1}", ["3: price `a` has no `bands`"]),
    "bands empty": ("timezone: UTC, bands: [], otherwise: {unit_price: 1}", ["4: `bands` has no band"]),
    "no otherwise": (f"timezone: UTC, bands: [{ONE}]", ["3: price `a` has no `otherwise`; add one, such as `otherwise: {unit_price:"]),
    "otherwise never reached": (
        "timezone: UTC, bands: [{unit_price: 1}],\n otherwise: {unit_price: 1}",
        ["5: `otherwise` is never reached: the bands fill the week"],
    ),
    "overlap": (
        FROM_LINE_5 + '{to: "20:00", days: [mon], unit_price: 1},\n {from: "19:59", unit_price: 2}]',
        ["6: band 2 overlaps band 1 (line 5) on mon at 19:59; let one end where the other begins"],
    ),
    "overlap over midnight": (
        FROM_LINE_5 + '{from: "00:00", to: "02:00", unit_price: 1},\n {from: "22:00", to: "00:30", unit_price: 2}]',
        ["6: band 2 overlaps band 1 (line 5) on mon at 00:00"],
    ),
    "no such day": (FROM_LINE_5 + "{days: [monday], unit_price: 1}]", ["5: `days` names `monday`; use mon, tue"]),
    "a day twice": (FROM_LINE_5 + "{days: [mon, mon], unit_price: 1}]", ["5: `days` names mon twice"]),
    "no days": (FROM_LINE_5 + "{days: [], unit_price: 1}]", ["5: `days` names no day"]),
    "seconds": (FROM_LINE_5 + '{from: "08:00:30", unit_price: 1}]', ["5: `from` is `08:00:30`; write hours"]),
    "no such hour": (FROM_LINE_5 + '{to: "24:30", unit_price: 1}]', ["5: `to` is `24:30`; write hours"]),
    "no length": (
        FROM_LINE_5 + '{from: "08:00", to: "08:00", unit_price: 1}]',
        ["5: `to` is 08:00 as `from` is, so the band has no length"],
    ),
    "begins at the end": (
        FROM_LINE_5 + '{from: "24:00", to: "08:00", unit_price: 1}]',
        ["5: `from` is 24:00, where the next day begins"],
    ),
    "no price": (
        'timezone: UTC, otherwise: {}, bands: [\n {from: "08:00"}]',
        ["4: `otherwise` has no `unit_price`", "5: band 1 has no `unit_price`"],
    ),
}


@pytest.mark.parametrize(("fields", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(fields: str, expected: list[str]) -> None:
    with pytest.raises(BadPriceBook) as caught:
        parse_price_book(f"currency: USD\nprices:\n- {{id: a, sku: s, unit: u, model: time_of_day,\n {fields}}}\n", "book.yaml")
    found = [mistake.removeprefix("book.yaml:") for mistake in caught.value.mistakes]
    assert len(found) == len(expected), found
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found
