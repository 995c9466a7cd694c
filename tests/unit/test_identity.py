"""What makes two deliveries the same event, and two events different."""

from __future__ import annotations

from decimal import Decimal

import pytest
from ratemill.schemas.usage_event import UsageEvent, identify


def event(account: str = "a", source: str = "s", number: str = "1", quantity: str = "1") -> UsageEvent:
    return UsageEvent(account, source, number, "sku", 0, Decimal(quantity), "u")


@pytest.mark.parametrize(("one", "other"), [("1", "1.0"), ("100", "1E+2"), ("0.10", "0.1"), ("-5", "-5.000"), ("0", "0.00")])
def test_the_same_quantity_in_other_digits_is_the_same_payload(one: str, other: str) -> None:
    """1.0 is 1: a producer that formats numbers differently on a retry does not make a conflict."""
    assert identify(event(quantity=one)) == identify(event(quantity=other))


@pytest.mark.parametrize(("one", "other"), [("1", "1." + "0" * 29 + "1"), ("1", "10"), ("1", "-1"), ("1E+30", "1E+31")])
def test_another_quantity_is_another_payload_whatever_its_precision(one: str, other: str) -> None:
    """A difference in the 30th digit is a difference: nothing is rounded on the way to the fingerprint."""
    first, second = identify(event(quantity=one)), identify(event(quantity=other))
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_identity_is_a_tuple_not_a_joined_text() -> None:
    """("a", "bs") and ("ab", "s") are two identities."""
    assert identify(event("a", "bs"))[0] != identify(event("ab", "s"))[0]
    assert identify(event("a-b", "c"))[0] != identify(event("a", "b-c"))[0]
