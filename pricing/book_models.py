"""What only some models have, from the fields of a price: percentage, matrix, time_of_day, dynamic.

Each reader returns the tiers and the fields of `Price` that the model adds. Mistakes go to those of the form; stand-ins take the
place of what could not be read.
"""

from __future__ import annotations

import re
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NamedTuple

from .book_form import Form, quoted
from .book_yaml import Mistakes, Scalar, Table, kind_of
from .money import ZERO, money
from .price import Tier
from .selection import ANY, DAYS, MINUTES_OF_WEEK, Band, Matrix, Schedule, clock_text, stretches_of
from .zones import known_timezone, timezone_names

__all__ = ["EXAMPLES", "KEYS", "OPTIONAL_KEYS", "READERS", "Reading", "part_of_name"]

KEYS = {
    "percentage": ("percent", "fixed_fee", "floor", "cap", "charge_flat_at_zero", "free"),
    "matrix": ("dimensions", "cells"),
    "time_of_day": ("timezone", "bands", "otherwise"),
    "dynamic": ("price_field", "markup"),
}
OPTIONAL_KEYS = {"fixed_fee", "floor", "cap", "charge_flat_at_zero", "free", "otherwise", "markup"}
EXAMPLES = {
    "percent": '"2.9"',
    "dimensions": "[region, tier]",
    "cells": '[{match: {region: eu-west-1, tier: "*"}, unit_price: "0.02"}]',
    "timezone": "Europe/Berlin",
    "bands": '[{days: [mon, tue], from: "08:00", to: "20:00", unit_price: "0.30"}]',
    "price_field": "unit_price",
}
HUNDREDTH = money("0.01")
MAX_DIMENSIONS = 8  # of a matrix: an entry is looked up once per combination of them that cells fix
CLOCK = re.compile("([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")


class Reading(NamedTuple):
    """What a reader found."""

    tiers: list[Tier]
    fields: dict[str, Any]


def part_of_name(text: str) -> str:
    """A name as one part of a path: ("a/b", "c") and ("a", "b/c") must differ."""
    return text.replace("%", "%25").replace("/", "%2F")


def read_percentage(form: Form, base: str, free: Decimal) -> Reading:
    """`percent` of the amount beyond `free`, with `floor`, `cap` and `fixed_fee`."""
    name = base if form.has("sku_price_id") else f"{base}/percent"
    percent, fee = form.number("percent", "2.9") or ZERO, form.number("fixed_fee", "0.30") or ZERO
    tier = Tier(None, percent * HUNDREDTH, fee, name)
    allowance = [Tier(free, ZERO, ZERO, f"{base}/free")] if free else []
    return Reading([*allowance, tier], {"floor": form.number("floor", "1"), "cap": form.number("cap", "100")})


def read_matrix(form: Form, base: str, free: Decimal) -> Reading:
    """`cells` by the values of `dimensions`; every cell can be reached."""
    written = form.texts("dimensions", EXAMPLES["dimensions"])
    if written is not None and not 1 <= len(written) <= MAX_DIMENSIONS:
        form.wrong("dimensions", f"`dimensions` has {len(written)} names; name 1 to {MAX_DIMENSIONS} of region, resource, dimensions of usage events")
    names = [name if name in ("region", "resource") else f"dimensions.{name.removeprefix('dimensions.')}" for name in written or ()]
    for at, name in enumerate(names):
        if name in names[:at]:
            form.wrong("dimensions", f"`dimensions` names {quoted(name.removeprefix('dimensions.'))} twice; keep one of them")
    listed = form.list_of("cells", EXAMPLES["cells"])
    if listed is not None and not listed.items:
        form.wrong("cells", f"`cells` has no cell; add at least one, such as `{EXAMPLES['cells']}`")
    tiers = _Tiers()
    matches: list[tuple[str, ...]] = []
    reached = _Reached(form.mistakes)
    for number, node in enumerate(listed.items if listed else (), 1):
        if not isinstance(node, Table):
            form.mistakes.add(node.line, f"cell {number} is {kind_of(node)}, but must be a map with match and unit_price")
            continue
        cell = Form(node, f"cell {number}", form.mistakes)
        cell.check_keys(("match", "unit_price", "sku_price_id"))
        values = _read_match(cell, written or [])
        if values is not None and written:
            reached.add(values, number, node.line)
        shown = "/".join(part_of_name(value) for value in values or ())
        tiers.read(cell, f"{base}/cell/{shown}")
        matches.append(values or ())
    return Reading(tiers.found, {"matrix": Matrix(tuple(names), tuple(matches))})


