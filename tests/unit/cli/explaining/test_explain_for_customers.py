"""What a customer is told: all of the arithmetic, and nothing that operators wrote for each other, or that is about another account."""

from __future__ import annotations

from typing import Any

import msgspec
from ratemill.cli.explaining.build import begin, finish
from ratemill.schemas.control import Close

BOOK = {
    "currency": "USD",
    "prices": [
        {"id": "p", "sku": "s", "unit": "u", "model": "unit", "unit_price": "2"},
        {"id": "own", "sku": "s", "unit": "u", "model": "unit", "unit_price": "1", "accounts": ["a", "rival"]},
        {"id": "other", "sku": "unpriced", "unit": "rivals", "model": "unit", "unit_price": "1", "accounts": ["rival"]},
    ],
}
SECRETS = ("rival", "ann", "bob", "book.yaml", "is done")


def told(facts: Any) -> tuple[Any, str]:
    found = finish(begin(facts), None)
    return found, msgspec.json.encode(found).decode()


def test_a_customer_is_told_of_nobody_else(rig: Any, use: Any) -> None:
    r = rig(None)
    r.send(use("3", "03-01T00:00"), use("1", "03-01T00:00", sku="unpriced", unit="hours"))
    r.publish(BOOK, reason="rival has asked")
    r.close(2026 * 12 + 2, Close(id="c" * 32, author="bob", reason="march is done", at_ns=0, period="2026-03"))
    facts = r.facts(r.item("tier-1", sku_id="s"))
    every, text = told(facts)
    assert all(secret in text for secret in SECRETS), "an operator is told"
    mine, text = told(facts.for_customer())
    assert [secret for secret in SECRETS if secret in text] == []
    assert (mine.arithmetic, mine.audit, mine.line_item.cost) == (every.arithmetic, every.audit, "3")
    assert (mine.price.id, mine.price.in_words[-1]) == ("own", "for a")
    assert "by the operator" in text

    unpriced = r.facts(next(item for item in r.newest().values() if item.x_unpriced))
    assert "rivals" in told(unpriced)[0].unpriced
    assert "rival" not in told(unpriced.for_customer())[1]
