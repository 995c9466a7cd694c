"""Meters: what each usage event says, for which SKU and unit, and grouped by what. Immutable, pure, compiled once.

An event type is claimed by the meters that name it. While one of them is in force, an event of that type counts through its
meters only; at times when none is, it is plain usage under its own name, as if there were no meters. A SKU that a meter feeds is
reserved: plain usage of it is refused, because it would be counted on top.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache, partial
from types import MappingProxyType
from typing import NamedTuple, cast

import msgspec

from ..pricing.book_form import quoted
from ..pricing.money import ZERO, money
from ..pricing.price import SINCE_ALWAYS
from ..pricing.selection import dimension_values
from ..schemas.errors import Reason, Rejection
from ..schemas.times import NS
from ..schemas.usage_event import UsageEvent, canonical_map
from .calendar import Calendar
from .exact import Factor, bounded
from .expression import Expression, Unmeterable

__all__ = ["ADDITIVE", "DAY", "EMPTY_METERS", "FOREVER", "GroupBy", "Meter", "Meters", "Reading", "make_meters", "whole_event"]

ADDITIVE = frozenset({"sum", "count"})
DAY = 86_400 * NS
FOREVER = 2**63  # effective_to of a meter that names none: after any time an event can carry
ONE = money(1)
_FAILURES = (Unmeterable, ArithmeticError, msgspec.MsgspecError)


class GroupBy(NamedTuple):
    """What tells readings of one meter apart. dimensions: None for all of them."""

    region: bool = True
    resource: bool = True
    dimensions: tuple[str, ...] | None = None


class Meter(NamedTuple):
    """One meter. `version` is a digest of its definition: any change of it gives another version.

    Equal meters have equal definitions. Times are nanoseconds since 1970; effective_to is exclusive.
    """

    id: str
    event: str
    aggregation: str  # sum | count | min | max | latest | unique | time_weighted | counter
    sku: str
    unit: str  # "": that of the event
    calendar: Calendar | None  # None: the worker's own windows, in UTC
    effective_from: int = SINCE_ALWAYS
    effective_to: int = FOREVER
    version: str = ""
    filter: Expression | None = None
    quantity: Expression | None = None  # None: the event's quantity
    unique: Expression | None = None
    group_by: GroupBy = GroupBy()
    source_unit: str = ""  # unit that events must have; "": any
    factor: Factor | None = None  # from a sample's quantity (time_weighted: x nanoseconds) to a window's; None: 1
    gap_limit: int = 0  # nanoseconds
    carry_forward: bool = True
    month_digits: int | None = None  # time_weighted per month: digits kept; `factor` is then that of a day
    count_first: bool = False  # counter: the first sample counts with its value, and not as the point to count from

    def __hash__(self) -> int:
        return hash((self.id, self.version))

    @property
    def additive(self) -> bool:
        """True when readings are simply added up (sum, count); else a window is a function of the samples in and around it."""
        return self.aggregation in ADDITIVE


class Reading(NamedTuple):
    """What one event says to one meter.

    quantity: converted already if the meter is additive, else as it was measured: `aggregate.window_value` converts a window.
    text: the value that a unique count tells apart, "" under other aggregations.
    """

    meter: Meter
    unit: str
    region: str
    resource: str
    dimensions: str
    quantity: Decimal
    text: str


Reader = Callable[[UsageEvent], Reading | None]
# The constructor of a NamedTuple is a Python function; this is half of its time.
_reading = cast(Callable[[tuple[Meter, str, str, str, str, Decimal, str]], Reading], partial(tuple.__new__, Reading))


class Plan(NamedTuple):
    """How events of one type are read."""

    readers: tuple[tuple[int, int, Meter, Reader], ...]  # with effective_from and effective_to in front
    feeders: tuple[Meter, ...]  # meters of other event types that give a SKU of this name
    plain: Meter


class Meters:
    """All meters of a tariff. Make it with `make_meters`.

    digest: over all definitions. claimed: event type -> its meters; also SKU -> () for each SKU that meters give and that is no
    event type itself.
    """

    __slots__ = ("_calendars", "_plans", "all", "claimed", "digest")

    def __init__(self, meters: tuple[Meter, ...], digest: str) -> None:
        self.all = meters
        self.digest = digest
        claimed: dict[str, tuple[Meter, ...]] = {}
        for meter in meters:
            claimed[meter.event] = (*claimed.get(meter.event, ()), meter)
        for meter in meters:
            claimed.setdefault(meter.sku, ())
        self.claimed: Mapping[str, tuple[Meter, ...]] = MappingProxyType(claimed)
        self._calendars = {(meter.sku, meter.unit): meter.calendar for meter in meters}
        self._plans = {
            name: Plan(
                tuple((meter.effective_from, meter.effective_to, meter, _reader(meter)) for meter in own),
                tuple(meter for meter in meters if meter.sku == name),
                whole_event(name),
            )
            for name, own in claimed.items()
        }

    def __len__(self) -> int:
        return len(self.all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Meters) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def read(self, event: UsageEvent) -> list[Reading]:
        """What an event of a claimed type says to each of its meters; [] when filters leave nothing.

        At a time when no meter of its type is in force it is one plain reading of the whole event (`whole_event`).
        Raises Rejection (UNMETERABLE, RESERVED); the event then counts for no meter.
        """
        plan = self._plans[event.sku]
        time = event.time
        found: list[Reading] = []
        metered = False
        for since, until, meter, reader in plan.readers:
            if since <= time < until:
                metered = True
                try:
                    reading = reader(event)
                except _FAILURES as error:
                    raise _unmeterable(meter, event, error) from None
                if reading is not None:
                    found.append(reading)
        return found if metered else _plain(plan, event)

    def calendar_of(self, sku: str, unit: str, default: Calendar) -> Calendar:
        """The calendar of the meters that feed a SKU in a unit; the default where there is none, or where it names none."""
        calendars = self._calendars
        return calendars.get((sku, unit)) or calendars.get((sku, "")) or default


def make_meters(meters: Iterable[Meter]) -> Meters:
    """The meters of valid definitions. Equal definitions have an equal digest, whatever their order."""
    ordered = tuple(sorted(meters, key=lambda meter: meter.id))
    text = json.dumps([[meter.id, meter.version] for meter in ordered], ensure_ascii=False)
    return Meters(ordered, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())


EMPTY_METERS = make_meters(())


@lru_cache(maxsize=65_536)
def whole_event(sku: str) -> Meter:
    """What stands for a meter in readings of plain usage: the event as it is, added up in the worker's own windows."""
    return Meter("", sku, "sum", sku, "", None)


