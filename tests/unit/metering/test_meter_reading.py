"""What one event says to its meters, which events no meter can take, and what plain usage is."""

from __future__ import annotations

from decimal import Context, localcontext
from typing import Any

import pytest
from ratemill.metering.calendar import calendar
from ratemill.metering.meter import EMPTY_METERS, Meter, Meters, Reading
from ratemill.metering.meters_form import parse_meters
from ratemill.pricing.money import money
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.times import parse_time
from ratemill.schemas.usage_event import UsageEvent, canonical_map

MARCH = parse_time("2026-03-01T00:00:00Z")
SAMPLE_KINDS = ("min", "max", "latest", "time_weighted", "counter")


def meters_of(*lines: str) -> Meters:
    return parse_meters("meters:\n" + "".join(f"  - {{{line}}}\n" for line in lines), "meters.yaml")


def event(sku: str = "e", quantity: str = "1.5", time: int = MARCH, **fields: Any) -> UsageEvent:
    known = {"unit": "MiB", "provider": "aws", "region": "eu", "resource": "r-1"}
    dimensions = canonical_map(fields.pop("dimensions", {"tier": "hot", "user": "ann", "factor": "2.5"}))
    return UsageEvent("acct", "src", "id-1", sku, time, money(quantity), dimensions=dimensions, **{**known, **fields})


def rejection(meters: Meters, one: UsageEvent) -> tuple[Reason, str]:
    with pytest.raises(Rejection) as caught:
        meters.read(one)
    assert "\n" not in caught.value.detail
    return caught.value.reason, caught.value.detail


def test_a_sum_passes_the_event_through() -> None:
    meters = meters_of("id: m, event: e, aggregation: sum")
    one = event()
    (meter,) = meters.all
    assert meters.read(one) == [Reading(meter, "MiB", "eu", "r-1", one.dimensions, money("1.5"), "")]


def test_a_meter_of_everything() -> None:
    meters = meters_of(
        "id: m, event: e, aggregation: sum, sku: es.ram, filter: 'dimensions.tier == \"hot\"', quantity: quantity * dimensions.factor, "
        "group_by: [region, dimensions.tier, dimensions.nothing], convert: {from: MiB, to: GB}"
    )
    (reading,) = meters.read(event())
    assert (reading.unit, reading.region, reading.resource, reading.dimensions) == ("GB", "eu", "", '{"tier":"hot"}')
    assert reading.quantity == money("3.75") * money("0.001048576")
    assert meters.read(event(dimensions={"tier": "cold"})) == []
    with localcontext(Context(prec=2)):
        assert meters.read(event())[0].quantity == reading.quantity


def test_groups() -> None:
    for group, expected in [
        ("[]", ("", "", "")),
        ("[resource]", ("", "r-1", "")),
        ("[dimensions.user, dimensions.tier]", ("", "", '{"tier":"hot","user":"ann"}')),
        ("[\"dimensions['user']\"]", ("", "", '{"user":"ann"}')),
    ]:
        (reading,) = meters_of(f"id: m, event: e, aggregation: sum, group_by: {group}").read(event())
        assert (reading.region, reading.resource, reading.dimensions) == expected


def test_an_event_may_feed_several_meters() -> None:
    meters = meters_of(
        "id: c, event: e, aggregation: count, unit: Requests, sku: s.requests",
        "id: a, event: e, aggregation: sum, sku: s.data",
        "id: b, event: e, aggregation: unique, unique: dimensions.user, unit: Users, sku: s.users, filter: region == 'us'",
        "id: d, event: f, aggregation: sum, sku: s.other",
    )
    assert [(r.meter.id, r.quantity) for r in meters.read(event())] == [("a", money("1.5")), ("c", 1)]
    assert [(r.meter.id, r.text) for r in meters.read(event(region="us"))] == [("a", ""), ("b", "ann"), ("c", "")]


def test_what_is_claimed_and_what_is_reserved() -> None:
    meters = meters_of("id: a, event: e, aggregation: sum, sku: s", "id: b, event: f, aggregation: count, unit: Requests")
    assert {name: [meter.id for meter in own] for name, own in meters.claimed.items()} == {"e": ["a"], "s": [], "f": ["b"]}
    assert EMPTY_METERS.claimed == {}
    assert len(EMPTY_METERS) == 0
    reason, detail = rejection(meters, event("s"))
    assert reason is Reason.RESERVED
    assert detail == "the SKU `s` is what meter `a` makes of events of type `e`; send those, or give plain usage another SKU"


def test_outside_its_time_a_meter_reads_nothing_and_usage_is_plain() -> None:
    meters = meters_of(
        "id: a, event: e, aggregation: count, unit: Requests, sku: s, filter: region == 'us', "
        "effective_from: 2026-03-01T00:00:00Z, effective_to: 2026-04-01T00:00:00Z"
    )
    assert meters.read(event()) == []
    assert [r.meter.id for r in meters.read(event(region="us"))] == ["a"]
    april = parse_time("2026-04-01T00:00:00Z")
    for time in (MARCH - 1, april):
        (plain,) = meters.read(event(time=time))
        assert (plain.meter.id, plain.meter.sku, plain.meter.additive, plain.unit, plain.quantity) == ("", "e", True, "MiB", money("1.5"))
        assert (plain.region, plain.resource, plain.dimensions) == ("eu", "r-1", event().dimensions)
        assert meters.read(event("s", time=time))[0].meter.sku == "s"
    assert rejection(meters, event("s", time=april - 1))[0] is Reason.RESERVED


