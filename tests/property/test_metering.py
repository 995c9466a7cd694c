"""Meters: windows kept up to date by recomputing what a change touches are those of the definition, in any order of arrival.

Samples come one by one or in batches, in any order, and some are taken back. After each batch only `windows_touched` are computed
anew. What has been kept at the end must be what all windows come to from the samples that are left; and those must be what a slow
definition, written down here minute by minute, says. Broken functions are caught by the same check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.metering.aggregate import window_value, windows_touched
from ratemill.metering.calendar import Calendar, calendar
from ratemill.metering.meter import Meter
from ratemill.metering.meters_form import parse_meters
from ratemill.metering.samples import Sample, SampleList, Samples
from ratemill.schemas.times import NS

# The night in which Berlin puts its clocks back, and Lord Howe Island two weeks before puts them half an hour forward.
BERLIN, LORD_HOWE = 1_792_879_200, 1_791_032_400
MINUTE = 60 * NS
SPAN = 2_000  # minutes in which samples lie

DEFINITIONS = {
    "sum": "aggregation: sum",
    "count": "aggregation: count, unit: Requests, window: day",
    "min": "aggregation: min, window: minute",
    "max": "aggregation: max, timezone: Australia/Lord_Howe",
    "latest": "aggregation: latest, window: day, timezone: Europe/Berlin",
    "unique": "aggregation: unique, unique: dimensions.user, unit: Users",
    "counter": "aggregation: counter",
    "counter from zero": "aggregation: counter, first_sample: count, window: day, timezone: Europe/Berlin",
    "time_weighted": "aggregation: time_weighted, gap_limit: 2h, unit: GB-s, per: second",
    "time_weighted, days": "aggregation: time_weighted, gap_limit: 3d, unit: GB-s, per: second, window: day, timezone: Europe/Berlin",
    "time_weighted, between samples": "aggregation: time_weighted, gap_limit: 90m, unit: GB-s, per: second, carry_forward: false, "
    "timezone: Australia/Lord_Howe",
    "time_weighted, long gap between samples": "aggregation: time_weighted, gap_limit: 20h, unit: GB-s, per: second, carry_forward: false",
    "time_weighted with an end": "aggregation: time_weighted, gap_limit: 5h, unit: GB-s, per: second, effective_to: 2026-10-26T00:00:00Z",
}
METERS = {name: parse_meters(f"meters: [{{id: m, event: e, {text}}}]", "x").all[0] for name, text in DEFINITIONS.items()}
HOURS = calendar("hour")

Touched = Callable[[Meter, Calendar, Samples, Iterable[int]], set[int]]
Batch = list[tuple[bool, Sample]]


def start_of(meter: Meter) -> int:
    return LORD_HOWE if meter.calendar and meter.calendar.timezone == "Australia/Lord_Howe" else BERLIN


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[Meter, list[Batch]]:
    """A meter, and batches of samples that are added (True) or taken back."""
    meter = METERS[draw(st.sampled_from(sorted(METERS)))]
    minutes = st.integers(0, SPAN) | st.integers(0, 40).map(lambda n: n * 50)
    values = draw(st.lists(st.tuples(minutes, st.sampled_from("ab"), st.integers(0, 6), st.sampled_from("xyz")), max_size=14))
    samples = [
        Sample((start_of(meter) + minute * 60) * NS, source, f"e{number:02d}", Decimal(value) / 4, text, "")
        for number, (minute, source, value, text) in enumerate(values)
        if (start_of(meter) + minute * 60) * NS < meter.effective_to
    ]
    removed = draw(st.sets(st.sampled_from(samples))) if samples else set()
    changes = [(True, sample) for sample in draw(st.permutations(samples))]
    for sample in sorted(removed):
        at = draw(st.integers(changes.index((True, sample)) + 1, len(changes)))
        changes.insert(at, (False, sample))
    batches: list[Batch] = [[]]
    for change in changes:
        if draw(st.booleans()):
            batches.append([])
        batches[-1].append(change)
    return meter, batches


def kept(meter: Meter, batches: list[Batch], touched: Touched = windows_touched) -> tuple[dict[int, Decimal], SampleList]:
    """Windows after recomputing only those that each batch touches, and the samples that are left."""
    samples = SampleList()
    windows: dict[int, Decimal] = {}
    for batch in batches:
        for adds, sample in batch:
            if adds:
                samples.add(sample)
            else:
                samples.remove(sample)
        for start in touched(meter, HOURS, samples, [sample.time_ns for _, sample in batch]):
            value = window_value(meter, HOURS, samples, start)
            if value is None:
                windows.pop(start, None)
            else:
                windows[start] = value
    return windows, samples


def all_windows(meter: Meter, samples: SampleList) -> dict[int, Decimal]:
    """Every window that could have a value."""
    days = meter.calendar or HOURS
    start, found = days.start(start_of(meter) - 86_400), {}
    while start < start_of(meter) + SPAN * 60 + 5 * 86_400:
        value = window_value(meter, HOURS, samples, start)
        if value is not None:
            found[start] = value
        start = days.end(start)
    return found


def per_minute(meter: Meter, samples: SampleList) -> dict[int, Fraction]:
    """Time-weighted by definition: what is in force in each minute (seconds -> quantity); minutes in which nothing is are left out."""
    listed = samples.between(-(2**62), 2**62)
    found = {}
    for minute in range(start_of(meter), start_of(meter) + (SPAN + 3 * 1_440) * 60, 60):
        before = [sample for sample in listed if sample.time_ns <= minute * NS]
        follows = len(before) < len(listed)
        if not before or (not follows and not meter.carry_forward):
            continue
        if minute * NS < min(before[-1].time_ns + meter.gap_limit, meter.effective_to):
            found[minute] = Fraction(before[-1].quantity)
    return found


def by_definition(meter: Meter, samples: SampleList) -> dict[int, Fraction]:
    """Windows by the definition of each aggregation, as simply as it can be said."""
    days = meter.calendar or HOURS
    listed = samples.between(-(2**62), 2**62)
    inside: dict[int, list[Sample]] = {}
    found: dict[int, Fraction] = {}
    for sample in listed:
        inside.setdefault(days.start(sample.time_ns // NS), []).append(sample)
    if meter.aggregation == "time_weighted":
        found = dict.fromkeys(inside, Fraction(0))
        for minute, quantity in per_minute(meter, samples).items():
            found[days.start(minute)] = found.get(days.start(minute), Fraction(0)) + 60 * quantity
        return found
    if meter.aggregation == "counter":
        for index, sample in enumerate(listed):
            last = listed[index - 1].quantity if index else Decimal(0) if meter.count_first else sample.quantity
            grown = sample.quantity if sample.quantity < last else sample.quantity - last
            start = days.start(sample.time_ns // NS)
            found[start] = found.get(start, Fraction(0)) + Fraction(grown)
        return found
    functions: dict[str, Callable[[list[Sample]], Decimal | int]] = {
        "sum": lambda some: sum(sample.quantity for sample in some),
        "count": len,
        "min": lambda some: min(sample.quantity for sample in some),
        "max": lambda some: max(sample.quantity for sample in some),
        "latest": lambda some: max(some, key=lambda sample: sample[:3]).quantity,
        "unique": lambda some: len({sample.text for sample in some}),
    }
    return {start: Fraction(functions[meter.aggregation](some)) for start, some in inside.items()}


@settings(max_examples=150, deadline=None)
@given(deliveries())
def test_recomputing_what_is_touched_gives_all_windows(delivery: tuple[Meter, list[Batch]]) -> None:
    meter, batches = delivery
    windows, samples = kept(meter, batches)
    assert windows == all_windows(meter, samples)


@settings(max_examples=60, deadline=None)
@given(deliveries())
def test_windows_are_those_of_the_definition(delivery: tuple[Meter, list[Batch]]) -> None:
    meter, batches = delivery
    windows, samples = kept(meter, batches)
    assert {start: Fraction(value) for start, value in windows.items()} == by_definition(meter, samples)


@settings(max_examples=40, deadline=None)
@given(deliveries().filter(lambda delivery: delivery[0].aggregation == "time_weighted"))
def test_the_integral_of_all_windows_is_the_integral_of_the_whole(delivery: tuple[Meter, list[Batch]]) -> None:
    meter, batches = delivery
    windows, samples = kept(meter, batches)
    assert sum(windows.values()) == sum(60 * quantity for quantity in per_minute(meter, samples).values())


# Broken on purpose: each forgets something that the right one knows.
def own_window_only(meter: Meter, default: Calendar, samples: Samples, times: Iterable[int]) -> set[int]:
    days = meter.calendar or default
    return {days.start(time // NS) for time in times}


def without_the_sample_before(meter: Meter, default: Calendar, samples: Samples, times: Iterable[int]) -> set[int]:
    return windows_touched(meter._replace(carry_forward=True), default, samples, times)


def first_of_the_batch_only(meter: Meter, default: Calendar, samples: Samples, times: Iterable[int]) -> set[int]:
    return windows_touched(meter, default, samples, list(times)[:1])


def sample_at(meter: Meter, minute: int, quantity: int) -> Sample:
    return Sample((start_of(meter) + minute * 60) * NS, "a", f"e{minute}", Decimal(quantity), "", "")


BROKEN = {
    ("counter", own_window_only): [[(True, 0, 1)], [(True, 300, 5)], [(True, 100, 3)]],
    ("time_weighted", own_window_only): [[(True, 0, 1)]],
    ("time_weighted, between samples", without_the_sample_before): [[(True, 0, 1)], [(True, 80, 2)]],
    ("time_weighted, long gap between samples", without_the_sample_before): [[(True, 0, 1), (True, 1_000, 2)], [(False, 1_000, 2)]],
    ("time_weighted", first_of_the_batch_only): [[(True, 0, 1), (True, 500, 2)]],
}


@pytest.mark.parametrize(("name", "touched"), BROKEN)
def test_a_broken_one_is_caught(name: str, touched: Touched) -> None:
    meter = METERS[name]
    batches = [[(adds, sample_at(meter, minute, quantity)) for adds, minute, quantity in batch] for batch in BROKEN[name, touched]]
    windows, samples = kept(meter, batches)
    assert windows == all_windows(meter, samples)
    windows, samples = kept(meter, batches, touched)
    assert windows != all_windows(meter, samples)


def test_batches_that_take_back_what_held_are_told_whole() -> None:
    """Of two samples that go together, the first held until the second: no single one of them names that stretch by itself."""
    meter = METERS["time_weighted, long gap between samples"]
    one, two, three = (sample_at(meter, minute, 4) for minute in (0, 500, 1_400))
    batches: list[Batch] = [[(True, one), (True, two), (True, three)], [(False, two), (False, three)]]
    windows, samples = kept(meter, batches)
    assert windows == all_windows(meter, samples) == {start_of(meter): Decimal(0)}
