"""Expressions of meters: exact, bounded, nothing but a look at one event, and every mistake told with its place."""

from __future__ import annotations

import contextlib
import decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.metering.exact import bounded
from ratemill.metering.expression import BadExpression, Expression, Unmeterable, field_of, parse_expression
from ratemill.metering.operations import FLAG, NUMBER, TEXT
from ratemill.pricing.money import money
from ratemill.schemas.errors import Rejection
from ratemill.schemas.quantity import parse_quantity
from ratemill.schemas.usage_event import UsageEvent, canonical_map

DIMENSIONS = {"tier": "hot", "factor": "2.50", "a b": "x", "empty": "", "big": "1e60", "quote": 'say "hi"'}


def event(quantity: str = "1.5", **fields: Any) -> UsageEvent:
    """An event of everything."""
    known = {"unit": "GB", "provider": "aws", "region": "eu", "resource": "r-1", "dimensions": canonical_map(DIMENSIONS)}
    return UsageEvent("acct", "src", "id-1", "instance.ram", 0, money(quantity), **{**known, "tags": canonical_map({"team": "core"}), **fields})


def value(text: str, wanted: str = NUMBER, digits: int | None = None, **fields: Any) -> Any:
    return parse_expression(text, wanted, digits).run(event(**fields))


def mistake(text: str, wanted: str = FLAG, digits: int | None = None) -> str:
    with pytest.raises(BadExpression) as caught:
        parse_expression(text, wanted, digits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


FLAGS = {
    'dimensions.tier == "hot"': True,
    "dimensions.tier == 'hot' and region != ''": True,
    'dimensions["a b"] == "x"': True,
    "dimensions['quote'] == 'say \"hi\"'": True,
    r'dimensions.quote == "say \"hi\""': True,
    'dimensions.nothing == "hot"': False,
    'dimensions.nothing == ""': True,
    "tags.team == 'core'": True,
    "account == 'acct' and source == 'src' and provider == 'aws' and resource == 'r-1' and unit == 'GB' and event == 'instance.ram'": True,
    'region in ["us", "eu",]': True,
    'region in ("us", "eu")': True,
    'region in ["us"]': False,
    "quantity in [1, 1.50]": True,
    "dimensions.factor in [2.5]": True,
    'dimensions.factor in ["2.5"]': False,  # as a text it is 2.50
    "dimensions.factor == 2.5": True,
    "2.5 == dimensions.factor": True,
    'dimensions.factor == "2.5"': False,
    "dimensions.factor > 2": True,
    "dimensions.factor < dimensions.big": True,
    "quantity >= 1.5 and quantity <= 1.5 and not quantity > 1.5 and not quantity < 1.5": True,
    "not (region == 'us' or region == 'eu')": False,
    "not region == 'us'": True,
    "true or quantity / 4 == 7": True,
    "false and number(dimensions.tier) == 1": False,
    "true == (region == 'eu')": True,
    "(region == 'eu') != (unit == 'GB')": False,
    "has(dimensions.tier) and has(tags.team)": True,
    "has(dimensions.nothing)": False,
    "has(dimensions.empty)": False,
    "has(dimensions.nothing) and dimensions.nothing > 3": False,
    "1 + 2 == 3": True,
    "dimensions.tier != dimensions.factor": True,
    "number('7') == 7": True,
}


@pytest.mark.parametrize(("text", "expected"), FLAGS.items())
def test_a_filter(text: str, expected: bool) -> None:
    assert value(text, FLAG) is expected


NUMBERS = {
    "quantity": "1.5",
    "quantity * dimensions.factor": "3.75",
    "1 + 2 * 3 - 4 / 8": "6.5",
    "(1 + 2) * 3": "9",
    "10 - 3 - 2": "5",
    "100 / 8 / 5": "2.5",
    "-quantity * -2": "3",
    "--1": "1",
    "quantity / 1000": "0.0015",
    "quantity / (2 * 4)": "0.1875",
    "0.1 + 0.2": "0.3",
    "1e3": "1000",
    "min(3, quantity, 2)": "1.5",
    "max(3, quantity, 2)": "3",
    "max(quantity)": "1.5",
    "round(2.5, 0) + round(3.5, 0) + round(0.125, 2)": "6.12",
    "round(1234, 2)": "1234",
    "abs(-2) + floor(-1.5) + ceil(1.2)": "2",
    "number(dimensions.factor) + 1": "3.5",
    "number(quantity)": "1.5",
    "quantity - quantity": "0",
    "0 * -1": "0",
}


@pytest.mark.parametrize(("text", "expected"), NUMBERS.items())
def test_a_quantity(text: str, expected: str) -> None:
    assert value(text) == money(expected)


def test_texts_to_tell_apart() -> None:
    assert value("dimensions.tier", TEXT) == "hot"
    assert value("region", TEXT) == "eu"
    # Numbers are told apart by their value: 2.50 is 2.5.
    assert value("number(dimensions.factor)", TEXT) == "2.5"
    assert value("quantity", TEXT, quantity="1.50") == "1.5"


def test_results_do_not_depend_on_the_context_of_the_caller() -> None:
    with decimal.localcontext(decimal.Context(prec=3)):
        assert value("quantity * 1.00001 + 12345.678", quantity="1000000") == money("1012355.678")
        assert value("floor(123456.7)") == 123456
        assert value("quantity / 3", digits=20, quantity="100000") == money("33333.33333333333333333333")


def test_a_quotient_that_is_no_finite_decimal_needs_digits_and_is_rounded_half_even() -> None:
    assert "add `digits: 12`" in mistake("quantity / 3", NUMBER)
    assert value("quantity / 3", digits=4, quantity="1") == money("0.3333")
    assert value("quantity / 3 * 3", digits=4, quantity="1") == money("0.9999")  # it is rounded at that place
    assert value("quantity / 6", digits=0, quantity="15") == 2
    assert value("quantity / 6", digits=0, quantity="21") == 4
    # Finite quotients stay exact, whatever the digits.
    assert value("quantity / 8", digits=0, quantity="1") == money("0.125")
    assert parse_expression("quantity / 8", NUMBER, 2) == parse_expression("quantity / 8", NUMBER, 5) != parse_expression("quantity / 3", NUMBER, 5)
    assert not parse_expression("quantity / 8", NUMBER, 2).rounds
    assert parse_expression("quantity / 3", NUMBER, 2).rounds


MISTAKES = {
    "": "it is empty (at character 1)",
    "   ": "it is empty (at character 1)",
    "region = 'eu'": "equality is written == (at character 8)",
    "region == 'eu": "this text has no closing quote (at character 11)",
    "regoin == 'eu'": "`regoin` is not known; there are quantity, unit,",
    "region": "a filter needs true or false, and this is a text; compare it with something (at character 1)",
    "quantity": "a filter needs true or false, and this is a number",
    "region == 5": "== with a number needs a number, and this is a text (at character 1)",
    "region > 'a'": "> needs a number, and this is a text (at character 1)",
    "quantity + region == 2": "+ needs a number, and this is a text (at character 12)",
    "quantity == true": "== with a number needs a number, and this is true or false",
    "not quantity": "not needs true or false, and this is a number",
    "1 < 2 < 3": "comparisons are not chained; join two of them with `and` (at character 7)",
    "(1 == 1": "`)` is expected to close the bracket, and here is the end (at character 8)",
    "1 == 1)": "`)` is not expected here (at character 7)",
    "1 ==": "a value is expected, and here is the end (at character 5)",
    "quantity / region == 1": "/ needs a number, and this is a text",
    "quantity / quantity == 1": "/ needs a number that is written out",
    "quantity / dimensions.factor == 1": "/ needs a number that is written out",
    "quantity / 0 == 1": "division by 0 (at character 12)",
    "quantity / (1 - 1) == 1": "division by 0",
    "dimensions == 'a'": 'say which one: dimensions.name, or dimensions["any name"] (at character 1)',
    "dimensions.a.b == 'a'": "say which one",
    "dimensions[a] == 'a'": "say which one",
    "tags.1 == 'a'": "say which one",
    "region in 'eu'": "a list is expected after `in`",
    "region in []": "a value is expected, and here is `]`",
    "region in ['eu', 5]": "the list after `in` begins with a text, and this is a number (at character 18)",
    "region in [unit]": "the list after `in` holds only what is written out",
    "has(region)": "has asks for a dimension or a tag",
    "has()": "has needs one argument",
    "min() == 1": "min needs at least one number",
    "abs(1, 2) == 1": "abs needs one argument",
    "round(1) == 1": "round needs two arguments",
    "round(1, quantity) == 1": "the second argument of round is a whole number from 0 to 30",
    "round(1, 31) == 1": "the second argument of round",
    "round(1, 0.5) == 1": "the second argument of round",
    "number('x') == 1": "the text is `x`, which is no number",
    "min == 1": "`(` is expected after min, and here is `==`",
    "and": "`and` stands in a wrong place",
    "true true": "`true` is not expected here",
    "5x == 1": "`x` is not expected here",
    "007 == 7": "'007' is not a decimal number",
    "1" * 61 + " == 1": "cannot be kept exactly",
    "1e99 == 1": "cannot be kept exactly",
    "1e60" + " * 1e60" * 10 + " + 1 == 1": "this has more digits than are kept exactly",
    "region == 'a\nb'": "this text holds a line break",
    "quantity ; 1": "`;` is not part of the language (at character 10)",
    "__import__('os')": "`__import__` is not known",
    "quantity.__class__ == 1": "`.` is not expected here",
    "(" * 33 + "true" + ")" * 33: "it is nested more than 32 deep (at character 33)",
    "not " * 33 + "true": "it is nested more than 32 deep",
    "-" * 33 + "1 == 1": "it is nested more than 32 deep",
    "min(" * 33 + "1" + ")" * 33: "it is nested more than 32 deep",
    "true or " * 125 + "true": "it has 1004 characters, and at most 1000 are read",
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.items(), ids=[text[:40] for text in MISTAKES])
def test_a_mistake_is_told_with_its_place(text: str, expected: str) -> None:
    assert expected in mistake(text)


def test_wrong_kinds_of_results() -> None:
    assert "a quantity needs a number, and this is true or false" in mistake("1 == 1", NUMBER)
    assert "a quantity needs a number, and this is a text" in mistake("'1'", NUMBER)
    assert "a text or a number is needed" in mistake("1 == 1", TEXT)


REFUSED = {
    "quantity * dimensions.tier": "dimension `tier` is `hot`, which is no number",
    "quantity * dimensions.nothing": "dimension `nothing` is absent, and a number is needed",
    "tags.team + 1": "tag `team` is `core`, which is no number",
    "number(region)": "region is `eu`, which is no number",
    "max(1, dimensions.tier)": "dimension `tier` is `hot`",
}


@pytest.mark.parametrize(("text", "expected"), REFUSED.items())
def test_an_event_without_the_value(text: str, expected: str) -> None:
    with pytest.raises(Unmeterable, match=expected):
        value(text)


def test_too_many_digits_at_run_time_are_an_arithmetic_error() -> None:
    with pytest.raises(ArithmeticError):
        value("1 + dimensions.big" + " * dimensions.big" * 14)


def test_long_chains_do_not_nest() -> None:
    assert value("1" + "+1" * 499) == 500
    assert value(" and ".join(["true"] * 110), FLAG) is True
    assert value("(" * 32 + "1" + ")" * 32) == 1


@pytest.mark.parametrize("text", ["dimensions.tier", "dimensions['tier']", ' dimensions [ "tier" ] '])
def test_the_field_of_a_dimension(text: str) -> None:
    assert field_of(text) == "tier"


@pytest.mark.parametrize("text", ["", "tags.tier", "dimensions", "dimensions.", "dimensions.a + 1", "dimensions.a.b", "'dimensions'", "?"])
def test_what_is_no_dimension(text: str) -> None:
    assert field_of(text) is None


# Expressions with their value: what is written, and what a fraction says.
numbers = st.from_regex(r"(0|[1-9][0-9]{0,5})(\.[0-9]{1,6})?", fullmatch=True).map(lambda text: (text, Fraction(text)))
divisors = st.sampled_from(["2", "0.5", "8", "1000", "1.25", "0.0625"])
computed = st.recursive(
    numbers | st.just(("quantity", Fraction("1.5"))) | st.just(("dimensions.factor", Fraction("2.5"))),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: (f"({p[0][0]} + {p[1][0]})", p[0][1] + p[1][1])),
        st.tuples(inner, inner).map(lambda p: (f"({p[0][0]} - {p[1][0]})", p[0][1] - p[1][1])),
        st.tuples(inner, inner).map(lambda p: (f"({p[0][0]} * {p[1][0]})", p[0][1] * p[1][1])),
        st.tuples(inner, divisors).map(lambda p: (f"({p[0][0]} / {p[1]})", p[0][1] / Fraction(p[1]))),
        inner.map(lambda p: (f"-{p[0]}", -p[1])),
        st.tuples(inner, inner).map(lambda p: (f"max({p[0][0]}, {p[1][0]})", max(p[0][1], p[1][1]))),
        inner.map(lambda p: (f"floor({p[0]})", Fraction(p[1] // 1))),
        inner.map(lambda p: (f"round({p[0]}, 2)", round(p[1], 2))),
    ),
    max_leaves=12,
)


@given(computed)
def test_results_are_those_of_fractions(written: tuple[str, Fraction]) -> None:
    with contextlib.suppress(BadExpression):  # nested too deep
        assert Fraction(value(written[0])) == written[1]


@given(st.text(st.sampled_from("quantity dimensions.a[]()'\"\\+-*/<>=!,0159e and or not in has min round\n\x00é"), max_size=60))
def test_any_text_is_an_expression_or_a_mistake(text: str) -> None:
    for wanted in (FLAG, NUMBER, TEXT):
        with contextlib.suppress(BadExpression):
            parsed = parse_expression(text, wanted, 3)
            assert isinstance(parsed, Expression)
            with contextlib.suppress(Unmeterable, ArithmeticError):
                parsed.run(event())


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,70})(\.[0-9]{1,70})?([eE]-?[0-9]{1,2})?", fullmatch=True))
def test_the_bounds_are_those_of_quantities(text: str) -> None:
    try:
        expected = parse_quantity(text)
    except Rejection:
        with pytest.raises(ArithmeticError):
            bounded(decimal.Decimal(text))
    else:
        assert bounded(decimal.Decimal(text)) == expected
