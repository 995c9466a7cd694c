"""The worked examples of vendors come out to the digit, each written as a price book in YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ratemill.pricing import parse_price_book, period_components, period_cost, tier_quantities
from ratemill.pricing.money import ZERO, money
from ratemill.pricing.price import Price

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "data" / "pricing_cases.json").read_text())


def fields_of(case: dict[str, Any]) -> dict[str, Any]:
    """The price that a case describes, as it stands in a price book: the case's fields become named options."""
    model = case["model"].removesuffix("_delta")
    fields: dict[str, Any] = {"id": case["id"], "sku": "case", "unit": "Units", "model": model}
    if model == "package":
        (tier,) = case["tiers"]
        fields |= {"package_size": tier["package_size"], "package_price": tier["price"], "free_units": tier["free_units"]}
    elif model == "unit":
        (tier,) = case["tiers"]
        fields["unit_price"] = tier["unit"]
    else:
        fields["tiers"] = [{"up_to": tier["up_to"], "unit_price": tier["unit"], "flat_price": tier["flat"]} for tier in case["tiers"]]
        fields["charge_flat_at_zero"] = bool(case.get("zero_usage_flat"))
    fields |= {key: case[key] for key in ("minimum", "maximum") if key in case}
    if "minimum" in case and "sequence" in case:
        # Rating that goes on while the period runs leaves the minimum to its end.
        fields["minimum_due"] = "period_end"
    if "round_dp" in case:
        fields["rounding"] = {"digits": case["round_dp"], "mode": "half_up", "scope": "tier" if case.get("round_per_tier") else "period"}
    return fields


def price_of(case: dict[str, Any]) -> Price:
    """The same, read by the price book's reader."""
    # JSON is YAML: what the test says is what a person could write.
    book = parse_price_book(json.dumps({"currency": case["currency"], "prices": [fields_of(case)]}), f"{case['id']}.yaml")
    return book.prices[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_cost_of_the_period_is_the_vendors(case: dict[str, Any]) -> None:
    assert period_cost(price_of(case), {0: money(case["quantity"])}) == money(case["expected"])


@pytest.mark.parametrize("case", [case for case in CASES if "sequence" in case], ids=lambda case: case["id"])
def test_rating_again_charges_the_difference(case: dict[str, Any]) -> None:
    price = price_of(case)
    charged = ZERO
    for number, phase in enumerate(case["sequence"], 1):
        cost = period_cost(price, {0: money(phase["cumulative"])}, final=number == len(case["sequence"]))
        assert cost - charged == money(phase["expected_delta"])
        charged = cost
    assert charged == money(case["expected"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_windows_and_components_make_up_the_cost(case: dict[str, Any]) -> None:
    price, total = price_of(case), money(case["quantity"])
    by_tier = zip(tier_quantities(price, {0: total}), price.tiers, strict=True) if price.by_window else ()
    windows = sum((quantity * tier.unit_price for quantity, tier in by_tier), ZERO)
    components = period_components(price, {0: total}, True)
    assert windows + sum((component.cost for component in components), ZERO) == money(case["expected"])
    assert all(component.quantity * component.unit_price == component.cost for component in components)
