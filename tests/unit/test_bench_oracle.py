"""The bench's oracle and the shape of its usage: hand-made cases, and faults that it must notice."""

from __future__ import annotations

import ast
import inspect
import json
from decimal import Decimal

import pytest
from ratemill.bench import oracle, shape
from ratemill.bench.latency import percentile
from ratemill.bench.oracle import Expected, Item, SkuVariance, Variance, compare, compare_variances, cost_of, expect, latest
from ratemill.pricing.book import parse_price_book

GRADUATED = (("10", "0.5"), ("20", "0.25"), (None, "0.125"))
PRICES = {"sku": GRADUATED}


def event(id_: str, quantity: str, at: str = "2026-03-01T10:15:00.000Z", account: str = "a") -> bytes:
    return json.dumps({"source": "s", "id": id_, "subject": account, "time": at, "data": {"sku": "sku", "quantity": quantity}}).encode()


def item(id_: str, quantity: str, unit_price: str, cost: str, start: str = "2026-03-01T10:00:00Z", revision: int = 1, **more: bool) -> Item:
    return Item(id_, revision, "a", "sku", start, cost, unit_price, quantity, **more)


@pytest.mark.parametrize(
    ("quantity", "cost"),
    [("0", "0"), ("4", "2"), ("10", "5"), ("10.001", "5.00025"), ("20", "7.5"), ("28", "8.5")],
)
def test_each_unit_costs_what_its_tier_says(quantity: str, cost: str) -> None:
    assert cost_of(GRADUATED, Decimal(quantity)) == Decimal(cost)


def test_a_price_for_everything_is_one_tier() -> None:
    assert cost_of(((None, "0.011"),), Decimal("12.345")) == Decimal("0.135795")


def test_duplicates_are_dropped_and_windows_counted() -> None:
    later, next_month = event("3", "1", "2026-03-01T11:00:00.000Z"), event("4", "1", "2026-04-01T00:00:00.000Z")
    expected = expect([event("1", "4"), event("2", "6.5"), event("1", "4"), later, next_month])
    assert (expected.received, expected.duplicates, expected.windows) == (5, 1, 3)
    assert expected.groups == {"a sku 2026-03": (Decimal("11.5"), 2), "a sku 2026-04": (Decimal(1), 1)}


def test_the_same_id_of_another_source_or_account_counts() -> None:
    assert expect([event("1", "4"), event("1", "4", account="b")]).duplicates == 0


def test_the_newest_revision_counts_whatever_the_order() -> None:
    rest = {"x_LineItemId": "x", "BillingAccountId": "a", "SkuId": "sku", "ChargePeriodStart": ""}
    found = latest(json.dumps({**rest, "x_Revision": revision, "BilledCost": str(revision)}).encode() for revision in (1, 12, 3))
    assert (found.written, [i.cost for i in found.items.values()]) == (3, ["12"])


RIGHT = [item("1", "10", "0.5", "5"), item("2", "1.5", "0.25", "0.375")]
TRUTH = expect([event("1", "4"), event("2", "7.5")])


def test_line_items_that_add_up_agree() -> None:
    assert compare(TRUTH, PRICES, RIGHT) == []
    assert compare(TRUTH, PRICES, [*RIGHT, item("3", "0", "0.25", "0", "2026-03-01T09:00:00Z", withdrawn=True)]) == []


@pytest.mark.parametrize(
    ("what", "items"),
    [
        ("a lost line item", RIGHT[:1]),
        ("no line item at all", []),
        ("a line item too many", [*RIGHT, item("3", "1", "0.25", "0.25")]),
        ("usage at the price of another tier", [item("1", "11.5", "0.5", "5.75")]),
        ("the last digit of a quantity", [RIGHT[0], item("2", "1.500000000001", "0.25", "0.37500000000025")]),
        ("a cost that is not quantity times price", [RIGHT[0], item("2", "1.5", "0.25", "0.376")]),
        ("another window", [RIGHT[0], item("2", "1.5", "0.25", "0.375", "2026-03-01T11:00:00Z")]),
        ("an unpriced line item", [RIGHT[0], item("2", "1.5", "0.25", "0.375", unpriced=True)]),
        ("a withdrawn line item that costs", [*RIGHT, item("3", "1", "0.25", "0.25", withdrawn=True)]),
        ("another month", [RIGHT[0], item("2", "1.5", "0.25", "0.375", "2026-04-01T10:00:00Z")]),
    ],
)
def test_a_fault_is_noticed(what: str, items: list[Item]) -> None:
    assert compare(TRUTH, PRICES, items), what


