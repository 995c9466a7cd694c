"""Charges of the account, explained: the month from usage to what is due, step by step, worked by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from ratemill.cli.explaining.account import charge_of_account
from ratemill.schemas.control import Close
from ratemill.schemas.explanation import Explanation
from ratemill.streams.core.store import ENTRY, TALLY

TARIFF: dict[str, Any] = {
    "currency": "USD",
    "prices": [
        {"id": "a", "sku": "a", "unit": "u", "model": "unit", "unit_price": "2"},
        {"id": "b", "sku": "b", "unit": "u", "model": "unit", "unit_price": "0.5"},
    ],
    "accounts": [
        {
            "account": "a",
            "recurring": [{"id": "platform", "sku": "acme.platform", "amount": "30", "prorate": "none"}],
            "credits": [{"id": "g1", "amount": "100", "effective_from": "2026-01-01T00:00:00Z", "expires": "2027-01-01T00:00:00Z"}],
        }
    ],
    "adjustments": [
        {"id": "partner", "type": "discount", "percent": "10", "skus": ["a"]},
        {"id": "fees", "type": "recurring"},
        {"id": "support", "type": "uplift", "percent": "10", "of": "all"},
        {"id": "credits", "type": "credits"},
        {"id": "rounding", "type": "rounding", "digits": 2},
    ],
}


def steps(explanation: Explanation) -> list[tuple[str, str, str, bool]]:
    return [(step.name, step.amount, step.due, step.this) for step in explanation.arithmetic[0].steps]


@pytest.fixture
def month(rig: Any, use: Any) -> Any:
    """March: 20 of a at 2, 7 of b at 0.5. 40 + 3.5 - 4 (10 % of a) + 30 = 69.5; 10 % support 6.95: 76.45, all paid by credit."""
    r = rig(TARIFF)
    r.send(use("15", "03-01T00:00", sku="a"), use("7", "03-02T00:00", sku="b"))
    r.send(use("5", "03-03T00:00", sku="a"))
    return r


def test_the_pipeline_of_a_month(month: Any) -> None:
    found = month.explain(month.item("tier-1", x_adjustment="support"))
    assert steps(found)[:5] == [
        ("usage of a", "40", "40", False),
        ("usage of b", "3.5", "43.5", False),
        ("partner", "-4", "39.5", False),
        ("fees", "30", "69.5", False),
        ("support", "6.95", "76.45", True),
    ]
    assert found.arithmetic[0].steps[4].note == "support: 69.5 USD × 0.1"
    assert steps(found)[-1][2] == "0"
    assert (found.line_item.kind, found.line_item.adjustment, found.line_item.status) == ("account", "support", "estimate")
    assert (found.price, found.verdict) == (None, "equal")
    assert "explain the line items of its SKUs" in found.events.scope


def test_credits_open_and_close(month: Any) -> None:
    """76.45 of 100 are burned: 23.55 are left."""
    used = [item for item in month.newest().values() if item.x_adjustment == "credits" and not item.x_withdrawn]
    assert used
    for item in used:
        found = month.explain(item)
        assert [(value.name, value.value) for value in found.arithmetic[0].values] == [("credit g1", "100 → 23.55")]
        assert found.verdict == "equal"


def test_credits_of_the_next_month_open_with_what_is_left(month: Any, use: Any) -> None:
    """April: 4 of a at 2, less 10 %, are 7.2; fee 30; support 3.72: 40.92, and 23.55 of it are paid."""
    month.send(use("4", "04-01T00:00", sku="a"))
    found = month.explain(month.item("tier-1", x_adjustment="support", billing_period_start="2026-04-01T00:00:00Z"))
    assert [(value.name, value.value) for value in found.arithmetic[0].values] == [("credit g1", "23.55 → 0")]
    assert (steps(found)[-1][2], found.verdict) == ("17.37", "equal")


def test_an_open_month_after_a_close_opens_with_the_balances_of_the_close(month: Any, use: Any) -> None:
    close = Close(id="c" * 32, author="bob", reason="march is done", at_ns=0, period="2026-03")
    month.close(2026 * 12 + 2, close)
    month.send(use("4", "04-01T00:00", sku="a"))
    item = month.item("tier-1", x_adjustment="support", billing_period_start="2026-04-01T00:00:00Z")
    found = month.explain(item)
    assert [(value.name, value.value) for value in found.arithmetic[0].values] == [("credit g1", "23.55 → 0")]
    assert found.verdict == "equal"
    march = month.explain(month.item("tier-1", x_adjustment="support", billing_period_start="2026-03-01T00:00:00Z"))
    assert (march.line_item.status, march.line_item.cost, march.verdict) == ("final", "6.95", "equal")
    assert "bob: march is done" in march.line_item.status_in_words


def test_late_usage_of_a_closed_month_corrects_its_charges(rig: Any, use: Any) -> None:
    account = {"account": "a", "recurring": TARIFF["accounts"][0]["recurring"]}
    r = rig({**TARIFF, "accounts": [account], "adjustments": TARIFF["adjustments"][:3]})
    r.send(use("20", "03-01T00:00", sku="a"))
    r.close(2026 * 12 + 2, Close(id="c" * 32, author="bob", reason="done", at_ns=0, period="2026-03"))
    r.send(use("1", "03-05T00:00", sku="a"), use("1", "04-05T00:00", sku="a"))
    support = {"x_adjustment": "support", "charge_class": None}
    found = r.explain(r.item("tier-1", billing_period_start="2026-03-01T00:00:00Z", **support))
    assert [(name, amount) for name, amount, _, _ in steps(found)] == [("usage of a", "40"), ("partner", "-4"), ("fees", "30"), ("support", "6.6")]
    assert (found.line_item.status, found.verdict) == ("final", "equal")
    # April: 1 of a is 2, less 0.2; fee 30; support 3.18. The late one of March: 2 less 0.2 more, so 0.18 more of support.
    april = r.explain(r.item("tier-1", billing_period_start="2026-04-01T00:00:00Z", **support))
    assert (april.line_item.cost, april.verdict) == ("3.18", "equal")
    late = r.explain(r.item("tier-1", x_adjustment="support", charge_class="Correction"))
    assert {value.name: value.value for value in late.arithmetic[0].values} == {
        "invoiced": "66 × 0.1 = 6.6",
        "ought to have been": "67.8 × 0.1 = 6.78",
        "this correction": "1.8 × 0.1 = 0.18",
    }
    assert (late.line_item.corrects_period, late.verdict) == ("2026-03", "equal")
    assert r.tampered(r.item("tier-1", x_adjustment="support", charge_class="Correction"), pricing_quantity="2").verdict == "differs"


def test_before_an_account_is_known_nothing_is_due_of_it(rig: Any, use: Any) -> None:
    """March was closed before the account used anything: no minimum of March was ever charged, and none can be forged."""
    least = {"id": "least", "type": "minimum_spend", "amount": "5", "charge_unused": True, "due": "always"}
    r = rig({"currency": "USD", "prices": TARIFF["prices"], "adjustments": [least]})
    r.close(2026 * 12 + 2, Close(id="c" * 32, author="bob", reason="done", at_ns=0, period="2026-03"))
    r.send(use("1", "04-05T00:00", sku="a"))
    april = r.item("top-up", x_adjustment="least")
    made = charge_of_account(april, r.store, r.rates, r.state.closed)
    assert (made.item is not None, len(made.arithmetic), april.billed_cost) == (True, 1, "3")
    forged = msgspec.structs.replace(april, billing_period_start="2026-03-01T00:00:00Z", billing_period_end="2026-04-01T00:00:00Z")
    assert charge_of_account(forged, r.store, r.rates, r.state.closed).arithmetic == []


def test_a_tampered_charge_is_a_difference(month: Any) -> None:
    item = month.item("tier-1", x_adjustment="support")
    found = month.tampered(item, billed_cost="6.94")
    assert {check.name for check in found.audit if check.verdict == "differs"} >= {"quantity × unit price", "recomputed", "arithmetic"}
    same = dict.fromkeys(("billed_cost", "effective_cost", "list_cost", "contracted_cost"), "6.94")
    found = month.tampered(item, pricing_quantity="69.4", **same)
    assert {check.name for check in found.audit if check.verdict == "differs"} == {"recomputed", "arithmetic"}


def test_totals_that_the_partition_keeps_are_not_believed(month: Any) -> None:
    """The usage is added up from the windows: without the totals all is well, without a window it is not."""
    item = month.item("tier-1", x_adjustment="support")
    state = month.facts(item).state
    assert any(key[:1] == TALLY for key in state)
    assert month.explain(item, state={key: value for key, value in state.items() if key[:1] != TALLY}).verdict == "equal"
    window = min(key for key in state if key[:1] == ENTRY)
    assert month.explain(item, state={key: value for key, value in state.items() if key != window}).verdict == "differs"
