"""The examples of docs/pricing.md can be read as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ratemill.metering.tariff import parse_tariff
from ratemill.pricing import PriceBook
from ratemill.schemas.errors import BadPriceBook

TEXT = (Path(__file__).parents[3] / "docs" / "pricing.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def read(example: str) -> PriceBook:
    """A whole file, or the prices of one."""
    return parse_tariff(example if example.startswith("currency:") else f"currency: USD\nprices:\n{example}", "docs.yaml").book


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.splitlines()[0] for example in EXAMPLES])
def test_an_example_is_read(example: str) -> None:
    assert read(example).prices


def test_there_is_an_example_of_every_model_of_its_own() -> None:
    models = {price.model for example in EXAMPLES for price in read(example).prices}
    assert models >= {"unit", "graduated", "package", "percentage", "matrix", "time_of_day", "dynamic"}


def test_a_broken_example_would_be_seen() -> None:
    with pytest.raises(BadPriceBook):
        read(EXAMPLES[0].replace("tiers:", "teirs:"))
