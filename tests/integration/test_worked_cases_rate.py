"""The vendors' worked examples through `ratemill rate`, as a user would run it: a price book, a file of events, line items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from harness.cases import CASES, SEQUENCES, fields_of, parts
from ratemill.cli.rate import command
from ratemill.pricing.money import ZERO, money, plain
from ratemill.schemas.control import Close, encode_control

CLOSE = Close(id="0" * 32, author="Ada", reason="the period has ended", at_ns=1, period="2026-03")


def rated(folder: Path, case: dict[str, Any], quantities: list[str], *, ended: bool) -> Any:
    """Σ BilledCost of events with these quantities, an hour apart, while their month runs or after it was closed."""
    events = [
        {
            "specversion": "1.0", "id": str(n), "source": "case", "type": "usage", "subject": "acct",
            "time": f"2026-03-{n // 24 + 1:02d}T{n % 24:02d}:00:00Z",
            "data": {"sku": "case", "quantity": quantity, "unit": "Units"},
        }
        for n, quantity in enumerate(quantities)
    ]  # fmt: skip
    (folder / "book.yaml").write_text(yaml.safe_dump({"currency": case["currency"], "prices": [fields_of(case)]}, sort_keys=False))
    (folder / "events.ndjson").write_text("".join(json.dumps(e) + "\n" for e in events))
    (folder / "control.ndjson").write_bytes(encode_control(CLOSE) if ended else b"")
    output = folder / "out.ndjson"
    arguments = ["--prices", "book.yaml", "--events", "events.ndjson", "--control", "control.ndjson", "--output", output.name]
    result = CliRunner().invoke(command, [str(folder / text) if "." in text else text for text in arguments] + ["--strict"])
    assert result.exit_code == 0, result.output
    items = [json.loads(line) for line in output.read_text().splitlines()]
    assert not any(item.get("x_Unpriced") for item in items)
    return sum((money(item["BilledCost"]) for item in items), ZERO)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_line_items_add_up_to_the_vendors_amount(case: dict[str, Any], tmp_path: Path) -> None:
    for quantities in ([case["quantity"]], parts(case["quantity"])):
        assert rated(tmp_path, case, quantities, ended=True) == money(case["expected"])


@pytest.mark.parametrize("case", SEQUENCES, ids=lambda case: case["id"])
def test_what_each_step_of_a_sequence_adds(case: dict[str, Any], tmp_path: Path) -> None:
    before = used = ZERO
    quantities: list[str] = []
    for number, phase in enumerate(case["sequence"], 1):
        quantities.append(plain(money(phase["cumulative"]) - used))
        used = money(phase["cumulative"])
        cost = rated(tmp_path, case, quantities, ended=number == len(case["sequence"]))
        assert cost - before == money(phase["expected_delta"])
        before = cost
