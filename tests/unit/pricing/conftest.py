"""One book with a price of every model, for what must hold of all of them."""

from __future__ import annotations

import pytest
from ratemill.pricing import PriceBook, parse_price_book

EVERY_MODEL = """
currency: USD
exchange_rates:
  - {currency: EUR, rate: "0.9173"}
  - {currency: EUR, rate: "0.93000000007", effective_from: 2026-02-01T00:00:00Z}
  - {currency: JPY, rate: "151.27", effective_from: 2026-01-01T00:00:00Z}
accounts:
  - {account: berlin, currency: EUR}
  - {account: tokyo, currency: JPY}
  - {account: boston, currency: USD}
prices:
  - {id: unit, sku: unit, unit: u, model: unit, unit_price: "0.017", free: "3", minimum: "0.5", maximum: "40"}
  - id: graduated
    sku: graduated
    unit: u
    model: graduated
    tiers: [{up_to: "5", unit_price: "3"}, {up_to: "20", unit_price: "1.25", flat_price: "7"}, {unit_price: "0.5"}]
  - id: volume
    sku: volume
    unit: u
    model: volume
    tiers: [{up_to: "5", unit_price: "3"}, {up_to: "15", unit_price: "2", flat_price: "1"}, {unit_price: "1"}]
  - {id: package, sku: package, unit: u, model: package, package_size: "4", package_price: "1.5", free: "2"}
  - {id: percentage, sku: percentage, unit: USD, model: percentage, percent: "2.9", fixed_fee: "0.30", floor: "1", cap: "5", free: "10"}
  - id: matrix
    sku: matrix
    unit: u
    model: matrix
    minimum: "6"
    minimum_due: period_end
    dimensions: [region, tier]
    cells:
      - {match: {region: eu, tier: hot}, unit_price: "0.3"}
      - {match: {region: eu}, unit_price: "0.2"}
      - {match: {tier: hot}, unit_price: "0.4"}
      - {match: {}, unit_price: "0.1"}
  - id: time_of_day
    sku: time_of_day
    unit: u
    model: time_of_day
    timezone: Europe/Berlin
    maximum: "30"
    bands:
      - {days: [mon, tue, wed, thu, fri], from: "08:00", to: "20:00", unit_price: "0.30"}
      - {days: [fri, sat], from: "22:00", to: "06:00", unit_price: "0.50"}
    otherwise: {unit_price: "0.20"}
  - {id: dynamic, sku: dynamic, unit: u, model: dynamic, price_field: unit_price, markup: "1.15", minimum: "1"}
"""


@pytest.fixture(scope="session")
def every_model_text() -> str:
    """The text of that book."""
    return EVERY_MODEL


@pytest.fixture(scope="session")
def every_model() -> PriceBook:
    """General prices in USD; accounts berlin (EUR), tokyo (JPY, with a rate from 2026 on) and boston."""
    return parse_price_book(EVERY_MODEL, "book.yaml")
