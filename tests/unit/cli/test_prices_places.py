"""Remarks about a tariff stand at the line of the entry that they are about."""

from __future__ import annotations

from pathlib import Path

import pytest
from ratemill.cli.prices import read_tariff
from ratemill.cli.prices_places import entry_lines, placed, texts_of
from ratemill.metering.alignment import late_cuts, misaligned
from ratemill.metering.succession import check_succession
from ratemill.metering.tariff import Remark, parse_tariff
from ratemill.schemas.times import parse_time

BOOK = """currency: USD
adjustments:
  - {id: pay, type: credits}
accounts:
  - account: bonn
    credits:
      - {id: g0, amount: "5", effective_from: 2026-01-01T00:00:00Z}
      - id: g1
        amount: "5"
        effective_from: 2026-01-01T00:30:00Z
prices:
  - {id: a, sku: s, unit: u, model: unit, unit_price: "1"}
  - id: b
    sku: s
    unit: u
    model: unit
    unit_price: "2"
    effective_from: 2026-03-01T12:30:00Z
"""
METERS = """meters:
  - {id: other, event: o, aggregation: sum, sku: o, unit: GB}
  - {id: m, event: e, aggregation: sum, sku: x, unit: GB}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    book, meters = tmp_path / "book.yaml", tmp_path / "meters.yaml"
    book.write_text(BOOK)
    meters.write_text(METERS)
    return book, meters


def test_prices_credits_and_meters_are_found_where_they_begin(files: tuple[Path, Path]) -> None:
    book, meters = files
    lines = entry_lines(BOOK, "book.yaml")
    assert lines["prices", "b"] == 13
    assert lines["accounts", "bonn", "credits", "g1"] == 8
    tariff = read_tariff(book, meters)
    ends, begins = placed(misaligned(tariff, 3_600), texts_of(book, meters))
    assert ends.startswith(f"{book}:12: price `a` ends at ")
    assert begins.startswith(f"{book}:13: price `b` begins at ")
    (late,) = placed(late_cuts(tariff, 3_600), texts_of(book, meters))
    assert late.startswith(f"{book}:8: credit `g1` of account `bonn` begins at ")
    changed = parse_tariff(BOOK, "b", METERS.replace("event: e", "event: f"), "m")
    (why,) = placed(check_succession(tariff, changed, parse_time("2026-04-01T00:00:00Z")), texts_of(book, meters))
    assert why.startswith(f"{meters}:3: meter `m` was published with another definition")


def test_what_is_missing_stands_at_the_first_line(files: tuple[Path, Path]) -> None:
    assert placed([Remark(("meters", "gone"), "it is missing")], texts_of(*files)) == [f"{files[0]}:1: it is missing"]
