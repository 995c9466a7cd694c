"""Meters are read from YAML, and every mistake in them is told at once with its line."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.metering.calendar import calendar
from ratemill.metering.meter import EMPTY_METERS, FOREVER, GroupBy, Meter
from ratemill.metering.meters_form import parse_meters
from ratemill.pricing.price import SINCE_ALWAYS
from ratemill.schemas.errors import BadPriceBook
from ratemill.schemas.times import parse_time


def meter_of(**fields: Any) -> Meter:
    """One meter, a sum unless it says otherwise."""
    (meter,) = parse_meters(json.dumps({"meters": [{"id": "m", "event": "e", "aggregation": "sum", **fields}]}), "meters.yaml").all
    return meter


def flow(*meters: str) -> str:
    """A file with one meter per line, from line 2."""
    return "meters:\n" + "".join(f"  - {{{meter}}}\n" for meter in meters)


def mistakes_of(text: str | bytes) -> list[str]:
    """The mistakes of a text, without the name of the file."""
    with pytest.raises(BadPriceBook) as caught:
        parse_meters(text, "meters.yaml")
    assert all(mistake.startswith("meters.yaml:") and "\n" not in mistake for mistake in caught.value.mistakes)
    return [mistake.removeprefix("meters.yaml:") for mistake in caught.value.mistakes]


def test_defaults() -> None:
    meter = meter_of()
    assert (meter.sku, meter.unit, meter.calendar, meter.group_by) == ("e", "", None, GroupBy())
    assert (meter.effective_from, meter.effective_to) == (SINCE_ALWAYS, FOREVER)
    assert (meter.filter, meter.quantity, meter.unique, meter.factor, meter.source_unit) == (None, None, None, None, "")
    assert meter.additive
    # Samples are kept in windows of their own; and the worker's are in UTC.
    assert meter_of(aggregation="max").calendar is calendar("hour")
    assert meter_of(timezone="Europe/Berlin").calendar is calendar("hour", "Europe/Berlin")
    assert meter_of(window="hour").calendar is calendar("hour")
    timed = meter_of(aggregation="time_weighted", gap_limit="90s", per="second", unit="GB-s")
    assert (timed.carry_forward, timed.gap_limit) == (True, 90 * 10**9)
    assert not meter_of(aggregation="counter").count_first


def test_everything_that_can_be_said() -> None:
    meter = meter_of(
        filter='dimensions.tier == "hot"', quantity="quantity * dimensions.factor", group_by=["region", 'dimensions["a b"]', "dimensions.tier"],
        window="day", timezone="Europe/Berlin", sku="es.ram", unit="GB-h", convert={"from": "MiB", "to": "GB"}, digits=6, aggregation="time_weighted",
        per="hour", gap_limit="2h", carry_forward=False, effective_from="2026-01-01T00:00:00+01:00", effective_to="2026-07-01T00:00:00+02:00",
    )  # fmt: skip
    assert (meter.sku, meter.unit, meter.source_unit) == ("es.ram", "GB-h", "MiB")
    assert meter.calendar is calendar("day", "Europe/Berlin")
    assert meter.group_by == GroupBy(True, False, ("a b", "tier"))
    assert (meter.effective_from, meter.effective_to) == (parse_time("2025-12-31T23:00:00Z"), parse_time("2026-06-30T22:00:00Z"))
    assert meter.factor is not None
    assert (meter.carry_forward, meter.factor.digits, meter.gap_limit) == (False, 6, 7_200 * 10**9)
    assert meter_of(aggregation="counter", first_sample="count").count_first
    assert meter_of(group_by=[]).group_by == GroupBy(False, False, ())


def test_units_follow_from_each_other() -> None:
    assert meter_of(convert={"from": "MiB", "to": "GB"}).unit == "GB"
    assert meter_of(convert={"from": "widgets", "to": "boxes", "factor": "0.25"}).unit == "boxes"
    assert meter_of(convert={"from": "GiB", "to": "GB", "factor": "1.073741824"}).unit == "GB"
    assert meter_of(unit="GB").source_unit == "GB"
    assert meter_of(unit="GB-h", quantity="quantity * dimensions.hours").source_unit == ""
    timed = {"aggregation": "time_weighted", "gap_limit": "1h", "digits": 9}
    assert meter_of(**timed, convert={"from": "MiB", "to": "GB"}).unit == "GB-h"
    assert meter_of(**timed, convert={"from": "MiB", "to": "GB"}, per="minute").unit == "GB-min"
    assert meter_of(**timed, unit="GB-Hours").source_unit == "GB"
    for unit, per in (("GB-Mo", "month"), ("GB-months", "month"), ("GB-Day", "day"), ("GB-min", "minute"), ("GB-hrs", "hour")):
        assert meter_of(**timed, unit=unit, per=per).source_unit == "GB"
    assert meter_of(**timed, unit="load", quantity="quantity / 4").source_unit == ""


def test_versions_are_those_of_what_is_meant() -> None:
    version = meter_of(quantity="quantity * 2").version
    same = [
        {"sku": "e"}, {"timezone": "UTC"}, {"effective_from": None},
    ]  # fmt: skip
    assert {meter_of(quantity="quantity * 2", **fields).version for fields in same} == {version}
    assert meter_of(quantity="quantity").version == meter_of().version
    others: list[dict[str, Any]] = [
        {"id": "n"}, {"event": "f"}, {"aggregation": "max"}, {"sku": "s"}, {"unit": "u"}, {"filter": "region == 'eu'"}, {"quantity": "quantity * 3"},
        {"window": "hour"}, {"window": "day"}, {"timezone": "Europe/Berlin"}, {"group_by": []}, {"effective_from": "1970-01-01T00:00:00Z"},
        {"effective_to": "2026-01-01T00:00:00Z"}, {"convert": {"from": "MiB", "to": "GB"}}, {"convert": {"from": "a", "to": "b", "factor": "1"}},
        {"quantity": "quantity / 3", "digits": 4}, {"quantity": "quantity / 3", "digits": 5},
    ]  # fmt: skip
    found = [meter_of(**{"quantity": "quantity * 2", **fields}).version for fields in others]
    assert len({version, *found}) == len(others) + 1
    assert all(len(text) == 12 for text in found)


def test_equal_definitions_are_equal_and_have_one_digest() -> None:
    one, other = "id: a, event: e, aggregation: sum", "id: b, event: f, aggregation: count, unit: Requests, filter: region == 'eu'"
    first, second = parse_meters(flow(one, other), "x"), parse_meters(flow(other, one), "y")
    assert first.all == second.all
    assert first.digest == second.digest != EMPTY_METERS.digest
    assert parse_meters("meters: []", "x").digest == EMPTY_METERS.digest
    assert parse_meters(flow(one), "x").digest != first.digest


SUM = "id: m, event: e, aggregation: sum"
TIMED = "id: m, event: e, aggregation: time_weighted, unit: GB-h, gap_limit: 2h, digits: 6"
MISTAKES = {
    "nothing": ("", ["1: the file is empty"]),
    "a list": ("[]", ["1: the file is a list, but must be a map"]),
    "another file": ("currency: USD", ["1: a file of meters has no `meters`", "1: unknown key `currency`"]),
    "no list": ("meters: {}", ["1: `meters` is a map, but must be a list"]),
    "empty list": ("meters:", ["1: `meters` is empty, but must be a list"]),
    "no map": ("meters:\n- x\n", ["2: meter 1 is a single value"]),
    "fields missing": (flow("sku: s"), ["2: meter 1 has no `id`", "2: meter 1 has no `event`", "2: meter 1 has no `aggregation`"]),
    "unknown key": (flow(f"{SUM}, filtre: x"), ["2: unknown key `filtre`; did you mean `filter`?"]),
    "aggregation": (flow("id: m, event: e, aggregation: average, gap: 2"), ["2: `aggregation` is `average`", "2: unknown key `gap`"]),
    "key of another aggregation": (
        flow(f"{SUM}, gap_limit: 2h", "id: n, event: e, aggregation: count, unit: Requests, quantity: quantity"),
        ["2: `gap_limit` does not go with aggregation sum: it belongs to time_weighted", "3: `quantity` does not go with aggregation count"],
    ),
    "id twice": (flow(SUM, f"{SUM}, sku: f"), ["3: meter id `m` is used twice, first in line 2"]),
    "filter": (flow(f"{SUM}, filter: region"), ["2: `filter` cannot be read: a filter needs true or false, and this is a text"]),
    "quantity": (flow(f"{SUM}, quantity: 'quantity *'"), ["2: `quantity` cannot be read: a value is expected"]),
    "unique": (flow("id: m, event: e, aggregation: unique, unit: u"), ["2: meter `m` has no `unique`"]),
    "unit of a count": (flow("id: m, event: e, aggregation: count"), ["2: meter `m` has no `unit`"]),
    "group_by": (
        flow(f"{SUM}, group_by: [tier, region, region, [x]]"),
        ["2: `group_by` holds `tier`", "2: `group_by` names `region` twice", "2: `group_by` holds a list"],
    ),
    "window": (flow(f"{SUM}, window: week"), ["2: `window` is `week`"]),
    "timezone": (flow(f"{SUM}, timezone: Berlin"), ["2: `timezone` is `Berlin`, which is not known"]),
    "half a window": (
        flow(f"{SUM}, window: day, timezone: Europe/Berlin, effective_from: 2026-01-01T00:00:00Z"),
        ["2: `effective_from` is 2026-01-01T00:00:00Z, which is not the start of a window (day in Europe/Berlin); the window that holds it"],
    ),
    "a split second": (flow(f"{SUM}, effective_to: 2026-01-01T00:00:00.5Z"), ["2: `effective_to` is 2026-01-01T00:00:00.5Z, which is not the start"]),
    "a year without usage": (flow(f"{SUM}, effective_from: 0001-01-01T00:00:00Z"), ["2: `effective_from` is `0001-01-01T00:00:00Z`, when there is"]),
    "never": (
        flow(f"{SUM}, effective_from: 2026-01-02T00:00:00Z, effective_to: 2026-01-01T00:00:00Z"),
        ["2: `effective_to` is not after `effective_from`"],
    ),
    "unknown unit": (flow(f"{SUM}, convert: {{from: MIB, to: GB}}"), ["2: `convert`: the unit MIB is not known; did you mean MiB?"]),
    "units of different kinds": (flow(f"{SUM}, convert: {{from: MiB, to: h}}"), ["2: `convert`: no fixed factor leads from MiB to h"]),
    "months": (flow(f"{SUM}, convert: {{from: GB-Mo, to: GB-h}}"), ["2: `convert`: Mo is not a fixed time"]),
    "wrong factor": (flow(f"{SUM}, convert: {{from: GiB, to: GB, factor: 1}}"), ["2: `factor` is 1, but one GiB is 2097152/1953125 GB"]),
    "no factor": (flow(f"{SUM}, convert: {{from: a, to: b, factor: 0}}"), ["2: `factor` is 0; it must be above 0"]),
    "half a conversion": (flow(f"{SUM}, convert: {{from: a, too: b}}"), ["2: unknown key `too`", "2: convert has no `to`"]),
    "a word": (flow(f"{SUM}, convert: GB"), ["2: `convert` is a single value, but must be a map"]),
    "unit beside conversion": (flow(f"{SUM}, unit: MB, convert: {{from: MiB, to: GB}}"), ["2: `unit` is `MB`, but `convert` leads to `GB`"]),
    "digits needed": (flow(f"{SUM}, convert: {{from: s, to: h}}"), ["2: the conversion does not always give a finite decimal; add `digits: 12`"]),
    "digits needed by a quotient": (flow(f"{SUM}, quantity: quantity / 3"), ["2: `quantity` cannot be read: this quotient is not"]),
    "digits for nothing": (flow(f"{SUM}, digits: 3"), ["2: `digits` has nothing to round"]),
    "digits": (flow(f"{SUM}, quantity: quantity / 3, digits: 31"), ["2: `digits` is `31`", "2: `quantity` cannot be read"]),
    "no gap limit": (flow("id: m, event: e, aggregation: time_weighted, unit: GB-h, digits: 6"), ["2: meter `m` has no `gap_limit`"]),
    "gap limit": (flow(TIMED.replace("2h", "2 h")), ["2: `gap_limit` is `2 h`; write how long"]),
    "no gap": (flow(TIMED.replace("2h", "0s")), ["2: `gap_limit` is `0s`"]),
    "long gap": (flow(TIMED.replace("2h", "32d")), ["2: `gap_limit` is `32d`; with `window: hour` write at most 744h"]),
    "long gap of minutes": (flow(TIMED.replace("2h", "2d") + ", window: minute"), ["2: `gap_limit` is `2d`; with `window: minute`"]),
    "time without digits": (
        flow(TIMED.replace(", digits: 6", ""), TIMED.replace(", digits: 6", ", sku: s, convert: {from: MiB, to: GB}").replace("id: m", "id: n")),
        ["2: time per minute, hour or day does not always give a finite decimal", "3: time per minute, hour or day does not"],
    ),
    "time in no unit": (flow(TIMED.replace("GB-h", "GBh")), ["2: `unit` is `GBh`, from which the unit of the events does not follow"]),
    "time in another unit": (flow(TIMED + ", convert: {from: MiB, to: GiB}"), ["2: `unit` is `GB-h`, but `GiB` over time is `GiB-h`"]),
    **{
        f"{unit} per {per}": (
            flow(TIMED.replace("GB-h", unit) + f", per: {per}"),
            [f"2: `unit` is `{unit}`, a quantity by the {named}, but `per` is {per}; write {meant}"],
        )
        for unit, per, named, meant in (
            ("GB-Mo", "day", "month", "`per: month`, or `unit: GB-d`"), ("GB-h", "month", "hour", "`per: hour`, or `unit: GB-Mo`"),
            ("GB-Day", "hour", "day", "`per: day`"), ("GB-Hours", "day", "hour", "`per: hour`"), ("GB-HRS", "minute", "hour", "`per: hour`"),
            ("GB-ms", "second", "ms", "`unit: GB-s`"), ("GB-Years", "month", "year", "`unit: GB-Mo`"),
        )
    },
    "a time of its own by default": (flow(TIMED.replace("GB-h", "GB-d")), ["2: `unit` is `GB-d`, a quantity by the day, but `per` is hour"]),
    "a time beside an expression": (flow(TIMED + ", per: day, quantity: quantity * 2"), ["2: `unit` is `GB-h`, a quantity by the hour"]),
    "a time beside a conversion": (flow(TIMED + ", per: day, convert: {from: MiB, to: GB}"), ["2: `unit` is `GB-h`, a quantity by the hour"]),
    "per nothing": (flow(TIMED + ", per: week"), ["2: `per` is `week`"]),
    "flag": (flow(TIMED + ", carry_forward: maybe"), ["2: `carry_forward` is `maybe`; write true or false"]),
    "one SKU in other windows": (
        flow(f"{SUM}, sku: s", "id: n, event: f, aggregation: sum, sku: s, window: day"),
        ["3: meter `n` feeds SKU `s` in any unit, as meter `m` does (line 2), with other windows"],
    ),
    "one SKU, not to be added": (
        flow("id: m, event: e, aggregation: sum, sku: s, window: hour, unit: GB", "id: n, event: f, aggregation: max, sku: s"),
        ["3: meter `n` feeds SKU `s` in any unit, as meter `m` does (line 2) at the same time, and only count and sum can be added up"],
    ),
    "too many of one event": (flow(*(f"id: m{n}, event: e, aggregation: sum, sku: s{n}" for n in range(101))), ["102: more than 100 meters"]),
    "too many": (flow(*(f"id: m{n}, event: e{n}, aggregation: sum" for n in range(2_001))), ["2: `meters` has 2001 meters; at most 2000 are read"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(text: str, expected: list[str]) -> None:
    found = mistakes_of(text)
    assert len(found) == len(expected), found
    for start in expected:
        assert any(mistake.startswith(start) for mistake in found), found


def test_meters_that_may_feed_one_sku() -> None:
    parse_meters(
        flow(
            "id: a, event: e, aggregation: sum, sku: s, unit: GB",
            "id: b, event: f, aggregation: count, sku: s, unit: GB",
            "id: c, event: g, aggregation: max, sku: s, unit: MB, effective_to: 2026-01-01T00:00:00Z",  # another unit
            "id: d, event: h, aggregation: min, sku: s, unit: MB, effective_from: 2026-01-01T00:00:00Z",  # another time
        ),
        "meters.yaml",
    )


@given(st.text(st.sampled_from("meters: id:event[]{}-,\n'\"*/ 10sumcountfilter"), max_size=80))
def test_any_text_is_meters_or_mistakes(text: str) -> None:
    with contextlib.suppress(BadPriceBook):
        parse_meters(text, "meters.yaml")


fields = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", ""]),
        "event": st.sampled_from(["e", None]),
        "aggregation": st.sampled_from(["sum", "unique", "time_weighted", "counter"]),
    },
    optional={
        "filter": st.sampled_from(["true", "region", 5, []]),
        "quantity": st.sampled_from(["quantity / 3", "1", "?"]),
        "unique": st.sampled_from(["region", "1 == 1"]),
        "unit": st.sampled_from(["GB-h", "GB", "-", "x"]),
        "convert": st.sampled_from([{"from": "s", "to": "h"}, {"from": "a", "to": "b", "factor": "2"}, {}, 3]),
        "digits": st.sampled_from([0, 12, "x", -1]),
        "per": st.sampled_from(["hour", "second", "year"]),
        "gap_limit": st.sampled_from(["1h", "9999999d", ""]),
        "timezone": st.sampled_from(["Europe/Berlin", "x", 3]),
        "window": st.sampled_from(["day", "x"]),
        "effective_from": st.sampled_from(["2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "x"]),
        "group_by": st.sampled_from([["region"], ["x"], [[]], "region"]),
    },
)


@given(st.lists(fields, max_size=3))
def test_any_fields_are_meters_or_mistakes(meters: list[dict[str, Any]]) -> None:
    with contextlib.suppress(BadPriceBook):
        parse_meters(json.dumps({"meters": meters}), "meters.yaml")
