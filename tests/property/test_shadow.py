"""Shadow rating: what it says of every account and month is the difference of two definitions, to the last digit.

Every strategy draws usage that comes, goes and changes in any order, cut into commits, with restarts (all memory lost, the store
kept), a sweep that begins somewhere in between and goes on in small steps, and books that change under way. The definitions
rate the usage that is left at the end, once by each book.
"""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal, localcontext
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.cli.prices_rating import carry_credits
from ratemill.cli.prices_usage import Usage, group_of_key
from ratemill.pricing.book import EMPTY_BOOK, PriceBook, parse_price_book
from ratemill.pricing.money import EXACT, ZERO, money, plain
from ratemill.schemas.variance import STATUS_KEY, ShadowStatus, Variance, decode_status, decode_variance, variance_key
from ratemill.streams.core import tallies
from ratemill.streams.core.account_tallies import AccountTallies
from ratemill.streams.core.comparison import CostKey, Spent, spend
from ratemill.streams.core.corrections import Closed
from ratemill.streams.core.entries import Change, encode_usage
from ratemill.streams.core.items import GroupKey, entry_key, group_prefix
from ratemill.streams.core.segments import Rates
from ratemill.streams.core.shadow import Shadow
from ratemill.streams.core.store import ENTRY, SHADOW, Effects, MemoryStore
from ratemill.streams.core.sweep import definition

MARCH = 1_772_323_200  # 2026-03-01T00:00:00Z
MONTH = 2026 * 12 + 2