def test_many_faults_are_counted_not_listed() -> None:
    wrong = compare(expect([event("1", "1", account=f"a{n}") for n in range(100)]), PRICES, [])
    assert len(wrong) == 6
    assert wrong[-1] == "and 95 more"


def test_the_oracle_uses_nothing_of_ratemill() -> None:
    for module in (oracle, shape):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module.__name__} imports {node.module} of Ratemill"
                assert not (node.module or "").startswith("ratemill")


def test_the_shape_is_that_of_the_bench() -> None:
    kind = shape.Shape(60_000, 3)
    end_s = shape.last_hour(1_780_000_000)
    made = [e for chunk in shape.events(kind, end_s) for e in chunk]
    assert made == [e for chunk in shape.events(kind, end_s) for e in chunk], "the same seed, the same events"
    assert len(made) == 60_000
    decoded = [json.loads(value) for _, value in made]
    assert all(account == e["subject"] for (account, _), e in zip(made, decoded, strict=True))
    assert len({e["data"]["sku"] for e in decoded}) == 20
    assert 4_990 <= len({e["subject"] for e in decoded}) <= shape.ACCOUNTS
    by_id: dict[str, bytes] = {}
    for (_, value), e in zip(made, decoded, strict=True):
        assert by_id.setdefault(e["id"], value) == value, "a duplicate is exact"
    assert 0.017 < 1 - len(by_id) / len(made) < 0.023
    times = [e["time"] for e in decoded]
    assert max(times) <= "2026-05-28T20:00:00.000Z"
    assert times != sorted(times)


def test_a_duplicate_repeats_one_of_the_hundred_thousand_before() -> None:
    first: dict[bytes, int] = {}
    last: dict[bytes, int] = {}
    farthest = 0
    at = 0
    for chunk in shape.events(shape.Shape(400_000, 5), shape.last_hour(1_780_000_000)):
        for _, value in chunk:
            if value in first:
                # It may repeat a repetition, so the nearest earlier one is what must be in reach.
                farthest = max(farthest, at - last[value])
            first.setdefault(value, at)
            last[value] = at
            at += 1
    assert 90_000 < farthest <= shape.DUPLICATE_REACH


def test_the_price_book_says_what_the_oracle_assumes() -> None:
    book = parse_price_book(shape.price_book(), "bench.yaml")
    assert len(book.prices) == 20
    for sku in shape.PRICES:
        (price,) = book.series(sku.name, sku.unit)
        assert [(t.upper, t.unit_price) for t in price.tiers] == [(None if up is None else Decimal(up), Decimal(each)) for up, each in sku.tiers]


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 201)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([3.0], 0.99)) == (100.0, 198.0, 3.0)


def test_a_wrong_shadow_is_noticed() -> None:
    """Both sides of a variance are what the total quantity costs under the book, and none is missing."""
    expected = Expected(2, 0, {"a s 2026-11": (Decimal(10), 2)})
    live, draft = {"s": ((None, "2"),)}, {"s": (("4", "2"), (None, "1"))}

    def found(*rows: SkuVariance) -> list[str]:
        return compare_variances(expected, live, draft, [Variance("a", "2026-11", list(rows))])

    assert found(SkuVariance("s", "20", "14")) == []
    assert found(SkuVariance("s", "20", "14.0000001"))
    assert found(SkuVariance("s", "21", "14"))
    assert found()
