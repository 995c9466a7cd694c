"""The vendors' worked examples through `ratemill rate`, as a user would run it: a price book, a file of events, line items."""

from __future__ import annotations

import importlib.util
import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from ratemill.cli.rate import command
from ratemill.pricing import parse_price_book
from ratemill.pricing.money import ZERO, money, plain
from ratemill.pricing.price import Price


def _worked() -> ModuleType:
    """The unit test of the same cases: its conversion from a case to a price is used here too."""
    path = Path(__file__).parents[1] / "unit" / "pricing" / "test_worked_cases.py"
    spec = importlib.util.spec_from_file_location("worked_cases", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORKED = _worked()
CASES: list[dict[str, Any]] = WORKED.CASES


def book_of(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """The YAML that the unit test makes of a case."""
    texts: list[str] = []
    parse = parse_price_book

    def remember(text: str, name: str) -> Any:
        texts.append(text)
        return parse(text, name)

    monkeypatch.setattr(WORKED, "parse_price_book", remember)
    price: Price = WORKED.price_of(case)
    document = json.loads(texts[0])
    assert document["prices"][0]["sku"] == price.sku == "case"
    return yaml.safe_dump(document, sort_keys=False)


def rated(folder: Path, book: str, quantities: list[str]) -> Any:
    """Σ BilledCost of events with these quantities, an hour apart."""
    events = [
        {
            "specversion": "1.0", "id": str(n), "source": "case", "type": "usage", "subject": "acct",
            "time": f"2026-03-{n // 24 + 1:02d}T{n % 24:02d}:00:00Z",
            "data": {"sku": "case", "quantity": quantity, "unit": "Units"},
        }
        for n, quantity in enumerate(quantities)
    ]  # fmt: skip
    (folder / "book.yaml").write_text(book)
    (folder / "events.ndjson").write_text("".join(json.dumps(e) + "\n" for e in events))
    output = folder / "out.ndjson"
    arguments = ["--prices", str(folder / "book.yaml"), "--events", str(folder / "events.ndjson"), "--output", str(output), "--strict"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    items = [json.loads(line) for line in output.read_text().splitlines()]
    assert not any(item.get("x_Unpriced") for item in items)
    return sum((money(item["BilledCost"]) for item in items), ZERO)


def parts(quantity: str) -> list[str]:
    """A quantity in four uneven events, so that tiers are crossed inside and between windows."""
    total = money(quantity)
    cuts = [ZERO, money(plain(total // 7)), money(plain(total // 3)), money(plain(total // 2)), total]
    return [plain(b - a) for a, b in pairwise(cuts)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_line_items_add_up_to_the_vendors_amount(case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = book_of(case, monkeypatch)
    for quantities in ([case["quantity"]], parts(case["quantity"])):
        assert rated(tmp_path, book, quantities) == money(case["expected"])


@pytest.mark.parametrize("case", [c for c in CASES if "sequence" in c], ids=lambda case: case["id"])
def test_what_each_step_of_a_sequence_adds(case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `ratemill rate` takes every period in its file as ended, so before the last step a minimum must not be in the book.
    running = book_of({k: v for k, v in case.items() if k != "minimum"}, monkeypatch)
    ended = book_of(case, monkeypatch)
    before = used = ZERO
    quantities: list[str] = []
    for number, phase in enumerate(case["sequence"], 1):
        quantities.append(plain(money(phase["cumulative"]) - used))
        used = money(phase["cumulative"])
        cost = rated(tmp_path, ended if number == len(case["sequence"]) else running, quantities)
        assert cost - before == money(phase["expected_delta"])
        before = cost
