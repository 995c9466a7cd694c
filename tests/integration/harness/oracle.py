"""What must come out, computed from the raw topics alone: no code of the engine, sums as fractions, tiers by one slow walk.

    expected(raw records, prices)  ->  Expected: line items, dead letters, counts
    actual line items (usage.rated or Elasticsearch)  ->  the same rows
    differences(expected rows, actual rows)  ->  lines that name the first rows that differ
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

__all__ = ["Event", "Expected", "Raw", "Row", "differences", "expected", "rows_of_line_items"]

WINDOW = timedelta(hours=1)
SHOWN = 6


class Raw(NamedTuple):
    """One record of a raw topic."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    timestamp_ms: int


class Event(NamedTuple):
    """What an event says, as far as money goes."""

    account: str
    source: str
    id: str
    sku: str
    unit: str
    time: datetime
    quantity: Fraction
    region: str
    resource: str
    dimensions: str


class Row(NamedTuple):
    """One line item, as far as it is compared: who, what, when, which part, how much, how dear."""

    account: str
    sku: str
    start: str
    end: str
    region: str
    resource: str
    dimensions: str
    component: str
    consumed: Fraction | None
    priced: Fraction
    cost: Fraction
    unpriced: bool


class Expected(NamedTuple):
    """Everything that follows from the raw topics."""

    rows: Counter[Row]
    dead: Counter[tuple[str, int, int, bool]]  # topic, partition, offset, is it a conflict
    received: Counter[tuple[str, int]]  # events by raw topic and partition
    poison: Counter[tuple[str, int]]  # of these, never an event
    unique: int
    duplicates: int
    conflicts: int


