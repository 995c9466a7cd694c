"""The table of `ratemill costs`: what it shows when there is little room, and how it fails."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from ratemill.api.cost_view import CostView, period_total, totals_of
from ratemill.sinks.costs import CostRow
from ratemill.sinks.periods import ClosedPeriods
from rich.console import Console

module = importlib.import_module("ratemill.cli.costs")
URL = "http://127.0.0.1:1"

ROWS = [
    CostRow({"account": "acct-long-long-long-long", "sku": "a"}, "USD", "1234567.0000000000000000005", "1234567.0000000000000000005", 10, 0),
    CostRow({"account": "b\x1b[31m", "sku": None}, "USD", "0.1", "0.1", 2, 0),
    CostRow({"account": "b", "sku": "c"}, "EUR", "-3.5", "-3.5", 1, 1),
]


MONTHS = [CostRow({"period": "2026-10"}, "USD", "1234000", "1234000", 9, 0), CostRow({"period": "2026-11"}, "USD", "567.1", "567.1", 3, 0)]


def shown(monkeypatch: pytest.MonkeyPatch, rows: Sequence[CostRow], width: int, *arguments: str, closed: str = "") -> str:
    async def read(_request: object) -> Any:
        return CostView(list(rows), totals_of(rows), [period_total(row, ClosedPeriods(closed)) for row in MONTHS if rows])

    output = io.StringIO()
    monkeypatch.setattr(module, "_read", read)
    monkeypatch.setattr(module, "Console", lambda: Console(file=output, width=width))
    result = CliRunner().invoke(module.command, ["--elasticsearch", URL, *arguments])
    assert result.exception is None, result.exception
    return output.getvalue() or result.output


@pytest.mark.parametrize("width", [200, 80, 64])
def test_an_amount_is_never_cut(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = shown(monkeypatch, ROWS, width)
    assert "1,234,567.00" in text
    assert "1,234,567.10" in text  # the total
    assert all(len(line) <= width for line in text.splitlines())


def test_every_total_says_whether_it_can_still_change(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, ROWS, 120, closed="2026-10")
    assert "2026-10: 1,234,000.00 USD, final" in text
    assert "2026-11: 567.10 USD, an estimate" in text
    assert "final" not in shown(monkeypatch, ROWS, 120, closed="2026-09")
    answer = orjson.loads(shown(monkeypatch, ROWS, 80, "--json", closed="2026-10"))
    assert [(each["period"], each["status"]) for each in answer["periods"]] == [("2026-10", "final"), ("2026-11", "estimate")]


def test_exact_shows_every_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "1,234,567.0000000000000000005" in shown(monkeypatch, ROWS, 120, "--exact")


def test_foreign_control_characters_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in shown(monkeypatch, ROWS, 120)


def test_currencies_have_totals_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = orjson.loads(shown(monkeypatch, ROWS, 80, "--json"))
    assert [(total["currency"], total["billed_cost"], total["line_items"], total["unpriced"]) for total in answer["totals"]] == [
        ("EUR", "-3.5", 1, 1),
        ("USD", "1234567.1000000000000000005", 12, 0),
    ]
    assert [row["billed_cost"] for row in answer["rows"]] == [row.billed_cost for row in ROWS]


def test_no_line_items_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *then = shown(monkeypatch, [], 80, "--period", "2026-09", "--account", "x").splitlines()
    assert first == "Costs of x in 2026-09: no line items"
    assert "ratemill top" in " ".join(then)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--elasticsearch", URL], 1, "at 127.0.0.1:1"),
        (["--elasticsearch", "nowhere"], 2, "Elasticsearch address"),
        (["--elasticsearch", URL, "--by", "colour"], 2, "unknown dimension 'colour'"),
        (["--elasticsearch", URL, "--period", "2026-13"], 2, "not a billing period"),
        (["--elasticsearch", URL, "--watch", "--json"], 2, "--watch"),
    ],
)
def test_an_error_is_one_line_and_an_exit_status(arguments: list[str], status: int, words: str) -> None:
    command = [sys.executable, "-m", "ratemill.cli.main", "costs", *arguments]
    ended: Any = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == status
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.lower().startswith("error")]) == 1
