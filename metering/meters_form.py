"""Reading meters from YAML: a list of definitions becomes `Meters`, and every mistake is kept with its line."""

from __future__ import annotations

import hashlib
import json
import re
from decimal import localcontext
from fractions import Fraction
from typing import Any, NamedTuple

from ..pricing.book_form import Form, quoted
from ..pricing.book_yaml import Mistakes, Node, Seq, Table, kind_of, read_yaml
from ..pricing.money import DIGITS, EXACT, plain
from ..pricing.price import SINCE_ALWAYS
from ..pricing.zones import known_timezone
from ..schemas.errors import BadPriceBook
from ..schemas.times import NS, format_time, year_start
from .calendar import WINDOWS, calendar
from .exact import Factor
from .expression import BadExpression, Expression, field_of, parse_expression
from .meter import ADDITIVE, DAY, EMPTY_METERS, FOREVER, GroupBy, Meter, Meters, make_meters
from .operations import FLAG, NUMBER, TEXT
from .units import UnknownConversion, conversion, time_named

__all__ = ["Draft", "parse_meters", "read_drafts", "read_meters"]

AGGREGATIONS = ("sum", "count", "min", "max", "latest", "unique", "time_weighted", "counter")
COMMON_KEYS = (
    "id", "event", "filter", "aggregation", "group_by", "window", "timezone", "sku", "unit", "effective_from", "effective_to",
)  # fmt: skip
MEASURE_KEYS = ("quantity", "convert", "digits")
KEYS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("sum", "min", "max", "latest"), MEASURE_KEYS),
    "count": (),
    "unique": ("unique",),
    "time_weighted": (*MEASURE_KEYS, "per", "gap_limit", "carry_forward"),
    "counter": (*MEASURE_KEYS, "first_sample"),
}
ANY_KEY = frozenset(COMMON_KEYS).union(*KEYS.values())
ELSEWHERE = {
    key: f"it belongs to {', '.join(name for name in AGGREGATIONS if key in KEYS[name])}" for keys in KEYS.values() for key in keys
}
CONVERT_KEYS = ("from", "to", "factor")
# A month is as long as the month of the window: its factor is that of a day here, and `aggregate` divides by the days.
PER = {"second": ("s", NS), "minute": ("min", 60 * NS), "hour": ("h", 3_600 * NS), "day": ("d", DAY), "month": ("Mo", DAY)}
SPANS = {"s": NS, "m": 60 * NS, "h": 3_600 * NS, "d": 86_400 * NS}
SPAN = re.compile(r"([1-9][0-9]{0,6})([smhd])")
LENGTHS = {"minute": 60 * NS, "hour": 3_600 * NS, "day": 86_400 * NS, "month": 28 * 86_400 * NS}

FIRST_TIME, END_OF_TIME = year_start(1970), year_start(2200)
MOST_METERS = 2_000
MOST_PER_EVENT = 100  # each event of the type is read by all of them
LONGEST_GAP = 31 * SPANS["d"]
MOST_WINDOWS_OF_A_GAP = 1_500  # so many windows can change with one late sample
EXAMPLE = "[{id: ram-hours, event: instance.ram, aggregation: sum}]"


class Draft(NamedTuple):
    """A meter with the lines that checks between meters, and with prices, name."""

    line: int
    unit_line: int
    meter: Meter


def parse_meters(text: str | bytes, name: str) -> Meters:
    """Read a file that holds only `meters`. name: the file, for messages. Raises BadPriceBook with every mistake at once, by line."""
    mistakes = Mistakes(name)
    node = meters_node(read_yaml(text, mistakes), mistakes)
    meters = EMPTY_METERS if node is None else read_meters(node, mistakes)
    if mistakes:
        raise BadPriceBook(mistakes.sorted_lines())
    return meters


def meters_node(root: Node | None, mistakes: Mistakes) -> Node | None:
    """The list in a file that holds only `meters`."""
    if root is None:
        if not mistakes:
            mistakes.add(1, f"the file is empty; a file of meters begins with `meters: {EXAMPLE}`")
        return None
    if not isinstance(root, Table):
        mistakes.add(root.line, f"the file is {kind_of(root)}, but must be a map; begin with `meters:`")
        return None
    form = Form(root, "a file of meters", mistakes)
    form.check_keys(("meters",))
    return root.entries["meters"][1] if form.require("meters", EXAMPLE) else None


def read_meters(node: Node, mistakes: Mistakes) -> Meters:
    """The meters of the YAML node of `meters`. What is wrong goes to `mistakes`, and the result is of no use then."""
    return make_meters(draft.meter for draft in read_drafts(node, mistakes))


