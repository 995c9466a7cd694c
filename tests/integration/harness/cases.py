"""The vendors' worked examples (tests/data/pricing_cases.json) as prices and quantities: the conversion is that of the unit test."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

from loading import load
from ratemill.pricing.money import ZERO, money, plain

__all__ = ["CASES", "SEQUENCES", "fields_of", "parts"]


def _worked() -> ModuleType:
    path = Path(__file__).parents[2] / "unit" / "pricing" / "test_worked_cases.py"
    return load(path, "worked_cases")


_WORKED = _worked()
CASES: list[dict[str, Any]] = _WORKED.CASES
SEQUENCES = [case for case in CASES if "sequence" in case]


def fields_of(case: dict[str, Any]) -> dict[str, Any]:
    """A case's price, as it stands in a price book: of the SKU `case`, in Units."""
    fields: dict[str, Any] = _WORKED.fields_of(case)
    return fields


def parts(quantity: str) -> list[str]:
    """A quantity in four uneven events, so that tiers are crossed inside and between windows."""
    total = money(quantity)
    cuts = [ZERO, money(plain(total // 7)), money(plain(total // 3)), money(plain(total // 2)), total]
    return [plain(b - a) for a, b in pairwise(cuts)]
