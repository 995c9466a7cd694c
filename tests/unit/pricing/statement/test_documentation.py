"""docs/statements.md: its examples are read, and come to what it says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

DOCUMENT = Path(__file__).parents[4] / "docs/statements.md"
UNIT_PRICES = {"acme.egress": "1", "acme.internode": "2", "acme.ram": "1", "acme.storage": "1"}
PRICES = "currency: USD\nprices:\n" + "".join(
    f'  - {{id: {sku}, sku: {sku}, unit: GB, model: unit, unit_price: "{price}"}}\n' for sku, price in UNIT_PRICES.items()
)


def blocks() -> list[tuple[str, str]]:
    """(heading, tariff) of every example."""
    found = re.findall(r"^#+ (.*?)$|```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    heading, examples = "", []
    for title, block in found:
        heading = title or heading
        if block:
            examples.append((heading, block))
    return examples


EXAMPLES = dict(blocks())
Amounts = Mapping[str, str | Sequence[str]]
TOLD: list[tuple[str, Amounts, dict[str, str], str]] = [
    ("Allowance", {"acme.egress": "70", "acme.internode": "50"}, {"transfer sku/acme.egress": "-70", "transfer sku/acme.internode": "-60"}, "40"),
    ("Discount", {"acme.ram": "100", "acme.storage": "20"}, {"partner sku/acme.ram": "-10", "welcome sku/acme.ram": "-50"}, "60"),
    ("Minimum and maximum spend", {"acme.ram": "20"}, {"least top-up": "30"}, "50"),
    ("Minimum and maximum spend", {"acme.ram": "6000", "acme.storage": "5000"}, {"most sku/acme.ram": "-2000"}, "9000"),
    ("Uplift", {"acme.ram": "85000"}, {"support tier-1": "1000", "support tier-2": "4900", "support tier-3": "250"}, "91150"),
    ("Uplift", {"acme.ram": "300"}, {"support tier-1": "30", "support minimum": "70"}, "400"),
    ("Rounding", {"acme.ram": "10.0045"}, {"cents total": "-0.0045"}, "10"),
    ("Recurring fees", {}, {"recurring platform-fee": "241.666666667"}, "241.666666667"),
    ("Commitments", {"acme.ram": "600", "acme.storage": "100"}, {"commit shortfall/c-2026": "300"}, "1000"),
    ("Commitments", {"acme.ram": "600", "acme.storage": "700"}, {"commit overage/c-2026/sku/acme.storage": "-60"}, "1240"),
    ("Credits", {"acme.ram": ["110", "40"]}, {"pay used/welcome/sku/acme.ram": "-100", "pay used/g-2026/sku/acme.ram": "-50"}, "0"),
]


@pytest.mark.parametrize(("heading", "usage", "lines", "due"), TOLD)
def test_an_example_comes_to_what_it_says(month: Any, heading: str, usage: Amounts, lines: dict[str, str], due: str) -> None:
    made = month(EXAMPLES[heading], usage, prices=PRICES)
    assert (made.lines, made.due) == (lines, due)


def test_every_example_is_run() -> None:
    assert {heading for heading, _ in blocks()} == {heading for heading, *_ in TOLD} | {"Statements"}


def test_the_remainders_of_the_credits(month: Any) -> None:
    made = month(EXAMPLES["Credits"], {"acme.ram": ["110", "40"]}, prices=PRICES)
    assert made.closing == {"welcome": "0", "g-2026": "4950"}


def test_the_first_example_as_a_whole(month: Any) -> None:
    made = month(EXAMPLES["Statements"], {"acme.egress": "150", "acme.ram": "400"}, prices=PRICES)
    # 150 - 100 of egress, 400 - 40 of RAM and the fee of 500 make 910: 90 are missing; support is 100, and the credit pays it all.
    assert made.lines == {
        "recurring platform-fee": "500",
        "transfer sku/acme.egress": "-100",
        "partner sku/acme.ram": "-40",
        "commit shortfall/c-2026": "90",
        "support tier-1": "100",
        "pay used/g1/sku/acme.egress": "-50",
        "pay used/g1/sku/acme.platform": "-500",
        "pay used/g1/sku/acme.ram": "-360",
        "pay used/g1/sku/c-2026": "-90",
        "pay used/g1/sku/support": "-100",
    }
    assert (made.due, made.closing) == ("0", {"g1": "3900"})


def test_the_order_of_discounts(month: Any) -> None:
    """The example of "One after the other"."""
    half, thirty = '{id: half, type: discount, percent: "50"}', '{id: off, type: discount, amount: "30"}'
    assert month(f"adjustments: [{half}, {thirty}]", {"acme.ram": "100"}, prices=PRICES).due == "20"
    assert month(f"adjustments: [{thirty}, {half}]", {"acme.ram": "100"}, prices=PRICES).due == "35"
