"""Some seeded runs, and the wrong reporters that they find; `python -m marketplaces` runs a thousand and tells what came of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from .__main__ import first_caught, make_template, play
from .broken import CONTROLS
from .markets import KINDS

# Where each control is found soonest: (seed, kind).
CAUGHT = {
    "frozen only after sending": ("aws", 3),
    "a retry with a quantity computed anew": ("azure", 6),
    "a duplicate is delivered, whatever its quantity": ("aws-legacy", 30),
    "the carry only in memory": ("azure", 6),
    "positions before line items": ("azure", 12),
    "a line item read again is added again": ("azure", 3),
    "fractions dropped": ("azure", 3),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    logging.getLogger("ratemill.marketplace").setLevel(logging.CRITICAL)
    yield make_template(tmp_path_factory.mktemp("template"))
    logging.getLogger("ratemill.marketplace").setLevel(logging.NOTSET)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_marketplace_bills_is_the_usage(kind: str, template: Path, tmp_path: Path) -> None:
    for seed in range(1, 4):
        wrong, outcome, _ = play(seed, tmp_path, template, (kind,))
        assert wrong == [], seed
        assert outcome["accepted"] > 0


@pytest.mark.parametrize("name", CAUGHT)
def test_a_wrong_reporter_is_caught(name: str, template: Path, tmp_path: Path) -> None:
    kind, most = CAUGHT[name]
    seed, why = first_caught(CONTROLS[name], tmp_path, template, most, (kind,))
    assert seed, f"{name}: none of {most} seeds finds it"
    assert why