def _event(obj: Any, received_at: datetime) -> Event | None:
    """The event in a CloudEvent in the plain form; None when it is not one, or out of time."""
    try:
        data = obj["data"]
        quantity = Fraction(data["quantity"])
        text = obj["time"].replace("Z", "+00:00")
        time = datetime.fromisoformat(text)
        dimensions = data.get("dimensions")
        event = Event(
            obj["subject"], obj["source"], obj["id"], data["sku"], data["unit"], time, quantity,
            data.get("region", ""), data.get("resource", ""),
            json.dumps(dimensions, sort_keys=True, separators=(",", ":")) if dimensions else "",
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        return None
    # Traffic is either clearly within these or decades outside.
    return event if received_at - timedelta(days=30) < time < received_at + timedelta(minutes=5) else None


def _events(raw: Raw) -> list[Event | None]:
    received_at = datetime.fromtimestamp(raw.timestamp_ms / 1_000, UTC)
    try:
        obj = json.loads((raw.value or b"").decode(), parse_float=str, parse_constant=lambda name: None)
    except ValueError:
        return [None]
    return [_event(o, received_at) for o in obj] if isinstance(obj, list) else [_event(obj, received_at)]


def expected(
    records: Sequence[Raw], prices: Sequence[dict[str, Any]], amended: Mapping[tuple[str, str, str], Fraction] | None = None
) -> Expected:
    """Deduplicate by (account, source, id), first in log order; then rate by the definition.

    amended: quantities that some events count with instead of their own.
    """
    first: dict[tuple[str, str, str], Event] = {}
    home: dict[tuple[str, str, str], set[tuple[str, int]]] = defaultdict(set)
    contested: set[tuple[str, str, str]] = set()
    dead: Counter[tuple[str, int, int, bool]] = Counter()
    received: Counter[tuple[str, int]] = Counter()
    poison: Counter[tuple[str, int]] = Counter()
    duplicates = 0
    for raw in sorted(records, key=lambda r: (r.topic, r.partition, r.offset)):
        place = raw.topic, raw.partition
        for event in _events(raw):
            received[place] += 1
            if event is None:
                poison[place] += 1
                dead[raw.topic, raw.partition, raw.offset, False] += 1
                continue
            identity = event.account, event.source, event.id
            home[identity].add(place)
            if identity not in first:
                first[identity] = event
            elif event == first[identity]:
                duplicates += 1
            else:
                contested.add(identity)
                dead[raw.topic, raw.partition, raw.offset, True] += 1
    undecidable = [identity for identity in contested if len(home[identity]) > 1]
    if undecidable:
        raise AssertionError(f"the traffic has conflicts over several partitions, which no oracle can decide: {undecidable[:3]}")
    conflicts = sum(count for key, count in dead.items() if key[3])
    amended = amended or {}
    counting = [event._replace(quantity=amended.get(identity, event.quantity)) for identity, event in first.items()]
    return Expected(Counter(_rate(counting, prices)), dead, received, poison, len(first), duplicates, conflicts)


def _rate(events: Iterable[Event], prices: Sequence[dict[str, Any]]) -> list[Row]:
    windows: dict[tuple[str, str, str, str, str], dict[datetime, dict[bytes, tuple[Event, Fraction]]]] = {}
    for event in events:
        start = event.time.replace(minute=0, second=0, microsecond=0)
        price = next((p for p in prices if (p["sku"], p["unit"]) == (event.sku, event.unit)), None)
        by_day = price is not None and price.get("accumulate") == "day"
        period = start.strftime("%Y-%m-%d" if by_day else "%Y-%m")
        group = windows.setdefault((event.account, event.sku, event.unit, period, price["id"] if price else ""), {}).setdefault(start, {})
        place = f"{event.region}\0{event.resource}\0{event.dimensions}".encode()
        known = group.get(place if place != b"\0\0" else b"")
        group[place if place != b"\0\0" else b""] = (event, event.quantity + (known[1] if known else 0))
    rows: list[Row] = []
    for (_, _, _, _, price_id), by_start in windows.items():
        price = next((p for p in prices if p["id"] == price_id), None)
        entries = [(start, *by_start[start][place]) for start in sorted(by_start) for place in sorted(by_start[start])]
        rows += _rate_group(price, entries)
    return rows


def _rate_group(price: dict[str, Any] | None, entries: list[tuple[datetime, Event, Fraction]]) -> list[Row]:
    if price is None:
        return [_window_row(start, e, "tier-1", quantity, Fraction(0), True) for start, e, quantity in entries]
    if price["model"] == "unit":
        return [_window_row(start, e, "tier-1", quantity, Fraction(price["unit_price"]), False) for start, e, quantity in entries]
    total = sum((quantity for _, _, quantity in entries), Fraction(0))
    if price["model"] == "graduated":
        return _graduated(price["tiers"], entries)
    if price["model"] == "volume":
        tier = next(t for t in price["tiers"] if "up_to" not in t or total <= Fraction(t["up_to"]))
        return [_period_row(price, entries[0], "volume", total, total, total * Fraction(tier["unit_price"]))]
    packages = Fraction(-(-total // Fraction(price["package_size"])))
    return [_period_row(price, entries[0], "package", total, packages, packages * Fraction(price["package_price"]))]


def _graduated(tiers: list[dict[str, str]], entries: list[tuple[datetime, Event, Fraction]]) -> list[Row]:
    """Unit by unit in chronological order: what is left of a tier is filled before the next one begins."""
    rows = []
    used = Fraction(0)
    for start, event, quantity in entries:
        left, lower, placed = quantity, Fraction(0), False
        for number, tier in enumerate(tiers, 1):
            upper = Fraction(tier["up_to"]) if "up_to" in tier else None
            room = left if upper is None else max(Fraction(0), upper - max(used, lower))
            share = min(left, room)
            if share > 0 or (quantity == 0 and not placed and (upper is None or used <= upper)):
                rows.append(_window_row(start, event, f"tier-{number}", share, Fraction(tier["unit_price"]), False))
                placed = True
            used += share
            left -= share
            lower = upper if upper is not None else lower
    return rows


def _stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _window_row(start: datetime, event: Event, component: str, quantity: Fraction, unit_price: Fraction, unpriced: bool) -> Row:
    return Row(
        event.account, event.sku, _stamp(start), _stamp(start + WINDOW), event.region, event.resource, event.dimensions,
        component, quantity, quantity, quantity * unit_price, unpriced,
    )  # fmt: skip


def _period_row(
    price: dict[str, Any], entry: tuple[datetime, Event, Fraction], component: str, consumed: Fraction, priced: Fraction, cost: Fraction
) -> Row:
    first = entry[0].replace(hour=0)
    if price.get("accumulate") == "day":
        end = first + timedelta(days=1)
    else:
        first = first.replace(day=1)
        end = (first + timedelta(days=32)).replace(day=1)
    return Row(entry[1].account, entry[1].sku, _stamp(first), _stamp(end), "", "", "", component, consumed, priced, cost, False)


def rows_of_line_items(items: Iterable[dict[str, Any]]) -> Counter[Row]:
    """Line items, as JSON objects, as rows; withdrawn ones left out. A row that stands twice counts twice."""
    rows: Counter[Row] = Counter()
    for item in items:
        if item.get("x_Withdrawn"):
            continue
        consumed = item.get("ConsumedQuantity")
        rows[Row(
            item["BillingAccountId"], item["SkuId"], item["ChargePeriodStart"], item["ChargePeriodEnd"], item.get("RegionId") or "",
            item.get("ResourceId") or "", item.get("x_Dimensions") or "", item["x_Component"], None if consumed is None else Fraction(consumed),
            Fraction(item["PricingQuantity"]), Fraction(item["BilledCost"]), bool(item.get("x_Unpriced")),
        )] += 1  # fmt: skip
    return rows


def differences(where: str, wanted: Counter[Any], got: Counter[Any]) -> list[str]:
    """Nothing when both are equal; else how many rows differ, the sums, and the first of them."""
    if dict.__eq__(wanted, got):  # as the dictionaries that they are: does not work the hash of every row out again
        return []
    missing, extra = wanted - got, got - wanted
    if not missing and not extra:
        return []
    lines = [f"{where}: {missing.total()} of {wanted.total()} expected rows are missing, {extra.total()} of {got.total()} are not expected"]
    rows = [row for row in (*missing, *extra) if isinstance(row, Row)]
    if rows:
        cost = [sum((row.cost * count for row, count in side.items()), Fraction(0)) for side in (wanted, got)]
        lines.append(f"  cost expected {float(cost[0])}, found {float(cost[1])}")
    for sign, side in (("-", missing), ("+", extra)):
        lines += [f"  {sign} {_shown(row)} x{count}" for row, count in sorted(side.items(), key=lambda pair: repr(pair[0][:8]))[:SHOWN]]
    return lines


def _shown(row: Any) -> str:
    return " ".join(str(float(f)) if isinstance(f, Fraction) else str(f) for f in row)