def test_one_meter_succeeds_another() -> None:
    meters = meters_of(
        "id: a, event: e, aggregation: sum, sku: s, window: hour, effective_to: 2026-03-01T00:00:00Z",
        "id: b, event: e, aggregation: max, sku: s, effective_from: 2026-03-01T00:00:00Z",
    )
    assert [r.meter.id for t in (MARCH - 1, MARCH) for r in meters.read(event(time=t))] == ["a", "b"]


def test_calendars() -> None:
    meters = meters_of(
        "id: a, event: e, aggregation: sum, unit: MiB",
        "id: b, event: f, aggregation: sum, window: day, timezone: Europe/Berlin, sku: s",
        "id: c, event: g, aggregation: sum, unit: GB, sku: s, window: day, timezone: Europe/Berlin",
    )
    default = calendar(900)
    berlin = calendar("day", "Europe/Berlin")
    assert meters.calendar_of("e", "MiB", default) is default
    assert meters.calendar_of("nothing", "MiB", default) is default
    assert meters.calendar_of("s", "GB", default) is meters.calendar_of("s", "anything", default) is berlin


REFUSED = {
    "another unit": ("aggregation: sum, convert: {from: GiB, to: GB}", {}, "it is in `MiB`, and the meter takes `GiB`"),
    "another unit than the one named": ("aggregation: sum, unit: GB", {}, "it is in `MiB`, and the meter takes `GB`"),
    "no number": (
        "aggregation: sum, quantity: quantity * dimensions.tier",
        {},
        "meter `m`, `quantity: quantity * dimensions.tier`: dimension `tier` is `hot`, which is no number",
    ),
    "no number in a filter": ("aggregation: sum, filter: dimensions.none > 1", {}, "`filter: dimensions.none > 1`: dimension `none` is absent"),
    "no value": ("aggregation: unique, unit: u, unique: dimensions.none", {}, "there is nothing to tell apart: it is absent or empty"),
    "negative counter": ("aggregation: counter", {"quantity": "-1"}, "a counter is never negative"),
    "too many digits": ("aggregation: sum, quantity: quantity * quantity", {"quantity": "1" * 31}, "the quantity has more digits than are kept"),
    "too many digits after conversion": (
        "aggregation: max, convert: {from: bit, to: TiB}",
        {"quantity": f"1.{'1' * 58}", "unit": "bit"},
        "the quantity has more digits than are kept exactly",
    ),
    "dimensions that are no map": ("aggregation: sum, filter: dimensions.a == 'b'", {"broken": "[1]"}, "dimensions or tags are not a map of texts"),
}


@pytest.mark.parametrize(("definition", "fields", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_an_event_that_a_meter_cannot_take(definition: str, fields: dict[str, str], expected: str) -> None:
    meters = meters_of(f"id: m, event: e, sku: s, {definition}")
    broken = fields.get("broken")
    one = event(**{key: value for key, value in fields.items() if key != "broken"})
    if broken:
        one = UsageEvent(one.account, one.source, one.id, one.sku, one.time, one.quantity, one.unit, dimensions=broken)
    reason, detail = rejection(meters, one)
    assert reason is Reason.UNMETERABLE
    assert expected in detail
    assert "`m`" in detail


def test_if_one_meter_cannot_take_an_event_none_does() -> None:
    meters = meters_of("id: a, event: e, aggregation: sum, sku: s", "id: b, event: e, aggregation: counter, sku: t")
    assert len(meters.read(event())) == 2
    assert rejection(meters, event(quantity="-1"))[0] is Reason.UNMETERABLE


def test_what_is_sampled_is_kept_as_measured() -> None:
    for kind in SAMPLE_KINDS:
        more = ", gap_limit: 1h, digits: 9" if kind == "time_weighted" else ""
        (reading,) = meters_of(f"id: m, event: e, aggregation: {kind}, convert: {{from: MiB, to: GB}}{more}").read(event())
        assert reading.quantity == money("1.5")
        assert reading.unit == ("GB-h" if kind == "time_weighted" else "GB")


def test_meters_are_equal_when_their_definitions_are() -> None:
    line = "id: m, event: e, aggregation: sum, filter: region == 'eu', quantity: quantity / 3, digits: 4, sku: s, convert: {from: MiB, to: GB}"
    (one,), (other,) = meters_of(line).all, meters_of(line).all
    assert one == other
    assert hash(one) == hash(other)
    assert one != meters_of(line.replace("/ 3", "/ 7")).all[0]
    assert isinstance(one, Meter)
