"""The page of an explanation, and how the command fails."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ratemill.cli.explaining.page import show
from ratemill.schemas.explanation import Explanation
from rich.console import Console

TIERS = [{"up_to": "100", "unit_price": "0.09"}, {"unit_price": "0.0000000000000000000000000001"}]


def printed(explanation: Explanation, width: int) -> str:
    output = io.StringIO()
    show(explanation, Console(file=output, width=width))
    return output.getvalue()


@pytest.fixture
def explained(rig: Any, use: Any, book: Any) -> Any:
    r = rig(book(model="graduated", tiers=TIERS))
    r.send(use("99", "03-01T00:00", id="a\x1b[31m", region="eu"), use("12345678901234567890.5", "03-02T00:00", resource="r" * 200))
    return r


@pytest.mark.parametrize("width", [200, 120, 100])
def test_an_amount_is_never_cut_and_lines_fit(explained: Any, width: int) -> None:
    text = printed(explained.explain(explained.item("tier-2")), width)
    assert "12345678901234567889.5" in text  # 99 before, so one unit is in tier 1
    assert "0.00000000123456789012345678895" in text
    assert all(len(line) <= width for line in text.splitlines())
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_foreign_control_characters_do_not_reach_the_terminal(explained: Any) -> None:
    assert "\x1b" not in printed(explained.explain(explained.item("tier-1", "2026-03-01")), 120)


def test_a_difference_is_loud(explained: Any) -> None:
    item = explained.item("tier-1", "2026-03-01")
    text = printed(explained.tampered(item, billed_cost="8.90"), 120)
    assert "DIFFERS  recomputed" in text
    assert "What is stored differs from what it must be: see the audit." in text
    (line,) = (line.split() for line in text.splitlines() if line.split()[:1] == ["recomputed"])
    assert line == ["recomputed", "BilledCost", "8.90", "8.91"]
    assert "DIFFERS" not in printed(explained.explain(item), 120)


def test_json_is_everything_with_exact_decimals(explained: Any) -> None:
    found = msgspec.json.decode(msgspec.json.encode(explained.explain(explained.item("tier-2"))))
    assert found["line_item"]["quantity"] == "12345678901234567889.5"
    assert [part["amount"] for part in found["arithmetic"][0]["parts"]] == ["0.09", found["line_item"]["cost"]]
    assert {"audit", "price", "revisions", "events", "verdict", "corrections"} <= found.keys()
    assert msgspec.convert(found, Explanation).verdict == "equal"


def explain(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")}
    environment = clean | {"RATEMILL_KAFKA__BOOTSTRAP": "127.0.0.1:1", "RATEMILL_ELASTICSEARCH__URL": "http://127.0.0.1:1"}
    command = [sys.executable, "-m", "ratemill.cli.main", "explain", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["0" * 32], 1, "Kafka at 127.0.0.1:1 does not answer"),
        (["a\tb"], 2, "no line item id"),
        (["x" * 300], 2, "no line item id"),
        (["0" * 32, "--page", "0"], 2, "--page"),
    ],
)
def test_an_error_is_one_line_and_an_exit_status(tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    ended = explain(tmp_path, *arguments)
    assert ended.returncode == status
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.lower().startswith("error")]) == 1
