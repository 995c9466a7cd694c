"""Exact usage to whole numbers: what is reported and what is carried are the usage, to the last digit, whatever comes when."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.pricing.money import ZERO, money
from ratemill.sinks.marketplace.freezing import Standing, freeze
from ratemill.sinks.marketplace.records import HOUR_S
from ratemill.sinks.marketplace.rules import RULES, Rules

T0 = 1_793_660_400  # 2026-11-02T23:00:00Z
PLAIN = Rules(batch=25, freeze_s=4 * HOUR_S, accept_s=6 * HOUR_S, alarm_s=2 * HOUR_S, largest=1_000)


def hours(*quantities: str) -> dict[int, Decimal]:
    return {T0 + number * HOUR_S: money(each) for number, each in enumerate(quantities)}


def quantities(usage: dict[int, Decimal], rules: Rules = PLAIN, carry: str = "0", count: int = 3) -> tuple[list[int], str]:
    frozen, after = freeze(rules, Standing(T0, money(carry)), usage, T0 + count * HOUR_S, T0 + count * HOUR_S)
    return [each.quantity for each in frozen], str(after.carry)


def test_a_fraction_is_carried_into_the_next_hour() -> None:
    assert quantities(hours("1.7", "0.2", "0.2")) == ([1, 1], "0.1")  # and no record of the hour without a whole one


def test_a_correction_below_zero_is_used_up_before_anything_is_reported() -> None:
    assert quantities(hours("2", "1", "1.5"), carry="-3.25") == ([1], "0.25")


def test_hours_without_usage_are_reported_where_the_marketplace_wants_them() -> None:
    assert quantities({}, replace(PLAIN, zeros=True)) == ([0, 0, 0], "0")
    frozen, _ = freeze(replace(PLAIN, zeros=True), Standing(T0), {}, T0 + 3 * HOUR_S, T0 + 3 * HOUR_S, until=T0 + HOUR_S)
    assert [each.hour for each in frozen] == [T0]


def test_more_than_a_record_can_hold_is_carried() -> None:
    assert quantities(hours("2500.5")) == ([1_000, 1_000, 500], "0.5")


def test_usage_of_an_hour_that_is_too_late_is_listed_and_carried() -> None:
    now = T0 + 5 * HOUR_S + 1
    frozen, after = freeze(PLAIN, Standing(T0), hours("1.5", "2", "0.6"), T0 + 3 * HOUR_S, now)
    assert [(each.late, each.quantity, str(each.usage)) for each in frozen] == [(True, 0, "1.5"), (True, 0, "2"), (False, 4, "0.6")]
    assert (after.next_hour, str(after.carry)) == (T0 + 3 * HOUR_S, "0.1")


def test_nothing_is_frozen_before_its_hour_is_over() -> None:
    frozen, after = freeze(PLAIN, Standing(T0), hours("5"), T0, T0)
    assert (frozen, after) == ([], Standing(T0))


@given(
    st.lists(st.tuples(st.integers(0, 9), st.decimals("-50", "50", places=9)), max_size=30),
    st.lists(st.integers(0, 12), min_size=1, max_size=6),
    st.booleans(),
)
def test_reported_and_carried_are_always_the_usage(used: list[tuple[int, Decimal]], looks: list[int], zeros: bool) -> None:
    usage: dict[int, Decimal] = {}
    for hour, quantity in used:
        usage[T0 + hour * HOUR_S] = usage.get(T0 + hour * HOUR_S, ZERO) + quantity
    standing, reported = Standing(T0), 0
    for look in sorted(looks):
        waiting = {hour: quantity for hour, quantity in usage.items() if hour >= standing.next_hour}
        frozen, standing = freeze(replace(PLAIN, zeros=zeros), standing, waiting, T0 + look * HOUR_S, T0 + look * HOUR_S)
        reported += sum(each.quantity for each in frozen)
        assert all(each.quantity >= 0 for each in frozen)
        counted = sum((Fraction(quantity) for hour, quantity in usage.items() if hour < standing.next_hour), Fraction(0))
        assert Fraction(standing.carry) + reported == counted
        assert standing.carry < 1


@pytest.mark.parametrize(
    ("kind", "hour", "until"),
    [
        ("aws", T0, T0 + 86_400),
        ("aws", 1_793_487_600, 1_793_491_200 + 6 * HOUR_S),  # the last hour of October: until 06:00 on the 1st
        ("aws", 1_798_758_000, 1_798_761_600 + 6 * HOUR_S),  # of the year
        ("azure", T0, T0 + 86_400),
        ("gcp", T0, T0 + 2 * HOUR_S),
        ("stripe", T0, T0 + 35 * 86_400),
    ],
)
def test_until_when_a_marketplace_takes_an_hour(kind: str, hour: int, until: int) -> None:
    rules = RULES[kind]
    assert rules.send_until(hour) == until
    assert hour + HOUR_S < hour + rules.alarm_s < rules.freeze_until(hour) + HOUR_S
    assert rules.freeze_until(hour) < until
