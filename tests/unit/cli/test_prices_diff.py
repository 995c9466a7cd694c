"""`ratemill prices diff` without Kafka: what it says of definitions, and that its money is the difference of two ratings."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ratemill.cli.prices import command
from ratemill.cli.rate import command as rate
from ratemill.pricing.money import ZERO, money, plain
from ratemill.schemas.errors import BadInput

OLD = """\
currency: USD
prices:
  - id: storage
    sku: acme.storage
    unit: GB-Mo
    model: graduated
    tiers:
      - {up_to: "50", unit_price: "0.023"}
      - {unit_price: "0.021"}
  - {id: requests, sku: acme.requests, unit: Requests, model: package, package_size: 1000, package_price: "0.40", minimum: "3"}
  - {id: cpu, sku: acme.cpu, unit: Hours, model: unit, unit_price: "0.0137"}
  - {id: gpu, sku: acme.gpu, unit: Hours, model: unit, unit_price: "2.5"}
"""
NEW = """\
currency: USD
prices:
  - id: storage
    sku: acme.storage
    unit: GB-Mo
    model: graduated
    tiers:
      - {up_to: "40.0", unit_price: "0.0230"}
      - {unit_price: "0.0195"}
  - {id: requests, sku: acme.requests, unit: Requests, model: package, package_size: 1000, package_price: "0.40", minimum: "3"}
  - {id: requests-b, sku: acme.requests, unit: Requests, model: package, package_size: 10, package_price: 0.05, effective_from: 2026-10-15T00:00:00Z}
  - {id: cpu, sku: acme.cpu, unit: Hours, model: unit, unit_price: "0.01370"}
  - {id: cpu-2027, sku: acme.cpu, unit: Hours, model: unit, unit_price: "0.015", effective_from: 2027-01-01T00:00:00Z}
