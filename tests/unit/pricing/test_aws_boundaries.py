"""AWS price lists as graduated prices: at, just below and just above every boundary, against amounts worked by hand.

No amount here is computed by the code under test: each is a literal, with its arithmetic beside it. The rows are in
tests/data/prices (see the README there).
"""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ratemill.pricing import Price, parse_price_book, period_components, period_cost, tier_quantities
from ratemill.pricing.money import ZERO, money

DATA = Path(__file__).parents[2] / "data" / "prices"
Row = dict[str, str]


def rows_of(name: str) -> list[Row]:
    """The rows of an AWS price list: the header is the sixth line."""
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file.readlines()[5:]))


S3, LAMBDA = rows_of("aws_s3_eu-west-1_2018-04-04.csv"), rows_of("aws_lambda_eu-west-1_2021-03-04.csv")
STANDARD, REDUCED, PUT = "4AJHPB29ZPVFADXP", "2M7QTWC3ZQPKXMXZ", "578M9UJHH6X5PZVC"
REQUESTS, COMPUTE, PROVISIONED = "VPGUBFQ4KNZKMKGJ", "PHDF9YNAFR3HDSR8", "QKVFMCSDP4AVPEE7"


def price_of(rows: list[Row], sku: str, **fields: Any) -> Price:
    """The price that the rows of an SKU say, the rows of the free tier that it is related to before them."""
    own = sorted((row for row in rows if row["SKU"] == sku), key=lambda row: Decimal(row["StartingRange"]))
    free = [row for row in rows if own[0].get("RelatedTo") and row["SKU"] == own[0]["RelatedTo"]]
    tiers = [{"up_to": row["EndingRange"], "unit_price": row["PricePerUnit"], "sku_price_id": row["RateCode"]} for row in [*free, *own]]
    for tier in tiers:
        if tier["up_to"] == "Inf":
            del tier["up_to"]
    unit = own[0]["Unit"]
    price = {"id": sku, "sku": sku, "unit": unit, "model": "graduated", "tiers": tiers, "description": own[0]["PriceDescription"], **fields}
    return parse_price_book(json.dumps({"currency": own[0]["Currency"], "prices": [price]}), "aws.yaml").prices[0]


STANDARD_COSTS = {
    "0": "0",
    "51199": "1177.577",  # 51200 x 0.023 = 1177.6, less 0.023
    "51199.999999999": "1177.599999999977",  # 1177.6 - 0.000000001 x 0.023
    "51200": "1177.6",  # 51200 x 0.023
    "51200.000000001": "1177.600000000022",  # 1177.6 + 0.000000001 x 0.022
    "51201": "1177.622",  # 1177.6 + 0.022
    "511999": "11315.178",  # 11315.2 - 0.022
    "511999.999999999": "11315.199999999978",  # 11315.2 - 0.000000001 x 0.022
    "512000": "11315.2",  # 1177.6 + 460800 x 0.022 = 1177.6 + 10137.6
    "512000.000000001": "11315.200000000021",  # 11315.2 + 0.000000001 x 0.021
    "512001": "11315.221",  # 11315.2 + 0.021
    "1000000": "21563.2",  # 11315.2 + 488000 x 0.021 = 11315.2 + 10248
}
REDUCED_COSTS = {
    "1023.999999999": "24.575999999976",  # 24.576 - 0.000000001 x 0.024
    "1024": "24.576",  # 1024 x 0.024
    "1024.000000001": "24.5760000000236",  # 24.576 + 0.000000001 x 0.0236
    "51199.999999999": "1208.7295999999764",  # 1208.7296 - 0.000000001 x 0.0236
    "51200": "1208.7296",  # 24.576 + 50176 x 0.0236 = 24.576 + 1184.1536
    "51200.000000001": "1208.7296000000232",  # 1208.7296 + 0.000000001 x 0.0232
    "511999.999999999": "11899.2895999999768",  # 11899.2896 - 0.000000001 x 0.0232
    "512000": "11899.2896",  # 1208.7296 + 460800 x 0.0232 = 1208.7296 + 10690.56
    "512000.000000001": "11899.2896000000228",  # 11899.2896 + 0.000000001 x 0.0228
    "1023999.999999999": "23572.8895999999772",  # 23572.8896 - 0.000000001 x 0.0228
    "1024000": "23572.8896",  # 11899.2896 + 512000 x 0.0228 = 11899.2896 + 11673.6
    "1024000.000000001": "23572.8896000000224",  # 23572.8896 + 0.000000001 x 0.0224
    "5119999.999999999": "115323.2895999999776",  # 115323.2896 - 0.000000001 x 0.0224
    "5120000": "115323.2896",  # 23572.8896 + 4096000 x 0.0224 = 23572.8896 + 91750.4
    "5120000.000000001": "115323.289600000022",  # 115323.2896 + 0.000000001 x 0.022
}
REQUESTS_COSTS = {
    "999999": "0",  # 1,000,000 are free
    "1000000": "0",
    "1000001": "0.0000002",  # 1 x 0.0000002
    "3000000": "0.4",  # 2,000,000 x 0.0000002
}
COMPUTE_COSTS = {
    "399999.999": "0",  # 400,000 GB-s are free
    "400000": "0",
    "400000.001": "0.0000000166667",  # 0.001 x 0.0000166667
    "400001": "0.0000166667",
    "1000000": "10.00002",  # 600,000 x 0.0000166667
}
PROVISIONED_COSTS = {"0": "0", "0.001": "0.0000000104966", "400001": "4.1986504966"}  # no free tier: 400001 x 0.0000104966
PUT_COSTS = {"1": "0.000005", "1000": "0.005", "1234567": "6.172835"}  # 1234567 x 0.000005