def read_drafts(node: Node, mistakes: Mistakes) -> list[Draft]:
    """The meters in which nothing is wrong, with their lines."""
    if not isinstance(node, Seq):
        mistakes.add(node.line, f"`meters` is {kind_of(node)}, but must be a list, such as `meters: {EXAMPLE}`")
        return []
    if len(node.items) > MOST_METERS:
        mistakes.add(node.line, f"`meters` has {len(node.items)} meters; at most {MOST_METERS} are read")
        return []
    drafts: list[Draft] = []
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    with localcontext(EXACT):
        for number, item in enumerate(node.items, 1):
            if not isinstance(item, Table):
                mistakes.add(item.line, f"meter {number} is {kind_of(item)}, but must be a map with id, event, aggregation")
                continue
            draft = _read_meter(Form(item, f"meter {number}", mistakes), lines)
            if draft is None:
                continue
            drafts.append(draft)
            event = draft.meter.event
            counts[event] = counts.get(event, 0) + 1
            if counts[event] == MOST_PER_EVENT + 1:
                mistakes.add(item.line, f"more than {MOST_PER_EVENT} meters read events of type {quoted(event)}; join some of them")
    _check_outputs(drafts, mistakes)
    return drafts


def _read_meter(form: Form, lines: dict[str, int]) -> Draft | None:
    """One meter; None if anything is wrong in it. lines: where each id was seen."""
    before = len(form.mistakes)
    form.require("id", "ram-hours")
    meter_id = form.text("id", "ram-hours")
    if meter_id:
        form.what = f"meter {quoted(meter_id)}"
        if meter_id in lines:
            form.wrong("id", f"meter id {quoted(meter_id)} is used twice, first in line {lines[meter_id]}; give this meter another id")
        lines.setdefault(meter_id, form.table.line)
    form.require("event", "instance.ram")
    event = form.text("event", "instance.ram")
    if not form.require("aggregation", "sum") or not (aggregation := form.choice("aggregation", AGGREGATIONS, "")):
        form.check_keys(ANY_KEY)
        return None
    what, form.what = form.what, f"aggregation {aggregation}"
    form.check_keys((*COMMON_KEYS, *KEYS[aggregation]), ELSEWHERE)
    form.what = what
    meter = Meter(meter_id, event, aggregation, form.text("sku", event) or event, "", None)
    meter, window, timezone = _read_time(form, meter)
    digits = _read_digits(form)
    meter = meter._replace(
        filter=_expression(form, "filter", FLAG, None),
        quantity=_expression(form, "quantity", NUMBER, digits),
        unique=_expression(form, "unique", TEXT, None),
        group_by=_read_group(form),
        count_first=form.choice("first_sample", ("baseline", "count"), "baseline") == "count",
    )
    if meter.quantity is not None and meter.quantity.text == "quantity":
        meter = meter._replace(quantity=None)
    if aggregation == "unique":
        form.require("unique", "dimensions.user")
    if aggregation == "time_weighted":
        meter = _read_holding(form, meter, window)
    meter = _read_units(form, meter, digits, before)
    if len(form.mistakes) > before:
        return None
    version = hashlib.sha256(_definition(meter, window, timezone).encode()).hexdigest()[:12]
    return Draft(form.table.line, form.line("unit"), meter._replace(version=version))


