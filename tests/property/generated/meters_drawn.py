"""Meters of every aggregation, with windows, zones, filters and conversions, and what kind of events feed them."""

from __future__ import annotations

from typing import Any, NamedTuple

from ratemill.metering.calendar import calendar

from .chance import APRIL, DAY, MARCH, Chance, iso
from .prices_drawn import MODELS, Target

__all__ = ["AGGREGATIONS", "Feed", "Metered", "ended", "later_meter", "meters_drawn", "plain_feeds"]

AGGREGATIONS = ("sum", "count", "min", "max", "latest", "unique", "time_weighted", "counter")
ADDITIVE = ("sum", "count")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")

ANY = ("0", "0.25", "1", "1.5", "2", "3", "4", "7.125", "12", "0.000001", "-1", "-4")
NOT_NEGATIVE = tuple(quantity for quantity in ANY if not quantity.startswith("-"))
FILTERS = ('dimensions.tier == "hot"', "quantity > 0", 'region != "us" or has(dimensions.tier)', 'not (dimensions.user in ["u1"])')


class Feed(NamedTuple):
    """Events of one type, as collectors send them."""

    event: str
    units: tuple[str, ...]
    quantities: tuple[str, ...] = ANY
    since: int | None = None  # from this time on (seconds) events come only when the second tariff is known; None: at any time

    def awaits(self, time_s: int) -> bool:
        """Whether events of a time come only when the second tariff is known."""
        return self.since is not None and time_s >= self.since


class Metered(NamedTuple):
    """A meter as plain data, with what follows from it."""

    meter: dict[str, Any]
    feed: Feed
    target: Target


def plain_feeds(chance: Chance, most: int, models: tuple[str, ...] = MODELS) -> list[tuple[Feed, Target]]:
    """Usage that no meter reads."""
    found = []
    for number in range(chance.randint(1, most)):
        sku = f"s{number}"
        # Usage in another unit than that of the price has no price.
        units = ("u", "u", "u", "v") if chance.hits(0.15) else ("u",)
        # Tiers are kept in another way while nothing is below zero.
        quantities = NOT_NEGATIVE if chance.hits(0.4) else ANY
        found.append((Feed(sku, units, quantities), Target(sku, "u", models=models)))
    return found


def meters_drawn(chance: Chance, most: int) -> list[Metered]:
    """Some meters; some read the same events, some feed the same SKU."""
    found: list[Metered] = []
    for number in range(chance.randint(0, most)):
        one = _meter(chance, f"m{number}", chance.choice(AGGREGATIONS))
        if found and one.meter["aggregation"] in ADDITIVE and "effective_from" not in one.meter:
            other = chance.choice(found)
            if chance.hits(0.3):
                one = _of_event(chance, one, other)
            elif chance.hits(0.3):
                one = _to_sku(one, other)
        alone = all(one.target.sku != other.target.sku for other in found)
        found += _succeeded(chance, one) if alone and chance.hits(0.12) else [one]
    return found


def _succeeded(chance: Chance, one: Metered) -> list[Metered]:
    """A meter that ends, and the one that takes over its events and its SKU from then on, aggregated in another way perhaps."""
    if "effective_from" in one.meter or "effective_to" in one.meter:
        return [one]
    days = calendar(str(one.meter.get("window", "hour")), one.meter.get("timezone", "UTC"))
    at = iso(days.start(chance.choice((MARCH + 9 * DAY + 7_200, APRIL + 7_200))))
    first = one.meter | {"effective_to": at}
    second = one.meter | {"id": f"{one.meter['id']}.next", "effective_from": at}
    if one.meter["aggregation"] in ("min", "max", "latest"):
        second["aggregation"] = chance.choice(("min", "max", "latest", "sum"))
    if "window" not in one.meter:
        # Of meters that add up, the worker's own windows; of others, hours: both must have the same.
        first["window"] = second["window"] = "hour"
    return [one._replace(meter=first), one._replace(meter=second)]


def _of_event(chance: Chance, one: Metered, other: Metered) -> Metered:
    """The same meter, reading the events of another one: it counts them."""
    meter = {"id": one.meter["id"], "event": other.feed.event, "aggregation": "count", "sku": one.target.sku, "unit": "Requests"}
    meter |= chance.maybe(0.5, {"filter": chance.choice(FILTERS)})
    window = _window(chance, meter, additive=True)
    return Metered(meter, other.feed, Target(one.target.sku, "Requests", window, _grouped(chance, meter)))


def _to_sku(one: Metered, other: Metered) -> Metered:
    """The same meter, feeding the SKU of another additive one in equal windows and groups; or as it is."""
    theirs = other.meter
    if theirs["aggregation"] not in ADDITIVE or theirs["sku"] == theirs["event"] or {"effective_from", "effective_to"} & theirs.keys():
        return one
    meter = {"id": one.meter["id"], "event": one.meter["event"], "aggregation": "count"}
    meter |= {key: theirs[key] for key in ("window", "timezone", "sku", "group_by") if key in theirs}
    return Metered(meter | {"unit": other.target.unit}, Feed(one.feed.event, ("u",)), other.target)