"""
UNITS = {"acme.storage": "GB-Mo", "acme.requests": "Requests", "acme.cpu": "Hours", "acme.gpu": "Hours"}


def events(seed: int = 5, count: int = 1_500) -> str:
    r = random.Random(seed)
    lines = []
    for number in range(count):
        sku = r.choice(list(UNITS))
        time = f"2026-{r.choice((9, 10, 10, 10)):02d}-{r.randint(1, 30):02d}T{r.randint(0, 23):02d}:10:00Z"
        data = {"sku": sku, "unit": UNITS[sku], "quantity": plain(money(r.randint(-200, 3_000)).scaleb(-3))}
        who = {"specversion": "1.0", "id": str(number), "source": "s", "type": "t", "subject": f"acct-{r.randint(1, 6)}"}
        event = {**who, "time": time, "data": data}
        lines.append(json.dumps(event) + "\n")
    return "".join(lines)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "old.yaml").write_text(OLD)
    (tmp_path / "new.yaml").write_text(NEW)
    (tmp_path / "events.ndjson").write_text(events())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def diff(*arguments: str, columns: int = 160) -> Result:
    whole = ["diff", "new.yaml", "--against", "old.yaml", "--events", "events.ndjson", "--period", "2026-10", *arguments]
    return CliRunner().invoke(command, whole, env={"COLUMNS": str(columns)})


def as_json(*arguments: str) -> Any:
    result = diff("--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def rated(book: str, *arguments: str, month: str = "2026-10") -> dict[tuple[str, str], Any]:
    """Σ BilledCost by account and SKU of `ratemill rate`, of what is billed in a month."""
    result = CliRunner().invoke(rate, ["--prices", book, "--events", "events.ndjson", "--output", "out.ndjson", "--strict", *arguments])
    assert result.exit_code == 0, result.output
    sums: dict[tuple[str, str], Any] = {}
    for line in Path("out.ndjson").read_text().splitlines():
        item = json.loads(line)
        if item["BillingPeriodStart"].startswith(month):
            key = item["BillingAccountId"], item["SkuId"]
            sums[key] = sums.get(key, ZERO) + money(item["BilledCost"])
    return sums


def test_its_money_is_that_of_two_ratings_to_the_last_digit(folder: Path) -> None:
    rows = as_json("--by", "account,sku")["rows"]
    before, after = rated("old.yaml"), rated("new.yaml")
    assert {(row["account"], row["sku"]): money(row["then"]) for row in rows} == before
    assert {(row["account"], row["sku"]): money(row["now"]) for row in rows} == after
    assert all(money(row["difference"]) == money(row["now"]) - money(row["then"]) for row in rows)
    assert any(row["difference"] != "0" for row in rows)
    # The check can fail: another tier, and the sums are not those of `rate` any more.
    (folder / "new.yaml").write_text(NEW.replace("40.0", "41"))
    assert {(row["account"], row["sku"]): money(row["now"]) for row in as_json("--by", "account,sku")["rows"]} != after


@pytest.mark.parametrize("by", ["account", "sku", "sku,account"])
def test_rows_are_ranked_by_the_size_of_the_difference_and_add_up(folder: Path, by: str) -> None:
    shown = as_json("--by", by)
    sizes = [abs(money(row["difference"])) for row in shown["rows"]]
    assert sizes == sorted(sizes, reverse=True)
    (total,) = shown["totals"]
    for name in ("then", "now", "difference"):
        assert sum((money(row[name]) for row in shown["rows"]), ZERO) == money(total[name])
    assert set(by.split(",")) <= shown["rows"][0].keys()


def test_definitions_stand_at_their_lines(folder: Path) -> None:
    found = {(change["kind"], change["what"]): (change["where"], change["details"]) for change in as_json()["changes"]}
    assert found == {
        ("changed", "price storage"): ("new.yaml:3", ["tier-1 up_to 50 → 40", "tier-2 unit_price 0.021 → 0.0195"]),
        ("ended", "price requests"): ("new.yaml:10", ["end open → 2026-10-15T00:00:00Z", "price requests-b follows"]),
        ("added", "price requests-b"): ("new.yaml:11", ["begin 2026-10-15T00:00:00Z", "0.05 per started 10"]),
        ("ended", "price cpu"): ("new.yaml:12", ["end open → 2027-01-01T00:00:00Z", "price cpu-2027 follows"]),
        ("added", "price cpu-2027"): ("new.yaml:13", ["begin 2027-01-01T00:00:00Z", "0.015"]),
        ("removed", "price gpu"): ("old.yaml:12", ["begin always, end open", "2.5"]),
    }


def test_nothing_changed_is_said_and_is_zero(folder: Path) -> None:
    (folder / "new.yaml").write_text(OLD.replace('"0.023"', "0.02300").replace("currency: USD", "currency: USD  # as before"))
    shown = as_json()
    assert shown["changes"] == []
    assert {row["difference"] for row in shown["rows"]} == {"0"}
    said = diff().output
    assert "no definition is different" in said
    assert "+6 alike" in said


def test_what_is_easily_overlooked_is_said(folder: Path) -> None:
    said = diff().output
    assert "note: price cpu-2027 begins 2027-01-01T00:00:00Z, after 2026-10: it makes no difference to this usage; --at 2027-01-01 shows it" in said
    assert "warning: without a price in the new book: usage of acme.gpu" in said
    assert " 0 → " in said, "how many line items lose their price"
    assert "shown rounded to 6 digits" in said
    (folder / "new.yaml").write_text(OLD)
    quiet = diff().output
    assert not any(word in quiet for word in ("note:", "warning:", "unpriced"))


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_and_no_amount_is_cut(folder: Path, columns: int) -> None:
    lines = diff(columns=columns).output.splitlines()
    table = lines[next(n for n, line in enumerate(lines) if line.startswith("usage of")) + 1 :]
    rows = [line for line in table if "acct-" in line or "total" in line]
    assert len(rows) == 7
    assert all(len(line) <= columns and "…" not in line for line in rows)


def test_only_the_month_asked_for_counts_and_others_are_named(folder: Path) -> None:
    september, october = as_json("--period", "2026-09"), as_json()
    assert 0 < september["windows"] < october["windows"]
    assert september["rows"] != october["rows"]
    result = diff("--period", "2026-01")
    assert isinstance(result.exception, BadInput)
    assert str(result.exception) == "events.ndjson: no usage of 2026-01; there is usage of 2026-09, 2026-10: name one by --period"


@pytest.mark.parametrize("arguments", [["--period", "2026-13"], ["--by", "region"], ["--by", ""], ["--by", "sku,sku"], ["--window", "7"]])
def test_bad_usage(folder: Path, arguments: list[str]) -> None:
    assert diff(*arguments).exit_code == 2


def test_mistakes_of_either_book_are_lines_and_status_2(folder: Path) -> None:
    (folder / "old.yaml").write_text(OLD.replace('"0.0137"', "x"))
    result = diff()
    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == ["old.yaml:11"]


LATER = "  - {id: cpu-2027, sku: acme.cpu, unit: Hours, model: unit, unit_price: 0.015, effective_from: 2027-01-01T00:00:00Z}\n"


def test_prices_of_a_later_time_can_be_tried_on_the_month(folder: Path) -> None:
    (folder / "new.yaml").write_text(OLD + LATER)
    rows = as_json("--by", "sku")["rows"]
    assert {row["difference"] for row in rows} == {"0"}
    held = as_json("--by", "sku", "--at", "2027-01-01")
    assert held["prices_at"] == "2027-01-01T00:00:00Z"
    (changed,) = [row for row in held["rows"] if row["difference"] != "0"]
    (cpu,) = [row for row in rows if row["sku"] == changed["sku"] == "acme.cpu"]
    assert money(changed["now"]) * money("0.0137") == money(cpu["then"]) * money("0.015")
    # A moment before, it is not in force.
    assert {row["difference"] for row in as_json("--at", "2026-12-31T23:59:59Z")["rows"]} == {"0"}
    assert diff("--at", "soon").exit_code == 2


TERMS = """
adjustments:
  - {id: least, type: minimum_spend, amount: "400"}
  - {id: support, type: uplift, percent: "10", of: all}
  - {id: pay, type: credits}
