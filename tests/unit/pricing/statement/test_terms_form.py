"""The sections `adjustments` and `accounts`: read to the digit, and every mistake is told with its line."""

from __future__ import annotations

import re

import pytest
from ratemill.pricing import PriceBook, parse_price_book
from ratemill.pricing.money import ZERO, money
from ratemill.pricing.statement.terms import (
    ALWAYS,
    FOREVER,
    Allowance,
    Commitment,
    Commitments,
    Credit,
    Credits,
    Discount,
    Fee,
    Fees,
    Maximum,
    Minimum,
    RoundTotal,
    Uplift,
    UpliftTier,
)
from ratemill.schemas.errors import BadPriceBook

# Adjustments begin in line 9.
HEAD = """\
currency: USD
exchange_rates: [{currency: EUR, rate: "0.9"}]
prices:
  - {id: a, sku: a, unit: GB, model: unit, unit_price: "1"}
  - {id: b, sku: b, unit: GB, model: unit, unit_price: "2"}
  - {id: r, sku: r, unit: Requests, model: unit, unit_price: "2"}
  - {id: t, sku: t, unit: GB, model: time_of_day, timezone: UTC, bands: [{from: "08:00", to: "20:00", unit_price: "1"}], otherwise: {unit_price: "2"}}
"""
FULL = """\
adjustments:
  - {id: pool, type: allowance, skus: [b, a], unit: GB, quantity: "100", order: cheapest_first}
  - {id: partner, type: discount, percent: "12.5", accounts: [x, acct-1], skus: [a], effective_from: 2026-01-01T00:00:00Z}
  - {id: fees, type: recurring}
  - {id: welcome, type: discount, amount: 5, effective_to: 2026-02-01T00:00:00Z, description: Welcome}
  - {id: least, type: minimum_spend, amount: "50", skus: [a, b], due: always, charge_unused: true}
  - {id: most, type: maximum_spend, amount: "0"}
  - {id: commit, type: commitment}
  - {id: support, type: uplift, tiers: [{up_to: 100, percent: 10}, {percent: 0}], of: [a, least, platform, partner, acme.year], minimum: 7}
  - {id: pay, type: credits, order: balance}
  - {id: round, type: rounding, digits: 2, mode: half_even, sku: acme.rounding}
accounts:
  - account: acct-1
    currency: EUR
    recurring: [{id: f, sku: platform, amount: "500", prorate: day, digits: 2, effective_from: 2026-01-01T00:00:00Z}]
    commitments:
      - {id: year, amount: "1000", per: month, effective_from: 2026-01-01T01:00:00+01:00, skus: [a], sku: acme.year, overage: {surcharge: "20"}}
      - {id: next, amount: "1000", per: month, skus: [a], due: always, overage: {discount: "0.000001"}}
    credits:
      - {id: g, amount: "5000", effective_from: 2026-01-01T00:00:00Z, expires: 2027-01-01T00:00:00Z, skus: [a], discount: "10", prepaid: true}
      - {id: h, amount: "5000", effective_from: 2026-01-01T00:00:00Z}
  - account: acct-0
"""
NEW_YEAR, YEAR_AFTER = 1_767_225_600, 1_798_761_600


def book_of(text: str, head: str = HEAD) -> PriceBook:
    return parse_price_book(head + text, "tariff.yaml")


