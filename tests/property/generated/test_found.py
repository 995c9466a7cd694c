"""Small histories that were wrong once: what the generated cases found, made small and kept."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace
from ratemill.schemas.usage_event import UsageEvent

from generated.cases import check_history
from generated.chance import APRIL, HOUR, MARCH, Chance
from generated.histories import MONTH, Amendment, Close, History, Phase
from generated.worlds import made

NS = 1_000_000_000
PRICES = [{"id": sku, "sku": sku, "unit": "u", "model": "unit", "unit_price": "2"} for sku in ("s", "t", "z")]
FEE = {"account": "unused", "recurring": [{"id": "fee", "sku": "platform", "amount": "10"}]}
OWN_FEE = FEE | {"account": "a"}
UNUSED = {"id": "least", "type": "minimum_spend", "amount": "50", "charge_unused": True}
OFF = {"id": "off", "type": "discount", "percent": "10"}


def event(number: int, hour: int = 0, quantity: str = "3", sku: str = "s", provider: str = "", start: int = MARCH) -> UsageEvent:
    return UsageEvent("a", "p", f"e{number}", sku, (start + hour * HOUR) * NS, Decimal(quantity), "u", provider)


def phase(*events: UsageEvent, amendments: tuple[Amendment, ...] = (), again: tuple[UsageEvent, ...] = (), tariff: int | None = None) -> Phase:
    return Phase((), events, amendments, again, tariff, None)


def closing(one: Phase, month: int = MONTH) -> Phase:
    return one._replace(end=Close(month))


def tariff(**sections: Any) -> dict[str, Any]:
    return {"currency": "USD", "prices": PRICES} | sections


ONE = event(1)
LATER, HIGHER, OTHER = replace(ONE, time=ONE.time + 5 * HOUR * NS), replace(ONE, quantity=Decimal(7)), replace(ONE, quantity=Decimal(4))
SAMPLES = {"id": "m", "event": "m", "aggregation": "max", "unit": "u"}

FOUND: dict[str, tuple[dict[str, Any], dict[str, Any], list[Phase]]] = {
    "an event amended twice leaves the windows of both, whether it comes before or after": (
        tariff(), tariff(), [phase(ONE, amendments=(Amendment(ONE, LATER), Amendment(ONE, HIGHER)))],
    ),
    "so does one that was amended, cancelled and amended": (
        tariff(), tariff(), [phase(ONE, amendments=(Amendment(ONE, LATER), Amendment(ONE, None), Amendment(ONE, HIGHER)))],
    ),
    "an amendment of another payload is not applied, whether it comes before or after": (
        tariff(), tariff(), [phase(ONE, amendments=(Amendment(OTHER, LATER),))],
    ),
    "the provider of a window does not depend on what came before it": (
        tariff(meters=[SAMPLES]), tariff(meters=[SAMPLES]), [phase(event(1, 0, sku="m", provider="aws"), event(2, 1, sku="m"))],
    ),
    "a sweep that stops within an account keeps the totals of what it has passed": (
        tariff(), tariff(adjustments=[OFF]), [phase(event(1), event(2, sku="t"), event(3, sku="z")), phase(tariff=1)],
    ),
    "an account without usage has its new fee in a closed month too": (tariff(), tariff(accounts=[FEE]), [closing(phase(event(1))), phase(tariff=1)]),
    "and gets back what it was invoiced when the fee goes": (tariff(accounts=[FEE]), tariff(), [closing(phase(event(1))), phase(tariff=1)]),
    "charges that a new tariff takes away are corrected": (tariff(adjustments=[OFF]), tariff(), [closing(phase(event(1))), phase(tariff=1)]),
    "who used nothing before a close was not invoiced its minimum": (
        tariff(adjustments=[UNUSED]), tariff(adjustments=[UNUSED]), [closing(phase()), phase(event(1))],
    ),
    "nor is it due of months before the first usage": (
        tariff(adjustments=[UNUSED]), tariff(adjustments=[UNUSED]), [closing(phase()), phase(event(1, start=APRIL))],
    ),
    "a close of an earlier month does not bill a fee of months between": (
        tariff(accounts=[OWN_FEE]), tariff(accounts=[OWN_FEE]), [closing(phase(event(1, start=APRIL)), MONTH - 1), phase()],
    ),
    "usage without a price is told as often as it is written": (
        tariff(), tariff(), [phase(event(1, sku="free"), event(2, 0, "0", sku="free"), event(3, 0, "0", sku="free"))],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("first", "second", "phases"), FOUND.values(), ids=FOUND.keys())
def test_what_was_found(first: dict[str, Any], second: dict[str, Any], phases: list[Phase]) -> None:
    world = made((first, second), (), ("a",), 3_600)
    for number in range(25):  # orders
        check_history(Chance(str(number)), world, History(tuple(phases)))
