"""Whatever happens in a partition, every newest line item of it is explained without a difference; and any one that is changed is found."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
from ratemill.schemas.control import Amend, Close, Origin

DOCS = Path(__file__).parents[4] / "docs" / "explain.md"
MARCH = 2026 * 12 + 2


def tariff(r: random.Random) -> dict[str, Any]:
    """Prices of every model, a meter that samples, an account with terms; amounts drawn."""
    amount = lambda: f"0.{r.randint(1, 999):03d}"  # noqa: E731
    tiers = [{"up_to": "7", "unit_price": amount()}, {"up_to": "30.5", "unit_price": amount(), "flat_price": "2"}, {"unit_price": amount()}]
    cells = [{"match": {"region": "eu"}, "unit_price": amount()}, {"match": {"region": "us"}, "unit_price": amount()}]
    bands = [{"days": ["mon", "wed", "sun"], "from": "08:00", "to": "20:00", "unit_price": amount()}]
    rounding = {"digits": 2, "mode": r.choice(["half_up", "half_even"]), "scope": r.choice(["period", "tier"])}
    prices = [
        {"sku": "unit", "model": "unit", "unit_price": amount(), "free": "3"},
        {"sku": "graduated", "model": "graduated", "tiers": tiers, "accumulate": r.choice(["month", "day"]), "rounding": rounding},
        {"sku": "volume", "model": "volume", "tiers": tiers, "minimum": "9", "minimum_due": r.choice(["always", "period_end"])},
        {"sku": "package", "model": "package", "package_size": "4", "package_price": amount(), "maximum": "2"},
        {"sku": "percentage", "model": "percentage", "percent": "2.9", "fixed_fee": "0.30", "floor": "1", "cap": "5"},
        {"sku": "matrix", "model": "matrix", "dimensions": ["region"], "cells": cells},
        {"sku": "clock", "model": "time_of_day", "timezone": "Europe/Berlin", "bands": bands, "otherwise": {"unit_price": amount()}},
        {"sku": "peak", "model": "unit", "unit_price": amount()},
    ]
    return {
        "currency": "USD",
        "prices": [{"id": f"{price['sku']}-1", "unit": "u", **price} for price in prices],
        "meters": [{"id": "peak", "event": "load", "sku": "peak", "unit": "u", "aggregation": "max", "group_by": ["region"]}],
        "accounts": [
            {
                "account": "a",
                "recurring": [{"id": "platform", "sku": "acme.platform", "amount": "3.5", "prorate": "none"}],
                "credits": [{"id": "g", "amount": "6", "effective_from": "2026-03-04T00:00:00Z", "expires": "2027-01-01T00:00:00Z"}],
            }
        ],
        "adjustments": [
            {"id": "pool", "type": "allowance", "skus": ["unit", "graduated"], "unit": "u", "quantity": "2"},
            {"id": "fees", "type": "recurring"},
            {"id": "least", "type": "minimum_spend", "amount": "20"},
            {"id": "support", "type": "uplift", "percent": "10", "of": "all"},
            {"id": "credits", "type": "credits"},
        ],
    }


def usage(r: random.Random, use: Any, month: int) -> Any:
    sku = r.choice(["unit", "graduated", "volume", "package", "percentage", "matrix", "clock", "load", "unknown"])
    quantity = f"{r.randint(-2 if sku not in ('load', 'percentage') else 0, 12)}.{r.randint(0, 99)}"
    time = f"{month:02d}-{r.randint(1, 9):02d}T{r.randint(0, 23):02d}:{r.randint(0, 59):02d}"
    return use(quantity, time, sku=sku, region=r.choice(["eu", "us", "ap"]))


def story(rig: Any, use: Any, seed: int) -> Any:
    """Usage, late usage, a new tariff, amendments, a close, and all of it once more."""
    r = random.Random(seed)
    partition = rig(tariff(r))
    partition.send(*(usage(r, use, 3) for _ in range(25)))
    partition.publish(tariff(r), "other prices")
    partition.send(*(usage(r, use, r.choice([3, 4])) for _ in range(15)))
    amend(partition, r)
    partition.close(MARCH, Close(id=f"{seed:032x}", author="bob", reason="done", at_ns=0, period="2026-03"))
    partition.send(*(usage(r, use, r.choice([3, 4])) for _ in range(10)))
    if seed % 2:
        partition.publish(tariff(r), "and again")
    amend(partition, r)
    return partition


def amend(partition: Any, r: random.Random) -> None:
    event, _ = r.choice(partition.events)
    origin = Origin("usage.raw.aws", 0, 0, 0)
    request = Amend(id=f"{r.getrandbits(128):032x}", author="eve", reason="wrong", at_ns=0, original=event, origin=origin, replacement=None)
    try:
        partition.amend(request)
    except AssertionError:
        pass  # it was cancelled before


@pytest.mark.parametrize("seed", range(12))
def test_every_line_item_is_explained_without_a_difference(rig: Any, use: Any, seed: int) -> None:
    partition = story(rig, use, seed)
    kinds = set()
    wrong = []
    for item in partition.newest().values():
        found = partition.explain(item)
        kinds.add((found.line_item.kind, found.line_item.status, bool(found.line_item.corrects_period)))
        if found.verdict == "differs":
            wrong.append((item, [check for check in found.audit if check.verdict == "differs"]))
    assert not wrong, wrong[:2]
    assert len(kinds) >= 8, kinds


@pytest.mark.parametrize("seed", range(4))
def test_a_change_of_any_line_item_is_found(rig: Any, use: Any, seed: int) -> None:
    """Consistent in itself, as somebody would do it who knows what is compared: quantity and all costs."""
    partition = story(rig, use, seed)
    missed = []
    for item in partition.newest().values():
        if item.x_withdrawn:
            continue
        more = item.billed_cost + ("1" if "." in item.billed_cost else ".1")
        forged = dict.fromkeys(("billed_cost", "effective_cost", "list_cost", "contracted_cost"), more)
        if partition.tampered(item, list_unit_price=more, pricing_quantity="1", **forged).verdict != "differs":
            missed.append(item)
    assert not missed, missed[:2]


def test_the_page_names_every_check(rig: Any, use: Any) -> None:
    partition = story(rig, use, 1)
    names = {check.name for item in partition.newest().values() for check in partition.explain(item).audit}
    table = set(re.findall(r"^\| ([^|]+?) \|", DOCS.read_text(encoding="utf-8"), re.M))
    assert names <= table