def test_everything_is_read() -> None:
    book = book_of(FULL)
    terms = book.terms_of("acct-1")
    assert terms is not None
    assert terms.currency == "EUR"
    assert terms.steps == (
        Allowance("pool", ("b", "a"), "GB", money(100), "cheapest_first"),
        Discount("partner", money("0.125"), None, ("a",), since=12 * 2026),
        Fees("fees"),
        Discount("welcome", None, money(5), until=12 * 2026 + 1, description="Welcome"),
        Minimum("least", "least", money(50), ("a", "b"), always=True, unused=True),
        Maximum("most", ZERO),
        Commitments("commit"),
        Uplift(
            "support", "support", (UpliftTier(money(100), money("0.1")), UpliftTier(None, ZERO)),
            of_skus=("a", "least", "platform", "acme.year"), of_adjustments=("partner",), minimum=money(7),
        ),
        Credits("pay", "balance"),
        RoundTotal("round", "acme.rounding", 2, "half_even"),
    )  # fmt: skip
    assert terms.fees == (Fee("f", "platform", money(500), "day", 2, NEW_YEAR),)
    assert terms.commitments == (
        Commitment("year", "acme.year", money(1000), ("a",), surcharge=money("0.2"), since=NEW_YEAR),
        Commitment("next", "a", money(1000), ("a",), always=True, discount=money("0.00000001"), since=ALWAYS),
    )
    assert terms.credits == (
        Credit("g", money(5000), NEW_YEAR, YEAR_AFTER, ("a",), money("0.1"), True, "g"),
        Credit("h", money(5000), NEW_YEAR, FOREVER, sku="h"),
    )


def test_each_account_has_its_own_terms() -> None:
    book = book_of(FULL)
    assert book.contracts == ("acct-0", "acct-1")
    kinds = {account: [step.id for step in terms.steps] for account in ("x", "acct-0", "other") if (terms := book.terms_of(account))}
    assert kinds == {
        "x": ["pool", "partner", "welcome", "least", "most", "support", "round"],
        "acct-0": ["pool", "welcome", "least", "most", "support", "round"],
        "other": ["pool", "welcome", "least", "most", "support", "round"],
    }
    assert book.terms_of("other") is book.terms_of("another")


def test_a_book_without_the_sections_has_no_terms_and_the_digest_it_had() -> None:
    book = book_of("")
    assert (book.terms_of("acct-1"), book.contracts) == (None, ())
    assert book_of("accounts: []\nadjustments: []\n").terms_of("acct-1") is None
    alone = parse_price_book("currency: USD\nprices: []\n", "tariff.yaml")
    assert alone.digest == "73fcf4218ac2d45f5f17530166145254d938cd1747fec4be39a36190eec1e138", "frozen: workers compare it"


def test_an_account_may_have_nothing_but_a_currency() -> None:
    book = book_of("accounts: [{account: acct-1, currency: EUR}]")
    assert (book.terms_of("acct-1"), book.contracts, book.special("acct-1")) == (None, ("acct-1",), True)


def test_digests_are_those_of_the_content() -> None:
    book = book_of(FULL)
    first = book.terms_of("acct-1")
    assert first is not None
    same = FULL.replace('"50"', "50.0").replace("skus: [a, b]", "skus: [ a,  b ]")
    assert book_of(same).digest == book.digest
    assert book_of(same).terms_of("acct-1").digest == first.digest  # type: ignore[union-attr]
    changes = [
        ('percent: "12.5"', 'percent: "12.4"'), ("order: balance", "order: listed"), ("currency: EUR", "currency: USD"), ('"500"', '"501"'),
        ("order: cheapest_first", "order: listed"), ("[b, a]", "[a, b]"), ("expires: 2027", "expires: 2028"), ("due: always, c", "c"),
    ]  # fmt: skip
    digests = set()
    for old, new in changes:
        assert old in FULL
        changed = book_of(FULL.replace(old, new, 1))
        digests |= {changed.digest, changed.terms_of("acct-1").digest}  # type: ignore[union-attr]
    assert len(digests | {book.digest, first.digest}) == 2 * len(changes) + 2
    rate = book_of(FULL, HEAD.replace('"0.9"', '"0.8"'))
    assert rate.terms_of("acct-1").digest != first.digest  # type: ignore[union-attr]
    assert rate.terms_of("acct-0").digest == book.terms_of("acct-0").digest  # type: ignore[union-attr]
    assert book.terms_of("x").digest != book.terms_of("acct-0").digest  # type: ignore[union-attr]