PRICES = """
  - {id: unit, sku: s.unit, unit: u, model: unit, unit_price: "0.017", free: "3"}
  - id: graduated
    sku: s.graduated
    unit: u
    model: graduated
    tiers: [{up_to: "5", unit_price: "3"}, {up_to: "5.5", unit_price: "2"}, {up_to: "20", unit_price: "1.25", flat_price: "7"}, {unit_price: "0.5"}]
  - {id: daily, sku: s.daily, unit: u, model: graduated, accumulate: day, tiers: [{up_to: "4", unit_price: "3"}, {unit_price: "2"}]}
  - {id: volume, sku: s.volume, unit: u, model: volume, tiers: [{up_to: "5", unit_price: "3"}, {up_to: "15", unit_price: "2"}, {unit_price: "1"}]}
  - {id: package, sku: s.package, unit: u, model: package, package_size: "4", package_price: "1.5", free: "2"}
  - {id: rounded, sku: s.rounded, unit: u, model: unit, unit_price: "0.333", minimum: "2", rounding: {digits: 2}}
  - {id: first, sku: s.changing, unit: u, model: unit, unit_price: "1", effective_to: "2026-03-02T00:00:00Z"}
  - {id: second, sku: s.changing, unit: u, model: unit, unit_price: "2", effective_from: "2026-03-02T05:00:00Z"}
  - id: matrix
    sku: s.matrix
    unit: u
    model: matrix
    dimensions: [region]
    cells: [{match: {region: eu}, unit_price: "2"}, {match: {region: us}, unit_price: "3"}]
    minimum: "4"
  - {id: dynamic, sku: s.dynamic, unit: u, model: dynamic, price_field: price}
"""
# What each SKU becomes in the draft: other amounts, other models, other stretches; s.new has a price there only, s.package none.
DRAFT_PRICES = """
  - {id: unit, sku: s.unit, unit: u, model: unit, unit_price: "0.019", free: "4"}
  - id: graduated
    sku: s.graduated
    unit: u
    model: graduated
    accumulate: hour
    tiers: [{up_to: "1.5", unit_price: "3"}, {unit_price: "0.75"}]
  - {id: daily, sku: s.daily, unit: u, model: volume, tiers: [{up_to: "40", unit_price: "2.5"}, {unit_price: "2"}]}
  - {id: volume, sku: s.volume, unit: u, model: graduated, accumulate: day, tiers: [{up_to: 5, unit_price: "3"}, {unit_price: "1", flat_price: 3}]}
  - {id: rounded, sku: s.rounded, unit: u, model: unit, unit_price: "0.334", effective_from: "2026-03-02T12:00:00Z", rounding: {digits: 1}}
  - {id: first, sku: s.changing, unit: u, model: unit, unit_price: "1", effective_to: "2026-03-01T20:00:00Z"}
  - {id: second, sku: s.changing, unit: u, model: unit, unit_price: "2", effective_from: "2026-03-02T00:00:00Z"}
  - id: matrix
    sku: s.matrix
    unit: u
    model: matrix
    dimensions: [region]
    cells: [{match: {region: us}, unit_price: "2.5"}, {match: {region: "*"}, unit_price: "1"}]
  - {id: new, sku: s.new, unit: u, model: unit, unit_price: "5"}
  - {id: dynamic, sku: s.dynamic, unit: u, model: dynamic, price_field: price, markup: "1.07"}
"""
# Terms of accounts: `a` has a price and a currency of its own, and credits that expire inside a month and last into the next one.
TERMS = """
  - {id: unit-a, sku: s.unit, unit: u, model: unit, unit_price: "0.01", accounts: [a], effective_from: "2026-03-02T00:00:00Z"}
exchange_rates: [{currency: EUR, rate: "0.92"}]
adjustments:
  - {id: pool, type: allowance, skus: [s.graduated], unit: u, quantity: "2"}
  - {id: partner, type: discount, percent: "10", skus: [s.volume, s.unit]}
  - {id: least, type: minimum_spend, amount: "9"}
  - {id: support, type: uplift, percent: "7.5", of: all}
  - {id: pay, type: credits}
accounts:
  - {account: a, currency: EUR}
  - account: b
    recurring: [{id: platform, sku: acme.platform, amount: "20"}]
    credits: [{id: g, amount: "50", effective_from: 2026-03-02T00:00:00Z, expires: 2026-04-21T00:00:00Z}]
"""
DRAFT_TERMS = """
  - {id: daily-b, sku: s.daily, unit: u, model: unit, unit_price: "0.4", accounts: [b], effective_to: "2026-03-02T07:00:00Z"}
adjustments:
  - {id: partner, type: discount, percent: "12.5"}
  - {id: pay, type: credits}
  - {id: cents, type: rounding, digits: 2}
accounts:
  - account: b
    credits: [{id: g, amount: "30", effective_from: 2026-03-02T00:00:00Z, expires: 2026-03-02T11:00:00Z}]
"""
SKUS = ["s.unit", "s.graduated", "s.daily", "s.volume", "s.package", "s.rounded", "s.changing", "s.matrix", "s.dynamic", "s.new"]
LIVE = parse_price_book("currency: USD\nprices:" + PRICES, "live.yaml")
DRAFT = parse_price_book("currency: USD\nprices:" + DRAFT_PRICES, "draft.yaml")
LIVE_TERMS = parse_price_book("currency: USD\nprices:" + PRICES + TERMS, "live.yaml")
DRAFT_TERMS_BOOK = parse_price_book("currency: USD\nprices:" + DRAFT_PRICES + DRAFT_TERMS, "draft.yaml")
BOOKS = {
    "prices": (LIVE, DRAFT), "terms": (LIVE_TERMS, DRAFT_TERMS_BOOK), "terms in the draft": (LIVE, DRAFT_TERMS_BOOK),
    "terms that go": (LIVE_TERMS, DRAFT),
}  # fmt: skip


def rates(book: PriceBook) -> Rates:
    return Rates(book, 3_600)


class Step(NamedTuple):
    """One window gets a quantity, or goes (None)."""

    account: str
    sku: str
    hour: int
    region: str
    quantity: str | None


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["a", "a2", "b"]),
        st.sampled_from(SKUS),
        st.one_of(st.integers(0, 50), st.integers(744, 800)),  # March, and some of April
        st.sampled_from(["", "eu", "us"]),
        st.sampled_from([None, "0", "0.25", "1", "3", "7.125", "0.000001", "-1"]),
    ),
    max_size=40,
)


