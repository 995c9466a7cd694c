"""docs/meters.md says what is so: every definition in it is read, and every worked example comes out as it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from ratemill.metering.aggregate import window_value
from ratemill.metering.calendar import calendar
from ratemill.metering.expression import ATTRIBUTES, FUNCTIONS
from ratemill.metering.meters_form import AGGREGATIONS, ANY_KEY, PER, parse_meters
from ratemill.metering.samples import Sample, SampleList
from ratemill.metering.tariff import parse_tariff
from ratemill.pricing.money import money, plain
from ratemill.schemas.times import NS, format_time, parse_time
from ratemill.schemas.usage_event import UsageEvent, canonical_map

PAGE = (Path(__file__).parents[3] / "docs" / "meters.md").read_text(encoding="utf-8")
YAML = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
DAY = "2026-03-01"


class Example(NamedTuple):
    """A definition, the events (time, quantity, unit and maybe user), and the windows (start, value)."""

    definition: str
    events: list[list[str]]
    windows: dict[str, str]


def table(lines: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.strip().splitlines()]
    return [rows[0], *rows[2:]]


def examples(page: str) -> dict[str, Example]:
    found = {}
    for heading, section in re.findall(r"^### (`.*?)\n(.*?)(?=^##)", page, re.MULTILINE | re.DOTALL):
        (definition,) = re.findall(r"^```yaml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        events, windows = (table(lines) for lines in re.findall(r"((?:^\|.*\n)+)", section, re.MULTILINE))
        found[heading] = Example(definition, events[1:], dict(windows[1:]))  # type: ignore[arg-type]
    return found


def worked(example: Example) -> dict[str, str]:
    """Windows of the example as the meters give them."""
    meters = parse_meters(example.definition, "docs/meters.md")
    (meter,) = meters.all
    samples = SampleList()
    for number, (clock, quantity, unit, *user) in enumerate(example.events):
        time = parse_time(f"{DAY}T{clock}:00Z")
        dimensions = canonical_map({"user": user[0]}) if user else ""
        for reading in meters.read(UsageEvent("a", "s", f"e{number}", meter.event, time, money(quantity), unit, dimensions=dimensions)):
            samples.add(Sample(time, "s", f"e{number}", reading.quantity, reading.text, ""))
    days = meter.calendar or calendar("hour")
    start, found = parse_time(f"{DAY}T00:00:00Z") // NS, {}
    for _ in range(24 if days.window == "hour" else 1):
        value = window_value(meter, days, samples, start)
        if value is not None:
            found[format_time(start * NS)[11:16]] = plain(value)
        start = days.end(start)
    return found


EXAMPLES = examples(PAGE)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_worked_example_comes_out_as_it_says(name: str) -> None:
    assert worked(EXAMPLES[name]) == EXAMPLES[name].windows


def test_a_wrong_example_is_found() -> None:
    wrong = examples(PAGE.replace("| 10:00 | 0.131072 |", "| 10:00 | 0.131073 |"))["`sum`"]
    assert worked(wrong) != wrong.windows


def test_every_definition_is_read() -> None:
    assert len(YAML) == len(EXAMPLES) + 2
    for text in YAML:
        assert parse_tariff(text, "x").meters.all if text.startswith("currency") else parse_meters(text, "x").all


def test_what_the_page_says_beside_the_examples() -> None:
    timed = EXAMPLES["`time_weighted`"]
    bare = timed._replace(definition=timed.definition.replace("gap_limit: 2h", "gap_limit: 2h, carry_forward: false"))
    assert worked(bare) == {"10:00": "2", "11:00": "2"}
    counter = EXAMPLES["`counter`"]
    assert worked(counter._replace(definition=counter.definition.replace("counter}", "counter, first_sample: count}")))["10:00"] == "130"


def test_every_key_aggregation_unit_of_time_and_word_is_explained() -> None:
    keys = PAGE.split("## Keys")[1].split("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", " ".join(row[0] for row in table(re.findall(r"((?:^\|.*\n)+)", keys, re.MULTILINE)[0])[1:]))) == ANY_KEY
    headings = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^### (.*)$", PAGE, re.MULTILINE))))
    assert headings == set(AGGREGATIONS)
    assert all(f"`{name}`" in keys for name in PER)
    expressions = PAGE.split("## Expressions")[1].split("\n## ")[0]
    assert all(f"`{name}`" in expressions for name in ATTRIBUTES)
    assert all(re.search(rf"`{name}[`(]", expressions) for name in FUNCTIONS)


@pytest.mark.parametrize(
    ("zone", "day", "hours"), [("Europe/Berlin", "2026-03-29", 23), ("Europe/Berlin", "2026-10-25", 25), ("Australia/Lord_Howe", "2026-04-05", 25)]
)
def test_days_on_which_clocks_change_are_as_the_page_says(zone: str, day: str, hours: int) -> None:
    assert re.search(rf"\| {zone}, {day}, [^|]*\| {hours}\b", PAGE)
    its = calendar("hour", zone)
    start, end = its.period("day", parse_time(f"{day}T08:00:00Z" if zone != "Australia/Lord_Howe" else f"{day}T00:00:00Z") // NS)
    count = 0
    while start < end:
        start, count = its.end(start), count + 1
    assert count == hours
