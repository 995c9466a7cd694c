"""The comparison of both sides, also while the pipeline runs on."""

from __future__ import annotations

from typing import Any

import pytest
from ratemill.cli.reconciling import Comparison, Group, month_of

MONTH = {"BillingPeriodStart": "2026-11-01T00:00:00Z", "BillingPeriodEnd": "2026-12-01T00:00:00Z"}


def item(id: str, revision: int = 1, billed: str = "1.5", account: str = "acme", **more: Any) -> dict[str, Any]:
    return {"x_LineItemId": id, "x_Revision": revision, "BillingAccountId": account, "BillingCurrency": "USD", "BilledCost": billed, **MONTH, **more}


def compared(rated: list[dict[str, Any]], indexed: list[dict[str, Any]], since: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    found = Comparison()
    for take, items in ((found.rated, rated), (found.indexed, indexed), (found.rated_since, since or [])):
        for one in items:
            take(one)
    return found.document()


def test_the_highest_revision_counts_in_any_order_of_fields() -> None:
    both = [item("a", 2, "2"), item("b", 1, "3")]
    outcome = compared([item("a", 1), *both, item("a", 1)], [dict(reversed(one.items())) for one in both])
    assert (outcome["differences"], outcome["line_items"], outcome["groups"]) == (0, 2, 1)


@pytest.mark.parametrize(
    ("indexed", "what", "amounts"),
    [
        ([], "missing", ("1.5", "0")),
        ([item("a", 1, "9")], "other", ("1.5", "9")),
        ([item("a", 1, SkuId="x")], "other", ("1.5", "1.5")),
        ([item("a", 0)], "other", ("1.5", "1.5")),
        ([item("a", 2)], "other", ("1.5", "1.5")),  # a revision that was never rated
        ([item("a"), item("z", 1, "4")], "extra", ("0", "4")),
    ],
)
def test_each_kind_of_difference_is_found(indexed: list[dict[str, Any]], what: str, amounts: tuple[str, str]) -> None:
    outcome = compared([item("a")], indexed)
    (row,) = outcome["rows"]
    assert (outcome["differences"], row[what], row["rated"], row["elasticsearch"]) == (1, 1, *amounts)


def test_what_is_rated_meanwhile_is_no_difference() -> None:
    later = [item("a", 2, "2"), item("new", 1, "7")]
    assert compared([item("a")], later, later)["differences"] == 0
    assert compared([item("a")], later, [item("a", 2, "2"), item("new", 1, "8")])["differences"] == 1  # but it must be the same


def test_differences_are_told_by_account_month_and_currency() -> None:
    outcome = compared([item("a"), item("b"), item("c", account="globex")], [])
    assert [(row["account"], row["period"], row["missing"], row["rated"]) for row in outcome["rows"]] == [
        ("acme", "2026-11", 2, "3"), ("globex", "2026-11", 1, "1.5"),
    ]  # fmt: skip


def test_one_month_alone() -> None:
    found = Comparison("2026-11")
    other = item("x") | {"BillingPeriodStart": "2026-10-01T00:00:00Z", "BillingPeriodEnd": "2026-11-01T00:00:00Z"}
    found.rated(other)
    found.rated(item("a"))
    assert found.differences().keys() == {Group("acme", "2026-11", "USD")}


def test_a_month_of_another_zone_is_that_of_its_middle() -> None:
    assert month_of({"BillingPeriodStart": "2026-10-31T11:00:00Z", "BillingPeriodEnd": "2026-11-30T11:00:00Z"}) == "2026-11"
