"""Prices change where windows begin, or their author is told where."""

from __future__ import annotations

from ratemill.metering.alignment import misaligned
from ratemill.metering.tariff import parse_tariff

BOOK = """
currency: USD
prices:
  - {id: a, sku: s, unit: u, model: unit, unit_price: "1", effective_to: "2026-03-01T12:30:00Z"}
  - {id: b, sku: s, unit: u, model: unit, unit_price: "2", effective_from: "2026-03-01T12:30:00Z"}
"""
DAILY = 'meters:\n  - {id: m, event: e, sku: s, unit: u, aggregation: sum, window: day, timezone: Europe/Berlin}\n'


def test_a_price_that_begins_within_a_window_is_named_with_the_windows_around() -> None:
    (entry, first), (its, second) = misaligned(parse_tariff(BOOK, "b"), 3_600)
    assert (entry, its) == (("prices", "a"), ("prices", "b"))
    assert first.startswith("price `a` ends at 2026-03-01T12:30:00Z")
    assert second.startswith("price `b` begins at 2026-03-01T12:30:00Z")
    assert "2026-03-01T12:00:00Z or 2026-03-01T13:00:00Z" in second


def test_where_windows_are_shorter_nothing_is_wrong() -> None:
    assert misaligned(parse_tariff(BOOK, "b"), 1_800) == []


def test_windows_of_a_meter_are_those_of_its_zone() -> None:
    at = "2026-02-28T23:00:00Z"  # midnight in Berlin
    book = BOOK.replace("2026-03-01T12:30:00Z", at)
    assert misaligned(parse_tariff(DAILY + book, "b"), 3_600) == []
    book = BOOK.replace("2026-03-01T12:30:00Z", "2026-03-01T00:00:00Z")
    assert len(misaligned(parse_tariff(DAILY + book, "b"), 3_600)) == 2
