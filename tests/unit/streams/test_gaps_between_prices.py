"""Usage in a gap between two prices of a month has no price; usage before and behind it has, live and by definition alike."""

from __future__ import annotations

from ratemill.pricing.book import parse_price_book
from ratemill.pricing.money import money
from ratemill.schemas.line_item import decode_line_item
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.core.segments import Rates
from ratemill.streams.core.state import PartitionState, Settings
from ratemill.streams.core.store import MemoryStore
from ratemill.streams.core.sweep import definition

MARCH = 1_772_323_200  # 2026-03-01T00:00:00Z
BOOK = parse_price_book(
    """
currency: USD
prices:
  - {id: first, sku: s, unit: u, model: unit, unit_price: "1", effective_from: 2026-03-01T10:00:00Z, effective_to: 2026-03-01T20:00:00Z}
  - {id: second, sku: s, unit: u, model: unit, unit_price: "2", effective_from: 2026-03-02T00:00:00Z, effective_to: 2026-03-02T10:00:00Z}
""",
    "book.yaml",
)


def test_the_gaps_and_nothing_else_are_unpriced() -> None:
    store, state = MemoryStore(), None
    rates = Rates(BOOK, 3_600)
    state = PartitionState(store, rates, Settings())
    state.add([UsageEvent("a", "src", f"e{hour}", "s", (MARCH + hour * 3_600) * 10**9, money(1), "u") for hour in range(48)])
    effects = state.seal(MARCH, 1)
    live = {key.decode(): decode_line_item(value) for key, value in effects.line_items}
    store.apply(effects)
    state.committed()
    defined = {item.x_line_item_id: item for item in definition(store, rates)}
    for items in (live, defined):
        costs = {item.charge_period_start[8:13]: None if item.x_unpriced else item.billed_cost for item in items.values()}
        wanted = {hour: "1" if 10 <= hour < 20 else "2" if 24 <= hour < 34 else None for hour in range(48)}
        assert costs == {f"{1 + hour // 24:02d}T{hour % 24:02d}": cost for hour, cost in wanted.items()}
