"""The three numbers of the last line count what they say."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from harness.oracle import Row

from chaos.faults import Hit
from chaos.judge import Tally, Verdict, tally
from chaos.run import Report
from chaos.schedule import Fault, draw


def row(account: str, cost: str = "1") -> Row:
    one = Fraction(1)
    return Row(account, "sku", "2026-11-01T00:00:00Z", "2026-11-01T01:00:00Z", "", "", "", "tier-1", one, one, Fraction(cost), False)


WANTED = Counter([row("a"), row("b"), row("c")])


@pytest.mark.parametrize(
    ("got", "counted"),
    [
        ([row("a"), row("b"), row("c")], Tally(0, 0, 0)),
        ([row("a"), row("b")], Tally(1, 0, 0)),
        ([row("a"), row("b"), row("c"), row("c")], Tally(0, 1, 0)),
        ([row("a"), row("b"), row("c"), row("d")], Tally(0, 1, 0)),
        ([row("a"), row("b"), row("c", "1.0000000000000000001")], Tally(0, 0, 1)),
        ([row("a"), row("a", "2"), row("b", "3")], Tally(1, 1, 1)),
        ([], Tally(3, 0, 0)),
    ],
)
def test_lost_doubled_and_mismatched_are_told_apart(got: list[Row], counted: Tally) -> None:
    assert tally(WANTED, Counter(got)) == counted


def report(verdict: Verdict, proof: str = "3 times") -> Report:
    fault = Fault(5.0, "net-reset", 1.0, 0.5, 0.5)
    return Report(draw(3, 60), [Hit(fault, 5.0, 100, "all brokers", proof)], Counter(), 0, 4.21, verdict)


def test_the_last_line() -> None:
    assert report(Verdict(99, 0, 0, 0, [])).line == "chaos seed=3 faults=1 events=99 lost=0 doubled=0 mismatched=0 recovered_s=4.2"


@pytest.mark.parametrize("verdict", [Verdict(9, 1, 0, 0, []), Verdict(9, 0, 1, 0, []), Verdict(9, 0, 0, 1, [])])
def test_a_run_with_any_difference_is_bad(verdict: Verdict) -> None:
    assert not report(verdict).good


def test_a_run_in_which_no_fault_hit_proves_nothing() -> None:
    assert report(Verdict(9, 0, 0, 0, [])).good
    assert not report(Verdict(9, 0, 0, 0, []), proof="").good
