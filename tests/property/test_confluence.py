"""Invariant 1: line items are a pure function of the accepted events and the price book.

Every strategy draws events, late ones and reversals included, and two ways of delivering them: shuffled, duplicated, cut into
other batches and commits, restarted between commits (all memory lost, the store kept). Latest revisions must be byte-identical
to what the definition gives, for every price model and option.
"""

from __future__ import annotations

import random
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.pricing.book import parse_price_book
from ratemill.pricing.models import period_cost
from ratemill.pricing.money import EXACT, money
from ratemill.schemas.line_item import RatedLineItem, decode_line_item
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.core.segments import Rates
from ratemill.streams.core.state import PartitionState, Settings, written
from ratemill.streams.core.store import Effects, MemoryStore
from ratemill.streams.core.sweep import Target, definition, sweep

MARCH = 1_772_323_200  # 2026-03-01T00:00:00Z

BOOK = parse_price_book(
    """
currency: USD
prices:
  - {id: unit, sku: s.unit, unit: u, model: unit, unit_price: "0.017", free: "3"}
  - id: graduated
    sku: s.graduated
    unit: u
    model: graduated
    tiers: [{up_to: "5", unit_price: "3"}, {up_to: "5.5", unit_price: "2"}, {up_to: "20", unit_price: "1.25", flat_price: "7"}, {unit_price: "0.5"}]
  - id: daily
    sku: s.daily
    unit: u
    model: graduated
    accumulate: day
    tiers: [{up_to: "4", unit_price: "3"}, {unit_price: "2"}]
  - id: volume
    sku: s.volume
    unit: u
    model: volume
    tiers: [{up_to: "5", unit_price: "3"}, {up_to: "15", unit_price: "2", flat_price: "1"}, {unit_price: "1"}]
  - {id: package, sku: s.package, unit: u, model: package, package_size: "4", package_price: "1.5", free: "2"}
  - id: rounded
    sku: s.rounded
    unit: u
    model: graduated
    minimum: "2"
    maximum: "40"
    rounding: {digits: 2, mode: half_up, scope: period}
    tiers: [{up_to: "5", unit_price: "0.333"}, {unit_price: "3.007"}]
  - {id: first, sku: s.changing, unit: u, model: unit, unit_price: "1", effective_to: "2026-03-02T00:00:00Z"}
  - id: second
    sku: s.changing
    unit: u
    model: graduated
    effective_from: "2026-03-02T00:00:00Z"
    tiers: [{up_to: "6", unit_price: "2"}, {unit_price: "1"}]
""",
    "book.yaml",
)
SKUS = ["s.unit", "s.graduated", "s.daily", "s.volume", "s.package", "s.rounded", "s.changing", "s.unpriced"]
RATES = Rates(BOOK, 3_600)


def _event(number: int, sku: str, hour: int, quantity: str, region: str, provider: str) -> UsageEvent:
    return UsageEvent("acct", "src", f"e{number}", sku, (MARCH + hour * 3_600 + number % 3_600) * 10**9, Decimal(quantity), "u", provider, region)


readings = st.lists(
    st.tuples(
        st.sampled_from(SKUS),
        st.integers(0, 60),
        st.sampled_from(["0", "0.25", "1", "1.5", "3", "4", "7.125", "0.000001", "-1", "-4"]),
        st.sampled_from(["", "eu", "us"]),
        st.sampled_from(["", "aws", "gcp"]),
    ),
    max_size=40,
)


def fold(store: MemoryStore, deliveries: list[list[UsageEvent]], rates: Rates, restarts: set[int]) -> dict[str, RatedLineItem]:
    """Deliver batches, one commit each; forget all memory before the commits in `restarts`. Latest revision per id."""
    latest: dict[str, RatedLineItem] = {}
    state = PartitionState(store, rates, Settings(cached_entries=1_000))
    for number, batch in enumerate(deliveries):
        if number in restarts:
            state = PartitionState(store, rates, Settings(cached_entries=1_000))
        state.add(batch)
        effects = state.seal(MARCH, number + 1)
        line_items = list(effects.line_items)
        keys = [key for key, _ in line_items]
        assert len(keys) == len(set(keys)), "one commit wrote a line item twice"
        for key, value in line_items:
            item = decode_line_item(value)
            old = latest.get(key.decode())
            if old is not None:
                assert item.x_revision > old.x_revision
                old.x_revision = item.x_revision
                assert item != old, "an unchanged line item was written again"
            latest[key.decode()] = item
        store.apply(effects)
        state.committed()
    return latest


