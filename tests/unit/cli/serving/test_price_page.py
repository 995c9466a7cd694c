"""Which prices an account sees: the general ones and its own. Of others it learns nothing, whatever it asks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ratemill.api.ports import PriceQuery
from ratemill.cli.serving.prices import price_page
from ratemill.metering.tariff import Tariff, parse_tariff
from ratemill.pricing.money import use_exact_arithmetic
from ratemill.schemas.errors import BadInput
from ratemill.schemas.times import parse_time
from ratemill.streams.prices_topic import Live, Published, PublishedBook

BOOK = """
currency: USD
exchange_rates: [{currency: EUR, rate: "0.9"}, {currency: CHF, rate: "0.8"}]
prices:
  - {id: old, sku: net, unit: GB, model: unit, unit_price: "0.2"}
  - {id: new, sku: net, unit: GB, model: unit, unit_price: "0.1", effective_from: 2026-06-01T00:00:00Z}
  - {id: of-both, sku: net, unit: GB, model: unit, unit_price: "0.05", accounts: [acme, globex], effective_from: 2026-07-01T00:00:00Z}
  - {id: of-globex, sku: cpu, unit: h, model: unit, unit_price: "1", accounts: [globex]}
accounts:
  - {account: acme, currency: EUR}
  - account: globex
    currency: CHF
    credits: [{id: gift, amount: "5", effective_from: 2020-01-01T00:00:00Z, expires: 2100-01-01T00:00:00Z}]
adjustments:
  - {id: rebate, type: discount, percent: "3", accounts: [globex]}
  - {id: ours, type: discount, percent: "2", accounts: [acme, globex]}
  - {id: credits, type: credits}
"""
JULY, MAY = parse_time("2026-07-01T00:00:00Z"), parse_time("2026-05-31T23:59:59Z")


def live(text: str = BOOK) -> Live:
    use_exact_arithmetic()
    record = PublishedBook(text, "book-of-globex", "clerk of globex", "for globex", JULY)
    return Live(Published(record, tariff(text)), 1)


def tariff(text: str) -> Tariff:
    return parse_tariff(text, "book")


def page(account: str | None = None, at_ns: int = JULY, sku: str = "", size: int = 100, cursor: str = "", book: str = BOOK) -> dict[str, Any]:
    return price_page(live(book), PriceQuery(account, sku, at_ns, size, cursor))


def ids(found: dict[str, Any]) -> list[str]:
    return [price["id"] for price in found["prices"]]


def test_an_account_sees_nothing_of_another() -> None:
    mine = page("acme")
    assert ids(mine) == ["new", "of-both"]
    assert [(price["accounts"], price["applies"]) for price in mine["prices"]] == [([], False), (["acme"], True)]
    assert (mine["currency"], [rate["currency"] for rate in mine["exchange_rates"]]) == ("EUR", ["EUR"])
    steps = [(step["position"], step["id"], step["accounts"]) for step in mine["terms"]["adjustments"]]
    assert steps == [(1, "ours", ["acme"]), (2, "credits", None)]
    text = json.dumps(mine)
    assert not any(word in text for word in ("globex", "gift", "rebate", "CHF"))
    for word in ("globex", "gift", "rebate", "CHF"):
        assert word in json.dumps([page(), page("globex")]), "it is there for those who may see it"


def test_a_stranger_sees_the_general_prices() -> None:
    assert [(price["id"], price["applies"]) for price in page("initech")["prices"]] == [("new", True)]


def test_prices_are_those_of_a_time_and_of_a_sku() -> None:
    assert ids(page(at_ns=MAY)) == ["old", "of-globex"]
    assert ids(page(sku="cpu")) == ["of-globex"]
    assert ids(page("acme", sku="cpu")) == []


def test_pages_are_of_one_book() -> None:
    found, cursor = [], ""
    while True:
        part = page(size=1, cursor=cursor)
        found += ids(part)
        if part["next"] is None:
            break
        cursor = part["next"]
    assert found == ids(page()) == ["new", "of-globex", "of-both"]
    with pytest.raises(BadInput, match="begin without one"):
        page(cursor=cursor, book=BOOK.replace('"0.2"', '"0.3"'))


def test_without_a_book_there_are_no_prices() -> None:
    found = price_page(Live(), PriceQuery(None, "", JULY, 10, ""))
    assert (found["prices"], found["published_at"], found["next"]) == ([], None, None)
