"""Exchange rates hold for whole months, and a converted price costs what the price costs x the rate, to the last digit."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.metering.calendar import calendar
from ratemill.pricing import Price, PriceBook, cell_of, entry_price, parse_price_book, period_components, period_cost
from ratemill.pricing.exchange import UTC_MONTHS, ExchangeRate, ExchangeRates, converted
from ratemill.pricing.money import EXACT, ZERO, money, round_to
from ratemill.schemas.errors import BadPriceBook
from ratemill.schemas.usage_event import canonical_map

S = 1_000_000_000
NEW_YEAR = 1_767_225_600  # 2026-01-01T00:00:00Z
FEBRUARY = NEW_YEAR + 31 * 86_400
SKUS = ["unit", "graduated", "volume", "package", "percentage", "matrix", "time_of_day", "dynamic"]


def price_of(book: PriceBook, sku: str, time_s: int = NEW_YEAR, account: str = "") -> Price:
    unit = "USD" if sku == "percentage" else "u"
    price = book.price_at(sku, unit, time_s * S, account)
    assert price is not None
    return price


def cells_of(price: Price, used: list[tuple[int, str, str, int]]) -> dict[int, Decimal]:
    """Quantities per cell of usage (hour, region, tier, thousandths), as the rating step counts them."""
    found: dict[int, Decimal] = {}
    with localcontext(EXACT):
        for hour, region, tier, number in used:
            dimensions = canonical_map({"tier": tier, "unit_price": f"0.{hour:06d}"})
            cell = cell_of(price, hour * 3_600, region, "", dimensions)
            assert cell is not None
            quantity = money(number).scaleb(-3)
            weight = quantity * entry_price(price, cell, dimensions) if price.model == "dynamic" else quantity
            found[cell] = found.get(cell, ZERO) + weight
    return found


USED = st.lists(
    st.tuples(st.integers(1, 400_000), st.sampled_from(["eu", "us"]), st.sampled_from(["hot", "cold"]), st.integers(-3_000, 30_000)), max_size=12
)
RATES = st.integers(1, 10**15).map(lambda number: money(f"{number}e-9"))


@pytest.mark.parametrize("sku", SKUS)
@settings(max_examples=50, deadline=None)
@given(used=USED, rate=RATES, final=st.booleans())
def test_a_converted_price_costs_what_the_price_costs_times_the_rate(
    every_model: PriceBook, sku: str, used: list[tuple[int, str, str, int]], rate: Decimal, final: bool
) -> None:
    price = price_of(every_model, sku)
    with localcontext(EXACT):
        other = converted(price, "EUR", rate)
        quantities, its = cells_of(price, used), cells_of(other, used)
        assert period_cost(other, its, bool(used), final=final) == period_cost(price, quantities, bool(used), final=final) * rate
        before, after = period_components(price, quantities, bool(used), final=final), period_components(other, its, bool(used), final=final)
        assert [(c.key, c.cost) for c in after] == [(c.key, c.cost * rate) for c in before]


def test_rounding_comes_after_the_conversion(every_model: PriceBook) -> None:
    """So that what is due is round in the account's currency: it is not the rounded amount x the rate."""
    price = parse_price_book(
        '{currency: USD, prices: [{id: a, sku: s, unit: u, model: unit, unit_price: "0.335", rounding: {digits: 2}}]}', "book.yaml"
    ).prices[0]
    with localcontext(EXACT):
        other, rate = converted(price, "EUR", money("0.9173")), money("0.9173")
        assert period_cost(other, {0: money(1)}) == round_to(money("0.335") * rate, 2, "half_up") == money("0.31")
        assert period_cost(price, {0: money(1)}) * rate == money("0.311882")


@pytest.mark.parametrize("sku", SKUS)
def test_every_amount_is_converted_and_nothing_else(every_model: PriceBook, sku: str) -> None:
    price = price_of(every_model, sku)
    rate = money("0.5")
    with localcontext(EXACT):
        other = converted(price, "EUR", rate)
    changed = {key for key, value in price._asdict().items() if getattr(other, key) != value}
    amounts = {"minimum", "maximum", "floor", "cap", "package_price", "markup" if price.model == "dynamic" else "tiers"}
    assert changed == {"currency", "version", "pricing_currency", "exchange_rate"} | {
        key for key in amounts if getattr(price, key) and not (key == "tiers" and price.model == "package")
    }
    assert (other.currency, other.pricing_currency, other.exchange_rate) == ("EUR", "USD", rate)


def test_versions_of_converted_prices_tell_currency_and_rate(every_model: PriceBook) -> None:
    price = price_of(every_model, "unit")
    with localcontext(EXACT):
        found = [converted(price, *to) for to in (("EUR", money("0.5")), ("EUR", money("0.51")), ("CHF", money("0.5")))]
        assert len({price.version, *(other.version for other in found)}) == 4
        assert converted(price, "EUR", money("0.50")).version == found[0].version
    assert all(len(other.version) == 12 and int(other.version, 16) >= 0 for other in found)