def test_a_change_for_one_account_is_none_for_the_others() -> None:
    one, other = book_of(FULL), book_of(FULL.replace('"500"', '"600"'))
    assert one.digest != other.digest
    assert one.terms_of("acct-0").digest == other.terms_of("acct-0").digest  # type: ignore[union-attr]


def adjustment(*lines: str) -> str:
    """Adjustments from line 9 on, one per line."""
    return "adjustments:\n" + "".join(f"  - {{{line}}}\n" for line in lines)


def account(*lines: str, kind: str = "recurring", steps: str = "") -> str:
    """An account whose list begins in line 11."""
    return f"adjustments: [{steps}]\naccounts:\n  - account: acct-1\n    {kind}:\n" + "".join(f"      - {{{line}}}\n" for line in lines)


FEE = "id: f, sku: p, amount: 1"
COMMIT = "{id: commit, type: commitment}"
PAY = "{id: pay, type: credits}"
SINCE = "effective_from: 2026-01-01T00:00:00Z"
TWENTY = [f"id: d{n}, type: discount, percent: 1" for n in range(20)]
MISTAKES: dict[str, tuple[str, list[str]]] = {
    "adjustments no list": ("adjustments: {a: 1}", ["8: `adjustments` is a map, but must be a list"]),
    "adjustment no map": ("adjustments: [x]", ["8: adjustment 1 is a single value, but must be a map"]),
    "type missing": (adjustment("id: x, percent: 1"), ["9: adjustment `x` has no `type`"]),
    "type unknown": (adjustment("id: x, type: discunt, percent: 1"), ["9: `type` is `discunt`, which is not known; did you mean `discount`?"]),
    "id missing": (adjustment("type: discount, percent: 1"), ["9: adjustment 1 has no `id`"]),
    "key of another type": (
        adjustment("id: x, type: discount, percent: 1, minimum: 5"),
        ["9: `minimum` does not go with type discount: it belongs to uplift"],
    ),
    "unknown key": (adjustment("id: x, type: discount, percnt: 1, percent: 1"), ["9: unknown key `percnt`; did you mean `percent`?"]),
    "neither percent nor amount": (adjustment("id: x, type: discount"), ["9: adjustment `x` has neither `percent` nor `amount`; add one"]),
    "percent and amount": (adjustment("id: x, type: discount, percent: 1, amount: 1"), ["9: adjustment `x` has both `percent` and `amount`"]),
    "percent above 100": (adjustment("id: x, type: discount, percent: 100.1"), ["9: `percent` is 100.1; a percentage here is at most 100"]),
    "percent 0": (adjustment("id: x, type: discount, percent: 0"), ["9: `percent` is 0; it must be above 0"]),
    "percent below 0": (adjustment("id: x, type: discount, percent: -1"), ["9: `percent` is `-1`; it cannot be negative"]),
    "percent too fine": (adjustment("id: x, type: discount, percent: 0.0000001"), ["9: `percent` is 0.0000001; use at most 6 digits"]),
    "uplift above 1000": (adjustment("id: x, type: uplift, of: all, percent: 1001"), ["9: `percent` is 1001; a percentage here is at most 1000"]),
    "negative amount": (adjustment("id: x, type: minimum_spend, amount: -1"), ["9: `amount` is `-1`; it cannot be negative"]),
    "no amount": (adjustment("id: x, type: maximum_spend"), ["9: adjustment `x` has no `amount`"]),
    "amount twice": (adjustment("id: x, type: minimum_spend, amount: x"), ["9: `amount` is `x`, which is not a number"]),
    "unknown sku": (adjustment("id: x, type: discount, percent: 1, skus: [a, bb]"), ["9: `skus` names `bb`, which is not known; did you mean `b`?"]),
    "sku twice": (adjustment("id: x, type: discount, percent: 1, skus: [a, a]"), ["9: `skus` names `a` twice"]),
    "no sku": (adjustment("id: x, type: discount, percent: 1, skus: []"), ["9: `skus` names nothing"]),
    "no account": (adjustment("id: x, type: discount, percent: 1, accounts: []"), ["9: `accounts` names nothing"]),
    "skus no list": (adjustment("id: x, type: discount, percent: 1, skus: a"), ["9: `skus` is a single value, but must be a list"]),
    "duplicate id": (
        adjustment("id: x, type: discount, percent: 1", "id: x, type: discount, percent: 2"),
        ["10: adjustment id `x` is used twice, first in line 9"],
    ),
    "id is an sku": (adjustment("id: a, type: discount, percent: 1"), ["9: id `a` is also the name of an SKU"]),
    "id is the sku of another": (
        adjustment("id: x, type: uplift, percent: 1, of: all", "id: y, type: uplift, percent: 1, of: all, sku: x"),
        ["9: id `x` is also the name of an SKU"],
    ),
    "within a month": (
        adjustment("id: x, type: discount, percent: 1, effective_from: 2026-01-02T00:00:00Z"),
        ["9: `effective_from` is `2026-01-02T00:00:00Z`, within a month"],
    ),
    "ends before it begins": (
        adjustment(f"id: x, type: discount, percent: 1, {SINCE}, effective_to: 2026-01-01T00:00:00Z"),
        ["9: `effective_to` is not after `effective_from`, so adjustment `x` would never apply"],
    ),
    "times of a place": (adjustment(f"id: x, type: credits, {SINCE}"), ["9: `effective_from` does not go with type credits: it belongs to"]),
    "uplift of nothing said": (adjustment("id: x, type: uplift, percent: 1"), ["9: adjustment `x` has no `of`; add one, such as `of: all`"]),
    "uplift of an empty list": (adjustment("id: x, type: uplift, percent: 1, of: []"), ["9: `of` names nothing"]),
    "uplift of itself": (adjustment("id: x, type: uplift, percent: 1, of: [a, x]"), ["9: `of` names `x` itself"]),
    "uplift of its own sku": (
        adjustment("id: x, type: uplift, percent: 1, of: [s], sku: s"),
        ["9: `of` names `s`, a charge of `x` (line 9), which is not applied before `x`"],
    ),
    "uplifts in a circle": (
        adjustment("id: x, type: uplift, percent: 1, of: [y]", "id: y, type: uplift, percent: 1, of: [x]"),
        ["9: `of` names `y` (line 10), which is applied after `x`, so the two would go round in a circle"],
    ),
    "uplift of what is not there": (adjustment("id: x, type: uplift, percent: 1, of: [zzz]"), ["9: `of` names `zzz`, which is not known; name"]),
    "discount of a later charge": (
        adjustment("id: x, type: discount, percent: 1, skus: [up]", "id: up, type: uplift, percent: 1, of: all"),
        ["9: `skus` names `up`, a charge of `up` (line 10), which is not applied before `x`"],
    ),
    "percent and tiers": (
        adjustment("id: x, type: uplift, of: all, percent: 1, tiers: [{percent: 1}]"),
        ["9: adjustment `x` has both `percent` and `tiers`"],
    ),
    "no tier": (adjustment("id: x, type: uplift, of: all, tiers: []"), ["9: `tiers` has no tier"]),
    "tiers": (
        adjustment("id: x, type: uplift, of: all, tiers: [y, {percent: 1}, {up_to: 5, percent: 1}, {up_to: 5, percnt: 1}, {up_to: 9, percent: 1}]"),
        [
            "9: tier 1 is a single value",
            "9: tier 2 has no `up_to`",
            "9: unknown key `percnt`",
            "9: `up_to` is 5, not above the tier before it (5)",
            "9: tier 4 has no `percent`",
            "9: the last tier has an `up_to`",
        ],
    ),
    "due without minimum": (
        adjustment("id: x, type: uplift, of: all, percent: 1, due: always"),
        ["9: `due` says when the minimum is due, and there is none"],
    ),
    "due": (adjustment("id: x, type: minimum_spend, amount: 1, due: now"), ["9: `due` is `now`, which is not known; use one of period_end, always"]),
    "allowance without": (
        adjustment("id: x, type: allowance"),
        ["9: adjustment `x` has no `skus`", "9: adjustment `x` has no `unit`", "9: adjustment `x` has no `quantity`"],
    ),
    "allowance in another unit": (
        adjustment("id: x, type: allowance, skus: [a, r], unit: GB, quantity: 1"),
        ["9: `r` is priced in Requests, but the allowance is in `GB`"],
    ),
    "allowance of a price that selects": (
        adjustment("id: x, type: allowance, skus: [t], unit: GB, quantity: 1"),
        ["9: `t` has price `t` of model time_of_day, which has no one unit price"],
    ),
    "allowance after a discount": (
        adjustment("id: d, type: discount, percent: 1", "id: x, type: allowance, skus: [a], unit: GB, quantity: 1"),
        ["10: allowances are worth what the prices make of them, before what `d` (line 9) takes off; write adjustment `x` above it"],
    ),
    "rounding": (adjustment("id: x, type: rounding, mode: up"), ["9: adjustment `x` has no `digits`"]),
    "digits": (adjustment("id: x, type: rounding, digits: 19"), ["9: `digits` is `19`; write how many digits"]),
    "two places of credits": (
        adjustment("id: x, type: credits", "id: y, type: credits, accounts: [acct-1]"),
        ["10: adjustment `x` (line 9) says already where credits come"],
    ),
    "too many percentages": (adjustment(*TWENTY, "id: x, type: discount, percent: 1"), ["29: more than 20 percentages"]),
    "accounts no list": ("accounts: 3", ["8: `accounts` is a single value, but must be a list"]),
    "account no map": ("accounts: [acct-1]", ["8: account 1 is a single value, but must be a map"]),
    "account without name": ("accounts: [{currency: EUR}]", ["8: account 1 has no `account`"]),
    "account twice": ("accounts:\n  - account: x\n  - account: x\n", ["10: account `x` is given twice, first in line 9"]),
    "currency": ("accounts: [{account: x, currency: euro}]", ["8: `currency` is `euro`; write the three capital letters"]),
    "currency without a rate": ("accounts: [{account: x, currency: CHF}]", ["8: account `x` has the currency CHF, which has no exchange rate"]),
    "unknown key of an account": ("accounts: [{account: x, credit: []}]", ["8: unknown key `credit`; did you mean `credits`?"]),
    "fee": (
        account("id: f, per: month"),
        ["12: unknown key `per`", "12: fee `f` of account `acct-1` has no `amount`", "12: fee `f` of account `acct-1` has no `sku`"],
    ),
    "fee no map": ("accounts: [{account: x, recurring: [y]}]", ["8: fee 1 of account `x` is a single value"]),
    "fee of nothing": (account("id: f, sku: p, amount: 0"), ["12: `amount` is 0; it must be above 0"]),
    "fee within a minute": (
        account(f"{FEE}, effective_from: 2026-01-01T00:00:30Z"),
        ["12: `effective_from` is `2026-01-01T00:00:30Z`, within a minute"],
    ),
    "digits of no part": (account(f"{FEE}, prorate: none, digits: 2"), ["12: `digits` is kept of a part of a month"]),
    "prorate": (account(f"{FEE}, prorate: hour"), ["12: `prorate` is `hour`, which is not known"]),
    "two of one id": (account(FEE, FEE), ["13: id `f` is used twice, first in line 12"]),
    "id of an adjustment": (
        account(FEE, steps="{id: f, type: discount, percent: 1}"),
        ["12: id `f` is used twice, first in line 8"],
    ),
    "id of the fees": (
        account(FEE, steps="{id: recurring, type: discount, percent: 1}"),
        ["8: id `recurring` is that of the fees of accounts"],
    ),
    "commitment without its place": (
        account("id: y, amount: 1, per: month", kind="commitments"),
        ["12: account `acct-1` has commitments, but no adjustment of type commitment says where"],
    ),
    "commitment": (
        account("id: y, amount: 1", "id: z, amount: 1, per: year", kind="commitments", steps=COMMIT),
        ["12: commitment `y` of account `acct-1` has no `per`; add one, such as `per: month`", "13: `per` is `year`, which is not known"],
    ),
    "commitment of an unknown sku": (
        account("id: y, amount: 1, per: month, skus: [q]", kind="commitments", steps=COMMIT),
        ["12: `skus` names `q`, which is not known"],
    ),
    "overage": (
        account(
            "id: y, amount: 1, per: month, overage: {}",
            "id: z, amount: 1, per: month, overage: {discount: 101}",
            kind="commitments",
            steps=COMMIT,
        ),
        ["12: overage of commitment `y` of account `acct-1` has neither `surcharge` nor `discount`", "13: `discount` is 101; a percentage here"],
    ),
    "prepaid shortfall": (
        account("id: y, amount: 1, per: month, prepaid: true, due: always", kind="commitments", steps=COMMIT),
        ["12: `due` says when a shortfall is shown, and a prepaid commitment has none"],
    ),
    "credit without its place": (account(f"id: g, amount: 1, {SINCE}", kind="credits"), ["12: account `acct-1` has credits, but no adjustment"]),
    "credit that never begins": (
        account("id: g, amount: 1", kind="credits", steps=PAY),
        ["12: credit `g` of account `acct-1` has no `effective_from`"],
    ),
    "credit that expires first": (
        account(f"id: g, amount: 1, {SINCE}, expires: 2025-01-01T00:00:00Z", kind="credits", steps=PAY),
        ["12: `expires` is not after `effective_from`, so credit `g` of account `acct-1` would never apply"],
    ),
    "credit shown but not bought": (
        account(f"id: g, amount: 1, {SINCE}, sku: s", kind="credits", steps=PAY),
        ["12: `sku` is what the purchase of a prepaid credit is shown as"],
    ),
    "credit discount": (
        account(f"id: g, amount: 1, {SINCE}, discount: 101", kind="credits", steps=PAY),
        ["12: `discount` is 101; a percentage here is at most 100"],
    ),
    "credit of a later charge": (
        account(f"id: g, amount: 1, {SINCE}, skus: [up]", kind="credits", steps=PAY + ", {id: up, type: uplift, percent: 1, of: all}"),
        ["12: `skus` names `up`, a charge of `up` (line 8), which is not applied before `pay`"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(text: str, expected: list[str]) -> None:
    with pytest.raises(BadPriceBook) as caught:
        book_of(text)
    found = [mistake.removeprefix("tariff.yaml:") for mistake in caught.value.mistakes]
    assert len(found) == len(expected), found
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found
    assert all(re.search("; |, but must be |: it belongs to ", mistake) and len(mistake) < 300 for mistake in found), found


ACCEPTED = {
    "twenty percentages": adjustment(*TWENTY),
    "places of different accounts": adjustment("id: x, type: credits, accounts: [x]", "id: y, type: credits, accounts: [acct-1]"),
    "an allowance after a discount of other SKUs": adjustment(
        "id: d, type: discount, percent: 1, skus: [b]", "id: x, type: allowance, skus: [a], unit: GB, quantity: 1"
    ),
    "an allowance after a minimum": adjustment(
        "id: d, type: minimum_spend, amount: 1", "id: x, type: allowance, skus: [a], unit: GB, quantity: 1"
    ),
    "an id that is its own SKU": adjustment("id: x, type: uplift, percent: 1, of: all, sku: x", "id: y, type: uplift, percent: 1, of: [x]"),
    "a fee's SKU": account(FEE, steps="{id: x, type: discount, percent: 1, skus: [p]}"),
    "one id in two accounts": f"accounts: [{{account: x, recurring: [{{{FEE}}}]}}, {{account: y, recurring: [{{{FEE}}}]}}]",
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_is_near_a_mistake_and_none_is_accepted(text: str) -> None:
    assert book_of(text).digest != book_of("").digest