accounts:
  - {account: acct-1, credits: [{id: g, amount: "500", effective_from: 2026-09-01T00:00:00Z, expires: 2026-12-01T00:00:00Z}]}
"""


def test_charges_of_accounts_are_compared_and_credits_begin_with_what_is_left(folder: Path) -> None:
    (folder / "old.yaml").write_text(OLD + TERMS)
    (folder / "new.yaml").write_text(NEW + TERMS.replace('percent: "10"', 'percent: "12"'))
    rows = as_json("--by", "account,sku")["rows"]
    assert {row["sku"] for row in rows} >= {"least", "support"}
    # What is due at the end of a month that is over is in, as in a run that closes it.
    close = {"control": "close", "id": "0" * 32, "author": "me", "reason": "r", "at_ns": 1, "period": "2026-10"}
    (folder / "requests.ndjson").write_text(json.dumps(close) + "\n")
    closed = ("--control", "requests.ndjson")
    assert nonzero(rows, "then") == {key: cost for key, cost in rated("old.yaml", *closed).items() if cost}
    # September has used a part of the credit: both books begin October with the rest.
    left = money(500) - money(440)
    book = (folder / "new.yaml").read_text().replace('"500", effective_from: 2026-09', f'"{plain(left)}", effective_from: 2026-10')
    (folder / "with-the-rest.yaml").write_text(book)
    assert nonzero(rows, "now") == {key: cost for key, cost in rated("with-the-rest.yaml", *closed).items() if cost}
    assert nonzero(rows, "now") != {key: cost for key, cost in rated("new.yaml", *closed).items() if cost}


def nonzero(rows: list[Any], side: str) -> dict[tuple[str, str], Any]:
    return {(row["account"], row["sku"]): money(row[side]) for row in rows if money(row[side])}


METERS = """
meters:
  - {id: cpu, event: acme.cpu, quantity: quantity * 1, aggregation: sum, sku: acme.cpu}
"""


def test_events_are_metered_by_the_meters_of_each_book(folder: Path) -> None:
    (folder / "old.yaml").write_text(OLD + METERS)
    (folder / "new.yaml").write_text(OLD + METERS.replace("* 1", "* 2"))
    shown = as_json("--by", "sku")
    rows = {row["sku"]: row for row in shown["rows"]}
    assert money(rows["acme.cpu"]["now"]) == 2 * money(rows["acme.cpu"]["then"]) != ZERO
    assert {sku for sku, row in rows.items() if row["difference"] != "0"} == {"acme.cpu"}
    assert [(c["kind"], c["where"], c["what"], c["details"]) for c in shown["changes"]] == [
        ("changed", "new.yaml:15", "meter cpu", ["quantity quantity * 1 → quantity * 2"])
    ]
    # The same, with the meters in a file of their own.
    (folder / "new.yaml").write_text(OLD)
    (folder / "meters.yaml").write_text(METERS.replace("* 1", "* 2"))
    assert as_json("--by", "sku", "--meters", "meters.yaml")["rows"] == shown["rows"]
