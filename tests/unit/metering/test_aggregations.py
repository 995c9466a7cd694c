"""What a window comes to, by hand: one example for each aggregation, its edges, and how samples are stored."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.metering.aggregate import window_value, windows_touched
from ratemill.metering.calendar import calendar
from ratemill.metering.meter import Meter
from ratemill.metering.meters_form import parse_meters
from ratemill.metering.samples import Sample, SampleList, decode_sample, encode_sample, time_key
from ratemill.pricing.money import money
from ratemill.schemas.times import NS

HOURS = calendar("hour")
T0 = 1_772_323_200  # 2026-03-01T00:00:00Z


def meter(aggregation: str, more: str = "") -> Meter:
    fixed = {
        "time_weighted": "gap_limit: 2h, digits: 6, unit: GB-h",
        "unique": "unique: dimensions.user, unit: Users",
        "count": "unit: Requests",
    }
    parts = (f"id: m, event: e, aggregation: {aggregation}", "" if "unit:" in more else fixed.get(aggregation, ""), more)
    line = ", ".join(part for part in parts if part)
    return parse_meters(f"meters: [{{{line}}}]", "x").all[0]


def samples(*values: tuple[int, str], texts: str = "") -> SampleList:
    """Samples by minutes after T0."""
    return SampleList(
        Sample((T0 + minute * 60) * NS, "s", f"e{number:03d}", money(quantity), texts[number : number + 1], "")
        for number, (minute, quantity) in enumerate(values)
    )


def hours(one: Meter, series: SampleList, count: int = 4) -> list[Decimal | None]:
    """Values of the first hours from T0."""
    return [window_value(one, HOURS, series, T0 + 3600 * number) for number in range(count)]


SERIES = samples((10, "3"), (30, "1.5"), (59, "2"), (125, "-4"), texts="abac")


@pytest.mark.parametrize(
    ("aggregation", "first", "third"),
    [("sum", "6.5", "-4"), ("count", "3", "1"), ("min", "1.5", "-4"), ("max", "3", "-4"), ("latest", "2", "-4"), ("unique", "2", "1")],
)
def test_what_looks_at_the_window_alone(aggregation: str, first: str, third: str) -> None:
    one = meter(aggregation)
    assert hours(one, SERIES) == [money(first), None, money(third), None]
    assert windows_touched(one, HOURS, SERIES, [(T0 + 61) * NS, (T0 + 7_500) * NS]) == {T0, T0 + 7_200}


def test_latest_is_decided_by_time_source_and_id() -> None:
    at = T0 * NS
    tied = [Sample(at, "b", "1", money(1), "", ""), Sample(at, "a", "9", money(2), "", ""), Sample(at - 1, "z", "z", money(3), "", "")]
    assert window_value(meter("latest"), HOURS, SampleList(tied), T0) == 1


def test_time_weighted_holds_until_the_next_sample() -> None:
    # 4 GB from 0:30, 2 GB from 1:15, and 0 from 1:45.
    series = samples((30, "4"), (75, "2"), (105, "0"))
    assert hours(meter("time_weighted"), series) == [money(2), money(2), money(0), money(0)]
    assert hours(meter("time_weighted"), series, 5)[4] is None


def test_time_weighted_holds_no_longer_than_the_gap_limit() -> None:
    series = samples((30, "4"), (400, "1"))
    assert hours(meter("time_weighted"), series) == [money(2), money(4), money(2), None]
    # 10 minutes: 4 x 10/60, rounded once.
    short = meter("time_weighted", "gap_limit: 10m, digits: 6, unit: GB-h")
    assert hours(short, series) == [money("0.666667"), None, None, None]


def test_without_carry_forward_only_what_lies_between_samples_counts() -> None:
    one = meter("time_weighted", "carry_forward: false")
    series = samples((30, "4"))
    assert hours(one, series) == [money(0), None, None, None]
    series.add(Sample((T0 + 3_600) * NS, "s", "x", money("8"), "", ""))
    assert hours(one, series) == [money(2), money(0), None, None]
    # Further away than the gap limit, the next sample still tells that the resource was there, and for how long that is believed.
    series.add(Sample((T0 + 36_000) * NS, "s", "y", money("1"), "", ""))
    assert hours(one, series) == [money(2), money(8), money(8), None]


def test_time_weighted_of_one_instant() -> None:
    at = (T0 + 1800) * NS
    tied = SampleList([Sample(at, "a", "1", money(100), "", ""), Sample(at, "b", "1", money(4), "", "")])
    assert hours(meter("time_weighted"), tied) == [money(2), money(4), money(2), None]


def test_nothing_holds_beyond_the_end_of_the_meter() -> None:
    one = meter("time_weighted", "effective_to: 2026-03-01T01:00:00Z")
    assert hours(one, samples((30, "4"))) == [money(2), None, None, None]
    assert windows_touched(one, HOURS, samples((30, "4")), [(T0 + 1800) * NS]) == {T0}


def test_time_weighted_is_exact_and_converted_at_the_end() -> None:
    one = meter("time_weighted", "unit: GB-s, gap_limit: 1h, per: second, convert: {from: MiB, to: GB}")
    at = T0 * NS + 1
    series = SampleList([Sample(at, "s", "1", money("3"), "", ""), Sample(at + 1, "s", "2", money("0"), "", "")])
    assert window_value(one, HOURS, series, T0) == money("3") * money("0.001048576") * money("1e-9")


def test_a_window_of_25_hours() -> None:
    one = meter("time_weighted", "window: day, timezone: Europe/Berlin, gap_limit: 2d, digits: 6, unit: GB-h")
    start = calendar("day", "Europe/Berlin").start(1_792_922_400)  # 2026-10-25 in Berlin
    series = SampleList([Sample(start * NS, "s", "1", money("2"), "", "")])
    assert window_value(one, HOURS, series, start) == 50


def test_a_counter_counts_what_it_grew() -> None:
    series = samples((10, "100"), (30, "130"), (70, "135"), (80, "7"), (90, "7"), (190, "10"))
    assert hours(meter("counter"), series) == [money(30), money(12), None, money(3)]
    assert hours(meter("counter", "first_sample: count"), series) == [money(130), money(12), None, money(3)]
    # A sample that comes late moves growth, and makes none.
    late = Sample((T0 + 40 * 60) * NS, "s", "late", money("133"), "", "")
    series.add(late)
    assert hours(meter("counter"), series) == [money(33), money(9), None, money(3)]
    assert windows_touched(meter("counter"), HOURS, series, [late.time_ns]) == {T0, T0 + 3_600}


def test_windows_that_a_sample_of_quantity_over_time_touches() -> None:
    carried, bare = meter("time_weighted"), meter("time_weighted", "carry_forward: false")
    series = samples((30, "4"), (300, "1"))
    late = (T0 + 90 * 60) * NS
    series.add(Sample(late, "s", "late", money("7"), "", ""))
    assert windows_touched(carried, HOURS, series, [late]) == {T0 + 3_600, T0 + 7_200, T0 + 10_800}
    assert windows_touched(bare, HOURS, series, [late]) == {T0, T0 + 3_600, T0 + 7_200, T0 + 10_800}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
identities = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
any_sample = st.builds(
    Sample, st.integers(-(2**63), 2**63 - 1), identities, identities, st.decimals(allow_nan=False, allow_infinity=False, places=6), texts, identities
)


@given(any_sample)
def test_a_sample_is_stored_and_read_back(sample: Sample) -> None:
    key, value = encode_sample(sample)
    assert decode_sample(key, value) == sample
    assert value
    assert time_key(sample.time_ns) <= key


@given(any_sample, any_sample)
def test_keys_sort_as_samples_do(one: Sample, other: Sample) -> None:
    def place(sample: Sample) -> tuple[int, bytes, bytes]:
        return sample.time_ns, sample.source.encode(), sample.id.encode()

    assert (encode_sample(one)[0] < encode_sample(other)[0]) == (place(one) < place(other))


def test_samples_in_memory() -> None:
    series = samples((1, "1"), (2, "2"), (3, "3"))
    minute = 60 * NS
    start = T0 * NS
    assert [s.quantity for s in series.between(start + minute, start + 3 * minute)] == [1, 2]
    first, second = series.between(start, start + 3 * minute)
    assert series.before(start + minute) is None
    assert series.before(start + 2 * minute) == first
    assert series.after(start + 2 * minute) == second
    assert series.after(start + 4 * minute) is None
    series.remove(second)
    assert len(series) == 2
    with pytest.raises(ValueError):
        series.remove(second)