def _plain(plan: Plan, event: UsageEvent) -> list[Reading]:
    for meter in plan.feeders:
        if meter.effective_from <= event.time < meter.effective_to:
            what = f"the SKU {quoted(event.sku)} is what meter {quoted(meter.id)} makes of events of type {quoted(meter.event)}"
            raise Rejection(Reason.RESERVED, f"{what}; send those, or give plain usage another SKU")
    return [Reading(plan.plain, event.unit, event.region, event.resource, event.dimensions, event.quantity, "")]


def _reader(meter: Meter) -> Reader:
    """The function that reads one event for a meter; None for what its filter leaves out."""
    source, unit, group = meter.source_unit, meter.unit, meter.group_by
    keep = None if meter.filter is None else meter.filter.run
    pick = None if group.dimensions is None else _picker(group.dimensions)
    by_region, by_resource = group.region, group.resource
    value_of, text_of = _values(meter)
    if value_of is None and text_of is None and by_region and by_resource and pick is None:

        def read_simply(event: UsageEvent) -> Reading | None:
            if keep is not None and not keep(event):
                return None
            if source and event.unit != source:
                raise Unmeterable(_other_unit(event.unit, source))
            return _reading((meter, unit or event.unit, event.region, event.resource, event.dimensions, event.quantity, ""))

        return read_simply

    def read(event: UsageEvent) -> Reading | None:
        if keep is not None and not keep(event):
            return None
        if source and event.unit != source:
            raise Unmeterable(_other_unit(event.unit, source))
        return _reading(
            (
                meter,
                unit or event.unit,
                event.region if by_region else "",
                event.resource if by_resource else "",
                event.dimensions if pick is None else pick(event.dimensions),
                event.quantity if value_of is None else value_of(event),
                "" if text_of is None else text_of(event),
            )
        )

    return read


def _values(meter: Meter) -> tuple[Callable[[UsageEvent], Decimal] | None, Callable[[UsageEvent], str] | None]:
    """(quantity of an event, None for the one it has; text to tell apart, None for none)."""
    if meter.aggregation == "count":
        return (lambda event: ONE), None
    if meter.unique is not None:
        run = meter.unique.run

        def text_of(event: UsageEvent) -> str:
            text: str = run(event)
            if not text:
                raise Unmeterable("there is nothing to tell apart: it is absent or empty; filter such events out with has(...)")
            return text

        return (lambda event: ONE), text_of
    own, factor, convert = meter.quantity, meter.factor, meter.additive
    if own is None and factor is None and meter.aggregation != "counter":
        return None, None
    measure = (lambda event: event.quantity) if own is None else own.run
    counter = meter.aggregation == "counter"

    def value_of(event: UsageEvent) -> Decimal:
        measured = bounded(measure(event))
        if counter and measured < ZERO:
            raise Unmeterable("a counter is never negative")
        if factor is None:
            return measured
        converted = bounded(factor.times(measured))  # also of what is converted later: a window must not fail
        return converted if convert else measured

    return value_of, None


def _picker(names: tuple[str, ...]) -> Callable[[str], str]:
    """Canonical text of some of the dimensions, of the text of all; absent ones stay absent."""

    @lru_cache(maxsize=16_384)
    def pick(dimensions: str) -> str:
        values = dimension_values(dimensions)
        return canonical_map({name: values[name] for name in names if name in values})

    return pick if names else lambda dimensions: ""


def _other_unit(found: str, wanted: str) -> str:
    return f"it is in {quoted(found)}, and the meter takes {quoted(wanted)}; a second meter of the event type can convert it"


def _unmeterable(meter: Meter, event: UsageEvent, error: Exception) -> Rejection:
    """The rejection with the name of what failed, found by trying once more."""
    where = ""
    for key, expression in (("filter", meter.filter), ("quantity", meter.quantity), ("unique", meter.unique)):
        if expression is None:
            continue
        try:
            expression.run(event)
        except _FAILURES:
            where = f", `{key}: {expression.text if len(expression.text) <= 80 else expression.text[:77] + '...'}`"
            break
    if isinstance(error, ArithmeticError):
        why = "the quantity has more digits than are kept exactly"
    else:
        why = str(error) if isinstance(error, Unmeterable) else "dimensions or tags are not a map of texts"
    return Rejection(Reason.UNMETERABLE, f"meter {quoted(meter.id)}{where}: {why}")