def test_an_account_sees_prices_in_its_currency_month_by_month(every_model: PriceBook) -> None:
    assert price_of(every_model, "unit", FEBRUARY - 1, "berlin").tiers[1].unit_price == money("0.017") * money("0.9173")
    assert price_of(every_model, "unit", FEBRUARY, "berlin").tiers[1].unit_price == money("0.017") * money("0.93000000007")
    first, second = every_model.series("unit", "u", "berlin")
    assert (first.effective_to, second.effective_from, second.effective_to) == (FEBRUARY * S, FEBRUARY * S, None)
    assert (first.id, second.id) == ("unit", "unit")
    assert first.version != second.version
    assert price_of(every_model, "unit", NEW_YEAR, "boston") == price_of(every_model, "unit")
    assert [every_model.special(account) for account in ("berlin", "tokyo", "boston", "")] == [True, True, False, False]


def test_before_the_first_rate_there_is_no_price(every_model: PriceBook) -> None:
    assert every_model.price_at("unit", "u", (NEW_YEAR - 1) * S, "tokyo") is None
    assert price_of(every_model, "unit", NEW_YEAR, "tokyo").currency == "JPY"
    assert every_model.price_at("unit", "u", (NEW_YEAR - 1) * S, "berlin") is not None


def test_rates_by_time(every_model: PriceBook) -> None:
    assert every_model.exchange("EUR", FEBRUARY - 1) == money("0.9173")
    assert every_model.exchange("EUR", FEBRUARY) == money("0.93000000007")
    assert every_model.exchange("JPY", NEW_YEAR - 1) is None
    assert every_model.exchange("USD", 0) == 1
    assert every_model.exchange("CHF", FEBRUARY) is None


def test_months_are_those_of_the_calendar_that_counts_them(every_model: PriceBook) -> None:
    """In Berlin February begins an hour before it does in UTC, and has one rate from its first hour on."""
    berlin = calendar("hour", "Europe/Berlin")
    start = berlin.month_start(UTC_MONTHS.month_of(FEBRUARY))
    assert start == FEBRUARY - 3_600
    assert (every_model.exchange("EUR", start), every_model.exchange("EUR", start, berlin)) == (money("0.9173"), money("0.93000000007"))
    first, second = every_model.series("unit", "u", "berlin", berlin)
    assert first.effective_to == second.effective_from == start * S
    assert every_model.price_at("unit", "u", start * S, "berlin", berlin) == second
    assert every_model.price_at("unit", "u", start * S, "berlin") != second
    utc = calendar("hour", "UTC")
    assert every_model.series("unit", "u", "berlin", utc) == every_model.series("unit", "u", "berlin")


@settings(max_examples=80, deadline=None)
@given(st.integers(-(10**9), 4 * 10**9))
def test_months_of_utc_hold_their_times(time_s: int) -> None:
    month = UTC_MONTHS.month_of(time_s)
    assert UTC_MONTHS.month_start(month) <= time_s < UTC_MONTHS.month_start(month + 1)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(24_300, 24_330), RATES), max_size=5, unique_by=lambda pair: pair[0]), st.integers(24_290, 24_340))
def test_the_rate_of_a_month_is_the_last_that_has_begun(drawn: list[tuple[int, Decimal]], month: int) -> None:
    rates = ExchangeRates(tuple(ExchangeRate("EUR", rate, since) for since, rate in drawn))
    begun = [(since, rate) for since, rate in drawn if since <= month]
    assert rates.rate("EUR", month) == (max(begun)[1] if begun else None)