def _read_time(form: Form, meter: Meter) -> tuple[Meter, str, str]:
    """Calendar and effective times, with window and time zone as they are in force."""
    timezone = form.text("timezone", "Europe/Berlin", "UTC")
    if not known_timezone(timezone):
        form.wrong("timezone", f"`timezone` is {quoted(timezone)}, which is not known; use a name of the IANA database such as Europe/Berlin")
        timezone = "UTC"
    # The worker's own windows are in UTC, and may be shorter than an hour.
    own = "" if meter.additive and timezone == "UTC" else "hour"
    window = form.choice("window", ("hour", *(name for name in WINDOWS if name != "hour")), own)
    since, until = form.time("effective_from"), form.time("effective_to")
    if until is not None and since is not None and until <= since:
        form.wrong("effective_to", "`effective_to` is not after `effective_from`, so the meter would read nothing; correct one of them")
    days = calendar(window or "hour", timezone)
    for key, time in (("effective_from", since), ("effective_to", until)):
        if time is None:
            continue
        if not FIRST_TIME <= time < END_OF_TIME:
            written = quoted(form.scalar(key, "") or "")
            form.wrong(key, f"`{key}` is {written}, when there is no usage; leave it out, or write a year from 1970 to 2199")
        elif time % NS or days.start(time // NS) != time // NS:
            first = format_time(days.start(time // NS) * NS)
            what = f"which is not the start of a window ({window or 'hour'} in {timezone}); the window that holds it begins at {first}"
            form.wrong(key, f"`{key}` is {format_time(time)}, {what}")
    meter = meter._replace(
        calendar=days if window else None,
        effective_from=SINCE_ALWAYS if since is None else since,
        effective_to=FOREVER if until is None else until,
    )
    return meter, window, timezone


def _read_digits(form: Form) -> int | None:
    text = form.scalar("digits", "12")
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= DIGITS:
        return int(text)
    form.wrong("digits", f"`digits` is {quoted(text)}; write how many digits are kept after the point, 0 to {DIGITS}")
    return None


def _expression(form: Form, key: str, wanted: str, digits: int | None) -> Expression | None:
    text = form.scalar(key, {FLAG: "'dimensions.tier == \"hot\"'", NUMBER: "quantity * dimensions.factor", TEXT: "dimensions.user"}[wanted])
    if text is None:
        return None
    try:
        return parse_expression(text.strip(), wanted, digits)
    except BadExpression as error:
        form.wrong(key, f"`{key}` cannot be read: {error}")
        return None


def _read_group(form: Form) -> GroupBy:
    """What readings are told apart by: everything, or what is listed."""
    listed = form.list_of("group_by", "[region, dimensions.tier]")
    if listed is None:
        return GroupBy()
    names: list[str] = []
    for item in listed.items:
        text = getattr(item, "text", "")
        name = text if text in ("region", "resource") else field_of(text)
        if name is None:
            what = quoted(text) if text else kind_of(item)
            form.mistakes.add(item.line, f"`group_by` holds {what}; write region, resource, dimensions.name or dimensions[\"any name\"]")
        elif text in names:
            form.mistakes.add(item.line, f"`group_by` names {quoted(text)} twice; keep one of them")
        names.append(text)
    fields = sorted({name for text in names if text not in ("region", "resource") and (name := field_of(text)) is not None})
    return GroupBy("region" in names, "resource" in names, tuple(fields))


def _read_holding(form: Form, meter: Meter, window: str) -> Meter:
    """How long a sample of a time-weighted meter holds."""
    if not form.require("gap_limit", "2h") or (text := form.scalar("gap_limit", "2h")) is None:
        return meter
    parts = SPAN.fullmatch(text)
    gap = int(parts[1]) * SPANS[parts[2]] if parts else 0
    if not gap:
        form.wrong("gap_limit", f"`gap_limit` is {quoted(text)}; write how long a sample holds at most, such as 90s, 15m, 2h or 7d")
    elif gap > LONGEST_GAP or gap > MOST_WINDOWS_OF_A_GAP * LENGTHS[window]:
        most = min(LONGEST_GAP, MOST_WINDOWS_OF_A_GAP * LENGTHS[window]) // SPANS["h"]
        why = "one late sample can change all windows that it reaches"
        form.wrong("gap_limit", f"`gap_limit` is {quoted(text)}; with `window: {window}` write at most {most}h, because {why}")
    return meter._replace(gap_limit=gap, carry_forward=not form.has("carry_forward") or form.flag("carry_forward"))


def _read_units(form: Form, meter: Meter, digits: int | None, before: int) -> Meter:
    """Unit, source unit and factor, in agreement with each other. before: how many mistakes there were before this meter."""
    unit = form.text("unit", "GB-h")
    converted = _read_conversion(form)
    if converted is None:
        return meter
    source, target, fraction = converted
    timed = meter.aggregation == "time_weighted"
    if meter.aggregation in ("count", "unique"):
        form.require("unit", "Requests")
    elif timed:
        per = form.choice("per", ("hour", *(name for name in PER if name != "hour")), "hour")
        fraction /= PER[per][1]
        source, unit = _timed_units(form, meter, source, target, unit, per)
        if per == "month":
            form.require("digits", "12")
            return meter._replace(unit=unit, source_unit=source, factor=Factor(fraction, digits), month_digits=digits)
    elif target and unit and unit != target:
        form.wrong("unit", f"`unit` is {quoted(unit)}, but `convert` leads to {quoted(target)}; correct one of them")
    elif target:
        unit = target
    elif meter.quantity is None:
        source = unit  # the quantity goes through as it is, so the unit must be that
    factor = Factor(fraction, digits)
    if not factor.finite and not form.has("digits"):
        what = "time per minute, hour or day" if timed and Factor(fraction * NS * 3_600 * 24).finite else "the conversion"
        key = "per" if what.startswith("time") else "convert"
        form.wrong(key, f"{what} does not always give a finite decimal; add `digits: 12`, or as many as shall be kept")
    elif digits is not None and factor.finite and not (meter.quantity and meter.quantity.rounds) and len(form.mistakes) == before:
        form.wrong("digits", "`digits` has nothing to round, because all results are finite decimals and kept exactly; remove it")
    return meter._replace(unit=unit, source_unit=source, factor=None if fraction == 1 else factor)


def _timed_units(form: Form, meter: Meter, source: str, target: str, unit: str, per: str) -> tuple[str, str]:
    """Unit that events must have ("" for any), and unit of a quantity over time."""
    short = PER[per][0]
    if target and not unit:
        return source, f"{target}-{short}"
    if not unit:
        form.require("unit", f"GB-{short}")
    elif target and not unit.startswith(f"{target}-"):
        form.wrong("unit", f"`unit` is {quoted(unit)}, but {quoted(target)} over time is {quoted(f'{target}-{short}')}; correct one of them")
    elif not target and meter.quantity is None:
        source, dash, _ = unit.rpartition("-")
        if not dash:
            what = f"write the event's unit and the time, such as `unit: GB-{short}`, or say with `convert` in which unit events come"
            form.wrong("unit", f"`unit` is {quoted(unit)}, from which the unit of the events does not follow; {what}")
    named = time_named(unit)
    if named and named != per and form.scalar("per", "hour") in (None, per):
        meant = f"`per: {named}`, or " if named in PER else ""
        what = f"a quantity by the {named}, but `per` is {per}"
        form.wrong("unit", f"`unit` is {quoted(unit)}, {what}; write {meant}`unit: {unit.rpartition('-')[0]}-{short}`")
    return source, unit


def _read_conversion(form: Form) -> tuple[str, str, Fraction] | None:
    """(from, to, how many `to` one `from` is); ("", "", 1) without a conversion, None if it is wrong."""
    if not form.has("convert"):
        return "", "", Fraction(1)
    table = form.table_of("convert", "{from: MiB, to: GB}")
    if table is None:
        return None
    part = Form(table, "convert", form.mistakes)
    part.check_keys(CONVERT_KEYS)
    part.require("from", "MiB")
    part.require("to", "GB")
    source, target = part.text("from", "MiB"), part.text("to", "GB")
    stated = part.number("factor", "0.25", above_zero=True)
    if not source or not target or (part.has("factor") and stated is None):
        return None
    try:
        known = conversion(source, target)
    except UnknownConversion as error:
        if stated is not None:
            return source, target, Fraction(stated)
        part.mistakes.add(part.line("to"), f"`convert`: {error}")
        return None
    if stated is not None and Fraction(stated) != known:
        part.wrong("factor", f"`factor` is {plain(stated)}, but one {source} is {known} {target}; remove it, or use units of your own")
    return source, target, known


def _check_outputs(drafts: list[Draft], mistakes: Mistakes) -> None:
    """Where several meters feed one (sku, unit), their windows must be the same, and what they give must add up."""
    by_sku: dict[str, list[Draft]] = {}
    for draft in drafts:
        others = by_sku.setdefault(draft.meter.sku, [])
        one = draft.meter
        for other in others:
            two = other.meter
            if one.unit and two.unit and one.unit != two.unit:
                continue
            unit = quoted(one.unit) if one.unit else "any unit"
            what = f"meter {quoted(one.id)} feeds SKU {quoted(one.sku)} in {unit}, as meter {quoted(two.id)} does"
            if one.calendar is not two.calendar:
                mistakes.add(draft.line, f"{what} (line {other.line}), with other windows; give both the same window and timezone, or another sku")
                break
            together = one.effective_from < two.effective_to and two.effective_from < one.effective_to
            if together and not (one.additive and two.additive):
                why = f"at the same time, and only {' and '.join(sorted(ADDITIVE))} can be added up"
                mistakes.add(draft.line, f"{what} (line {other.line}) {why}; give one of them another sku")
                break
        others.append(draft)


CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def _definition(meter: Meter, window: str, timezone: str) -> str:
    """The definition as one text. What is at its default is left out, so that a later Ratemill with more options finds the same versions."""
    factor, group = meter.factor, meter.group_by
    written: dict[str, Any] = {
        "id": meter.id,
        "event": meter.event,
        "aggregation": meter.aggregation,
        "sku": None if meter.sku == meter.event else meter.sku,
        "unit": meter.unit or None,
        "window": window or None,
        "timezone": None if timezone == "UTC" else timezone,
        "effective_from": None if meter.effective_from == SINCE_ALWAYS else meter.effective_from,
        "effective_to": None if meter.effective_to == FOREVER else meter.effective_to,
        "filter": meter.filter and meter.filter.text,
        "quantity": meter.quantity and [meter.quantity.text, meter.quantity.digits],
        "unique": meter.unique and meter.unique.text,
        "group_by": None if group == GroupBy() else [group.region, group.resource, group.dimensions],
        "source_unit": meter.source_unit or None,
        "factor": factor and [str(factor.fraction), factor.digits],
        "per": None if meter.month_digits is None else ["month", meter.month_digits],
        "gap_limit": meter.gap_limit or None,
        "carry_forward": None if meter.carry_forward else False,
        "first_sample": "count" if meter.count_first else None,
    }
    return CANONICAL({key: value for key, value in written.items() if value is not None})
