"""A tariff is one file or two, its parts agree, and it follows another without changing what was counted."""

from __future__ import annotations

import pytest
from ratemill.metering.succession import check_succession
from ratemill.metering.tariff import EMPTY_TARIFF, Tariff, make_tariff, parse_tariff
from ratemill.pricing.book import parse_price_book
from ratemill.schemas.errors import BadPriceBook
from ratemill.schemas.times import parse_time

BOOK = "currency: USD\nprices:\n- {id: p, sku: s, unit: GB-h, model: unit, unit_price: '0.01'}\n"
METER = "{id: m, event: e, aggregation: sum, sku: s, unit: GB-h, quantity: quantity * dimensions.hours}"
NOW = parse_time("2026-03-01T12:00:00Z")
TOMORROW, YESTERDAY = "2026-03-02T00:00:00Z", "2026-02-28T00:00:00Z"


def mistakes_of(*texts: str) -> list[str]:
    with pytest.raises(BadPriceBook) as caught:
        parse_tariff(texts[0], "tariff.yaml", *([texts[1], "meters.yaml"] if len(texts) > 1 else []))
    return caught.value.mistakes


def test_one_file_or_two() -> None:
    one = parse_tariff(f"{BOOK}meters:\n- {METER}\n", "tariff.yaml")
    two = parse_tariff(BOOK, "tariff.yaml", f"meters: [{METER}]", "meters.yaml")
    assert one == two
    assert one.meters.all == two.meters.all
    assert hash(one.meters) == hash(two.meters)
    assert one.book == parse_price_book(BOOK, "tariff.yaml")


def test_the_digest_is_that_of_the_book_when_there_are_no_meters() -> None:
    book = parse_price_book(BOOK, "x")
    assert parse_tariff(BOOK, "x").digest == parse_tariff(f"{BOOK}meters: []", "x").digest == book.digest
    assert parse_tariff(f"{BOOK}meters: [{METER}]", "x").digest != book.digest
    other = parse_tariff(BOOK.replace("0.01", "0.02") + f"meters: [{METER}]", "x")
    assert len({other.digest, make_tariff(book, other.meters).digest, book.digest}) == 3


def test_mistakes_of_both_files_come_at_once() -> None:
    found = mistakes_of("currency: usd\nprices: []", "meters:\n- {id: m}\n")
    assert [mistake.split(": ")[0] for mistake in found] == ["tariff.yaml:1", "meters.yaml:2", "meters.yaml:2"]
    assert mistakes_of("") == ["tariff.yaml:1: the file is empty; a price book begins with `currency: USD`"]
    assert mistakes_of("[]")[0].startswith("tariff.yaml:1: the file is a list")
    assert mistakes_of(f"{BOOK}meters:")[0].startswith("tariff.yaml:4: `meters` is empty")
    assert mistakes_of(f"{BOOK}meters: []", "meters: []") == ["tariff.yaml:4: `meters` stand here and in meters.yaml; keep one of them"]
    assert mistakes_of(BOOK, "")[0].startswith("meters.yaml:1: the file is empty")


def priced(price: str, meter: str) -> str:
    return f"currency: USD\nprices:\n- {{id: p, sku: s, unit: GB, {price}}}\nmeters:\n- id: m\n  event: e\n  aggregation: sum\n  sku: s\n  {meter}\n"


UNIT_PRICE = "model: unit, unit_price: 1"
MATRIX = "model: matrix, dimensions: [region, tier], cells: [{match: {region: eu, tier: hot}, unit_price: 1}]"
DISAGREEMENTS = {
    "unit": (priced(UNIT_PRICE, "unit: MB"), "tariff.yaml:9: meter `m` gives `s` in `MB`, and it has prices in `GB` only; convert"),
    "long windows": (priced(f"{UNIT_PRICE}, accumulate: day", "window: month"), "tariff.yaml:5: meter `m` has windows of a month, and price `p`"),
    "long windows, accumulated by the hour": (priced(f"{UNIT_PRICE}, accumulate: hour", "window: day"), "accumulates by the hour"),
    "time of day": (
        priced("model: time_of_day, timezone: UTC, bands: [{from: '08:00', to: '20:00', unit_price: 2}], otherwise: {unit_price: 1}", "window: day"),
        "goes by the time of day; give the meter shorter windows",
    ),
    "not grouped": (priced(MATRIX, "group_by: [dimensions.size]"), "asks for `dimensions.tier`, `region`, by which meter `m` does not group"),
    "price not grouped": (priced("model: dynamic, price_field: cost", "group_by: [region]"), "asks for `dimensions.cost`, by which"),
}


@pytest.mark.parametrize(("text", "expected"), DISAGREEMENTS.values(), ids=DISAGREEMENTS.keys())
def test_a_price_that_does_not_fit_its_meter(text: str, expected: str) -> None:
    (mistake,) = mistakes_of(text)
    assert expected in mistake


AGREEMENTS = [
    priced(UNIT_PRICE, "unit: GB"),
    priced(UNIT_PRICE, "window: day"),
    priced(f"{UNIT_PRICE}, accumulate: hour", "window: minute"),
    priced(MATRIX, "group_by: [dimensions.tier, region]"),
    priced("model: dynamic, price_field: cost", "window: month"),
    priced(UNIT_PRICE, "unit: GB").replace("sku: s, unit: GB", "sku: other, unit: TB"),
]


@pytest.mark.parametrize("text", AGREEMENTS)
def test_prices_that_fit(text: str) -> None:
    assert parse_tariff(text, "tariff.yaml").meters.all