def test_converted_pieces_tile_the_time_of_the_price() -> None:
    price = {"id": "a", "sku": "s", "unit": "u", "model": "unit", "unit_price": "1"}
    prices = [
        {**price, "effective_from": "2026-01-15T00:00:00Z", "effective_to": "2026-03-15T00:00:00Z"},
        {**price, "id": "own", "accounts": ["x"], "effective_from": "2026-01-20T00:00:00Z", "effective_to": "2026-02-20T00:00:00Z"},
    ]
    rates = [{"currency": "EUR", "rate": str(month), "effective_from": f"2026-{month:02d}-01T00:00:00Z"} for month in (1, 2, 3, 4)]
    text = json.dumps({"currency": "USD", "prices": prices, "exchange_rates": rates, "accounts": [{"account": "x", "currency": "EUR"}]})
    found = parse_price_book(text, "book.yaml").series("s", "u", "x")
    days = [(p.id, (p.effective_from // S - NEW_YEAR) // 86_400, ((p.effective_to or 0) // S - NEW_YEAR) // 86_400, p.exchange_rate) for p in found]
    assert days == [("a", 14, 19, 1), ("own", 19, 31, 1), ("own", 31, 50, 2), ("a", 50, 59, 2), ("a", 59, 73, 3)]


OWN = {"id": "own", "sku": "s", "unit": "u", "model": "unit", "unit_price": "9", "currency": "EUR", "effective_from": "2026-02-01T00:00:00Z"}


def test_a_price_that_is_written_in_the_account_s_currency_stays_as_it_is() -> None:
    general = {"id": "a", "sku": "s", "unit": "u", "model": "unit", "unit_price": "1"}
    top = {"currency": "USD", "exchange_rates": [{"currency": "EUR", "rate": "0.5"}], "accounts": [{"account": "x", "currency": "EUR"}]}
    book = parse_price_book(json.dumps({**top, "prices": [general, {**OWN, "accounts": ["x"]}]}), "book.yaml")
    converted_one, own = book.series("s", "u", "x")
    assert (converted_one.currency, converted_one.tiers[0].unit_price, converted_one.exchange_rate) == ("EUR", money("0.5"), money("0.5"))
    assert (own.currency, own.tiers[0].unit_price, own.exchange_rate, own.pricing_currency) == ("EUR", 9, 1, "")


def test_rates_and_currencies_count_for_the_digest() -> None:
    def digest(**top: Any) -> str:
        return parse_price_book(json.dumps({"currency": "USD", "prices": [], **top}), "book.yaml").digest

    euro = [{"currency": "EUR", "rate": "0.5"}]
    later = [{"currency": "EUR", "rate": "0.5", "effective_from": "2026-01-01T00:00:00Z"}]
    account = [{"account": "x", "currency": "EUR"}]
    found = [digest(), digest(exchange_rates=euro), digest(exchange_rates=later), digest(exchange_rates=euro, accounts=account)]
    assert len(set(found)) == len(found)
    assert digest(exchange_rates=[{"currency": "EUR", "rate": "0.50"}]) == found[1]
    assert digest(exchange_rates=[*later, *euro]) == digest(exchange_rates=[*euro, *later])


MISTAKES: dict[str, tuple[str, list[str]]] = {
    "not a list": ("exchange_rates: 5", ["3: `exchange_rates` is a single value, but must be a list"]),
    "not a map": ("exchange_rates:\n- EUR", ["4: exchange rate 1 is a single value, but must be a map"]),
    "fields missing": ("exchange_rates:\n- {}", ["4: exchange rate 1 has no `rate`", "4: exchange rate 1 has no `currency`"]),
    "unknown key": ("exchange_rates:\n- {currency: EUR, rate: 1, from: x}", ["4: unknown key `from`"]),
    "currency": ("exchange_rates:\n- {currency: euro, rate: 1}", ["4: `currency` is `euro`; write the three capital letters"]),
    "the book's own": ("exchange_rates:\n- {currency: USD, rate: 1}", ["4: `currency` is USD, the book's own"]),
    "nothing": ("exchange_rates:\n- {currency: EUR, rate: 0}", ["4: `rate` is 0; it must be above 0"]),
    "negative": ("exchange_rates:\n- {currency: EUR, rate: -1}", ["4: `rate` is `-1`; it cannot be negative"]),
    "within a month": (
        "exchange_rates:\n- {currency: EUR, rate: 1, effective_from: 2026-01-01T00:01:00Z}",
        ["4: `effective_from` is `2026-01-01T00:01:00Z`, within a month"],
    ),
    "first instant elsewhere": (
        "exchange_rates:\n- {currency: EUR, rate: 1, effective_from: 2026-01-01T00:00:00+01:00}",
        ["4: `effective_from` is `2026-01-01T00:00:00+01:00`, within a month"],
    ),
    "two rates at once": (
        "exchange_rates:\n- {currency: EUR, rate: 1}\n- {currency: CHF, rate: 1}\n- {currency: EUR, rate: 2}",
        ["6: EUR has two rates from the same month, the first in line 4"],
    ),
    "an account without a rate": (
        "exchange_rates:\n- {currency: EUR, rate: 1}\naccounts:\n- {account: a, currency: EUR}\n- account: b\n  currency: CHF",
        ["8: account `b` has the currency CHF, which has no exchange rate; add one, such as `exchange_rates: [{currency: CHF"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(text: str, expected: list[str]) -> None:
    with pytest.raises(BadPriceBook) as caught:
        parse_price_book(f"currency: USD\nprices: []\n{text}\n", "book.yaml")
    found = [mistake.removeprefix("book.yaml:") for mistake in caught.value.mistakes]
    assert len(found) == len(expected), found
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [
        ("", ["4: `currency` is `EUR`, and the book's is USD; only a price of accounts"]),
        (", accounts: [x]", ["4: price `a` is in `EUR`, and its account `x` is billed in USD"]),
        (", accounts: [y]", ["4: price `a` is in `EUR`, and its account `y` is billed in CHF"]),
    ],
)
def test_a_price_in_a_currency_that_nobody_is_billed_in_is_refused(accounts: str, expected: list[str]) -> None:
    top = "currency: USD\nexchange_rates: [{currency: CHF, rate: 1}]\nprices:\n"
    price = f"- {{id: a, sku: s, unit: u, model: unit, unit_price: 1, currency: EUR{accounts}}}\n"
    with pytest.raises(BadPriceBook) as caught:
        parse_price_book(f"{top}{price}accounts: [{{account: y, currency: CHF}}]\n", "book.yaml")
    found = [mistake.removeprefix("book.yaml:") for mistake in caught.value.mistakes]
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found