CASES = [
    *((S3, STANDARD, *case) for case in STANDARD_COSTS.items()),
    *((S3, REDUCED, *case) for case in REDUCED_COSTS.items()),
    *((S3, PUT, *case) for case in PUT_COSTS.items()),
    *((LAMBDA, REQUESTS, *case) for case in REQUESTS_COSTS.items()),
    *((LAMBDA, COMPUTE, *case) for case in COMPUTE_COSTS.items()),
    *((LAMBDA, PROVISIONED, *case) for case in PROVISIONED_COSTS.items()),
]


@pytest.mark.parametrize(("rows", "sku", "quantity", "expected"), CASES, ids=[f"{sku}-{quantity}" for _, sku, quantity, _ in CASES])
def test_a_month_costs_what_it_costs_by_hand(rows: list[Row], sku: str, quantity: str, expected: str) -> None:
    price = price_of(rows, sku)
    assert period_cost(price, {0: money(quantity)}) == money(expected)
    assert period_components(price, {0: money(quantity)}, True) == [], "windows alone make up the cost"


def test_every_boundary_of_the_lists_is_among_the_cases() -> None:
    bounds = {(row["SKU"], row["EndingRange"]) for row in S3 if row["EndingRange"] != "Inf"}
    bounds |= {(row["RelatedTo"], free["EndingRange"]) for row in LAMBDA for free in LAMBDA if row["RelatedTo"] == free["SKU"]}
    owners = {row["RelatedTo"]: row["SKU"] for row in LAMBDA if row["RelatedTo"]}
    tested = {(sku, quantity) for _, sku, quantity, _ in CASES}
    assert len(bounds) == 9
    assert {(owners.get(sku, sku), bound) for sku, bound in bounds} <= tested


@pytest.mark.parametrize(("rows", "count"), [(S3, 25), (LAMBDA, 8)])
def test_every_row_is_a_tier_of_a_price_that_can_be_read(rows: list[Row], count: int) -> None:
    assert len(rows) == count
    prices = [price_of(rows, sku) for sku in {row["SKU"]: None for row in rows if row["EndingRange"] == "Inf"}]
    assert {tier.sku_price_id for price in prices for tier in price.tiers} == {row["RateCode"] for row in rows}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("51199.5", "51200.5", "0.0225"),  # 0.5 x 0.023 + 0.5 x 0.022
        ("51199", "51200", "0.023"),  # up to the boundary, all at the price below it
        ("51200", "51201", "0.022"),  # from the boundary on, all at the price above it
        ("51199", "512001", "10137.644"),  # 1 x 0.023 + 460800 x 0.022 + 1 x 0.021 = 0.023 + 10137.6 + 0.021
    ],
)
def test_a_window_over_a_boundary_costs_each_part_where_it_lies(before: str, after: str, expected: str) -> None:
    price = price_of(S3, STANDARD)
    parts = zip(tier_quantities(price, {0: money(before)}), tier_quantities(price, {0: money(after)}), price.tiers, strict=True)
    assert sum(((now - was) * tier.unit_price for was, now, tier in parts), ZERO) == money(expected)


@pytest.mark.parametrize(
    ("bounds", "quantity", "expected"),
    [
        ("inclusive", "51199.999999999", "1177.599999999977"),  # 51199.999999999 x 0.023
        ("inclusive", "51200", "1177.6"),  # 51200 x 0.023
        ("exclusive", "51200", "1126.4"),  # 51200 x 0.022
        ("inclusive", "51200.000000001", "1126.400000000022"),  # 51200.000000001 x 0.022
        ("exclusive", "51200.000000001", "1126.400000000022"),
        ("inclusive", "512000", "11264"),  # 512000 x 0.022
        ("exclusive", "512000", "10752"),  # 512000 x 0.021
    ],
)
def test_the_same_tiers_by_volume(bounds: str, quantity: str, expected: str) -> None:
    assert period_cost(price_of(S3, STANDARD, model="volume", bounds=bounds), {0: money(quantity)}) == money(expected)


def test_a_free_tier_and_a_free_allowance_cost_the_same() -> None:
    row = next(row for row in LAMBDA if row["SKU"] == REQUESTS)
    fields = {"id": "a", "sku": "s", "unit": "Request", "model": "unit", "free": "1000000", "unit_price": row["PricePerUnit"]}
    allowance = parse_price_book(json.dumps({"currency": "USD", "prices": [fields]}), "aws.yaml").prices[0]
    assert {quantity: period_cost(allowance, {0: money(quantity)}) for quantity in REQUESTS_COSTS} == {
        quantity: money(expected) for quantity, expected in REQUESTS_COSTS.items()
    }


@pytest.mark.parametrize(("column", "was", "then"), [("EndingRange", "51200", "51200.5"), ("PricePerUnit", "0.0220000000", "0.0220000001")])
def test_a_boundary_or_a_price_that_is_a_little_off_would_be_seen(column: str, was: str, then: str) -> None:
    rows = [row | {column: then} if row["SKU"] == STANDARD and row[column] == was else row for row in S3]
    price = price_of(rows, STANDARD)
    wrong = [quantity for quantity, expected in STANDARD_COSTS.items() if period_cost(price, {0: money(quantity)}) != money(expected)]
    assert "51200.000000001" in wrong
    assert "51200" not in wrong, "and only beyond the boundary"
