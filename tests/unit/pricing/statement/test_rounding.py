"""Rounding of the month's total, where the pipeline says so."""

from __future__ import annotations

from typing import Any

import pytest

CENTS = "adjustments: [{id: rounding, type: rounding, digits: 2}]"


def test_the_total_is_rounded(month: Any) -> None:
    made = month(CENTS, {"a": "10.004", "b": "0.0005"})
    assert made.lines == {"rounding total": "0.005"}
    assert made.due == "10.01"
    line = made.line("rounding total")
    assert (line.sku, line.category, line.quantity) == ("rounding", "Adjustment", 1)
    assert month(CENTS, {"a": "10.01"}).lines == {}
    assert month(CENTS, {"a": "10.004"}).line("rounding total").quantity == -1


@pytest.mark.parametrize(
    ("mode", "amount", "due"),
    [
        ("half_up", "0.125", "0.13"),
        ("half_even", "0.125", "0.12"),
        ("up", "0.121", "0.13"),
        ("down", "0.129", "0.12"),
        ("half_up", "-0.125", "-0.13"),
    ],
)
def test_modes(month: Any, mode: str, amount: str, due: str) -> None:
    assert month(CENTS.replace("digits", f"mode: {mode}, digits"), {"a": amount}).due == due


def test_what_comes_after_rounding_is_not_rounded(month: Any) -> None:
    last = 'adjustments: [{id: up, type: uplift, percent: "1.5", of: all}, {id: rounding, type: rounding, digits: 2}]'
    assert month(last, {"a": "10.01"}).due == "10.16"
    first = 'adjustments: [{id: rounding, type: rounding, digits: 2}, {id: up, type: uplift, percent: "1.5", of: all}]'
    assert month(first, {"a": "10.01"}).due == "10.16015"
