"""`ratemill prices check` shows all that a tariff holds: meters, exchange rates, adjustments in their order, accounts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ratemill.cli.prices import command
from ratemill.cli.tariff_words import length, meter_reads, meter_works, step_in_words, term_in_words
from ratemill.metering.tariff import Tariff, parse_tariff

TARIFF = """
currency: USD
meters:
  - id: ram
    event: "instance.[bold]ram"
    filter: 'dimensions.tier == "hot"'
    quantity: 'quantity * 2'
    aggregation: time_weighted
    gap_limit: 45m
    carry_forward: false
    convert: {from: MiB, to: GB}
    digits: 12
    group_by: [region, dimensions.tier]
    sku: acme.ram
  - {id: storage, event: disk, aggregation: time_weighted, per: month, window: month, timezone: Europe/Berlin, gap_limit: 2h, sku: acme.storage,
     unit: GB-Mo, digits: 12, effective_from: "2026-01-31T23:00:00Z"}
  - {id: users, event: login, aggregation: unique, unique: dimensions.user, unit: Users, window: day, group_by: []}
  - {id: packets, event: nic, aggregation: counter, first_sample: count}
  - {id: egress, event: out, aggregation: sum, sku: acme.egress, convert: {from: B, to: GB}}
prices:
  - {id: ram-1, sku: acme.ram, unit: GB-h, model: unit, unit_price: "1"}
  - {id: storage-1, sku: acme.storage, unit: GB-Mo, model: unit, unit_price: "1"}
  - {id: egress-1, sku: acme.egress, unit: GB, model: unit, unit_price: "1"}
  - {id: ram-bonn, sku: acme.ram, unit: GB-h, model: unit, unit_price: "0.5", accounts: [bonn, paris]}
exchange_rates:
  - {currency: EUR, rate: "0.92"}
  - {currency: EUR, rate: "0.93", effective_from: 2026-02-01T00:00:00Z}
adjustments:
  - {id: pool, type: allowance, skus: [acme.egress], unit: GB, quantity: "100"}
  - {id: partner, type: discount, percent: "12.5", skus: [acme.ram], accounts: [bonn], effective_from: 2026-02-01T00:00:00Z}
  - {id: welcome, type: discount, amount: "50", effective_to: 2026-03-01T00:00:00Z}
  - {id: least, type: minimum_spend, amount: "20", due: always, charge_unused: true}
  - {id: most, type: maximum_spend, amount: "9000", skus: [acme.ram, acme.storage]}
  - {id: commit, type: commitment}
  - {id: support, type: uplift, of: all, minimum: "100", sku: acme.support, tiers: [{up_to: "10000", percent: "10"}, {percent: "3"}]}
  - {id: card, type: uplift, of: [acme.ram, support], percent: "2"}
  - {id: pay, type: credits, order: discount}
  - {id: cents, type: rounding, digits: 2, mode: half_up}
accounts:
  - account: bonn
    currency: EUR
    recurring: [{id: fee, sku: acme.platform, amount: "500", prorate: day, effective_from: 2026-01-01T00:00:00Z}]
    commitments: [{id: c1, amount: "1000", per: month, skus: [acme.ram], overage: {discount: "20"}, effective_from: 2026-01-01T00:00:00Z}]
    credits:
      - {id: g1, amount: "5000", effective_from: 2026-01-01T00:00:00Z, expires: 2026-04-10T00:30:00Z, discount: "10", prepaid: true}
      - {id: g2, amount: "10", effective_from: 2026-01-01T00:00:00Z}
  - account: oslo
