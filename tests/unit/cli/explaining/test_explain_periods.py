"""Charges of whole periods, explained: totals, tiers, and every step from amounts to what is due, worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from ratemill.schemas.explanation import Explanation

VOLUME = [{"up_to": "5", "unit_price": "3"}, {"up_to": "15", "unit_price": "2", "flat_price": "1"}, {"unit_price": "1"}]


def steps(explanation: Explanation) -> list[tuple[str, str, str, bool]]:
    return [(step.name, step.amount, step.due, step.this) for step in explanation.arithmetic[0].steps]


def parts(explanation: Explanation) -> list[tuple[str, str, str, str, bool]]:
    return [(p.name, p.quantity, p.unit_price, p.amount, p.this) for p in explanation.arithmetic[0].parts]


def note(explanation: Explanation, step: str) -> str:
    return next(each.note for each in explanation.arithmetic[0].steps if each.name == step)


def test_a_volume_price_takes_the_tier_of_the_total(rig: Any, use: Any, book: Any) -> None:
    """4 + 7 = 11 lie in tier 2: all 11 at 2, and its flat price 1."""
    r = rig(book(model="volume", tiers=VOLUME))
    r.send(use("4", "03-01T00:00"), use("7", "03-20T00:00"))
    found = r.explain(r.item("volume"))
    assert (found.line_item.kind, found.line_item.quantity, found.line_item.cost) == ("period", "11", "22")
    assert parts(found) == [("tier-2", "11", "2", "22", True)]
    assert found.arithmetic[0].parts[0].range == "5 – 15"
    assert steps(found) == [("volume", "22", "22", True), ("flat", "1", "23", False)]
    assert (found.events.counted, found.events.quantity, found.events.expected, found.verdict) == (2, "11", "11", "equal")
    flat = r.explain(r.item("flat"))
    assert [step.this for step in flat.arithmetic[0].steps] == [False, True]
    assert flat.verdict == "equal"


def test_packages_minimum_and_rounding(rig: Any, use: Any, book: Any) -> None:
    """2,501 less 500 free are 2,001 in packages of 1,000: 3 at 0.405 are 1.215; up to the minimum 2 are 0.785."""
    r = rig(book(model="package", package_size="1000", package_price="0.405", free="500", minimum="2", rounding={"digits": 2}))
    r.send(use("2501", "03-01T00:00"))
    found = r.explain(r.item("minimum"))
    assert parts(found) == [("package", "3", "0.405", "1.215", False)]
    assert "2001 in packages of 1000: 3 started" in found.arithmetic[0].parts[0].note
    assert steps(found) == [("package", "1.215", "1.215", False), ("minimum", "0.785", "2", True)]
    assert note(found, "minimum") == "1.215 is below the minimum 2"
    assert found.verdict == "equal"
    assert r.tampered(r.item("minimum"), billed_cost="0.78").verdict == "differs"


def test_rounding_of_the_period(rig: Any, use: Any, book: Any) -> None:
    """7 × 0.405 = 2.835, half up to 2 digits: 2.84."""
    r = rig(book(model="unit", unit_price="0.405", rounding={"digits": 2, "mode": "half_up"}))
    r.send(use("3", "03-01T00:00"), use("4", "03-02T00:00"))
    found = r.explain(r.item("rounding"))
    assert steps(found) == [("windows", "2.835", "2.835", False), ("rounding", "0.005", "2.84", True)]
    assert note(found, "rounding") == "2.835 rounded half up to 2 digits is 2.84"
    assert found.verdict == "equal"


def test_rounding_of_each_tier(rig: Any, use: Any, book: Any) -> None:
    """5 × 0.333 = 1.665 → 1.67 and 2 × 0.111 = 0.222 → 0.22: 0.003 more."""
    tiers = [{"up_to": "5", "unit_price": "0.333"}, {"unit_price": "0.111"}]
    r = rig(book(model="graduated", tiers=tiers, rounding={"digits": 2, "scope": "tier", "mode": "half_up"}))
    r.send(use("7", "03-01T00:00"))
    found = r.explain(r.item("rounding"))
    assert [p[:4] for p in parts(found)] == [("tier-1", "5", "0.333", "1.665"), ("tier-2", "2", "0.111", "0.222")]
    assert steps(found) == [("windows", "1.887", "1.887", False), ("rounding", "0.003", "1.89", True)]
    assert note(found, "rounding") == "each tier rounded half up to 2 digits: 1.665 → 1.67; 0.222 → 0.22"
    assert found.verdict == "equal"


def test_flat_prices_of_tiers_and_a_maximum(rig: Any, use: Any, book: Any) -> None:
    """5 × 3 + 3 × 1.25 = 18.75, and 7 flat for entering tier 2: 25.75, at most 20."""
    tiers = [{"up_to": "5", "unit_price": "3"}, {"unit_price": "1.25", "flat_price": "7"}]
    r = rig(book(model="graduated", tiers=tiers, maximum="20"))
    r.send(use("8", "03-01T00:00"))
    found = r.explain(r.item("maximum"))
    assert steps(found) == [("windows", "18.75", "18.75", False), ("flat-2", "7", "25.75", False), ("maximum", "-5.75", "20", True)]
    assert note(found, "flat-2") == "flat price of tier 2, which is entered"
    assert note(found, "maximum") == "25.75 is above the maximum 20"
    assert (found.line_item.category, found.verdict) == ("Credit", "equal")


@pytest.mark.parametrize(
    ("amount", "component", "expected"),
    [
        # 84.48 less 50 free: 34.48 × 2.9 % = 0.99992, at least 1; and the fee
        ("84.48", "floor", [("windows", "0.99992", "0.99992", False), ("floor", "0.00008", "1", True), ("fixed-fee", "0.3", "1.3", False)]),
        # 4000 less 50: 3950 × 2.9 % = 114.55, at most 100
        ("4000", "cap", [("windows", "114.55", "114.55", False), ("cap", "-14.55", "100", True), ("fixed-fee", "0.3", "100.3", False)]),
        ("4000", "fixed-fee", [("windows", "114.55", "114.55", False), ("cap", "-14.55", "100", False), ("fixed-fee", "0.3", "100.3", True)]),
    ],
)
def test_floor_cap_and_fee_of_a_percentage(rig: Any, use: Any, book: Any, amount: str, component: str, expected: list[Any]) -> None:
    r = rig(book(model="percentage", percent="2.9", fixed_fee="0.30", floor="1", cap="100", free="50"))
    r.send(use(amount, "03-01T00:00"))
    found = r.explain(r.item(component))
    assert steps(found) == expected
    assert found.verdict == "equal"


def test_a_minimum_over_a_matrix_and_over_dynamic_prices(rig: Any, use: Any, book: Any) -> None:
    """3 × 0.3 + 4 × 0.1 = 1.3; 2 × 0.5 × 1.1 + 1 × 0.2 × 1.1 = 1.32. Both up to 6."""
    cells = [{"match": {"region": "eu"}, "unit_price": "0.3"}, {"match": {"region": "*"}, "unit_price": "0.1"}]
    r = rig(book(model="matrix", dimensions=["region"], cells=cells, minimum="6"))
    r.send(use("3", "03-01T00:00", region="eu"), use("4", "03-01T00:00", region="us"))
    found = r.explain(r.item("minimum"))
    assert [p[:4] for p in parts(found)] == [("tier-1", "3", "0.3", "0.9"), ("tier-2", "4", "0.1", "0.4")]
    assert steps(found) == [("windows", "1.3", "1.3", False), ("minimum", "4.7", "6", True)]
    assert found.verdict == "equal"
    r = rig(book(model="dynamic", price_field="spot", markup="1.1", minimum="6"))
    r.send(use("2", "03-01T00:00", dimensions={"spot": "0.5"}), use("1", "03-01T00:00", dimensions={"spot": "0.2"}))
    found = r.explain(r.item("minimum"))
    assert steps(found) == [("windows", "1.32", "1.32", False), ("minimum", "4.68", "6", True)]
    assert found.verdict == "equal"


def test_a_period_ends_with_its_price(rig: Any, use: Any, book: Any) -> None:
    """Two prices in one month: each has its own total."""
    tariff = book(model="volume", tiers=VOLUME)
    later = tariff["prices"][0] | {"id": "p2", "effective_from": "2026-03-11T00:00:00Z"}
    r = rig({**tariff, "prices": [*tariff["prices"], later]})
    r.send(use("4", "03-01T00:00"), use("7", "03-20T00:00"))
    first, second = r.explain(r.item("volume", x_price_id="p")), r.explain(r.item("volume", x_price_id="p2"))
    assert [(found.line_item.quantity, found.line_item.cost, found.events.counted, found.verdict) for found in (first, second)] == [
        ("4", "12", 1, "equal"),
        ("7", "14", 1, "equal"),
    ]


def test_a_charge_of_a_price_that_was_replaced_is_withdrawn(rig: Any, use: Any, book: Any) -> None:
    r = rig(book(model="volume", tiers=VOLUME))
    r.send(use("4", "03-01T00:00"))
    r.publish(book(model="unit", unit_price="1"), "per unit now")
    found = r.explain(r.item("volume"))
    assert (found.line_item.status, found.verdict) == ("withdrawn", "equal")
    assert found.price is not None
    assert found.price.model == "volume"
    assert found.revisions[-1].cause_in_words.endswith("by ann: per unit now")
