"""`ratemill prices check` shows prices of every model in words, and as JSON with nothing left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ratemill.cli.price_words import band_in_words
from ratemill.cli.prices import book_as_json, command, in_words
from ratemill.pricing import PriceBook, parse_price_book
from ratemill.pricing.selection import Band


def words(book: PriceBook, sku: str) -> list[str]:
    (price,) = (price for price in book.prices if price.sku == sku)
    return in_words(price).splitlines()


EXPECTED = {
    "percentage": ["2.9 % beyond 10", "at least 1", "at most 5", "+ 0.3 fixed fee"],
    "matrix": ["0.3 for region=eu, tier=hot", "0.2 for region=eu", "0.4 for tier=hot", "0.1 for all other usage", "minimum 6 at period end"],
    "time_of_day": ["0.3 mon-fri 08:00-20:00", "0.5 fri-sat 22:00-06:00", "0.2 otherwise", "by the clocks of Europe/Berlin", "maximum 30"],
    "dynamic": ["what the dimension unit_price says x 1.15", "minimum 1"],
    "package": ["1.5 per started 4", "after 2 free"],
    "unit": ["free up to 3", "0.017 beyond", "minimum 0.5", "maximum 40"],
}


@pytest.mark.parametrize(("sku", "expected"), EXPECTED.items())
def test_a_price_in_words(every_model: PriceBook, sku: str, expected: list[str]) -> None:
    assert words(every_model, sku) == expected


@pytest.mark.parametrize(
    ("days", "expected"), [((0, 1, 2, 3, 4, 5, 6), "mon-sun"), ((5,), "sat"), ((0, 2, 3), "mon,wed-thu"), ((0, 2, 4), "mon,wed,fri")]
)
def test_days_that_follow_each_other_are_a_range(days: tuple[int, ...], expected: str) -> None:
    assert band_in_words(Band(days, 0, 1440)) == f"{expected} 00:00-24:00"


def test_long_lists_are_cut_and_say_so() -> None:
    cells = [{"match": {"region": f"r{number}"}, "unit_price": 1} for number in range(25)]
    fields: dict[str, Any] = {"id": "a", "sku": "s", "unit": "u", "model": "matrix", "dimensions": ["region"], "cells": cells}
    fields["accounts"] = [f"acct-{number}" for number in range(7)]
    shown = words(parse_price_book(json.dumps({"currency": "USD", "prices": [fields]}), "book.yaml"), "s")
    assert shown[19:] == ["1 for region=r19", "and 5 more cells", "for acct-0, acct-1, acct-2, acct-3, acct-4 and 2 more accounts"]


def test_json_holds_what_selects_a_tier(every_model: PriceBook) -> None:
    shown = json.loads(json.dumps(book_as_json(every_model)))
    prices = {price["sku"]: price for price in shown["prices"]}
    assert prices["matrix"]["matrix"] == {"dimensions": ["region", "dimensions.tier"]}
    assert [tier["match"] for tier in prices["matrix"]["tiers"]][1:] == [
        {"region": "eu", "dimensions.tier": "*"},
        {"region": "*", "dimensions.tier": "hot"},
        {"region": "*", "dimensions.tier": "*"},
    ]
    assert prices["time_of_day"]["schedule"] == {"timezone": "Europe/Berlin"}
    first, _, otherwise = prices["time_of_day"]["tiers"]
    assert (first["name"], first["days"], first["from"], first["to"]) == ("band-1", ["mon", "tue", "wed", "thu", "fri"], "08:00", "20:00")
    assert (otherwise["name"], "days" in otherwise) == ("otherwise", False)
    assert (prices["percentage"]["floor"], prices["percentage"]["cap"], prices["dynamic"]["markup"]) == ("1", "5", "1.15")
    assert shown["exchange_rates"] == [
        {"currency": "EUR", "rate": "0.9173", "effective_from": None},
        {"currency": "EUR", "rate": "0.93000000007", "effective_from": "2026-02-01T00:00:00Z"},
        {"currency": "JPY", "rate": "151.27", "effective_from": "2026-01-01T00:00:00Z"},
    ]


def test_the_command_shows_a_book_of_every_model(tmp_path: Path, every_model_text: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(every_model_text)
    result = CliRunner().invoke(command, ["check", str(path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "0.3 mon-fri 08:00-20:00" in result.output
    assert CliRunner().invoke(command, ["check", "--json", str(path)]).exit_code == 0
