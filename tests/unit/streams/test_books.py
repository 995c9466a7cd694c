"""What a worker makes of the topic of prices: the book in force, and the draft beside it, which never takes its place."""

from __future__ import annotations

import msgspec
import pytest
from ratemill.schemas.errors import Unavailable
from ratemill.streams.config import Config
from ratemill.streams.prices_topic import Books, PublishedBook


def text(price: str) -> str:
    return f'currency: USD\nprices:\n  - {{id: a, sku: s, unit: GB, model: unit, unit_price: "{price}"}}\n'


def read(*records: tuple[str, bool]) -> Books:
    """Books that have seen these records: (price or "" for the end of a draft, whether it is a draft)."""
    books = Books(Config())
    for number, (price, draft) in enumerate(records):
        books._take(b"k", msgspec.json.encode(PublishedBook(text(price) if price else "", "b.yaml", "me", "r", number, draft)))
    return books


def prices(books: Books) -> tuple[str | None, str | None]:
    return tuple(None if book is None else str(book.book.prices[0].tiers[0].unit_price) for book in (books.latest, books.draft))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], (None, None)),
        ([("1", False)], ("1", None)),
        ([("1", False), ("2", True)], ("1", "2")),
        ([("2", True)], (None, "2")),  # before anything is in force: usage is unpriced, and the draft says what it would cost
        ([("1", False), ("2", True), ("3", True)], ("1", "3")),
        ([("1", False), ("2", True), ("4", False)], ("4", "2")),
        ([("1", False), ("2", True), ("", True)], ("1", None)),
        ([("1", False), ("2", True), ("2", False)], ("2", None)),  # it is in force now
        ([("1", False), ("1", True)], ("1", None)),  # nothing to compare
        ([("1", False), ("2", True), ("", True), ("2", True)], ("1", "2")),
        ([("1", False), ("2", False), ("1", False)], ("1", None)),
    ],
)
def test_the_live_book_and_the_draft(records: list[tuple[str, bool]], expected: tuple[str | None, str | None]) -> None:
    assert prices(read(*records)) == expected


def test_what_cannot_be_read_changes_nothing() -> None:
    books = read(("1", False), ("2", True))
    for value in (None, b"{", msgspec.json.encode(PublishedBook("currency: X", "b.yaml", "me", "r", 9, True))):
        books._take(b"k", value)
    assert prices(books) == ("1", "2")


def test_records_from_before_there_were_drafts_are_read() -> None:
    books = Books(Config())
    books._take(b"k", msgspec.json.encode({"text": text("1"), "name": "b", "author": "me", "reason": "r", "published_at_ns": 1}))
    assert prices(books) == ("1", None)


def test_every_version_can_be_had_by_its_digest() -> None:
    books = read(("1", False), ("2", True), ("3", False))
    for price in ("1", "2", "3"):
        digest = next(digest for digest, book in books._parsed.items() if book.book.prices and str(book.book.prices[0].tiers[0].unit_price) == price)
        assert books.get(digest).digest == digest
    with pytest.raises(Unavailable):
        books.get("0" * 64)
