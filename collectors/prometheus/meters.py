"""Meters over metrics: what is asked for, and how samples become quantities. Pure: no network, no clock."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from ...schemas.errors import BadConfig, BadInput, Rejection
from ...schemas.event_checks import check_text
from ...schemas.quantity import ZERO, difference, multiple, parse_quantity, total
from ..sdk.events import Event, event_id, usage

__all__ = ["Meter", "Plan", "Point", "Reading", "Series", "event_of", "read_plan", "readings"]

_SELECTOR = re.compile(r"\s*(?:[a-zA-Z_:][a-zA-Z0-9_:]*\s*(?:\{[^{}]*\})?|\{[^{}]*\})\s*").fullmatch


class Meter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One query, and what its series are billed as. account_label: the label that names the account, unless `account` does for all of them.

    kind: `counter` counts the steps up of a counter; `gauge` counts value times seconds, so the unit must be something-seconds.
    from_zero: a counter that was not there in the window before counts from 0 on, not from its first sample on.
    """

    name: str
    query: str
    sku: str
    unit: str
    kind: Literal["counter", "gauge"] = "counter"
    account: str = ""
    account_label: str = ""
    region_label: str = ""
    resource_label: str = ""
    dimensions: list[str] = []
    from_zero: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to collect. window_s: length of a window, which begins at a multiple of it; step_s: between two samples, at most the scrape interval;
    delay_s: a window is read so long after its end, when its samples are in."""

    url: str
    source: str
    meters: list[Meter]
    window_s: int = 3_600
    step_s: int = 60
    delay_s: int = 300
    token_file: str = ""
    ca_file: str = ""
    region: str = ""


class Point(NamedTuple):
    """A sample. time: seconds since 1970, on the grid of steps; value: the text that Prometheus sent."""

    time: int
    value: str


class Series(NamedTuple):
    """A series of one answer, its points in order."""

    labels: Mapping[str, str]
    points: Sequence[Point]

    @property
    def key(self) -> str:
        """The one text for its labels."""
        return msgspec.json.encode(dict(self.labels), order="sorted").decode()


class Reading(NamedTuple):
    """What a window of a series comes to. last: the value that the next window goes on from; None for a gauge. resets: how often it fell."""

    series: Series
    quantity: Decimal | None
    last: Decimal | None
    resets: int


def read_plan(path: str) -> Plan:
    """A plan from TOML. Raises BadInput, and BadConfig with every mistake at once."""
    try:
        plan = msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), Plan)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; give the path of the plan by --plan") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadInput(f"{path}: {error}; see docs/collectors-cloud.md for a plan") from None
    if mistakes := _mistakes(plan):
        raise BadConfig([f"{path}: {mistake}" for mistake in mistakes])
    return plan


def _mistakes(plan: Plan) -> list[str]:
    found = []
    if plan.window_s <= 0 or plan.step_s <= 0 or plan.window_s % plan.step_s or 86_400 % plan.window_s:
        found.append("window_s must divide a day, and step_s must divide window_s")
    elif plan.window_s // plan.step_s > 10_000:
        found.append("a window has more than 10,000 steps, and Prometheus answers with 11,000 at most; make step_s larger")
    if not plan.meters:
        found.append("there is no [[meters]]")
    names = [meter.name for meter in plan.meters]
    found += [f"the meter {name!r} is there twice" for name in sorted({name for name in names if names.count(name) > 1})]
    for meter in plan.meters:
        if bool(meter.account) == bool(meter.account_label):
            found.append(f"meter {meter.name}: give account_label, or account for all of its series, and not both")
        if meter.kind == "counter" and _SELECTOR(meter.query) is None:
            found.append(f"meter {meter.name}: the query of a counter must be a selector, without functions and sums: they hide when it begins anew")
    for name, text in (("source", plan.source), *((name, getattr(m, name)) for m in plan.meters for name in ("name", "sku", "unit", "query"))):
        try:
            check_text(name, text)
        except ValueError as error:
            found.append(str(error))
    return found


def readings(
    meter: Meter, series: Sequence[Series], start: int, end: int, step_s: int, last: Mapping[str, Decimal], first_ever: bool
) -> list[Reading]:  # fmt: skip
    """What each series of a window came to. start, end: seconds since 1970; of a counter, the sample at `start` closes the window before.

    last: the value that each counter ended with, by the key of its series. first_ever: no window of this meter was read before.
    Raises BadInput for a value that is no finite number.
    """
    found = []
    for one in series:
        points = [(point.time, _value(meter, one, point)) for point in one.points if point.value != "NaN"]
        if meter.kind == "gauge":
            inside = [value for time, value in points if start <= time < end]
            quantity = ZERO
            for value in inside:
                quantity = total(quantity, value)
            found.append(Reading(one, multiple(quantity, step_s) if inside else None, None, 0))
            continue
        found.append(_counted(meter, one, [(time, value) for time, value in points if start <= time <= end], last.get(one.key), first_ever))
    return found


def _counted(meter: Meter, series: Series, points: list[tuple[int, Decimal]], before: Decimal | None, first_ever: bool) -> Reading:
    """A counter that falls has begun anew, from 0: what it counted between its last sample and its end is not known, and not counted."""
    if before is None and points:
        before = ZERO if meter.from_zero and not first_ever else points[0][1]
    quantity, resets = ZERO, 0
    for _, value in points:
        assert before is not None
        step = difference(value, before)
        if step < 0:
            step, resets = value, resets + 1
        quantity, before = total(quantity, step), value
    return Reading(series, quantity if points else None, before, resets)


def _value(meter: Meter, series: Series, point: Point) -> Decimal:
    try:
        return parse_quantity(point.value.replace("e+", "e"))
    except Rejection:
        raise BadInput(f"meter {meter.name}: {series.key} has the value {point.value[:40]!r} at {point.time}, which is no amount") from None


def event_of(plan: Plan, meter: Meter, reading: Reading, start: int, end: int, backfill: str = "") -> Event | None:
    """The event of a reading, live or of a backfill; None where there is nothing to tell. Raises BadInput where a label is missing."""
    if reading.quantity is None or not reading.quantity:
        return None
    labels = reading.series.labels
    account = meter.account or _label(meter, labels, meter.account_label)
    resource = labels.get(meter.resource_label, "") if meter.resource_label else ""
    stamps = start * 10**9, end * 10**9
    return usage(
        account=account, source=plan.source, id=event_id(plan.source, reading.series.key, *stamps, meter.name), time=stamps[0], sku=meter.sku,
        quantity=reading.quantity, unit=meter.unit, region=labels.get(meter.region_label, "") if meter.region_label else plan.region,
        resource=resource, dimensions={name: labels[name] for name in meter.dimensions if labels.get(name)}, backfill=backfill,
    )  # fmt: skip


def _label(meter: Meter, labels: Mapping[str, Any], name: str) -> str:
    found: str = labels.get(name, "")
    if not found:
        raise BadInput(f"meter {meter.name}: the series {dict(labels)} has no label {name!r}, which names the account; narrow the query down")
    return found