class _Reached:
    """Whether cells can be reached. Values are without end, so only one earlier cell, and not several together, can hide another."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._cells: dict[tuple[int, ...], dict[tuple[str, ...], tuple[int, int]]] = {}

    def add(self, values: tuple[str, ...], number: int, line: int) -> None:
        """Add the next cell; a mistake if an earlier one matches all that it matches."""
        fixed = tuple(at for at, value in enumerate(values) if value != ANY)
        for pattern, cells in self._cells.items():
            if set(pattern) <= set(fixed) and (hit := cells.get(tuple(values[at] for at in pattern))) is not None:
                what = f"cell {number} is never reached: cell {hit[0]} (line {hit[1]}) matches all that it matches, and comes first"
                self._mistakes.add(line, f"{what}; move this one before it, or remove it")
                break
        self._cells.setdefault(fixed, {}).setdefault(tuple(values[at] for at in fixed), (number, line))


def _read_match(cell: Form, dimensions: list[str]) -> tuple[str, ...] | None:
    """The value of each dimension, ANY where none is named; None when `match` cannot be read."""
    if not cell.require("match", f"{{{dimensions[0] if dimensions else 'region'}: eu-west-1}}"):
        return None
    table = cell.table_of("match", "{region: eu-west-1}")
    if table is None:
        return None
    match = Form(table, f"the match of {cell.what}", cell.mistakes)
    if dimensions:  # without them every key would be unknown, and the mistake is there
        match.check_keys(dimensions)
    return tuple(_read_value(match, name) for name in dimensions)


def _read_value(match: Form, name: str) -> str:
    """A value to match: a text, "" for usage without the dimension, ANY for every one."""
    if not match.has(name):
        return ANY
    node = match.table.entries[name][1]
    if isinstance(node, Scalar) and not node.plain and not node.text:
        return ""
    return match.text(name, 'eu-west-1, "*" for any value, or "" for none', limit=1024)


def read_time_of_day(form: Form, base: str, free: Decimal) -> Reading:
    """`bands` of the week in local time, and `otherwise` for all other hours: together they fill the week, without overlap."""
    timezone = form.text("timezone", EXAMPLES["timezone"])
    if timezone and not known_timezone(timezone):
        close = get_close_matches(timezone, timezone_names(), 1)
        hint = f"did you mean `{close[0]}`?" if close else "use a name of the IANA database such as Europe/Berlin"
        form.wrong("timezone", f"`timezone` is {quoted(timezone)}, which is not known; {hint}")
    listed = form.list_of("bands", EXAMPLES["bands"])
    if listed is not None and not listed.items:
        form.wrong("bands", f"`bands` has no band; add at least one, such as `{EXAMPLES['bands']}`")
    before = len(form.mistakes)
    tiers = _Tiers()
    bands: list[tuple[int, Band]] = []  # line
    for number, node in enumerate(listed.items if listed else (), 1):
        if not isinstance(node, Table):
            form.mistakes.add(node.line, f"band {number} is {kind_of(node)}, but must be a map with days, from, to and unit_price")
            continue
        part = Form(node, f"band {number}", form.mistakes)
        part.check_keys(("days", "from", "to", "unit_price", "sku_price_id"))
        bands.append((node.line, _read_band(part)))
        tiers.read(part, f"{base}/band-{number}")
    if listed is not None and len(form.mistakes) == before:
        _check_week(form, bands)
    table = form.table_of("otherwise", '{unit_price: "0.20"}')
    if table is not None:
        part = Form(table, "`otherwise`", form.mistakes)
        part.check_keys(("unit_price", "sku_price_id"))
        tiers.read(part, f"{base}/otherwise")
    return Reading(tiers.found, {"schedule": Schedule(timezone, tuple(band for _, band in bands))})


def _read_band(part: Form) -> Band:
    """Days and hours; every day and the whole of it where they are left out."""
    days = part.texts("days", "[mon, tue, wed, thu, fri]")
    if days is not None and not days:
        part.wrong("days", "`days` names no day; name some, or remove this line for every day")
    for at, day in enumerate(days or ()):
        if day not in DAYS:
            part.wrong("days", f"`days` names {quoted(day)}; use {', '.join(DAYS)}")
        elif day in (days or ())[:at]:
            part.wrong("days", f"`days` names {day} twice; keep one of them")
    since, until = _read_clock(part, "from", "08:00", 0), _read_clock(part, "to", "20:00", 24 * 60)
    if since == until:
        part.wrong("to", f"`to` is {clock_text(until)} as `from` is, so the band has no length; a whole day is from 00:00 to 24:00")
    elif since == 24 * 60:
        part.wrong("from", "`from` is 24:00, where the next day begins; write 00:00 of that day")
    return Band(tuple(sorted(DAYS.index(day) for day in set(days or DAYS) if day in DAYS)), since, until)


def _read_clock(part: Form, key: str, example: str, default: int) -> int:
    text = part.scalar(key, f'"{example}"')
    if text is None:
        return default
    found = CLOCK.fullmatch(text)
    if found is None:
        part.wrong(key, f'`{key}` is {quoted(text)}; write hours and minutes of the day, such as "{example}" (00:00 to 24:00, full minutes)')
        return default
    hours, minutes = (found[1], found[2]) if found[1] else (found[3], found[4])
    return int(hours) * 60 + int(minutes)


def _check_week(form: Form, bands: list[tuple[int, Band]]) -> None:
    """No minute has two bands, and each has one or `otherwise`, which must have some left."""
    spans = sorted((*span, index) for index, (_, band) in enumerate(bands) for span in stretches_of(band))
    told: set[tuple[int, int]] = set()
    filled, last = 0, 0  # until when, and by which band, the week is filled so far
    for first, past, index in spans:
        earlier, later = sorted((index, last))
        if first < filled and (earlier, later) not in told:
            told.add((earlier, later))
            day, minute = divmod(first, 24 * 60)
            what = f"band {later + 1} overlaps band {earlier + 1} (line {bands[earlier][0]}) on {DAYS[day]} at {clock_text(minute)}"
            form.mistakes.add(bands[later][0], f"{what}; let one end where the other begins")
        if past > filled:
            filled, last = past, index
    covered = sum(past - first for first, past, _ in spans)
    if told:
        return
    if covered == MINUTES_OF_WEEK and form.has("otherwise"):
        form.wrong("otherwise", "`otherwise` is never reached: the bands fill the week; remove it, or shorten a band")
    elif covered < MINUTES_OF_WEEK:
        form.require("otherwise", '{unit_price: "0.20"}')


def read_dynamic(form: Form, base: str, free: Decimal) -> Reading:
    """`price_field`: the dimension in which usage carries its unit price; `markup`: what it is multiplied with."""
    field = form.text("price_field", EXAMPLES["price_field"]).removeprefix("dimensions.")
    markup = form.number("markup", "1.1", above_zero=True)
    name = base if form.has("sku_price_id") else f"{base}/dynamic"
    return Reading([Tier(None, money(1), ZERO, name)], {"price_field": field, "markup": money(1) if markup is None else markup})


READERS = {"percentage": read_percentage, "matrix": read_matrix, "time_of_day": read_time_of_day, "dynamic": read_dynamic}


class _Tiers:
    """The tiers of one price as they are read, each with a SKU price id of its own."""

    def __init__(self) -> None:
        self.found: list[Tier] = []
        self._names: dict[str, bool] = {}  # SKU price id -> whether it was written

    def read(self, part: Form, default: str) -> None:
        """Add a tier without bound from the map of a cell, a band or `otherwise`."""
        part.require("unit_price", '"0.01"')
        name = part.text("sku_price_id", "storage-eu") or default
        written = part.has("sku_price_id")
        # Two that follow from equal cells are told of as such.
        if name in self._names and (written or self._names[name]):
            part.wrong("sku_price_id", f"`sku_price_id` {quoted(name)} is that of another tier; give each tier its own")
        self._names[name] = written
        self.found.append(Tier(None, part.number("unit_price", "0.01") or ZERO, ZERO, name))
