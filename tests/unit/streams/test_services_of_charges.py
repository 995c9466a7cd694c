"""What adjustments charge for an SKU stands under the same service as its usage, so that totals by service hold what was taken off."""

from __future__ import annotations

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from ratemill.cli.main import cli
from ratemill.metering.tariff import parse_tariff
from ratemill.pricing.money import money
from ratemill.streams.core.segments import Rates

BOOK = """
currency: USD
prices:
  - {id: a1, sku: a, unit: u, model: unit, unit_price: "1", effective_to: 2026-03-01T00:00:00Z, service_name: Old, service_category: Storage}
  - {id: a2, sku: a, unit: u, model: unit, unit_price: "1", effective_from: 2026-03-01T00:00:00Z, service_name: New, service_category: Compute}
  - {id: a3, sku: a, unit: u, model: unit, unit_price: "1", effective_from: 2026-04-10T00:00:00Z}
  - {id: own, sku: a, unit: u, model: unit, unit_price: "2", accounts: [bonn], service_name: Bonn}
  - {id: b, sku: b, unit: u, model: unit, unit_price: "3", service_category: Networking}
  - {id: c1, sku: c, unit: v, model: unit, unit_price: "3", service_name: V}
  - {id: c2, sku: c, unit: u, model: unit, unit_price: "3", service_name: U}
adjustments:
  - {id: off, type: discount, percent: "50"}
  - {id: support, type: uplift, of: all, percent: "10"}
accounts:
  - {account: oslo, recurring: [{id: fee, sku: platform, amount: "5"}]}
"""
FEBRUARY, MARCH, APRIL, MAY = (2026 * 12 + month for month in (1, 2, 3, 4))


@pytest.fixture(scope="module")
def rates() -> Rates:
    return Rates(parse_tariff(BOOK, "b").book, 3_600)


@pytest.mark.parametrize(
    ("account", "sku", "month", "service"),
    [
        ("oslo", "a", FEBRUARY, ("Old", "Storage")),
        ("oslo", "a", MARCH, ("New", "Compute")),
        ("oslo", "a", APRIL, ("New", "Compute")),  # of two prices the first one that names a service
        ("oslo", "a", MAY, ("a", "Other")),  # as its usage then
        ("bonn", "a", MARCH, ("Bonn", "Other")),
        ("oslo", "b", MARCH, ("b", "Networking")),
        ("oslo", "c", MARCH, ("U", "Other")),  # units by name
        ("oslo", "support", MARCH, ("support", "Other")),
        ("oslo", "platform", MARCH, ("platform", "Other")),
    ],
)
def test_the_service_is_that_of_the_price_in_force(rates: Rates, account: str, sku: str, month: int, service: tuple[str, str]) -> None:
    assert rates.of(account).service_of(sku, month) == service


def test_a_successor_in_a_later_month_changes_nothing_before(rates: Rates) -> None:
    later = '  - {id: a4, sku: a, unit: u, model: unit, unit_price: "1", effective_from: 2026-05-01T00:00:00Z, service_name: Next}\n'
    changed = Rates(parse_tariff(BOOK.replace("  - {id: own", later + "  - {id: own"), "b").book, 3_600)
    for month in (FEBRUARY, MARCH, APRIL):
        assert changed.of("oslo").service_of("a", month) == rates.of("oslo").service_of("a", month)
    assert changed.of("oslo").service_of("a", MAY) == ("Next", "Other")


def test_a_price_that_is_not_in_force_yet_names_the_service() -> None:
    book = 'currency: USD\nprices: [{id: p, sku: s, unit: u, model: unit, unit_price: "1", effective_from: 2026-04-01T00:00:00Z, service_name: S}]\n'
    assert Rates(parse_tariff(book, "b").book, 3_600).service_of("s", MARCH) == ("S", "Other")


def test_totals_by_service_hold_what_was_taken_off(tmp_path: Path) -> None:
    (tmp_path / "book.yaml").write_text(BOOK)
    events = [
        {"specversion": "1.0", "id": sku, "source": "/x", "type": "com.example.usage", "subject": "oslo", "time": "2026-03-05T10:00:00Z",
         "data": {"sku": sku, "quantity": "8", "unit": "u"}}
        for sku in ("a", "b")
    ]  # fmt: skip
    (tmp_path / "events.ndjson").write_text("".join(json.dumps(event) + "\n" for event in events))
    files = ["--prices", str(tmp_path / "book.yaml"), "--events", str(tmp_path / "events.ndjson"), "--output", str(tmp_path / "items.ndjson")]
    result = CliRunner().invoke(cli, ["rate", *files])
    assert result.exit_code == 0, result.output
    found: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in (tmp_path / "items.ndjson").read_text().splitlines():
        item = json.loads(line)
        found[item["ServiceName"], item["ServiceCategory"]] += money(item["BilledCost"])
    assert found == {
        ("New", "Compute"): 4, ("b", "Networking"): 12, ("platform", "Other"): money("2.5"), ("support", "Other"): money("1.85"),
    }  # fmt: skip
