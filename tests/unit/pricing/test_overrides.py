"""Prices of single accounts replace the general ones while they are in force, and time has one price for every account."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.pricing import PriceBook, parse_price_book
from ratemill.pricing.money import money
from ratemill.pricing.price import SINCE_ALWAYS, Price
from ratemill.schemas.errors import BadPriceBook

HOUR = 3_600 * 1_000_000_000
DAY = 24 * HOUR


def hour_text(hour: int) -> str:
    return f"1970-01-{hour // 24 + 1:02d}T{hour % 24:02d}:00:00Z"


def book_of(*prices: dict[str, Any], **top: Any) -> PriceBook:
    fields = [{"id": f"p{n}", "sku": "s", "unit": "u", "model": "unit", "unit_price": str(n), **price} for n, price in enumerate(prices)]
    return parse_price_book(json.dumps({"currency": "USD", **top, "prices": fields}), "book.yaml")


def in_force(since: int | None = None, until: int | None = None, *accounts: str) -> dict[str, Any]:
    """The interval of a price in hours since 1970, and its accounts."""
    fields: dict[str, Any] = {"accounts": list(accounts)} if accounts else {}
    fields |= {} if since is None else {"effective_from": hour_text(since)}
    return fields | ({} if until is None else {"effective_to": hour_text(until)})


def pieces(prices: tuple[Price, ...]) -> list[tuple[str, int | None, int | None]]:
    """(id, from, to) in hours."""
    return [
        (p.id, None if p.effective_from == SINCE_ALWAYS else p.effective_from // HOUR, None if p.effective_to is None else p.effective_to // HOUR)
        for p in prices
    ]


def test_an_override_interrupts_the_general_price() -> None:
    book = book_of(in_force(), in_force(10, 20, "a", "b"))
    assert pieces(book.series("s", "u")) == [("p0", None, None)]
    assert pieces(book.series("s", "u", "a")) == [("p0", None, 10), ("p1", 10, 20), ("p0", 20, None)]
    assert book.series("s", "u", "a") == book.series("s", "u", "b")
    assert book.series("s", "u", "c") == book.series("s", "u")
    before, _, after = book.series("s", "u", "a")
    general = book.series("s", "u")[0]
    assert before.version == after.version == general.version
    assert before._replace(effective_to=None) == after._replace(effective_from=SINCE_ALWAYS) == general


@pytest.mark.parametrize(("hour", "unit_price"), [(9, 0), (10, 1), (19, 1), (20, 0)])
def test_the_price_at_a_time_is_that_of_the_account(hour: int, unit_price: int) -> None:
    book = book_of(in_force(), in_force(10, 20, "a"))
    found = book.price_at("s", "u", hour * HOUR, "a")
    assert found is not None
    assert found.tiers[0].unit_price == unit_price
    assert book.price_at("s", "u", hour * HOUR, "z") == book.price_at("s", "u", hour * HOUR)


def test_an_override_ends_where_the_next_of_its_account_begins() -> None:
    book = book_of(in_force(), in_force(10, None, "a", "b"), in_force(15, None, "a"), in_force(30))
    assert pieces(book.series("s", "u", "a")) == [("p0", None, 10), ("p1", 10, 15), ("p2", 15, None)]
    assert pieces(book.series("s", "u", "b")) == [("p0", None, 10), ("p1", 10, None)]
    assert pieces(book.series("s", "u")) == [("p0", None, 30), ("p3", 30, None)]


def test_an_override_over_several_general_prices_and_gaps() -> None:
    book = book_of(in_force(0, 5), in_force(8), in_force(12, 14), in_force(20), in_force(4, 13, "a"), in_force(18, 19, "a"))
    assert pieces(book.series("s", "u", "a")) == [("p0", 0, 4), ("p4", 4, 13), ("p2", 13, 14), ("p5", 18, 19), ("p3", 20, None)]


def test_an_account_may_have_a_price_where_there_is_no_general_one() -> None:
    book = book_of(in_force(0, 10, "a"))
    assert book.price_at("s", "u", 5 * HOUR) is None
    assert pieces(book.series("s", "u", "a")) == [("p0", 0, 10)]
    assert book.series("s", "u", "b") == book.series("s", "other", "a") == ()
    assert book.units_of("s") == {"u"}


def test_who_is_special() -> None:
    book = book_of(in_force(), in_force(0, 10, "a"))
    assert [book.special(account) for account in ("a", "b", "")] == [True, False, False]
    assert book.has_specials
    assert not book_of(in_force()).has_specials


def test_overrides_count_for_digests_and_versions() -> None:
    general, other = book_of(in_force()), book_of(in_force(), in_force(0, 10, "a", "b"))
    assert other.digest != general.digest
    assert other.series_version("s", "u") == general.series_version("s", "u")
    assert other.series_version("s", "u", "a") != other.series_version("s", "u")
    assert other.digest == book_of(in_force(), in_force(0, 10, "b", "a")).digest
    assert len({other.digest, book_of(in_force(), in_force(0, 10, "b")).digest, book_of(in_force(), in_force(0, 11, "a", "b")).digest}) == 3
    assert [(price.id, price.accounts) for price in other.prices] == [("p0", ()), ("p1", ("a", "b"))]


INTERVALS = st.lists(st.integers(0, 23), min_size=2, max_size=8, unique=True).map(sorted)


@st.composite
def series(draw: st.DrawFn, *accounts: str) -> list[dict[str, Any]]:
    """Prices that do not overlap; now and then the last is without an end, or the first without a beginning."""
    edges = draw(INTERVALS)
    found = [in_force(since, until, *accounts) for since, until in zip(edges[::2], edges[1::2], strict=False)]
    if draw(st.booleans()):
        found[-1].pop("effective_to", None)
    if draw(st.booleans()):
        found[0].pop("effective_from", None)
    return found


def tiles(prices: tuple[Price, ...]) -> bool:
    """Ascending, none empty, none into the next."""
    ends = [price.effective_to for price in prices]
    starts = [price.effective_from for price in prices]
    return all(end is None or start < end for start, end in zip(starts, ends, strict=True)) and all(
        end is not None and end <= start for end, start in zip(ends, starts[1:], strict=False)
    )


def defined(book: PriceBook, account: str, hour: int) -> str | None:
    """The definition, time by time: the account's own price if it has one then, else the general one."""
    general = override = None
    for price in book.prices:
        ends = [
            price.effective_to,
            *(p.effective_from for p in book.prices if p.accounts == price.accounts and p.effective_from > price.effective_from),
        ]
        until = min((end for end in ends if end is not None), default=None)
        if price.effective_from <= hour * HOUR and (until is None or hour * HOUR < until):
            if price.accounts:
                override = price.id if account in price.accounts else override
            else:
                general = price.id
    return override or general