class Partition:
    """A store with usage, the topic of variances, and a shadow that may be lost at any time."""

    def __init__(self, live: PriceBook, draft: PriceBook | None, closed: int = 0) -> None:
        self.store = MemoryStore()
        self.topic: dict[bytes, bytes] = {}
        self.live, self.draft, self.closed = rates(live), None if draft is None else rates(draft), closed
        self.tells = True
        self.shadow = self.started()

    def started(self) -> Shadow:
        return Shadow(self.store, self.live, self.draft, Closed(self.closed, self.live), 77, cached_atoms=6)

    def use(self, live: PriceBook, draft: PriceBook | None, closed: int = 0) -> None:
        """Other books, as the lane would take them over."""
        self.live, self.draft, self.closed = rates(live), None if draft is None else rates(draft), closed
        if not self.shadow.of(self.live, self.draft, closed):
            self.shadow = self.started()

    def commit(self, puts: list[tuple[bytes, bytes | None]]) -> None:
        effects = self.shadow.effects(self.tells)
        self.store.apply(Effects((), [*puts, *effects.puts], {}, 0, []))
        for key, value in effects.records:
            if value is None:
                self.topic.pop(key, None)
            else:
                self.topic[key] = value
        self.shadow.committed()

    def rate(self, batch: list[Step]) -> None:
        """One commit of usage."""
        puts: list[tuple[bytes, bytes | None]] = []
        changes: dict[GroupKey, list[Change]] = {}
        now: dict[tuple[GroupKey, bytes], str | None] = {}
        for step in batch:
            start = MARCH + step.hour * 3_600
            key = GroupKey(step.account, step.sku, "u", rates(EMPTY_BOOK).default.month_of(start))
            dimensions = f'{{"price":"{len(step.region)}.25"}}' if step.sku == "s.dynamic" and step.region != "eu" else ""
            now[key, entry_key(start, step.region, "", dimensions)] = step.quantity
        for (group, entry), quantity in now.items():
            stored = self.store.get(ENTRY + group_prefix(group) + entry)
            before = money(stored.split(b"\0")[0].decode()) if stored else None
            after = None if quantity is None else money(quantity)
            if before is None and after is None:
                continue
            changes.setdefault(group, []).append((entry, before, after))
            puts.append((ENTRY + group_prefix(group) + entry, b"" if after is None else encode_usage((after, ""))))
        with localcontext(EXACT):
            for group, its in changes.items():
                if self.shadow.wants(group):
                    self.shadow.change(group, its)
        self.commit(puts)

    def sweep(self, limit: int) -> None:
        self.shadow.sweep(limit)
        self.commit([])

    def finish(self) -> None:
        self.tells = True
        while self.shadow.busy:
            self.sweep(3)
        self.commit([])

    @property
    def status(self) -> ShadowStatus:
        return decode_status(self.topic[STATUS_KEY])

    def variances(self) -> dict[tuple[str, str], Variance]:
        found = [decode_variance(value) for key, value in self.topic.items() if key != STATUS_KEY]
        assert {variance_key(v.account, v.period) for v in found} == self.topic.keys() - {STATUS_KEY}
        return {(v.account, v.period): v for v in found}


def defined(store: MemoryStore, book: Rates) -> dict[tuple[str, str, CostKey], Spent]:
    """By definition: cost by account, month and SKU."""
    found: dict[tuple[str, str], dict[CostKey, Spent]] = {}
    for item in definition(store, book):
        spend(found.setdefault((item.billing_account_id, item.billing_period_start[:7]), {}), [item])
    return {(*month, key): spent for month, costs in found.items() for key, spent in costs.items()}


def said(variances: dict[tuple[str, str], Variance], side: str) -> dict[tuple[str, str, CostKey], Spent]:
    """The same, from the records."""
    found: dict[tuple[str, str, CostKey], Spent] = {}
    with localcontext(EXACT):
        for (account, period), variance in variances.items():
            for row in [*variance.skus, *variance.adjustments]:
                key = account, period, CostKey(account, row.sku, getattr(variance, f"{side}_currency"))
                found[key] = found.get(key, Spent()).plus(money(getattr(row, side)), getattr(row, f"unpriced_{side}", 0))
            total = sum((money(getattr(row, side)) for row in [*variance.skus, *variance.adjustments]), ZERO)
            assert plain(total) == getattr(variance, side)
    return found


