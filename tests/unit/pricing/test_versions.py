"""Versions of prices and digests of books are frozen: line items carry them, and another one restates all rated usage."""

from __future__ import annotations

import pytest
from ratemill.pricing import parse_price_book

BOOK = """
currency: USD
provider_name: Acme
prices:
  - {id: unit, sku: s.unit, unit: u, model: unit, unit_price: "0.017", free: "3", description: words, service_name: S, service_category: Storage}
  - {id: plain, sku: s.plain, unit: u, model: unit, unit_price: "1"}
  - {id: later, sku: s.plain, unit: u, model: unit, unit_price: "2", effective_from: "2026-01-01T00:00:00Z", effective_to: "2027-01-01T00:00:00Z"}
  - id: graduated
    sku: s.graduated
    unit: u
    model: graduated
    bounds: exclusive
    tiers: [{up_to: "5", unit_price: "3"}, {unit_price: "0.5", flat_price: "7", sku_price_id: mine}]
  - id: volume
    sku: s.volume
    unit: u
    model: volume
    accumulate: day
    charge_flat_at_zero: true
    tiers: [{up_to: "5", unit_price: "3"}, {unit_price: "1"}]
  - {id: package, sku: s.package, unit: u, model: package, package_size: "4", package_price: "1.5", free: "2"}
  - id: limits
    sku: s.limits
    unit: u
    model: unit
    unit_price: "1"
    minimum: "2"
    minimum_due: period_end
    maximum: "40"
    rounding: {digits: 2, mode: half_even, scope: tier}
"""
# As they were when these four models were all there was.
VERSIONS = {
    "graduated": "4c4fc8784936",
    "later": "26ba2930e005",
    "limits": "6001e4475629",
    "package": "d7d1b1005b8f",
    "plain": "e90c031d0f79",
    "unit": "b0b891ae5dab",
    "volume": "92cf2c4f9320",
}


def test_versions_and_the_digest_are_those_of_the_first_release() -> None:
    book = parse_price_book(BOOK, "book.yaml")
    assert {price.id: price.version for price in book.prices} == VERSIONS
    assert book.digest == "32fefd9789d8ef0eacef09e5479ea0c084096cc16a8ee9659a054f097eb0fd31"


@pytest.mark.parametrize(("was", "then"), [("0.017", "0.0170001"), ("bounds: exclusive\n", "bounds: inclusive\n"), ("half_even", "half_up")])
def test_another_definition_has_another_version_and_digest(was: str, then: str) -> None:
    book = parse_price_book(BOOK.replace(was, then), "book.yaml")
    assert len({(price.id, price.version) for price in book.prices} - set(VERSIONS.items())) == 1
    assert book.digest != parse_price_book(BOOK, "book.yaml").digest
