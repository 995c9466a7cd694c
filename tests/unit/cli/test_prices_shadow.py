"""`ratemill prices shadow`, `variance` and `history` without Kafka: what they make of what was published and of the records."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from ratemill.cli.prices import command
from ratemill.cli.prices_history import history_of
from ratemill.cli.prices_shadow import pairs_of
from ratemill.pricing.money import money
from ratemill.schemas.variance import AdjustmentVariance, SkuVariance, Variance
from ratemill.streams.prices_topic import Published, PublishedBook


def published(*records: tuple[str, bool]) -> list[Published]:
    """(price of the book, "" for the end of a draft; whether it is a draft)."""
    found = []
    for number, (price, draft) in enumerate(records):
        text = f'currency: USD\nprices:\n  - {{id: a, sku: s, unit: GB, model: unit, unit_price: "{price}"}}\n' if price else ""
        record = PublishedBook(text, f"b{number}.yaml", "me", f"reason {number}", number * 10**9, draft)
        found.append(Published(record, record.tariff() if text else None))
    return found


def test_history_compares_with_what_was_in_force() -> None:
    entries = history_of(published(("1", False), ("2", True), ("3", True), ("", True), ("4", False), ("5", True)))
    assert [entry.state for entry in entries] == ["replaced", "draft", "draft", "draft ended", "in force", "draft runs"]
    assert [[detail for change in entry.changes for detail in change.details if "→" in detail] for entry in entries] == [
        [], ["tier-1 unit_price 1 → 2"], ["tier-1 unit_price 1 → 3"], [], ["tier-1 unit_price 1 → 4"], ["tier-1 unit_price 4 → 5"],
    ]  # fmt: skip
    assert [change.kind for change in entries[0].changes] == ["added", "added"], "the currency and the price"


def variance(account: str, currencies: tuple[str, str], *skus: SkuVariance) -> Variance:
    charges = [AdjustmentVariance("partner", "s", "-1", "-2"), AdjustmentVariance("cents", "", "0.1", "0")]
    return Variance(account, "2026-10", False, "l", "d", 1, *currencies, list(skus), charges, "0", "0")


def test_records_become_rows_of_the_comparison() -> None:
    rows_of_a = SkuVariance("s", "GB", "10", "12"), SkuVariance("s", "TB", "0.5", "0.25"), SkuVariance("t", "h", "0", "3", 4, 0)
    one = variance("a", ("USD", "USD"), *rows_of_a)
    other = variance("b", ("EUR", "USD"), SkuVariance("s", "GB", "1", "2"))
    rows = {(p.account, p.sku, p.currency): (p.then, p.now, p.unpriced_then, p.unpriced_now) for p in pairs_of([one, other])}
    assert rows == {
        ("a", "s", "USD"): (money("9.5"), money("10.25"), 0, 0),
        ("a", "t", "USD"): (money("0"), money("3"), 4, 0),
        ("a", "cents", "USD"): (money("0.1"), money("0"), 0, 0),
        ("b", "s", "EUR"): (money("0"), money("0"), 0, 0),
        ("b", "s", "USD"): (money("0"), money("0"), 0, 0),
        ("b", "cents", "EUR"): (money("0.1"), money("0"), 0, 0),
        ("b", "cents", "USD"): (money("0"), money("0"), 0, 0),
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["shadow", "--reason", "r"],
        ["shadow", "book.yaml", "--stop", "--reason", "r"],
        ["shadow", "book.yaml"],
        ["shadow", "book.yaml", "--reason", " "],
        ["shadow", "book.yaml", "--reason", "r", "--author", ""],
        ["variance", "--by", "region"],
        ["variance", "--period", "October"],
        ["history", "--last", "0"],
    ],
)
def test_bad_usage(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.yaml").write_text("currency: USD\nprices: []\n")
    result = CliRunner().invoke(command, arguments, env={"USER": "me"})
    assert result.exit_code == 2
    assert "Usage:" in result.output
