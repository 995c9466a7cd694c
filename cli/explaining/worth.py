"""Which events a line item of usage rests on, and what each adds to it: the same windows and meters as rating uses, asked event by event."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from ...metering.calendar import Calendar
from ...metering.meter import Meter
from ...pricing.money import ZERO
from ...schemas.errors import Rejection
from ...schemas.times import NS, format_time
from ...schemas.usage_event import UsageEvent
from ...streams.core.items import GroupKey, split_entry_key
from ...streams.core.segments import Rates
from .recompute import Rerated
from .tally import Worth

__all__ = ["additive", "feeding", "scope_of", "worth_of"]

Fits = Callable[[int, str, str, str], bool]  # seconds, region, resource, dimensions


def worth_of(rerated: Rerated, group: GroupKey, rates: Rates) -> Worth:
    """What an event adds to the window or the period behind a line item; None for events that are not about it.

    Of a meter that does not add up (max, latest, …) it is what the meter reads of the event.
    """
    meters, fits = rates.meters, _fits(rerated, group, rates.calendar_of(group.sku, group.unit))

    def worth(event: UsageEvent) -> Decimal | None:
        if event.account != group.account:
            return None
        if event.sku not in meters.claimed:
            its = event.sku == group.sku and event.unit == group.unit
            return event.quantity if its and fits(event.time // NS, event.region, event.resource, event.dimensions) else None
        try:
            readings = [
                reading.quantity
                for reading in meters.read(event)
                if reading.meter.sku == group.sku
                and reading.unit == group.unit
                and fits(event.time // NS, reading.region, reading.resource, reading.dimensions)
            ]
        except Rejection:
            return None  # it never counted: it is in the dead letters
        return sum(readings, ZERO) if readings else None

    return worth


def additive(group: GroupKey, rates: Rates) -> bool:
    """Whether what events are worth adds up to the quantity: of plain usage, and of meters that sum or count."""
    return all(meter.additive for meter in feeding(group, rates))


def feeding(group: GroupKey, rates: Rates) -> list[Meter]:
    """The meters that feed a group."""
    return [meter for meter in rates.meters.all if meter.sku == group.sku and meter.unit in ("", group.unit)]


def scope_of(rerated: Rerated, group: GroupKey, calendar: Calendar) -> str:
    """In words, which events are looked for."""
    if not rerated.key:
        return f"all of {group.sku} in {group.unit} from {_time(rerated.since)} to {_time(rerated.until)}"
    start, region, resource, dimensions = split_entry_key(rerated.key)
    those = [f"{name} {value}" for name, value in (("region", region), ("resource", resource), ("dimensions", dimensions)) if value]
    return f"{group.sku} in {group.unit} from {_time(start)} to {_time(calendar.end(start))}" + (f", {', '.join(those)}" if those else "")


def _fits(rerated: Rerated, group: GroupKey, calendar: Calendar) -> Fits:
    if not rerated.key:
        since, until = rerated.since, rerated.until
        return lambda seconds, region, resource, dimensions: since <= calendar.start(seconds) < until
    own = split_entry_key(rerated.key)
    return lambda seconds, region, resource, dimensions: (calendar.start(seconds), region, resource, dimensions) == own


def _time(seconds: int) -> str:
    return format_time(seconds * NS)
