"""How the amount of a line item comes about, in the words of its price: pure, from quantities and the price alone.

Nothing here looks at the line item's own amounts. So these figures are a second computation beside that of the core, and
the audit compares both with what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from ...pricing.chronology import walk
from ...pricing.models import MODELS, cell_of, counted, entry_price, tier_name, tier_quantities
from ...pricing.models.package import started_packages
from ...pricing.money import ROUNDING_MODES, ZERO, money, plain, round_to
from ...pricing.price import Component, Price, Quantities
from ...pricing.selection import ANY, Band, dimension_values, minute_of_week
from ...schemas.explanation import Arithmetic, Part, Step, Value
from ...schemas.times import NS, format_time
from .. import counting

__all__ = ["Entry", "by_window", "of_period", "quantities_of", "unpriced"]

CELLS_SHOWN = 8  # that were tried in vain before the one that matched
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MODES = {"half_even": "half to even", "half_up": "half up", "up": "up", "down": "down"}
assert _MODES.keys() == ROUNDING_MODES.keys()


class Entry(NamedTuple):
    """Usage of one window: start in seconds since 1970, what tells line items apart, and the exact quantity."""

    key: bytes
    start: int
    region: str
    resource: str
    dimensions: str
    quantity: Decimal


def by_window(price: Price, entries: Sequence[Entry], key: bytes, component: str, since: int) -> Arithmetic:
    """One window under a price that charges window by window.

    entries: all that accumulate together, in chronological order; since: where they begin to (seconds since 1970). component:
    that of the line item, so that its part can be marked. Raises KeyError when there is no entry with the key.
    """
    at = next((n for n, entry in enumerate(entries) if entry.key == key), None)
    if at is None:
        raise KeyError(key)
    entry = entries[at]
    if price.selector:
        return _selected(price, entry, component)
    before = sum((earlier.quantity for earlier in entries[:at]), ZERO)
    through = before + entry.quantity
    bounds = [tier.upper for tier in price.tiers if tier.upper is not None]
    shares = walk(bounds, [(b"", before), (key, entry.quantity)])[key]
    values = [Value("this window", plain(entry.quantity), "a reversal" if entry.quantity < ZERO else "")]
    if bounds:
        counts = f"{counting.counted(at, 'window')} since {_time(since)}, in the order of time"
        values = [Value("before this window", plain(before), counts), *values, Value("through this window", plain(through))]
    low, high = sorted((before, through))
    return Arithmetic(
        title=f"{price.model}: " + ("price(through this window) - price(before it)" if bounds else "every unit at one price"),
        values=values + _percentage(price),
        crossed=[plain(bound) for bound in bounds if low < bound < high],
        parts=[_part(price, index, share, price.tiers[index].unit_price, component) for index, share in shares],
    )


def unpriced(quantity: Decimal, component: str) -> Arithmetic:
    """Usage without a price: it is there, and costs nothing yet."""
    part = _nothing(quantity, component)
    return Arithmetic("no price: the usage is kept, and rated as soon as there is one", [Value("this window", plain(quantity))], parts=[part])


def _nothing(quantity: Decimal, component: str) -> Part:
    return Part(component, "", plain(quantity), "", "0", "no price", this=True)


def _part(price: Price, index: int, quantity: Decimal, unit_price: Decimal, component: str, note: str = "") -> Part:
    name, in_book = f"tier-{index + 1}", tier_name(price, index)  # line items count the allowance as a tier, price books do not
    said = {"free": "free allowance", name: ""}.get(in_book, in_book if price.schedule is not None else "")
    return Part(
        name, ranges(price)[index], plain(quantity), plain(unit_price), plain(quantity * unit_price),
        ", ".join(text for text in (said, note) if text), this=component == name,
    )  # fmt: skip


def ranges(price: Price) -> list[str]:
    """What each tier spans, in units."""
    uppers = [tier.upper for tier in price.tiers]
    if all(upper is None for upper in uppers):
        return [""] * len(uppers)
    free = ZERO if price.by_window else price.free_quantity  # elsewhere bounds count behind the allowance
    lowers = [ZERO, *(upper for upper in uppers[:-1] if upper is not None)]
    suffix = " beyond the allowance" if free else ""
    return [
        (f"beyond {plain(lower)}" if upper is None else f"{plain(lower)} – {plain(upper)}") + suffix
        for lower, upper in zip(lowers, uppers, strict=True)
    ]


def _percentage(price: Price) -> list[Value]:
    if price.model != "percentage":
        return []
    return [Value("percentage", f"{plain(price.tiers[-1].unit_price * money(100))} %", "of an amount of money: quantity is the amount")]


# -- prices that select ----------------------------------------------------------------------------------------------


def _selected(price: Price, entry: Entry, component: str) -> Arithmetic:
    """A window under a price that picks the unit price by dimensions, by hour, or from the entry itself."""
    index = cell_of(price, entry.start, entry.region, entry.resource, entry.dimensions)
    values = [Value("this window", plain(entry.quantity)), *_why(price, entry, index)]
    if index is None:
        title = f"{price.model}: no unit price for this usage, so it costs nothing yet"
        return Arithmetic(title, values, parts=[_nothing(entry.quantity, component)])
    part = _part(price, index, entry.quantity, entry_price(price, index, entry.dimensions), component)
    return Arithmetic(f"{price.model}: one unit price for the whole window", values, parts=[part])


def _why(price: Price, entry: Entry, index: int | None) -> list[Value]:
    if price.model == "matrix":
        return _why_cell(price, entry, index)
    if price.model == "time_of_day":
        return _why_band(price, entry, index)
    carried = dimension_values(entry.dimensions).get(price.price_field)
    if index is None:
        said = "absent" if carried is None else f"{carried!r}, which is no price"
        return [Value(f"dimension {price.price_field}", said, "it should carry the unit price")]
    return [
        Value(f"unit price in the dimension {price.price_field}", carried or ""),
        Value("markup", plain(price.markup), f"{carried} × {plain(price.markup)} = {plain(entry_price(price, index, entry.dimensions))}"),
    ]


def _why_cell(price: Price, entry: Entry, index: int | None) -> list[Value]:
    matrix = price.matrix
    if matrix is None:
        return []
    own = {"region": entry.region, "resource": entry.resource}
    carried = dimension_values(entry.dimensions)
    has = [own[name] if name in own else carried.get(name.removeprefix("dimensions."), "") for name in matrix.dimensions]
    values = [Value(name, value or "(none)") for name, value in zip(matrix.dimensions, has, strict=True)]
    tried = len(matrix.matches) if index is None else index
    for number in range(min(tried, CELLS_SHOWN)):
        wrong = [
            f"{name} is {mine or '(none)'}"
            for name, wanted, mine in zip(matrix.dimensions, matrix.matches[number], has, strict=True)
            if wanted not in (ANY, mine)
        ]
        values.append(Value(f"cell {number + 1}", _cell(matrix.dimensions, matrix.matches[number]), f"does not match: {', '.join(wrong)}"))
    if tried > CELLS_SHOWN:
        values.append(Value("", f"and {tried - CELLS_SHOWN:,} more", "none of them matches"))
    if index is not None:
        note = f"the first of {len(matrix.matches):,} that matches, in the order written"
        values.append(Value(f"cell {index + 1}", _cell(matrix.dimensions, matrix.matches[index]), note))
    return values


def _cell(names: Sequence[str], wanted: Sequence[str]) -> str:
    return ", ".join(f"{name} = {'any' if value == ANY else value or '(none)'}" for name, value in zip(names, wanted, strict=True))


def _why_band(price: Price, entry: Entry, index: int | None) -> list[Value]:
    schedule = price.schedule
    if schedule is None:
        return []
    minute = minute_of_week(schedule.timezone, entry.start)
    clock = f"{_DAYS[minute // 1_440]} {_clock(minute % 1_440)}"
    values = [
        Value("window begins", _time(entry.start)),
        Value(f"on the clocks of {schedule.timezone}", clock),
    ]
    if index is None:
        return [*values, Value("band", "none", "no band holds this time, and the price has no `otherwise`")]
    if index < len(schedule.bands):
        return [*values, Value(tier_name(price, index), _band(schedule.bands[index]), "holds this time")]
    return [*values, Value("otherwise", "all other hours", "no band holds this time")]


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _band(band: Band) -> str:
    days = "every day" if len(band.days) == 7 else ", ".join(_DAYS[day] for day in band.days)
    return f"{days} {_clock(band.since)} – {_clock(band.until)}"


# -- whole periods ---------------------------------------------------------------------------------------------------


def quantities_of(price: Price, entries: Sequence[Entry]) -> Quantities:
    """What a period holds, per cell; entries for which a price that selects has no unit price are not in it."""
    found: dict[int, Decimal] = {}
    for entry in entries:
        cell = cell_of(price, entry.start, entry.region, entry.resource, entry.dimensions) if price.selector else 0
        if cell is not None:
            found[cell] = found.get(cell, ZERO) + counted(price, entry.quantity, entry_price(price, cell, entry.dimensions))
    return found


def of_period(price: Price, entries: Sequence[Entry], charges: Sequence[Component], component: str, since: int) -> Arithmetic:
    """A charge of a whole accumulation period: its total, its tiers, and each step to what the period costs.

    charges: the components of the period as the core has them; the one named `component` is the line item's.
    """
    quantities = quantities_of(price, entries)
    total = sum((entry.quantity for entry in entries), ZERO)
    counts = f"{counting.counted(len(entries), 'window')} since {_time(since)}"
    values = [Value("quantity of the period", plain(total), counts), *_percentage(price)]
    if price.free_quantity and not price.by_window:
        values.append(Value("free", plain(price.free_quantity), f"charged: {plain(max(total - price.free_quantity, ZERO))}"))
    return Arithmetic(
        title=f"{price.model}: a charge of the whole {price.accumulate}",
        values=values,
        parts=_tiers(price, quantities, component),
        steps=_steps(price, quantities, total, charges, component),
    )


def _tiers(price: Price, quantities: Quantities, component: str) -> list[Part]:
    shown = []
    for index, quantity in enumerate(tier_quantities(price, quantities)):
        if not quantity and len(price.tiers) > 1:
            continue
        if price.model == "package":
            total = quantities.get(0, ZERO)
            charged = max(total - price.free_quantity, ZERO)
            note = f"{plain(charged)} in packages of {plain(price.package_size)}: {plain(started_packages(price, total))} started"
            amount = quantity * price.package_price
            shown.append(Part("package", "", plain(quantity), plain(price.package_price), plain(amount), note, this=component == "package"))
            continue
        part = _part(price, index, quantity, price.tiers[index].unit_price, "", "charged window by window" if price.by_window else "all of it")
        part.this = component == price.model == "volume"
        shown.append(part)
    return shown


def _steps(price: Price, quantities: Quantities, total: Decimal, charges: Sequence[Component], component: str) -> list[Step]:
    steps = []
    due = ZERO
    if price.by_window:
        due = sum(
            (quantity * tier.unit_price for quantity, tier in zip(tier_quantities(price, quantities), price.tiers, strict=True)), ZERO
        )
        steps.append(Step("windows", plain(due), plain(due), "line items of their own"))
    for charge in charges:
        note = _why_charged(price, quantities, total, charge, due)
        due += charge.cost
        steps.append(Step(charge.key, plain(charge.cost), plain(due), note, this=charge.key == component))
    return steps


def _why_charged(price: Price, quantities: Quantities, total: Decimal, charge: Component, due: Decimal) -> str:
    """Why a charge is what it is, in the state in which it is applied."""
    key, cost = charge.key, charge.cost
    after = plain(due + cost)
    if key.startswith("flat"):
        return f"flat price of {'the tier reached' if key == 'flat' else f'tier {key[5:]}, which is entered'}"
    if key == "rounding" and price.rounding is not None:
        how = f"{_MODES[price.rounding.mode]} to {price.rounding.digits} digits"
        if price.rounding.scope == "period":
            return f"{plain(due)} rounded {how} is {after}"
        amounts = MODELS[price.model].charge(price, quantities)[0]
        rounded = [f"{plain(a)} → {plain(round_to(a, price.rounding.digits, price.rounding.mode))}" for a in amounts if a]
        return f"each tier rounded {how}: {'; '.join(rounded)}"
    limits = {"minimum": price.minimum, "maximum": price.maximum, "floor": price.floor, "cap": price.cap}
    limit = limits.get(key)
    if limit is not None:
        side = "below" if key in ("minimum", "floor") else "above"
        least = {"minimum": "the minimum", "maximum": "the maximum", "floor": "the least percentage", "cap": "the highest percentage"}[key]
        return f"{plain(due)} is {side} {least} {plain(limit)}"
    if key == "fixed-fee":
        return "once in the period"
    if key in ("volume", "package"):
        return f"{plain(charge.quantity)} × {plain(charge.unit_price)}"
    return charge.description


def _time(seconds: int) -> str:
    return format_time(seconds * NS)
