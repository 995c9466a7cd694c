"""A price book is read exactly, and every mistake in it is told at once with its line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ratemill.pricing import EMPTY_BOOK, PriceBook, book_yaml, parse_price_book
from ratemill.pricing.money import money
from ratemill.pricing.price import SINCE_ALWAYS, Rounding
from ratemill.schemas.errors import BadPriceBook

STORAGE = """\
currency: USD
provider_name: Acme
prices:
  - id: storage-2026
    sku: acme.storage
    unit: GB-Mo
    model: graduated
    effective_from: 2026-01-01T00:00:00Z
    tiers:
      - {up_to: "51200", unit_price: "0.023"}
      - {up_to: 512000, unit_price: 0.022, flat_price: 0}
      - {unit_price: 2.1e-2}
"""
SECOND = 1_000_000_000
NEW_YEAR = 1_767_225_600 * SECOND


def mistakes_of(text: str | bytes) -> list[str]:
    """The mistakes of a text, without the name of the file."""
    with pytest.raises(BadPriceBook) as caught:
        parse_price_book(text, "book.yaml")
    assert all(mistake.startswith("book.yaml:") and "\n" not in mistake for mistake in caught.value.mistakes)
    return [mistake.removeprefix("book.yaml:") for mistake in caught.value.mistakes]


def book_of(*prices: dict[str, Any], **top: Any) -> PriceBook:
    """A book of prices, each with the fields of a unit price unless it says otherwise."""
    fields = [{"id": f"p{n}", "sku": "s", "unit": "u", "model": "unit", "unit_price": "1", **price} for n, price in enumerate(prices)]
    return parse_price_book(json.dumps({"currency": "USD", **top, "prices": fields}), "book.yaml")


def flow(*prices: str) -> str:
    """A book with one price per line, from line 3."""
    return "currency: USD\nprices:\n" + "".join(f"  - {{{price}}}\n" for price in prices)


def test_a_graduated_price_is_read_to_the_digit() -> None:
    book = parse_price_book(STORAGE, "book.yaml")
    (price,) = book.prices
    assert [(tier.upper, tier.unit_price, tier.sku_price_id) for tier in price.tiers] == [
        (51200, money("0.023"), "acme.storage/GB-Mo/tier-1"),
        (512000, money("0.022"), "acme.storage/GB-Mo/tier-2"),
        (None, money("0.021"), "acme.storage/GB-Mo/tier-3"),
    ]
    assert (book.provider_name, book.publisher_name, book.invoice_issuer_name) == ("Acme", "Acme", "Acme")
    assert price.effective_from == NEW_YEAR
    assert price.by_window


def test_defaults_of_a_book_and_of_a_price() -> None:
    book = book_of({})
    (price,) = book.prices
    assert book.provider_name == "Unnamed provider"
    assert (price.effective_from, price.effective_to) == (SINCE_ALWAYS, None)
    assert (price.accumulate, price.inclusive, price.flat_at_zero, price.minimum, price.rounding) == ("month", True, False, None, None)


def test_options_of_a_price() -> None:
    (price,) = book_of({"rounding": {"digits": 2}, "minimum": "1.50", "maximum": 9, "minimum_due": "period_end", "accumulate": "day"}).prices
    assert price.rounding == Rounding(2, "half_up", "period")
    assert (price.minimum, price.maximum, price.minimum_at_close, price.accumulate) == (money("1.5"), 9, True, "day")


@pytest.mark.parametrize("text", ["0.0000001", '"0.0000001"', "1e-7", "'1E-7'", "+1e-7", ".0000001", "0.00000010"])
def test_one_number_however_it_is_written_is_one_version(text: str) -> None:
    (price,) = parse_price_book(flow(f"id: a, sku: s, unit: u, model: unit, unit_price: {text}"), "book.yaml").prices
    (same,) = parse_price_book(flow("id: a, sku: s, unit: u, model: unit, unit_price: 0.0000001"), "book.yaml").prices
    assert price.tiers[0].unit_price == money("0.0000001")
    assert price.version == same.version


NOT_PRICES = ['"1,000"', "-1", "NaN", "inf", "1_000", "0x10", "12 USD", "１", "1e40", "1e-31", "1e9999", "[1]", "~", '""', "1:30", "1" * 300]


@pytest.mark.parametrize("text", NOT_PRICES)
def test_what_is_not_a_price_is_refused(text: str) -> None:
    (mistake,) = mistakes_of(flow(f"id: a, sku: s, unit: u, model: unit, unit_price: {text}"))
    assert mistake.startswith("3: `unit_price` is ")
    assert len(mistake) < 200


def test_widths_are_added_up_and_null_is_no_bound() -> None:
    tiers = [{"up_to": 10, "unit_price": 1}, {"up_to": 5, "unit_price": 2}, {"up_to": None, "unit_price": 3}]
    price = {"id": "a", "sku": "s", "unit": "u", "model": "graduated", "tier_bounds": "width", "tiers": tiers}
    (read,) = parse_price_book(json.dumps({"currency": "USD", "prices": [price]}), "book.yaml").prices
    assert [tier.upper for tier in read.tiers] == [10, 15, None]


def test_sku_price_ids_stay_when_amounts_or_dates_change_and_tell_names_apart() -> None:
    book = book_of({"free": 5}, {"free": 7, "unit_price": "9", "effective_from": "2026-01-01T00:00:00Z"})
    first, second = book.series("s", "u")
    assert [tier.sku_price_id for tier in first.tiers] == [tier.sku_price_id for tier in second.tiers] == ["s/u/free", "s/u/tier-1"]
    slashes = book_of({"sku": "a/b", "unit": "c"}, {"sku": "a", "unit": "b/c"})
    assert len({price.tiers[0].sku_price_id for price in slashes.prices}) == 2
    assert book_of({"sku_price_id": "mine", "free": 1}).prices[0].tiers[1].sku_price_id == "mine"


def test_a_price_ends_where_the_next_begins() -> None:
    book = book_of({"unit_price": "2", "effective_from": "2026-01-01T00:00:00Z"}, {"unit_price": "1"}, {"unit": "other"})
    first, second = book.series("s", "u")
    assert (first.effective_to, second.effective_to) == (NEW_YEAR, None)
    assert book.price_at("s", "u", NEW_YEAR - 1) == first
    assert book.price_at("s", "u", NEW_YEAR) == second
    assert book.price_at("s", "nothing", 0) is book.price_at("nothing", "u", 0) is None
    assert book.units_of("s") == {"u", "other"}
    assert book.units_of("nothing") == frozenset()


def test_outside_its_time_a_price_does_not_apply() -> None:
    book = book_of({"effective_from": "2026-01-01T01:00:00+01:00", "effective_to": "2026-01-01T00:01:00.000Z"})
    times = (NEW_YEAR - 1, NEW_YEAR, NEW_YEAR + 60 * SECOND - 1, NEW_YEAR + 60 * SECOND)
    assert [book.price_at("s", "u", time) is not None for time in times] == [False, True, True, False]


def test_versions_change_with_the_definition_and_not_with_a_successor() -> None:
    alone = book_of({})
    followed = book_of({}, {"effective_from": "2026-01-01T00:00:00Z"})
    assert alone.prices[0].version == followed.series("s", "u")[0].version
    assert alone.series_version("s", "u") != followed.series_version("s", "u")
    assert alone.series_version("s", "none") == ""
    changed = [
        {"unit_price": "2"},
        {"minimum": "1"},
        {"description": "x"},
        {"effective_to": "2026-01-01T00:00:00Z"},
        {"free": "1"},
        {"rounding": {"digits": 2}},
    ]
    versions = {book_of(change).prices[0].version for change in changed}
    assert len(versions | {alone.prices[0].version}) == len(changed) + 1
    assert all(len(version) == 12 and int(version, 16) >= 0 for version in versions)


def test_the_version_of_a_price_is_frozen() -> None:
    # Line items carry it: if this fails, every price there is gets another version, and rated usage restates.
    assert parse_price_book(STORAGE, "book.yaml").prices[0].version == "4ee8ac3ecd26"


def test_digest_is_that_of_the_content() -> None:
    book = parse_price_book(STORAGE, "book.yaml")
    assert parse_price_book(STORAGE.replace("0.022", '"0.0220"').encode() + b"# comment\n", "other.yaml").digest == book.digest
    assert parse_price_book(STORAGE.replace("Acme", "Apex"), "book.yaml").digest != book.digest
    one, other = {"id": "a", "unit": "x"}, {"id": "b", "unit": "y"}
    assert book_of(one, other).digest == book_of(other, one).digest


def test_books_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EMPTY_BOOK.currency = "EUR"  # type: ignore[misc]
    assert EMPTY_BOOK.prices == ()
    assert book_of().prices == ()


UNIT = "sku: s, unit: u, model: unit, unit_price: 1"
MISTAKES: dict[str, tuple[str | bytes, list[str]]] = {
    "empty file": ("", ["1: the file is empty"]),
    "only a comment": ("# prices\n", ["1: the file is empty"]),
    "a list": ("- a", ["1: the file is a list"]),
    "syntax": ("currency: USD\nprices: [\n", ["3: not YAML"]),
    "tab": ("currency: USD\nprices:\n\t- a\n", ["3: not YAML"]),
    "not UTF-8": (b"currency: USD\nprovider_name: \xe9\n", ["2: not UTF-8: byte 0xe9"]),
    "control character": ("currency: USD\nprovider_name: \u00e9\u0001\n", ["2: the character U+0001"]),
    "two documents": ("currency: USD\nprices: []\n---\ncurrency: EUR\n", ["3: a second document"]),
    "no currency": ("prices: []", ["1: a price book has no `currency`"]),
    "currency": ("currency: dollars\nprices: []", ["1: `currency` is `dollars`"]),
    "no prices": ("currency: USD\nprovider: x", ["1: a price book has no `prices`", "2: unknown key `provider`; did you mean `provider_name`?"]),
    "prices empty": ("currency: USD\nprices:\n", ["2: `prices` is empty, but must be a list"]),
    "a price that is no map": ("currency: USD\nprices:\n  - x\n", ["3: price 1 is a single value"]),
    "fields missing": (flow("id: a, model: unit"), ["3: price `a` has no `sku`", "3: price `a` has no `unit`", "3: price `a` has no `unit_price`"]),
    "model missing": (flow("id: a, sku: s, unit: u"), ["3: price `a` has no `model`"]),
    "model unknown": (flow("id: a, sku: s, unit: u, model: gradated, teirs: []"), ["3: `model` is `gradated`", "3: unknown key `teirs`"]),
    "key of another model": (flow(f"id: a, {UNIT}, tiers: []"), ["3: `tiers` does not go with model unit: it belongs to graduated and volume"]),
    "unknown key": (flow(f"id: a, {UNIT}, minimun: 3"), ["3: unknown key `minimun`; did you mean `minimum`?"]),
    "duplicate key": ("currency: USD\ncurrency: EUR\nprices: []", ["2: `currency` is given twice, first in line 1"]),
    "duplicate id": (flow(f"id: a, {UNIT}", f"id: a, {UNIT.replace('u,', 'v,')}"), ["4: price id `a` is used twice, first in line 3"]),
    "same start": (flow(f"id: a, {UNIT}", f"id: b, {UNIT}"), ["4: price `b` begins when price `a` (line 3) does"]),
    "overlap": (
        flow(f"id: b, {UNIT}, effective_from: 2026-01-01T00:00:00Z", f"id: a, {UNIT}, effective_to: 2027-01-01T00:00:00Z"),
        ["3: price `a` (line 4) ends after this price `b` begins"],
    ),
    "ends before it begins": (
        flow(f"id: a, {UNIT}, effective_from: 2026-01-01T00:00:00Z, effective_to: 2026-01-01T00:00:00Z"),
        ["3: `effective_to` is not after `effective_from`"],
    ),
    "time without zone": (
        flow(f"id: a, {UNIT}, effective_from: 2026-01-01"),
        ["3: `effective_from` is `2026-01-01`, which is not a time with a zone"],
    ),
    "within a minute": (
        flow(f"id: a, {UNIT}, effective_from: 2026-01-01T00:00:01Z, effective_to: 2027-01-01T00:00:00.5Z"),
        ["3: `effective_from` is `2026-01-01T00:00:01Z`, within a minute", "3: `effective_to` is `2027-01-01T00:00:00.5Z`, within a minute"],
    ),
    "no such day": (flow(f"id: a, {UNIT}, effective_from: 2026-02-30T00:00:00Z"), ["3: `effective_from` is"]),
    "currency of a price": (flow(f"id: a, {UNIT}, currency: EUR"), ["3: `currency` is `EUR`, and the book's is USD"]),
    "flag": (
        flow("id: a, sku: s, unit: u, model: volume, charge_flat_at_zero: yes, tiers: [{unit_price: 1}]"),
        ["3: `charge_flat_at_zero` is `yes`"],
    ),
    "blank in a name": (flow("id: a, sku: 's ', unit: u, model: unit, unit_price: 1"), ["3: `sku` begins or ends with a blank"]),
    "control character in a name": (flow(r'id: a, sku: "s\n", unit: u, model: unit, unit_price: 1'), ["3: `sku` holds a line break"]),
    "long name": (flow(f"id: {'a' * 300}, {UNIT}"), ["3: `id` has 300 characters"]),
    "minimum above maximum": (flow(f"id: a, {UNIT}, minimum: 5, maximum: 4"), ["3: `minimum` 5 is above `maximum` 4"]),
    "minimum finer than rounding": (
        flow(f"id: a, {UNIT}, minimum: 5.005, rounding: {{digits: 2}}"),
        ["3: `minimum` 5.005 has more than the 2 digits"],
    ),
    "rounding": (
        flow(f"id: a, {UNIT}, rounding: {{digits: 2.5, mode: halfup, scop: tier}}"),
        [
            "3: unknown key `scop`; did you mean `scope`?",
            "3: `digits` is `2.5`",
            "3: `mode` is `halfup`, which is not known; did you mean `half_up`?",
        ],
    ),
    "minimum due without minimum": (flow(f"id: a, {UNIT}, minimum_due: period_end"), ["3: `minimum_due` says when"]),
    "free twice": (
        flow("id: a, sku: s, unit: u, model: package, package_size: 1, package_price: 1, free: 1, free_units: 2"),
        ["3: `free_units` is another name"],
    ),
    "package of nothing": (flow("id: a, sku: s, unit: u, model: package, package_size: 0, package_price: 1"), ["3: `package_size` is 0"]),
    "service category": (
        flow(f"id: a, {UNIT}, service_category: Storag"),
        ["3: `service_category` is `Storag`, which is not known; did you mean `Storage`?"],
    ),
    "one SKU price id for two SKUs": (
        flow(f"id: a, {UNIT}, sku_price_id: x", f"id: b, {UNIT.replace('u,', 'v,')}, sku_price_id: x"),
        ["4: `sku_price_id` `x`"],
    ),
    "alias": ("currency: &c USD\nprovider_name: *c\nprices: []", ["1: anchors (&c)", "2: aliases (*c)", "2: `provider_name` is empty"]),
    "tag": ("currency: !!python/name:os.system USD\nprices: []", ["1: tags ("]),
    "map as a key": ("currency: USD\n? {a: 1}\n: b\nprices: []", ["2: a key must be a name"]),
    "nested deep": ("currency: " + "[" * 100_000, ["1: nested more than 16 deep"]),
    "too large": (b"#" * (book_yaml.MAX_BOOK_BYTES + 1), ["1: the file has more than 16 MiB"]),
    "too large as text": ("#" + "é" * (book_yaml.MAX_BOOK_BYTES // 2), ["1: the file has more than 16 MiB"]),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(text: str | bytes, expected: list[str]) -> None:
    found = mistakes_of(text)
    assert len(found) == len(expected)
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found


def tiers(*lines: str) -> str:
    """A graduated price whose tiers begin in line 5."""
    return "currency: USD\nprices:\n- {id: a, sku: s, unit: u, model: graduated, tiers: [\n" + "".join(f"\n{{{line}}}," for line in lines) + "\n]}\n"


TIER_MISTAKES = {
    "none": (tiers(), ["3: `tiers` has no tier"]),
    "not ascending": (
        tiers("up_to: 5, unit_price: 1", "up_to: 5, unit_price: 1", "unit_price: 1"),
        ["6: `up_to` is 5, not above the tier before it (5)"],
    ),
    "last bounded": (tiers("up_to: 5, unit_price: 1", "up_to: 6, unit_price: 1"), ["6: the last tier has an `up_to`"]),
    "bound missing": (tiers("unit_price: 1", "unit_price: 1"), ["5: tier 1 has no `up_to`"]),
    "price missing": (tiers("up_to: 5", "flat_price: 1"), ["5: tier 1 has no `unit_price`", "6: tier 2 has no `unit_price`"]),
    "not a number": (tiers("up_to: five, unit_price: 1", "unit_price: 1"), ["5: `up_to` is `five`"]),
    "one SKU price id twice": (tiers("up_to: 5, unit_price: 1, sku_price_id: x", "unit_price: 1, sku_price_id: x"), ["6: `sku_price_id` `x`"]),
    "unknown key": (tiers("upto: 5, unit_price: 1", "unit_price: 1"), ["5: unknown key `upto`; did you mean `up_to`?", "5: tier 1 has no `up_to`"]),
}


@pytest.mark.parametrize(("text", "expected"), TIER_MISTAKES.values(), ids=TIER_MISTAKES.keys())
def test_a_mistake_in_tiers_is_told_with_its_line(text: str, expected: list[str]) -> None:
    found = mistakes_of(text)
    assert len(found) == len(expected)
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found


def test_all_mistakes_come_at_once_by_line() -> None:
    text = flow("id: a, sku: s", f"id: a, {UNIT}, foo: 1", f"id: c, {UNIT}, minimum: x", "id: d, model: volume, unit: u, tiers: 3")
    lines = [int(mistake.split(":")[0]) for mistake in mistakes_of(text)]
    assert lines == sorted(lines)
    assert set(lines) == {3, 4, 5, 6}


def test_a_bomb_of_aliases_ends_soon() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert any("aliases" in mistake for mistake in mistakes_of("\n".join(lines)))


def test_the_parser_in_python_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    book = parse_price_book(STORAGE, "book.yaml")
    monkeypatch.setattr(book_yaml, "Loader", yaml.SafeLoader)
    assert parse_price_book(STORAGE, "book.yaml") == book
    for text, expected in [*MISTAKES.values(), *TIER_MISTAKES.values()]:
        assert len(mistakes_of(text)) == len(expected), text


@given(st.text(st.sampled_from("currency: USD\npices-{}[]&*!'\"\t\x01é#|>%@0"), max_size=80) | st.binary(max_size=40))
def test_any_text_is_a_book_or_mistakes(text: str | bytes) -> None:
    with contextlib.suppress(BadPriceBook):
        parse_price_book(text, "book.yaml")


def test_many_prices_are_read_in_seconds() -> None:
    book = parse_price_book(flow(*(f"id: p{n}, sku: s{n % 1000}, unit: u{n}, model: unit, unit_price: {n}" for n in range(5_000))), "book.yaml")
    assert book.price_at("s7", "u3007", 0) == book.series("s7", "u3007")[0]