def _meter(chance: Chance, name: str, aggregation: str) -> Metered:
    meter: dict[str, Any] = {"id": name, "event": f"{name}.event", "aggregation": aggregation}
    meter["sku"] = meter["event"] if chance.hits(0.2) else f"{name}.sku"
    additive = aggregation in ADDITIVE
    window = _window(chance, meter, additive)
    grouped = _grouped(chance, meter)
    source, unit = _units(chance, meter)
    meter |= chance.maybe(0.3, {"filter": chance.choice(FILTERS)})
    if aggregation == "unique":
        meter["unique"] = chance.choice(("dimensions.user", "dimensions.user", "quantity", "source"))
    if aggregation == "counter":
        meter |= chance.maybe(0.4, {"first_sample": chance.choice(("baseline", "count"))})
    if aggregation == "time_weighted":
        gaps = ("90m", "2h", "26h") if window in ("minute", "hour") else ("2h", "26h", "3d")
        meter["gap_limit"] = chance.choice(gaps[:2] if window == "minute" else gaps)
        meter |= chance.maybe(0.4, {"carry_forward": chance.choice((True, False))})
    _effective(chance, meter, window)
    quantities = NOT_NEGATIVE if aggregation == "counter" and chance.hits(0.8) else ANY
    units = (source, source, source, "wrong") if chance.hits(0.15) else (source,)
    return Metered(meter, Feed(meter["event"], units, quantities), Target(meter["sku"], unit, window, grouped))


def _window(chance: Chance, meter: dict[str, Any], additive: bool) -> str:
    """Draws window and time zone; returns the window in force."""
    meter |= chance.maybe(0.5, {"timezone": chance.choice(ZONES)})
    if chance.hits(0.5):
        meter["window"] = chance.choice(("hour", "hour", "day", "day", "month", "minute"))
    return str(meter.get("window", "hour"))


def _grouped(chance: Chance, meter: dict[str, Any]) -> frozenset[str] | None:
    if chance.hits(0.6):
        return None
    names = chance.some(("region", "resource", "dimensions.tier", "dimensions.price"), 0, 3)
    meter["group_by"] = names
    return frozenset(names)


def _units(chance: Chance, meter: dict[str, Any]) -> tuple[str, str]:
    """(unit of the events, unit of the meter), with a conversion or an expression that leads from one to the other."""
    aggregation = meter["aggregation"]
    if aggregation in ("count", "unique"):
        meter["unit"] = "Requests"
        return "u", "Requests"
    if aggregation == "time_weighted":
        return _timed_units(chance, meter)
    shape = chance.randrange(6)
    if shape == 0:
        meter["convert"] = {"from": "MiB", "to": "GB"}
        return "MiB", "GB"
    if shape == 1:
        meter |= {"convert": {"from": "s", "to": "h"}, "digits": chance.choice((4, 12))}
        return "s", "h"
    if shape == 2:
        meter["convert"] = {"from": "widgets", "to": "boxes", "factor": "0.25"}
        return "widgets", "boxes"
    if shape == 3:
        meter |= {"quantity": chance.choice(("quantity * 2", "max(quantity, 1)", "quantity * dimensions.factor")), "unit": "u"}
        return "u", "u"
    if shape == 4:
        meter |= {"quantity": "quantity / 3", "digits": 6, "unit": "u"}
        return "u", "u"
    meter["unit"] = "u"
    return "u", "u"


def _timed_units(chance: Chance, meter: dict[str, Any]) -> tuple[str, str]:
    per, short = chance.choice((("second", "s"), ("hour", "h"), ("day", "d"), ("month", "Mo")))
    meter |= {"per": per, "unit": f"GB-{short}"}
    if per != "second":
        meter["digits"] = chance.choice((6, 12))
    return "GB", f"GB-{short}"


def _effective(chance: Chance, meter: dict[str, Any], window: str) -> None:
    """A begin or an end, where a window of the meter begins."""
    if chance.hits(0.85):
        return
    days = calendar(window, meter.get("timezone", "UTC"))
    key = chance.choice(("effective_from", "effective_to"))
    meter[key] = iso(days.start(chance.choice((MARCH + 9 * DAY + 7_200, APRIL + 7_200))))


GAPS = {"90m": 5_400, "2h": 7_200, "26h": 93_600, "3d": 259_200}


def ended(chance: Chance, meters: list[Metered]) -> list[Metered] | None:
    """The meters of a second tariff in which one of them ends, at a time that was to come; None where none can."""
    able = [at for at, one in enumerate(meters) if "effective_to" not in one.meter and one.feed.since is None]
    if not able:
        return None
    at = chance.choice(able)
    one = meters[at]
    days = calendar(str(one.meter.get("window", "hour")), one.meter.get("timezone", "UTC"))
    end = days.end(days.start(chance.choice((APRIL + 4 * DAY, APRIL + 9 * DAY))))
    # A sample that was counted may hold for a while: the tariff comes so much earlier.
    since = end - GAPS.get(one.meter.get("gap_limit", ""), 0)
    if "effective_from" in one.meter and one.meter["effective_from"] >= iso(since):
        return None
    feed = one.feed._replace(since=since)
    found = [other._replace(feed=feed) if other.feed.event == feed.event else other for other in meters]
    found[at] = Metered(one.meter | {"effective_to": iso(end)}, feed, one.target)
    return found


def later_meter(chance: Chance) -> Metered:
    """A meter that the second tariff adds, for events that were not sent before."""
    one = _meter(chance, "later", chance.choice(AGGREGATIONS))
    meter = {key: value for key, value in one.meter.items() if key != "effective_to"}
    days = calendar(str(meter.get("window", "hour")), meter.get("timezone", "UTC"))
    meter["effective_from"] = iso(days.end(days.start(APRIL + 4 * DAY)))
    return Metered(meter, one.feed._replace(since=0), one.target)
