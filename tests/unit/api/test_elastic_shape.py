"""The shape of Elastic Cloud's billing API, from rows that are made up: what the rows of a real index seldom show."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from ratemill.api.elastic_view.shape import instances, products
from ratemill.pricing.money import use_exact_arithmetic
from ratemill.sinks.costs import CostRow


@pytest.fixture(autouse=True)
def exact() -> None:
    use_exact_arithmetic()


def row(billed: str, consumed: str | None = "1", pricing: str = "1", first: str = "2026-11-01T00:00:00Z", **group: Any) -> CostRow:
    whole = {
        "resource": "es-1", "sku": "egress", "unit": "GB", "consumed_unit": "GB", "service": "Transfer", "service_category": "Networking",
        "price": "p", "price_version": "v", "model": "unit", "component": "tier-1", **group,
    }  # fmt: skip
    return CostRow(whole, "USD", billed, billed, 1, 0, pricing, consumed if consumed is not None else "0", first, first[:11] + "01:00:00Z")


def shaped(*rows: CostRow) -> Any:
    return msgspec.json.decode(msgspec.json.encode(instances(rows)))["instances"][0]["product_line_items"]


def test_tiers_are_in_their_order() -> None:
    (line,) = shaped(*(row("1", model="graduated", component=f"tier-{n}", consumed=str(n)) for n in (10, 2, 1)))
    assert [tier["quantity"]["value"] for tier in line["quantities"][0]["tiers"]] == [1, 2, 10]


def test_one_rate_without_tiers_says_nothing_twice() -> None:
    (line,) = shaped(row("3", "2"))
    assert (line["rate"], line["quantities"]) == ({"value": 1.5, "formatted_value": "1.5 per GB"}, [])


def test_cells_of_a_matrix_are_shown_apart() -> None:
    (line,) = shaped(row("1", model="matrix", component="tier-1"), row("3", model="matrix", component="tier-2"))
    assert [tier["rate"]["value"] for tier in line["quantities"][0]["tiers"]] == [1, 3]
    assert line["rate"]["value"] == 2


def test_an_average_is_rounded_and_nothing_has_no_rate() -> None:
    text = msgspec.json.encode(instances([row("1", "3"), row("5", "0", sku="free")]))
    assert b'"rate":{"value":0.333333333333333333333333333333,' in text
    assert b'"rate":{"value":0,"formatted_value":"0 per GB"}' in text


def test_charges_that_consume_nothing_are_counted_apart_and_have_no_tiers() -> None:
    fees = [row("5", None, "1", consumed_unit=None, unit="charge", model="graduated", component=name) for name in ("flat-1", "minimum")]
    usage, charges = sorted(shaped(row("2", "4"), *fees), key=lambda line: line["total_ecu"])
    assert (usage["unit"], usage["quantity"]["value"], usage["total_ecu"]) == ("GB", 4, 2)
    assert (charges["unit"], charges["quantity"]["value"], charges["total_ecu"], charges["quantities"]) == ("charge", 2, 10, [])


def test_prices_are_in_the_order_of_their_time() -> None:
    rows = [row("1", price="a", first="2026-11-20T00:00:00Z"), row("2", price="b", first="2026-11-02T00:00:00Z", service="Old")]
    (line,) = shaped(*rows)
    assert [(segment["from"], segment["total_ecu"]) for segment in line["quantities"]] == [("2026-11-02T00:00:00Z", 2), ("2026-11-20T00:00:00Z", 1)]
    assert line["kind"] == "Transfer"  # of the newest


@pytest.mark.parametrize(("group_by", "types"), [("product", ["Storage", "Transfer"]), ("product_family", ["Networking"])])
def test_products_are_services_or_their_categories(group_by: Any, types: list[str]) -> None:
    found = products([row("1"), row("2", service="Storage", sku="x")], group_by)
    assert [product["type"] for product in found["products"]] == types
