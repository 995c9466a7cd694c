"""Line items of windows, explained: every number here was worked by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from ratemill.schemas.explanation import Explanation

TIERS = [{"up_to": "100", "unit_price": "0.09"}, {"up_to": "500", "unit_price": "0.085"}, {"unit_price": "0.07"}]


def parts(explanation: Explanation) -> list[tuple[str, str, str, str, bool]]:
    return [(p.name, p.quantity, p.unit_price, p.amount, p.this) for p in explanation.arithmetic[0].parts]


def values(explanation: Explanation, at: int = 0) -> dict[str, str]:
    return {value.name: value.value for value in explanation.arithmetic[at].values}


def verdicts(explanation: Explanation) -> dict[str, str]:
    return {check.name: check.verdict for check in explanation.audit}


def test_a_window_that_crosses_a_bound(rig: Any, use: Any, book: Any) -> None:
    """95 before, 12 in the window: 5 at 0.09 are 0.45, 7 at 0.085 are 0.595."""
    r = rig(book(model="graduated", tiers=TIERS))
    r.send(use("12", "03-02T10:30"), use("60", "03-01T10:00"))
    r.send(use("35", "03-01T11:00"))
    found = r.explain(r.item("tier-2", "2026-03-02T10"))
    assert values(found) == {"before this window": "95", "this window": "12", "through this window": "107"}
    assert found.arithmetic[0].crossed == ["100"]
    assert parts(found) == [("tier-1", "5", "0.09", "0.45", False), ("tier-2", "7", "0.085", "0.595", True)]
    assert [p.range for p in found.arithmetic[0].parts] == ["0 – 100", "100 – 500"]
    assert found.line_item.cost == "0.595"
    assert (found.verdict, set(verdicts(found).values())) == ("equal", {"equal"})
    assert next(check.says for check in found.audit if check.name == "recomputed") == "recomputed from 3 windows: equal to the stored line item"


def test_a_window_that_crosses_two_bounds_and_a_reversal(rig: Any, use: Any, book: Any) -> None:
    """90 → 600 is 10 + 400 + 100. Then -550 → 50: 100 at 0.07, 400 at 0.085, 50 at 0.09 come back."""
    r = rig(book(model="graduated", tiers=TIERS))
    r.send(use("90", "03-01T00:00"), use("510", "03-01T01:00"), use("-550", "03-01T02:00"))
    up = r.explain(r.item("tier-3", "2026-03-01T01"))
    assert up.arithmetic[0].crossed == ["100", "500"]
    assert [p[1:4] for p in parts(up)] == [("10", "0.09", "0.9"), ("400", "0.085", "34"), ("100", "0.07", "7")]
    down = r.explain(r.item("tier-1", "2026-03-01T02"))
    assert [p[1:4] for p in parts(down)] == [("-50", "0.09", "-4.5"), ("-400", "0.085", "-34"), ("-100", "0.07", "-7")]
    assert (up.verdict, down.verdict) == ("equal", "equal")


def test_a_unit_price_with_an_allowance(rig: Any, use: Any, book: Any) -> None:
    """10 free; 8 before, 5 now: 2 free, 3 at 0.5."""
    r = rig(book(model="unit", unit_price="0.5", free="10"))
    r.send(use("8", "03-01T00:00"), use("5", "03-01T01:00"))
    found = r.explain(r.item("tier-2"))
    assert parts(found) == [("tier-1", "2", "0", "0", False), ("tier-2", "3", "0.5", "1.5", True)]
    assert [p.note for p in found.arithmetic[0].parts] == ["free allowance", ""]
    assert found.verdict == "equal"


def test_a_day_begins_anew(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="graduated", accumulate="day", tiers=TIERS))
    r.send(use("99", "03-01T23:00"), use("3", "03-02T00:00"))
    found = r.explain(r.item("tier-1", "2026-03-02"))
    assert values(found)["before this window"] == "0"
    assert parts(found) == [("tier-1", "3", "0.09", "0.27", True)]


def test_a_percentage_is_of_an_amount(rig: Any, use: Any, book: Any) -> None:
    """2.9 % of 1,050 less 50 free: this window brings 250 beyond 800 of it."""
    r = rig(book(model="percentage", percent="2.9", free="50"))
    r.send(use("800", "03-01T00:00"), use("250", "03-01T01:00"))
    found = r.explain(r.item("tier-2", "2026-03-01T01"))
    assert values(found)["percentage"] == "2.9 %"
    assert parts(found) == [("tier-2", "250", "0.029", "7.25", True)]
    assert found.verdict == "equal"


MATRIX = {
    "model": "matrix",
    "dimensions": ["region", "dimensions.tier"],
    "cells": [
        {"match": {"region": "us", "dimensions.tier": "hot"}, "unit_price": "3"},
        {"match": {"region": "eu", "dimensions.tier": "hot"}, "unit_price": "2.5"},
        {"match": {"region": "eu"}, "unit_price": "2"},
    ],
}


def test_which_cell_of_a_matrix_matched_and_why(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(**MATRIX))
    r.send(use("4", "03-01T00:00", region="eu", dimensions={"tier": "cold"}), use("1", "03-01T00:00", region="ap"))
    found = r.explain(r.item("tier-3"))
    notes = {value.name: (value.value, value.note) for value in found.arithmetic[0].values}
    assert notes["region"][0] == "eu"
    assert notes["dimensions.tier"][0] == "cold"
    assert notes["cell 1"] == ("region = us, dimensions.tier = hot", "does not match: region is eu, dimensions.tier is cold")
    assert notes["cell 2"][1] == "does not match: dimensions.tier is cold"
    assert notes["cell 3"] == ("region = eu, dimensions.tier = any", "the first of 3 that matches, in the order written")
    assert parts(found) == [("tier-3", "4", "2", "8", True)]
    assert found.verdict == "equal"


def test_usage_that_no_cell_matches(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(**MATRIX))
    r.send(use("1", "03-01T00:00", region="ap"))
    item = r.item("tier-1")
    assert item.x_unpriced
    found = r.explain(item)
    assert "their cells" in found.unpriced
    assert found.arithmetic[0].title == "matrix: no unit price for this usage, so it costs nothing yet"
    assert found.verdict == "equal"


@pytest.mark.parametrize(
    ("time", "clock", "band", "price"),
    [
        ("03-02T07:00", "Mon 08:00", "band-1", "0.3"),  # Berlin is an hour ahead in winter
        ("03-02T06:00", "Mon 07:00", "otherwise", "0.2"),
        ("03-30T06:00", "Mon 08:00", "band-1", "0.3"),  # and two in summer
        ("03-06T21:00", "Fri 22:00", "band-2", "0.5"),
        ("03-07T04:00", "Sat 05:00", "band-2", "0.5"),  # over midnight
    ],
)
def test_which_band_of_the_week_holds_the_window(rig: Any, use: Any, book: Any, time: str, clock: str, band: str, price: str) -> None:
    bands = [
        {"days": ["mon", "tue"], "from": "08:00", "to": "20:00", "unit_price": "0.30"},
        {"days": ["fri"], "from": "22:00", "to": "06:00", "unit_price": "0.50"},
    ]
    r = rig(book(model="time_of_day", timezone="Europe/Berlin", bands=bands, otherwise={"unit_price": "0.20"}))
    r.send(use("10", time))
    (item,) = r.newest().values()
    found = r.explain(item)
    assert values(found)["on the clocks of Europe/Berlin"] == clock
    assert band in values(found)
    assert found.arithmetic[0].parts[0].note == band
    assert parts(found)[0][2] == price
    assert found.verdict == "equal"


def test_a_price_that_the_event_carries(rig: Any, use: Any, book: Any) -> None:
    """3 at 0.04 x 1.15 = 0.046 are 0.138."""
    r = rig(book(model="dynamic", price_field="spot", markup="1.15"))
    r.send(use("3", "03-01T00:00", dimensions={"spot": "0.04"}))
    found = r.explain(r.item("tier-1"))
    assert values(found)["unit price in the dimension spot"] == "0.04"
    assert found.arithmetic[0].values[-1].note == "0.04 × 1.15 = 0.046"
    assert parts(found) == [("tier-1", "3", "0.046", "0.138", True)]
    assert found.verdict == "equal"


@pytest.mark.parametrize(
    ("sku", "unit", "why"),
    [("s", "GB", "has prices for s in u, and this usage is in GB"), ("other", "u", "has no price for the SKU other")],
)
def test_why_there_is_no_price(rig: Any, use: Any, book: Any, sku: str, unit: str, why: str) -> None:
    r = rig(book(model="unit", unit_price="1"))
    r.send(use("3", "03-01T00:00", sku=sku, unit=unit))
    found = r.explain(r.item("tier-1"))
    assert why in found.unpriced
    assert (found.price, found.verdict) == (None, "equal")


def test_who_published_the_price_and_when(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="unit", unit_price="1"))
    r.send(use("3", "03-01T00:00"))
    r.publish({**book(model="unit", unit_price="1"), "provider_name": "Acme"}, "a name")
    found = r.explain(r.item("tier-1"))
    assert found.price is not None
    assert found.price.introduced is not None
    assert found.price.in_force is not None
    assert (found.price.introduced.author, found.price.introduced.reason, found.price.in_force.reason) == ("ann", "first prices", "a name")
    assert [revision.cause_in_words.split(" ")[0] for revision in found.revisions] == ["usage", "price"]
    assert found.revisions[1].cause_in_words.endswith("by ann: a name")


def test_a_withdrawn_line_item(rig: Any, use: Any, book: Any) -> None:
    """The bound moves away from the window: what was in tier 2 of it is no more."""
    r = rig(book(model="graduated", tiers=TIERS))
    r.send(use("100", "03-01T00:00"), use("5", "03-01T02:00"))
    r.send(use("-90", "03-01T01:00"))
    item = r.item("tier-2", "2026-03-01T02")
    assert item.x_withdrawn
    found = r.explain(item)
    assert (found.line_item.status, found.verdict) == ("withdrawn", "equal")
    assert r.tampered(item, x_withdrawn=False).verdict == "differs"


COSTS = ("billed_cost", "effective_cost", "list_cost", "contracted_cost")


# -- what must be found ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"billed_cost": "0.6"}, {"quantity × unit price", "recomputed", "arithmetic"}),
        ({"effective_cost": "0.5949999999999999999999999"}, {"quantity × unit price", "recomputed"}),
        ({"pricing_quantity": "8"}, {"quantity × unit price", "recomputed"}),
        ({"x_price_version": "0123456789ab"}, {"recomputed", "price"}),
        (dict.fromkeys(COSTS, "0.68") | {"pricing_quantity": "8", "consumed_quantity": "8"}, {"recomputed", "arithmetic"}),
        ({"region_id": "eu"}, {"recomputed"}),
        ({"charge_description": "x"}, {"recomputed"}),
    ],
)
def test_a_tampered_line_item_is_a_difference(rig: Any, use: Any, book: Any, fields: dict[str, str], wrong: set[str]) -> None:
    r = rig(book(model="graduated", tiers=TIERS))
    r.send(use("95", "03-01T00:00"), use("12", "03-02T10:30"))
    found = r.tampered(r.item("tier-2", "2026-03-02T10"), **fields)
    assert found.verdict == "differs"
    assert {name for name, verdict in verdicts(found).items() if verdict == "differs"} >= wrong


def test_a_tampered_document_is_a_difference_of_elasticsearch_alone(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="unit", unit_price="1"))
    r.send(use("3", "03-01T00:00"))
    item = r.item("tier-1")
    found = r.explain(item, indexed=msgspec.structs.replace(item, billed_cost="4"))
    assert [(check.name, check.differences[0].field) for check in found.audit if check.verdict == "differs"] == [("Elasticsearch", "BilledCost")]


def test_what_could_not_be_compared_is_not_called_equal(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="unit", unit_price="1"))
    r.send(use("3", "03-01T00:00"))
    r.send(use("3", "03-01T00:10"))
    item = r.item("tier-1")
    assert r.explain(item, indexed=None, elasticsearch="Elasticsearch cannot be asked").verdict == "unknown"
    assert verdicts(r.explain(item, indexed=r.log[0].item))["Elasticsearch"] == "unknown"  # behind
    assert verdicts(r.explain(item, book="0" * 64))["recomputed"] == "unknown"


def test_a_state_that_moves_is_no_difference(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="unit", unit_price="1"))
    r.send(use("3", "03-01T00:00"))
    item = r.item("tier-1")
    old = r.facts(item)
    r.send(use("3", "03-01T00:10"))
    state = r.facts(item).state
    assert r.explain(item, written=old.written, indexed=None, state=state, settled=True).verdict == "differs"
    assert r.explain(item, written=old.written, indexed=None, state=state, settled=False).verdict == "unknown"


def test_state_that_lost_a_window_is_a_difference(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="graduated", tiers=TIERS))
    r.send(use("95", "03-01T00:00"), use("12", "03-02T10:30"))
    item = r.item("tier-2", "2026-03-02T10")
    state = dict(r.facts(item).state)
    del state[min(state)]  # the window before it
    found = r.explain(item, state=state)
    assert verdicts(found)["recomputed"] == "differs"