@settings(max_examples=150, deadline=None)
@given(series(), series("a"))
def test_merged_series_tile_time_and_hold_the_account_s_price_first(general: list[dict[str, Any]], own: list[dict[str, Any]]) -> None:
    book = book_of(*general, *own)
    for account in ("", "a", "b"):
        assert tiles(book.series("s", "u", account))
        found = [book.price_at("s", "u", hour * HOUR, account) for hour in range(-1, 25)]
        assert [price and price.id for price in found] == [defined(book, account, hour) for hour in range(-1, 25)]


def test_series_that_were_only_put_together_do_not_tile_time() -> None:
    book = book_of(in_force(), in_force(10, 20, "a"))
    together = tuple(sorted(book.prices, key=lambda price: price.effective_from))
    assert tiles(book.series("s", "u", "a"))
    assert not tiles(together)


def test_every_model_may_be_overridden_by_another() -> None:
    tiered = {"model": "graduated", "tiers": [{"up_to": "5", "unit_price": "1"}, {"unit_price": "2"}], **in_force(10, None, "a")}
    fields = [{"id": "g", "sku": "s", "unit": "u", "model": "unit", "unit_price": "3"}, {"id": "o", "sku": "s", "unit": "u", **tiered}]
    book = parse_price_book(json.dumps({"currency": "USD", "prices": fields}), "book.yaml")
    assert [price.model for price in book.series("s", "u", "a")] == ["unit", "graduated"]
    assert book.series("s", "u", "a")[0].tiers[0].unit_price == money(3)


PRICE = "sku: s, unit: u, model: unit, unit_price: 1"
MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "no account": ([f"id: a, {PRICE}, accounts: []"], ["3: `accounts` names no account"]),
    "not a list": ([f"id: a, {PRICE}, accounts: acct"], ["3: `accounts` is a single value, but must be a list"]),
    "empty": ([f"id: a, {PRICE}, accounts: ['']"], ["3: `accounts` is empty; write a value"]),
    "twice": ([f"id: a, {PRICE}, accounts: [x, y, x]"], ["3: `accounts` names `x` twice"]),
    "same start": (
        [f"id: a, {PRICE}, accounts: [x, y]", f"id: b, {PRICE}, accounts: [y, z]"],
        ["4: price `b` begins when price `a` (line 3) does, for the same sku and unit, and for account `y`"],
    ),
    "overlap": (
        [
            f"id: a, {PRICE}, accounts: [x], effective_to: 2027-01-01T00:00:00Z",
            f"id: b, {PRICE}, accounts: [x], effective_from: 2026-01-01T00:00:00Z",
        ],
        ["4: price `a` (line 3) ends after this price `b` begins, for the same sku and unit, and for account `x`"],
    ),
    "told once for all accounts": (
        [f"id: a, {PRICE}, accounts: [x, y, z]", f"id: b, {PRICE}, accounts: [z, y, x]"],
        ["4: price `b` begins when price `a` (line 3) does"],
    ),
    "same id": ([f"id: a, {PRICE}", f"id: a, {PRICE}, accounts: [x]"], ["4: price id `a` is used twice, first in line 3"]),
}


@pytest.mark.parametrize(("prices", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(prices: list[str], expected: list[str]) -> None:
    with pytest.raises(BadPriceBook) as caught:
        parse_price_book("currency: USD\nprices:\n" + "".join(f"  - {{{price}}}\n" for price in prices), "book.yaml")
    found = [mistake.removeprefix("book.yaml:") for mistake in caught.value.mistakes]
    assert len(found) == len(expected), found
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found


def test_prices_of_different_accounts_may_begin_together() -> None:
    book = book_of(in_force(), in_force(5, 10, "a"), in_force(5, 10, "b"))
    assert [book.price_at("s", "u", 5 * HOUR, account) for account in ("a", "b")] == list(book.prices[1:])