"""

STEPS = {
    "pool": ["100 GB of acme.egress are free"],
    "partner": ["12.5 % off acme.ram", "from 2026-02"],
    "welcome": ["50 USD off all SKUs", "through 2026-02"],
    "least": ["all SKUs cost 20 USD at least", "shown from the start", "due without usage too"],
    "most": ["acme.ram, acme.storage cost 9000 USD at most"],
    "commit": ["the commitments of the account"],
    "support": ["of everything before it:", "10 % up to 10000 USD", "3 % beyond", "at least 100 USD", "shown as acme.support"],
    "card": ["2 % of acme.ram, support"],
    "pay": ["what the account's credits pay, highest discount first"],
    "cents": ["the total, to 2 digits, half_up"],
}

METERS = {
    "ram": [
        "time_weighted", "MiB → GB-h, 12 digits", "a sample holds 45m at most, and only until a next one", "by region, tier",
        "windows of an hour, UTC",
    ],
    "storage": [
        "time_weighted per month", "GB → GB-Mo, 12 digits", "a sample holds 2h at most", "by region, resource, all dimensions",
        "windows of a month, Europe/Berlin", "from 2026-01-31T23:00:00Z",
    ],
    "users": ["unique dimensions.user", "by nothing", "windows of a day, UTC"],
    "packets": ["counter", "the first sample counts", "by region, resource, all dimensions", "windows of an hour, UTC"],
    "egress": ["sum", "B → GB", "by region, resource, all dimensions", "windows of the worker"],
}  # fmt: skip

TERMS = [
    "fee fee: 500 EUR a month for acme.platform, by the day, from 2026-01-01",
    "commitment c1: 1000 EUR a month for acme.ram, 20 % less beyond it, from 2026-01-01",
    "credit g1: 5000 EUR for all SKUs, 10 % discount, bought on the statement, from 2026-01-01 to 2026-04-10T00:30:00Z",
    "credit g2: 10 EUR for all SKUs, from 2026-01-01",
]


@pytest.fixture(scope="module")
def tariff() -> Tariff:
    return parse_tariff(TARIFF, "tariff.yaml")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tariff.yaml"
    path.write_text(TARIFF)
    return path


def checked(file: Path, *options: str, columns: int = 200) -> str:
    result = CliRunner().invoke(command, ["check", str(file), *options], env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.output


def test_adjustments_in_words(tariff: Tariff) -> None:
    assert {step.id: step_in_words(step, "USD") for step, _ in tariff.book.adjustments} == STEPS
    assert [step.id for step, _ in tariff.book.adjustments] == list(STEPS), "in the order of the file"
    assert {step.id: accounts for step, accounts in tariff.book.adjustments if accounts} == {"partner": ("bonn",)}


def test_meters_in_words(tariff: Tariff) -> None:
    found = {meter.id: meter_works(meter) for meter in tariff.meters.all}
    # The unit of the storage events follows from the unit of the result.
    assert found == METERS
    assert meter_reads(tariff.meters.all[2]) == ["instance.[bold]ram", 'where dimensions.tier == "hot"', "counts quantity * 2"]


def test_terms_of_an_account_in_words(tariff: Tariff) -> None:
    terms = tariff.book.terms_of("bonn")
    assert terms is not None
    assert [term_in_words(term, "EUR") for term in (*terms.fees, *terms.commitments, *terms.credits)] == TERMS


@pytest.mark.parametrize(("seconds", "text"), [(90, "90s"), (900, "15m"), (7_200, "2h"), (172_800, "2d"), (86_401, "86401s")])
def test_spans_are_written_as_in_a_tariff(seconds: int, text: str) -> None:
    assert length(seconds) == text


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_and_no_name_is_cut(file: Path, columns: int) -> None:
    lines = checked(file, columns=columns).splitlines()
    tables = [line for line in lines if not line.startswith("warning: ")]
    assert max(map(len, tables)) <= columns
    assert "…" not in "".join(lines)
    titles = [line.strip() for line in tables if line[:1].isdigit()]
    assert [title.split(",")[0] for title in titles] == [
        "4 prices in USD", "5 meters", "2 exchange rates", "10 adjustments", "3 accounts with terms of their own",
    ]  # fmt: skip


def test_tables_hold_everything(file: Path) -> None:
    shown = " ".join(checked(file, columns=240).split())
    for words in (*STEPS.values(), *METERS.values(), TERMS):
        for word in words:
            assert word in shown, word
    for text in ("instance.[bold]ram", "gives acme.ram", "in GB-h", "in the event's unit", "0.92 EUR per USD", "0.93 EUR per USD", "from 2026-02",
                 "price ram-bonn of acme.ram", "minimum_spend", "none: only named"):  # fmt: skip
        assert text in shown, text


def test_a_book_of_prices_alone_shows_no_other_table(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text('currency: USD\nprices: [{id: a, sku: s, unit: u, model: unit, unit_price: "1"}]\n')
    shown = checked(path)
    assert "1 prices in USD" in shown
    assert not any(word in shown for word in ("meter", "exchange", "adjustment", "account", "warning"))


def test_json_holds_everything(file: Path, tariff: Tariff) -> None:
    shown: dict[str, Any] = json.loads(checked(file, "--json"))
    assert shown["digest"] == tariff.digest != tariff.book.digest, "the one that publishing names"
    assert [(step["position"], step["id"]) for step in shown["adjustments"]] == list(enumerate(STEPS, 1))
    assert {step["type"] for step in shown["adjustments"]} == {
        "allowance", "discount", "minimum_spend", "maximum_spend", "commitment", "uplift", "credits", "rounding",
    }  # fmt: skip
    partner, support = shown["adjustments"][1], shown["adjustments"][6]
    assert (partner["percent"], partner["amount"], partner["accounts"], partner["first_month"]) == ("12.5", None, ["bonn"], "2026-02")
    assert support["tiers"] == [{"up_to": "10000", "percent": "10"}, {"up_to": None, "percent": "3"}]
    assert {meter["id"]: (meter["event"], meter["aggregation"], meter["unit"], meter["window"]) for meter in shown["meters"]} == {
        "ram": ("instance.[bold]ram", "time_weighted", "GB-h", "hour"),
        "storage": ("disk", "time_weighted", "GB-Mo", "month"),
        "users": ("login", "unique", "Users", "day"),
        "packets": ("nic", "counter", None, "hour"),
        "egress": ("out", "sum", "GB", None),
    }
    bonn, oslo, paris = shown["accounts"]
    assert (bonn["currency"], oslo["currency"], paris["currency"]) == ("EUR", "USD", "USD")
    assert (bonn["prices"], oslo["prices"], paris["prices"]) == (["ram-bonn"], [], ["ram-bonn"])
    assert [credit["discount"] for credit in bonn["credits"]] == ["10", "0"]
    assert [credit["effective_to"] for credit in bonn["credits"]] == ["2026-04-10T00:30:00Z", None]
    assert "partner" in bonn["adjustments"]
    assert "partner" not in oslo["adjustments"]


def line_of(text: str) -> int:
    """The line of TARIFF that holds a text."""
    return TARIFF[: TARIFF.index(text)].count("\n") + 1


def test_credits_that_end_within_a_window_are_a_warning_and_no_mistake(file: Path) -> None:
    shown = checked(file)
    (ends,) = [line for line in shown.splitlines() if "`g1`" in line and "ends" in line]
    assert ends.startswith(f"warning: {file}:{line_of('id: g1')}: credit `g1` of account `bonn` ends at 2026-04-10T00:30:00Z, within a window of ")
    assert ends.endswith("`acme.egress`, `acme.ram`, `acme.storage`; usage counts where its window begins, so all of that window falls under it")
    # In Berlin the month begins an hour earlier, so the credit leaves the whole of the first month's storage out.
    (begins,) = [line for line in shown.splitlines() if "`g2`" in line]
    assert begins.startswith(f"warning: {file}:{line_of('id: g2')}: credit `g2` ")
    assert "begins at 2026-01-01T00:00:00Z, within a window of `acme.storage`; " in begins
    assert begins.endswith("so nothing of that window falls under it")
    assert not any("`c1`" in line for line in shown.splitlines() if line.startswith("warning")), "acme.ram has windows of an hour"
    assert len(json.loads(checked(file, "--json"))["warnings"]) == 3


def test_prices_that_change_within_a_window_are_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(
        'currency: USD\nprices: [{id: a, sku: s, unit: u, model: unit, unit_price: "1", effective_from: "2026-03-01T12:30:00Z"}]\n'
    )
    assert f"warning: {path}:2: price `a` begins at 2026-03-01T12:30:00Z" in checked(path)
    path.write_text(path.read_text().replace("12:30", "12:00"))
    assert "warning" not in checked(path)