def tariff(*meters: str, prices: str = BOOK) -> Tariff:
    return parse_tariff(prices + "meters:\n" + "".join(f"- {{{meter}}}\n" for meter in meters), "tariff.yaml")


OLD = "id: a, event: e, aggregation: sum, sku: t"
ENDED = f"id: b, event: e, aggregation: sum, sku: u, effective_to: {YESTERDAY}"
COMING = f"id: c, event: f, aggregation: sum, sku: v, effective_from: {TOMORROW}"
BEFORE = tariff(OLD, ENDED, COMING)

FINE = {
    "the same": [OLD, ENDED, COMING],
    "an end to come": [f"{OLD}, effective_to: {TOMORROW}", ENDED, COMING],
    "one that has not begun is removed": [OLD, ENDED],
    "one that has not begun is changed": [OLD, ENDED, COMING.replace("sum", "max")],
    "a new one to come": [OLD, ENDED, f"id: d, event: g, aggregation: max, sku: w, effective_from: {TOMORROW}"],
    "a successor": [
        f"{OLD}, effective_to: {TOMORROW}",
        ENDED,
        f"id: d, event: e, aggregation: count, unit: Requests, sku: t, effective_from: {TOMORROW}",
    ],
    "a new one of events that were all refused": [OLD, ENDED, "id: d, event: t, aggregation: sum, sku: w"],
    "a new one in windows of its own": [OLD, ENDED, f"id: d, event: g, aggregation: sum, sku: w, window: day, effective_from: {TOMORROW}"],
}


@pytest.mark.parametrize("meters", FINE.values(), ids=FINE.keys())
def test_what_may_follow(meters: list[str]) -> None:
    assert check_succession(BEFORE, tariff(*meters), NOW) == []


REFUSED = {
    "removed": ([ENDED], "meter `a` was published and is missing"),
    "ended ones removed": ([OLD], "meter `b` was published and is missing"),
    "changed": ([OLD.replace("sku: t", "sku: x"), ENDED], "meter `a` was published with another definition"),
    "filter added": ([f"{OLD}, filter: region == 'eu'", ENDED], "meter `a` was published with another definition"),
    "begins later": ([f"{OLD}, effective_from: {YESTERDAY}", ENDED], "meter `a` was published with another definition"),
    "an end in the past": ([f"{OLD}, effective_to: {YESTERDAY}", ENDED], "meter `a` is to end at 2026-02-28T00:00:00Z, by when events may have been"),
    "an ended one goes on": ([OLD, ENDED.replace(YESTERDAY, TOMORROW)], "meter `b` ended at 2026-02-28T00:00:00Z"),
    "a new one at once": ([OLD, ENDED, "id: d, event: g, aggregation: sum, sku: w"], "meter `d` is new, and events of type `g`"),
    "a new one of an old type": ([OLD, ENDED, "id: d, event: e, aggregation: sum, sku: w"], "meter `d` is new, and events of type `e`"),
    "one that has not begun begins now": ([OLD, ENDED, COMING.replace(TOMORROW, YESTERDAY)], "meter `c` is new"),
    "other windows for plain usage": (
        [OLD, ENDED, f"id: d, event: g, aggregation: max, effective_from: {TOMORROW}"],
        "meter `d` feeds SKU `g` in windows of its own",
    ),
    "other windows for a SKU with prices": (
        [OLD, ENDED, f"id: d, event: g, aggregation: sum, sku: s, unit: GB-h, window: day, effective_from: {TOMORROW}"],
        "meter `d` feeds SKU `s` in windows of its own",
    ),
}


@pytest.mark.parametrize(("meters", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_what_may_not_follow(meters: list[str], expected: str) -> None:
    ((entry, reason),) = check_succession(BEFORE, tariff(*meters), NOW)
    assert entry[0] == "meters"
    assert f"meter `{entry[1]}`" in reason
    assert reason.startswith(expected)
    assert "\n" not in reason


HELD = "id: h, event: h, aggregation: time_weighted, gap_limit: 26h, sku: h, unit: GB-s, per: second"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (HELD, f"{HELD}, effective_to: 2026-03-03T00:00:00Z", ""),
        (HELD, f"{HELD}, effective_to: {TOMORROW}", "meter `h` is to end at 2026-03-02T00:00:00Z, by when samples may hold that were counted"),
        (f"{HELD}, effective_to: {TOMORROW}", HELD, "meter `h` ends at 2026-03-02T00:00:00Z, by when samples may hold that were counted"),
        (f"{HELD}, effective_to: 2026-03-03T00:00:00Z", HELD, ""),
    ],
)
def test_an_end_moves_only_where_no_counted_sample_holds(before: str, after: str, expected: str) -> None:
    """Windows that such a sample reaches into were computed already, and are not computed anew with a tariff."""
    found = check_succession(tariff(before), tariff(after), parse_time("2026-03-01T12:00:00Z"))
    assert [remark.text[: len(expected)] for remark in found] == ([expected] if expected else [])


def test_the_first_tariff_may_be_anything() -> None:
    assert check_succession(EMPTY_TARIFF, BEFORE, NOW) == []


def test_what_events_may_be_ahead_by_is_not_to_come() -> None:
    soon = parse_time("2026-03-01T23:58:00Z")
    after = tariff(f"{OLD}, effective_to: {TOMORROW}", ENDED, COMING)
    assert check_succession(BEFORE, after, soon, ahead_s=60) == []
    assert len(check_succession(BEFORE, after, soon, ahead_s=300)) == 1