def check(partition: Partition) -> None:
    """The records are the two definitions; in between, nothing but what has neither cost nor line items."""
    variances = partition.variances()
    assert partition.draft is not None
    for side, book in (("live", partition.live), ("draft", partition.draft)):
        wanted = {key: spent for key, spent in defined(partition.store, book).items() if spent != Spent()}
        got = {key: spent for key, spent in said(variances, side).items() if spent != Spent()}
        assert got == wanted, side
    assert partition.status.complete
    assert not partition.status.untold
    assert all(v.live_book == partition.live.digest and v.draft_book == partition.draft.digest for v in variances.values())


def deliver(partition: Partition, drawn: list[Step], rng: random.Random) -> None:
    """Commits of some steps each, with restarts and steps of the sweep in between."""
    while drawn:
        count = rng.randrange(1, 8)
        partition.tells = rng.random() < 0.4
        partition.rate(drawn[:count])
        drawn = drawn[count:]
        if rng.random() < 0.3:
            partition.shadow = partition.started()
        if partition.shadow.busy and rng.random() < 0.6:
            partition.sweep(rng.randrange(1, 4))


@pytest.mark.parametrize("kind", BOOKS)
@settings(max_examples=60, deadline=None)
@given(before=steps, after=steps, rng=st.randoms(use_true_random=False))
def test_it_equals_the_two_definitions(kind: str, before: list[Step], after: list[Step], rng: random.Random) -> None:
    """Usage from before the draft and from after it, in any order, through any restarts."""
    live, draft = BOOKS[kind]
    partition = Partition(live, None)
    deliver(partition, before, rng)
    assert not partition.topic
    partition.use(live, draft)
    deliver(partition, after, rng)
    partition.finish()
    check(partition)


@settings(max_examples=60, deadline=None)
@given(steps, steps, st.sampled_from(["live", "draft", "both"]), st.randoms(use_true_random=False))
def test_when_a_book_changes_it_is_made_anew(before: list[Step], after: list[Step], which: str, rng: random.Random) -> None:
    """Also in the middle of a sweep."""
    partition = Partition(LIVE, DRAFT)
    deliver(partition, before, rng)
    other = parse_price_book('currency: USD\nprices:\n  - {id: x, sku: s.unit, unit: u, model: unit, unit_price: "9"}\n', "x")
    partition.use(other if which != "draft" else LIVE, other if which == "draft" else LIVE if which == "both" else DRAFT)
    deliver(partition, after, rng)
    partition.finish()
    check(partition)


@settings(max_examples=60, deadline=None)
@given(steps, steps, st.booleans(), st.randoms(use_true_random=False))
def test_when_it_is_stopped_nothing_is_left(before: list[Step], after: list[Step], finished: bool, rng: random.Random) -> None:
    partition = Partition(LIVE, DRAFT)
    deliver(partition, before, rng)
    if finished:
        partition.finish()
    partition.use(LIVE, None)
    deliver(partition, after, rng)
    partition.finish()
    assert partition.store.between(SHADOW, SHADOW + b"\xff" * 9) == []
    assert partition.variances() == {}
    assert STATUS_KEY not in partition.topic or partition.status.draft_book == ""


def one_of_each() -> list[Step]:
    regions = ["", "eu", "us"]
    return [Step("a", sku, hour, regions[hour % 3], "3.5") for sku in SKUS for hour in (1, 20, 30, 46, 750)]


def test_every_sku_differs_somewhere() -> None:
    """Else the tests above would compare equal things."""
    partition = Partition(LIVE, DRAFT)
    partition.finish()
    partition.rate(one_of_each())
    check(partition)
    differing = {row.sku for v in partition.variances().values() for row in v.skus if row.live != row.draft}
    assert differing == set(SKUS)


def test_adjustments_currencies_and_credits_are_compared_too() -> None:
    partition = Partition(LIVE_TERMS, DRAFT_TERMS_BOOK)
    partition.finish()
    partition.rate([step._replace(account=name) for name in "ab" for step in one_of_each()])
    check(partition)
    found = partition.variances()
    assert {(v.live_currency, v.draft_currency) for v in found.values() if v.account == "a"} == {("EUR", "USD")}
    seen = {(row.adjustment, row.live != "0", row.draft != "0") for v in found.values() for row in v.adjustments}
    assert {("support", True, False), ("cents", False, True), ("partner", True, True), ("pay", True, True), ("pool", True, False)} <= seen
    # What a credit paid in March is gone in April.
    april = {row.adjustment for row in found["b", "2026-04"].adjustments if row.live != "0"}
    assert "pay" not in april


