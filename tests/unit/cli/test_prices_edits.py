"""What may follow a published book without a word, and what is an edit in place: named by file and line."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from ratemill.cli.prices_changes import changes, edits_in_place
from ratemill.cli.prices_sources import Source
from ratemill.metering.tariff import parse_tariff

NOW = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()) * 10**9
OLD = """\
currency: USD
prices:
  - {id: a, sku: s, unit: u, model: unit, unit_price: "1", effective_from: 2026-01-01T00:00:00Z}
  - {id: b, sku: t, unit: u, model: graduated, tiers: [{up_to: "5", unit_price: "2"}, {unit_price: "1"}]}
  - {id: later, sku: t, unit: u, model: unit, unit_price: "1", effective_from: 2027-01-01T00:00:00Z}
"""


def source(text: str, name: str) -> Source:
    return Source(parse_tariff(text, name), text, name, name)


def edits(new: str, old: str = OLD) -> list[str]:
    return edits_in_place(source(old, "old.yaml"), source(new, "new.yaml"), NOW)


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        OLD.replace('"1"', "1.00").replace("up_to: \"5\"", "up_to: 5.0"),
        OLD + '  - {id: c, sku: new, unit: u, model: unit, unit_price: "1"}\n',  # usage that had no price gets one
        OLD + '  - {id: c, sku: s, unit: u, model: unit, unit_price: "3", effective_from: 2026-11-24T12:00:00Z}\n',
        OLD + '  - {id: c, sku: s, unit: MB, model: unit, unit_price: "3", effective_from: 2026-01-01T00:00:00Z}\n',
        OLD.replace("2026-01-01T00:00:00Z}", "2026-01-01T00:00:00Z, effective_to: 2026-12-01T00:00:00Z}"),
        OLD.replace("2027-01-01", "2026-12-24"),  # what has not begun may begin at another time
        "\n".join(OLD.splitlines()[:-1]) + "\n",  # or not at all
        OLD + 'adjustments: [{id: d, type: discount, percent: "5"}]\n',
    ],
)
def test_what_is_still_to_come_may_change(new: str) -> None:
    assert edits(new) == []


OR_RESTATE = ", or say --restate to have the usage since then rated again"


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (
            OLD.replace('unit_price: "2"', 'unit_price: "2.5"'),
            "new.yaml:4: price `b` was published with another definition (tier-1 unit_price 2 → 2.5); restore it, and add a price that begins later",
        ),
        (
            OLD.replace('"1", effective_from: 2026-01-01', '"1", description: Storage, effective_from: 2026-01-01'),
            "new.yaml:3: price `a` was published with another definition (description none → Storage); restore it, and add a price that begins later",
        ),
        (
            "\n".join(line for line in OLD.splitlines() if "id: a" not in line) + "\n",
            "new.yaml:1: price `a` was published and is gone; put it back, with an effective_to if it is to end",
        ),
        (
            OLD.replace("2026-01-01", "2026-02-01"),
            "new.yaml:3: price `a` was published to begin 2026-01-01T00:00:00Z, and now begins 2026-02-01T00:00:00Z; restore it, "
            "and give the other one an id of its own",
        ),
        (
            OLD.replace("2026-01-01T00:00:00Z}", "2026-01-01T00:00:00Z, effective_to: 2026-11-01T00:00:00Z}"),
            "new.yaml:3: price `a` was published with the end open, and now ends 2026-11-01T00:00:00Z, which is not to come; restore it",
        ),
        (
            OLD + '  - {id: c, sku: s, unit: u, model: unit, unit_price: "3", effective_from: 2026-11-24T11:00:00Z}\n',
            "new.yaml:6: price `c` begins 2026-11-24T11:00:00Z, where price `a` was published; let it begin later",
        ),
        (
            OLD + '  - {id: c, sku: t, unit: u, model: unit, unit_price: "3", accounts: [x], effective_from: 2026-11-01T00:00:00Z}\n',
            "new.yaml:6: price `c` begins 2026-11-01T00:00:00Z, where price `b` was published; let it begin later",
        ),
    ],
)
def test_what_was_rated_must_not_change(new: str, said: str) -> None:
    assert edits(new) == [said + OR_RESTATE]


def test_a_price_to_come_keeps_its_definition_too() -> None:
    (said,) = edits(OLD.replace('"1", effective_from: 2027', '"1.5", effective_from: 2027'))
    assert said.startswith("new.yaml:5: price `later` was published with another definition")


def test_all_at_once_by_line() -> None:
    new = OLD.replace('unit_price: "2"', 'unit_price: "2.5"').replace('"1", effective_from: 2026', '"7", effective_from: 2026')
    assert [line.split(": ")[0] for line in edits(new)] == ["new.yaml:3", "new.yaml:4"]


def test_entries_of_other_sections_are_compared_by_name() -> None:
    terms = """
exchange_rates: [{currency: EUR, rate: "0.90"}]
adjustments:
  - {id: d, type: discount, percent: "5"}
  - {id: pay, type: credits}
accounts:
  - {account: x, currency: EUR}
  - account: y
    credits: [{id: g, amount: "50", effective_from: 2026-09-01T00:00:00Z, expires: 2026-12-01T00:00:00Z}]
"""
    new = terms.replace("0.90", "0.920").replace('percent: "5"', "percent: 5.0").replace('"50"', '"60"').replace("- {account: x", "- {account: z")
    found = changes(source(OLD + terms, "old.yaml"), source(OLD + new, "new.yaml"))
    assert [(c.kind, c.where, c.what, c.details) for c in found] == [
        ("changed", "new.yaml:7", "exchange rate EUR", ("rate 0.9 → 0.92",)),
        ("added", "new.yaml:12", "account z", ("account z", "currency EUR")),
        ("changed", "new.yaml:13", "account y", ("credits g amount 50 → 60",)),
        ("removed", "old.yaml:12", "account x", ()),
    ]