def present(items: dict[str, RatedLineItem]) -> dict[str, RatedLineItem]:
    """What a reader sees: withdrawn line items left out, revisions blanked."""
    seen = {}
    for key, item in items.items():
        if item.x_withdrawn:
            assert item.billed_cost == item.pricing_quantity == "0"
            continue
        item.x_revision = 0
        seen[key] = item
    return seen


def offline(events: list[UsageEvent], rates: Rates = RATES) -> dict[str, RatedLineItem]:
    """The definition: all events at once, every group computed from its entries alone."""
    store = MemoryStore()
    state = PartitionState(store, rates, Settings())
    state.add(events)
    effects = state.seal(MARCH, 1)
    list(effects.line_items)
    store.apply(effects)
    return {item.x_line_item_id: item for item in definition(store, rates)}


@settings(max_examples=300, deadline=None)
@given(readings, st.randoms(use_true_random=False))
def test_order_batches_duplicates_and_restarts_change_nothing(drawn: list[tuple[str, int, str, str, str]], rng: random.Random) -> None:
    """Any delivery of the same events ends in the line items of the definition."""
    events = [_event(number, *parts) for number, parts in enumerate(drawn)]
    deliveries = [*events, *rng.sample(events, len(events) // 3)]
    rng.shuffle(deliveries)
    cuts = sorted(rng.sample(range(len(deliveries) + 1), min(len(deliveries), rng.randrange(6))))
    batches = [deliveries[a:b] for a, b in zip([0, *cuts], [*cuts, len(deliveries)], strict=True)]
    live = present(fold(MemoryStore(), batches, RATES, {n for n in range(len(batches)) if rng.random() < 0.3}))
    assert live == offline(events)


@settings(max_examples=150, deadline=None)
@given(readings)
def test_sum_of_line_items_is_the_price_of_the_sum(drawn: list[tuple[str, int, str, str, str]]) -> None:
    """Invariant 3, for SKUs with one price and one accumulation period a month."""
    events = [_event(number, *parts) for number, parts in enumerate(drawn)]
    items = offline(events)
    with localcontext(EXACT):
        for price in BOOK.prices:
            if price.sku in ("s.changing", "s.daily"):
                continue
            total = sum((e.quantity for e in events if e.sku == price.sku), Decimal(0))
            used = any(e.sku == price.sku for e in events)
            cost = sum((money(i.billed_cost) for i in items.values() if i.sku_id == price.sku), Decimal(0))
            assert cost == (period_cost(price, {0: total}, used) if used else 0)
            for item in items.values():
                if item.list_unit_price is not None and item.pricing_quantity is not None:
                    assert money(item.list_unit_price) * money(item.pricing_quantity) == money(item.list_cost)


@settings(max_examples=100, deadline=None)
@given(readings, st.integers(0, 5))
def test_a_new_price_book_restates_to_what_it_would_have_been(drawn: list[tuple[str, int, str, str, str]], cut: int) -> None:
    """Usage rated under one book and restated under another equals usage rated under the other from the start."""
    events = [_event(number, *parts) for number, parts in enumerate(drawn)]
    sparse = Rates(parse_price_book('currency: USD\nprices:\n  - {id: unit, sku: s.unit, unit: u, model: unit, unit_price: "9"}\n', "b"), 3_600)
    store = MemoryStore()
    latest = fold(store, [events[:cut], events[cut:]], sparse, set())
    state = PartitionState(store, sparse, Settings())
    after, revision, done = b"", 100, False
    while not done:
        swept = sweep(state, Target(RATES, 0), after, 2, lambda account: True)
        for key, value in written(swept.items, revision := revision + 1)[0]:
            latest[key.decode()] = decode_line_item(value)
        store.apply(Effects((), swept.puts, {}, 0, []))
        after, done = swept.after, swept.done
    assert present(latest) == offline(events)


@pytest.mark.parametrize("broken", ["dedupe off", "arrival order"])
def test_the_confluence_check_can_fail(broken: str) -> None:
    """Negative controls: without deduplication, or with tiers in order of arrival, the comparison above notices."""
    events = [_event(n, "s.graduated", hour, "4", "", "") for n, hour in enumerate([9, 3, 7, 1])]
    if broken == "dedupe off":
        store = MemoryStore()
        state = PartitionState(store, RATES, Settings(deduplicate=False))
        state.add([*events, events[0]])
        live = {k.decode(): decode_line_item(v) for k, v in state.seal(MARCH, 1).line_items}
    else:
        arrived = [_event(n, "s.graduated", n, "4", "", "") for n in range(4)]  # as if arrival were chronology
        live = offline(arrived)
    assert present(live) != offline(events)