def _forgetful(patch: pytest.MonkeyPatch) -> None:
    real = Shadow.__init__

    def init(self: Shadow, *args: object, **options: object) -> None:
        real(self, *args, **options)  # type: ignore[arg-type]
        self._telling = b""

    patch.setattr(Shadow, "__init__", init)


BROKEN = {
    "what was not told before a restart is forgotten": _forgetful,
    "the sweep counts what was counted already": lambda patch: patch.setattr(Shadow, "wants", lambda self, group: self.phase != "off"),
    "usage is lost while the sweep runs": lambda patch: patch.setattr(Shadow, "wants", lambda self, group: self.phase == "follow"),
    "windows that go are not noticed": lambda patch: patch.setattr(
        AccountTallies, "change", lambda self, group, changes, real=AccountTallies.change: real(self, group, [c for c in changes if c[2] is not None])
    ),
    "atoms ignore the stretches of the draft": lambda patch: patch.setattr(
        tallies, "_atom_key", lambda start, live, draft, real=tallies._atom_key: real(min(start, (MARCH + 86_400).to_bytes(8, "big")), live, draft)
    ),
}


@pytest.mark.parametrize("broken", [None, *BROKEN])
def test_the_check_can_fail(broken: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative controls: each way of being wrong is noticed; without any of them the same run passes."""
    if broken:
        BROKEN[broken](monkeypatch)
    partition = Partition(LIVE, None)
    partition.rate(one_of_each())
    partition.rate([step._replace(account=name) for step in one_of_each() for name in ("b", "c")])
    partition.use(LIVE, DRAFT)
    for hour in range(8):
        partition.rate([Step(name, sku, hour, "eu", "2") for name in ("a", "b", "c") for sku in SKUS])
        if partition.shadow.busy:
            partition.sweep(4)
    partition.finish()
    partition.tells = False
    partition.rate([step._replace(quantity=None) for step in one_of_each() if step.hour == 30])
    assert partition.status.untold
    partition.shadow = partition.started()
    partition.finish()
    if broken is None:
        check(partition)
    else:
        with pytest.raises((AssertionError, KeyError)):
            check(partition)


def test_an_account_is_told_of_only_when_all_of_it_is_in() -> None:
    """A sweep that has passed some groups of an account writes no record of it; after a restart it still comes."""
    partition = Partition(LIVE, None)
    partition.rate([Step("a", sku, 1, "eu", "2") for sku in SKUS] + [Step("b", "s.unit", 1, "", "1")])
    partition.use(LIVE, DRAFT)
    seen: Counter[int] = Counter()
    while partition.shadow.busy:
        partition.sweep(1)
        partition.shadow = partition.started()
        rows = [len(v.skus) for v in partition.variances().values() if v.account == "a"]
        assert rows in ([], [len(SKUS)])
        seen[len(rows)] += 1
    assert seen[0] >= len(SKUS)
    assert partition.status.groups == len(SKUS) + 1
    check(partition)


def test_months_that_were_closed_before_are_left_out() -> None:
    partition = Partition(LIVE, None)
    partition.rate(one_of_each())
    partition.use(LIVE, DRAFT, closed=MONTH)
    partition.finish()
    assert {period for _, period in partition.variances()} == {"2026-04"}
    assert not any(v.closed for v in partition.variances().values())
    # April is closed too: it stays in the comparison, with what is due at its end.
    partition.use(LIVE, DRAFT, closed=MONTH + 1)
    partition.rate([Step("a", "s.unit", 751, "", "9")])
    partition.finish()
    assert {(period, v.closed) for (_, period), v in partition.variances().items()} == {("2026-04", True)}
    # Another draft begins with the month that is open then.
    partition.use(LIVE, LIVE, closed=MONTH + 1)
    partition.finish()
    assert partition.variances() == {}


def test_the_begin_stays_while_the_draft_does() -> None:
    partition = Partition(LIVE, DRAFT)
    partition.finish()
    partition.rate(one_of_each())
    other = parse_price_book('currency: USD\nprices:\n  - {id: x, sku: s.unit, unit: u, model: unit, unit_price: "9"}\n', "x")
    partition.live = rates(other)
    partition.shadow = Shadow(partition.store, partition.live, partition.draft, Closed(), 99)
    partition.finish()
    assert {v.since_ns for v in partition.variances().values()} == {77}
    check(partition)
    partition.draft = rates(LIVE)
    partition.shadow = Shadow(partition.store, partition.live, partition.draft, Closed(), 99)
    partition.finish()
    assert {v.since_ns for v in partition.variances().values()} == {99}
    check(partition)


def test_a_small_change_writes_little() -> None:
    """A commit that touches one account writes one atom a window at most, and one record."""
    partition = Partition(LIVE, DRAFT)
    partition.finish()
    for number in range(50):
        partition.rate([Step(f"acct-{number}", "s.unit", 1, "", "1")])
    key = GroupKey("acct-7", "s.unit", "u", MONTH)
    partition.shadow.change(key, [(entry_key(MARCH + 7_200, "", "", ""), None, Decimal(2))])
    effects = partition.shadow.effects()
    assert [len(effects.puts), len(effects.records)] == [1, 1]


def test_keys_of_a_comparison_that_is_over_are_never_counted() -> None:
    """A disk that was away while they went, longer than a compacted topic tells of it, still holds them."""
    partition = Partition(LIVE_TERMS, DRAFT)
    partition.finish()
    partition.rate([step._replace(account=name) for name in "ab" for step in one_of_each()])
    left_behind = partition.store.between(SHADOW + b"a", SHADOW + b"p")
    partition.use(LIVE_TERMS, DRAFT_TERMS_BOOK)
    partition.finish()
    assert not set(left_behind) & set(partition.store.between(SHADOW, SHADOW + b"\xff" * 9))
    partition.store.apply(Effects((), left_behind, {}, 0, []))
    partition.shadow = partition.started()
    partition.rate([Step("a", sku, 2, "eu", "4") for sku in SKUS])
    partition.finish()
    check(partition)


@settings(max_examples=60, deadline=None)
@given(steps, steps, st.randoms(use_true_random=False))
def test_behind_a_closed_month_both_books_go_on_with_the_same_credits(before: list[Step], after: list[Step], rng: random.Random) -> None:
    """March is closed, and late usage of it still comes: it moves the credits with which April begins, under both books."""
    # A credit that March does not use up, and April does.
    terms = TERMS.replace('"50"', '"30"').replace("expires: 2026-04-21", "expires: 2026-06-01")
    live = parse_price_book("currency: USD\nprices:" + PRICES + terms, "live.yaml")
    draft = parse_price_book("currency: USD\nprices:" + DRAFT_PRICES + terms.replace("7.5", "8"), "draft.yaml")
    partition = Partition(live, None)
    deliver(partition, [*before, Step("b", "s.unit", 5, "", "3")], rng)
    partition.use(live, draft, closed=MONTH)
    after = [*after, Step("b", "s.unit", 750, "", "1")]
    deliver(partition, after, rng)
    partition.finish()
    found = partition.variances()
    assert {period for _, period in found} <= {"2026-04"}
    assert partition.draft is not None
    march, april = MemoryStore(), MemoryStore()
    for key, value in partition.store.between(ENTRY, ENTRY + b"\xff" * 9):
        group = group_of_key(key)
        (march if group is not None and group.month == MONTH else april).apply(Effects((), [(key, value)], {}, 0, []))
    carry_credits(Usage(april, march, 0, (), ""), partition.live, MONTH + 1)
    for side, book in (("live", partition.live), ("draft", partition.draft)):
        wanted = {key: spent for key, spent in defined(april, book).items() if spent != Spent()}
        assert {key: spent for key, spent in said(found, side).items() if spent != Spent()} == wanted, side
    # On the live side that is what the partition itself bills for April, corrections of March left out.
    billed: dict[CostKey, Spent] = {}
    items = definition(partition.store, partition.live, Closed(MONTH, partition.live))
    spend(billed, (item for item in items if item.billing_period_start.startswith("2026-04") and item.charge_class is None))
    assert {key: spent for (_, _, key), spent in said(found, "live").items() if spent != Spent()} == {k: s for k, s in billed.items() if s != Spent()}
