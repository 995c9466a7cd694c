"""`ratemill invoice`: a month in three parts that add up to what `ratemill costs` says, and whether it can still change."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from ratemill.api import invoice_view as view
from ratemill.api.cost_view import totals_of
from ratemill.cli import invoice_run
from ratemill.cli.main import COMMANDS
from ratemill.invoicing.invoice import account_invoice
from ratemill.pricing.money import ZERO, money, plain, use_exact_arithmetic
from ratemill.schemas.errors import BadInput, Unavailable
from ratemill.sinks.costs import CostRow
from ratemill.sinks.periods import ClosedPeriods

module = importlib.import_module("ratemill.cli.invoice")
URL = "http://127.0.0.1:1"
NOTHING_CLOSED = ClosedPeriods()
Invoke = Callable[..., Result]


def test_a_final_invoice_takes_the_place_of_its_estimate_alone(tmp_path: Path) -> None:
    def written(account: str, version: int) -> list[str]:
        invoice_run._write(tmp_path, account_invoice(account, "2026-10", [], version, ""), ["json", "csv"])
        return sorted(path.name for path in tmp_path.iterdir())

    assert written("x", 0) == ["x.estimate.csv", "x.estimate.json"]
    every = ["x%2Eestimate.csv", "x%2Eestimate.json", "x.estimate.csv", "x.estimate.json"]
    assert written("x.estimate", 3) == every  # that of another account, which is called so, is not touched
    assert written("x", 3) == [*every[:2], "x.csv", "x.json"]


def row(sku: str, cost: str, currency: str = "USD", quantity: str = "1", unit: str = "GB", unpriced: int = 0, **group: str) -> CostRow:
    key = {"corrected": None, "adjustment": None, "category": "Usage", "sku": sku, "unit": unit} | group
    return CostRow(key, currency, cost, cost, 3, unpriced, quantity)


ROWS = [
    row("es.ram", "1234567.0000000000000000005", quantity="12345.25", unit="GB-h"),
    row("es.ram", "30", quantity="2", unit="charge"),
    row("es.egress", "0", quantity="7", unpriced=1),
    row("es.egress", "-1.5", quantity="-100", category="Credit", adjustment="transfer-pool"),
    row("support", "123456.7", unit="USD", quantity="1234567", category="Adjustment", adjustment="support"),
    row("es.ram", "-2.25", corrected="2026-10", quantity="-3"),
    row("es.egress", "0.75", corrected="2026-09", adjustment="transfer-pool"),
    row("es.ram", "9.5", currency="EUR"),
]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    def run(rows: Sequence[CostRow], *more: str, closed: ClosedPeriods = NOTHING_CLOSED, columns: int = 100) -> Result:
        async def costs(client: object, prefix: str, **asked: Any) -> list[CostRow]:
            assert asked == {"account": "acct", "by": view._BY, "period": "2026-11"}
            return list(rows)

        async def read_closed(client: object, prefix: str) -> ClosedPeriods:
            return closed

        monkeypatch.setattr(view, "costs", costs)
        monkeypatch.setattr(view, "read_closed", read_closed)
        arguments = ["acct", "2026-11", "--elasticsearch", URL, *more]
        result = CliRunner().invoke(module.command, arguments, env={"COLUMNS": str(columns)})
        assert result.exception is None, result.exception
        return result

    return run


def test_every_line_item_is_in_one_part_and_the_total_is_that_of_costs(invoke: Invoke) -> None:
    document = orjson.loads(invoke(ROWS, "--json").stdout)
    use_exact_arithmetic()
    of_costs = {total.currency: (total.billed_cost, total.line_items, total.unpriced) for total in totals_of(ROWS)}
    assert {each["currency"]: (each["total"], each["line_items"], each["unpriced"]) for each in document["invoices"]} == of_costs
    for each in document["invoices"]:
        parts = [each["usage"], each["adjustments"], each["corrections"]]
        assert plain(sum((money(part["cost"]) for part in parts), ZERO)) == each["total"]
        for part in parts:
            assert plain(sum((money(line["cost"]) for line in part["lines"]), ZERO)) == part["cost"]
        assert sum(line["line_items"] for part in parts for line in part["lines"]) == each["line_items"]


def test_what_goes_where(invoke: Invoke) -> None:
    euros, dollars = orjson.loads(invoke(ROWS, "--json").stdout)["invoices"]
    assert (euros["currency"], euros["total"], dollars["currency"]) == ("EUR", "9.5", "USD")  # never added
    assert dollars["total"] == "1358050.7000000000000000005"
    assert [(line["sku"], line["quantity"], line["unit"], line["cost"]) for line in dollars["usage"]["lines"]] == [
        ("es.egress", "7", "GB", "0"),
        ("es.ram", "12345.25", "GB-h", "1234567.0000000000000000005"),
        ("es.ram", "2", "charge", "30"),
    ]
    assert [(line["adjustment"], line["sku"], line["cost"]) for line in dollars["adjustments"]["lines"]] == [
        ("support", "support", "123456.7"),
        ("transfer-pool", "es.egress", "-1.5"),
    ]
    # The correction of an adjustment's charge is a correction: it belongs to an earlier month.
    assert [(line["corrected"], line.get("adjustment", ""), line["cost"]) for line in dollars["corrections"]["lines"]] == [
        ("2026-09", "transfer-pool", "0.75"),
        ("2026-10", "", "-2.25"),
    ]


@pytest.mark.parametrize("columns", [70, 80, 120])
def test_the_table_fits_and_cuts_nothing(invoke: Invoke, columns: int) -> None:
    text = invoke(ROWS, columns=columns).stdout
    assert all(len(line) <= columns for line in text.splitlines())
    for amount in ("1,234,567.000000", "12,345.25", "123,456.70", "-1.50", "-2.25", "0.75", "9.50"):
        assert amount in text
    assert "total: 1358050.7000000000000000005 USD" in text
    assert "total: 9.5 EUR" in text
    assert "1 of 21 line items have no price" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("through", "status", "words"), [("", "estimate", "ESTIMATE"), ("2026-10", "estimate", "ESTIMATE"), ("2026-11", "final", "FINAL")]
)
def test_it_says_whether_it_can_still_change(invoke: Invoke, through: str, status: str, words: str) -> None:
    closed = ClosedPeriods(through, "2026-12-02T08:00:00Z")
    text = invoke(ROWS, closed=closed).stdout
    assert [word for word in ("ESTIMATE", "FINAL") if word in text] == [words]
    assert ("2026-12-02" in text) == (status == "final")
    assert orjson.loads(invoke(ROWS, "--json", closed=closed).stdout)["status"] == status


def test_no_line_items_is_said_in_words(invoke: Invoke) -> None:
    assert invoke([]).stdout == "Invoice of acct for 2026-11\nESTIMATE: the month is open\nno line items\n"
    assert orjson.loads(invoke([], "--json").stdout)["invoices"] == []


def test_foreign_control_characters_do_not_reach_the_terminal(invoke: Invoke) -> None:
    assert "\x1b" not in invoke([row("a\x1b[31m", "1", unit="b\x1b[31m", adjustment="c\x1b[31m")]).stdout


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["acct", "2026-13", "--elasticsearch", URL], BadInput, "not a billing period"),
        (["acct", "2026-11", "--elasticsearch", "nowhere"], BadInput, "Elasticsearch address"),
        (["acct", "2026-11", "--elasticsearch", URL], Unavailable, "127.0.0.1:1"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], error: type[Exception], words: str) -> None:
    result = CliRunner().invoke(module.command, arguments)
    assert isinstance(result.exception, error)
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)


def test_it_is_a_command() -> None:
    assert COMMANDS["invoice"][0] == "invoice"
