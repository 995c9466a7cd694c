"""Which events count for a line item, and on which page they stand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.cli.explaining.tally import Tally
from ratemill.pricing.money import money
from ratemill.schemas.control import Origin
from ratemill.schemas.usage_event import UsageEvent


def event(id: str, quantity: str = "1", time: int = 0, sku: str = "s", backfill: str = "") -> UsageEvent:
    return UsageEvent("a", "src", id, sku, time, money(quantity), "u", backfill=backfill)


def at(offset: int) -> Origin:
    return Origin("usage.events", 0, offset, 0)


def worth(event: UsageEvent) -> Decimal | None:
    return event.quantity if event.sku == "s" else None


def tally(amended: Any = None, page: int = 1, size: int = 20) -> Tally:
    return Tally(worth, amended or {}, "all of s", page, size)


def test_a_second_delivery_is_a_duplicate_and_another_sku_is_nothing() -> None:
    t = tally()
    for each in (event("1", "2.50"), event("1", "2.5"), event("2", "-1"), event("3", "9", sku="other")):
        t.add(each, at(0))
    found = t.finish()
    assert (found.counted, found.duplicates, found.quantity, len(found.shown)) == (2, 1, "1.5", 2)


def test_what_is_in_the_dead_letters_is_left_out_with_a_count() -> None:
    t = tally()
    t.add(event("1"), at(0))
    t.reject(event("1", "99"))
    t.reject(event("1", "99", sku="other"))
    assert (t.finish().quantity, t.finish().rejected) == ("1", 1)


def test_a_page_is_by_time_whatever_the_order_in_the_log() -> None:
    ids = [f"{n:03d}" for n in range(45)]
    for order in (ids, ids[::-1]):
        t = tally(page=2, size=20)
        for id in order:
            t.add(event(id, time=int(id) // 2), at(int(id)))
        found = t.finish()
        assert [each.id for each in found.shown] == ids[20:40]
        assert (found.pages, found.counted, [each.offset for each in found.shown[:2]]) == (3, 45, [20, 21])


def test_only_a_page_is_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr("ratemill.cli.explaining.tally.SLACK", 10)
    t = tally(page=3, size=5)
    for n in range(2_000):
        t.add(event(f"{(n * 37) % 2_000:04d}", time=(n * 37) % 2_000), at(n))
        assert len(t._held) <= 2 * 15 + 10
    assert [each.id for each in t.finish().shown] == ["0010", "0011", "0012", "0013", "0014"]


def test_an_event_of_a_reverted_backfill_counts_no_more_but_may_come_once_more() -> None:
    reverted = {"old": {"usage.events": 10}}
    t = tally()
    t.take(event("1", backfill="old"), at(3), at(3), reverted)
    t.take(event("1"), at(4), at(4), reverted)  # a duplicate then, and nothing now
    t.take(event("2"), at(5), at(5), reverted)
    t.take(event("2", backfill="old"), at(6), at(6), reverted)  # was a duplicate of a live event: that one stays
    assert (t.quantity, t.events.reverted, t.events.duplicates) == (1, 1, 1)
    t.take(event("1", backfill="new"), at(11), at(11), reverted)
    assert (t.quantity, t.events.counted) == (2, 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 4))
def test_pages_are_a_partition_of_what_counts(sent: list[int], size: int) -> None:
    """Every event is on exactly one page, once."""
    seen: list[tuple[str, str]] = []
    pages = 1
    page = 0
    while page < pages:
        page += 1
        t = tally(page=page, size=size)
        for number in sent:
            t.add(event(str(number), time=number), at(0))
        found = t.finish()
        pages = found.pages
        seen += [(each.time, each.id) for each in found.shown]
    assert [id for _, id in seen] == [str(n) for n in sorted(set(sent))]
