"""Two sides of a comparison: exact, by currency, ranked by the size of the difference."""

from __future__ import annotations

from decimal import localcontext

from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.pricing.money import EXACT, ZERO, money, plain
from ratemill.streams.core.comparison import CostKey, Pair, Spent, compare, grouped, percent, totals

keys = st.builds(CostKey, st.sampled_from(["a", "b", "c"]), st.sampled_from(["s", "t"]), st.sampled_from(["USD", "EUR"]))
amounts = st.integers(-(10**40), 10**40).map(lambda n: money(n).scaleb(-25, EXACT))
sides = st.dictionaries(keys, st.builds(Spent, amounts, st.integers(0, 3)))


@settings(max_examples=100, deadline=None)
@given(sides, sides)
def test_grouping_keeps_every_digit_and_every_currency_apart(then: dict[CostKey, Spent], now: dict[CostKey, Spent]) -> None:
    pairs = compare(then, now)
    with localcontext(EXACT):
        for by in ((), ("account",), ("sku",), ("account", "sku")):
            rows = grouped(pairs, by)
            for currency in ("USD", "EUR"):
                own = [row for row in rows if row.currency == currency]
                assert sum((r.then for r in own), ZERO) == sum((s.cost for k, s in then.items() if k.currency == currency), ZERO)
                assert sum((r.now for r in own), ZERO) == sum((s.cost for k, s in now.items() if k.currency == currency), ZERO)
                assert sum(r.unpriced_now for r in own) == sum(s.unpriced for k, s in now.items() if k.currency == currency)
            assert [abs(r.difference) for r in rows] == sorted((abs(r.difference) for r in rows), reverse=True)
    assert [t.currency for t in totals(pairs)] == sorted({key.currency for key in {*then, *now}})


def test_the_order_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = [Pair("b", "s", "USD", money(1), money(2)), Pair("a", "s", "USD", money(2), money(1)), Pair("c", "s", "USD", money(1), money(1))]
    assert [r.account for r in grouped(rows, ("account",))] == [r.account for r in grouped(rows[::-1], ("account",))] == ["a", "b", "c"]


def test_a_difference_keeps_its_digits_beside_large_amounts() -> None:
    # 28 digits, the default of decimals, would lose the last one.
    pair = Pair("a", "s", "USD", money("12345678901234567890.12345678901"), money("12345678901234567890.12345678902"))
    assert plain(pair.difference) == "0.00000000001"


def test_percent_is_of_what_was_and_rounded_for_display() -> None:
    def of(then: str, now: str) -> str | None:
        found = percent(Pair("a", "s", "USD", money(then), money(now)), 2)
        return None if found is None else plain(found)

    assert of("3", "4") == "33.33"
    assert of("4", "3") == "-25"
    assert of("-4", "-3") == "25"  # a credit that shrinks: more is due
    assert of("0", "3") is None
