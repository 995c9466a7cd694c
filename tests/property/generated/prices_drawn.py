"""Prices of every model, with every option, as the plain data that a tariff file holds."""

from __future__ import annotations

from typing import Any, NamedTuple

from .chance import BOUNDARIES, Chance, iso

__all__ = ["MODELS", "SELECTORS", "Target", "series_drawn"]

MODELS = ("unit", "graduated", "volume", "package", "percentage", "matrix", "time_of_day", "dynamic")
SELECTORS = ("matrix", "time_of_day", "dynamic")

UNIT_PRICES = ("0", "0.017", "0.5", "1", "1.25", "2", "3.007", "0.333")
AMOUNTS = ("1", "2.5", "7", "0.5")
BOUNDS = ("2", "4", "5", "5.5", "9", "12", "20", "40")
TIERED = {"graduated", "volume"}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")


class Target(NamedTuple):
    """What a series of prices is for."""

    sku: str
    unit: str
    window: str = "hour"  # of what feeds it
    grouped: frozenset[str] | None = None  # by which names its usage is told apart; None: by all
    models: tuple[str, ...] = MODELS


def series_drawn(chance: Chance, target: Target, accounts: list[str], foreign: dict[str, str]) -> list[dict[str, Any]]:
    """All prices of one SKU: none, one, or several after each other, with gaps; and prices of accounts on top."""
    if chance.hits(0.06):
        return []
    cuts = chance.ascending(BOUNDARIES, 2) if chance.hits(0.5) else []
    prices: list[dict[str, Any]] = []
    for number, start in enumerate([None, *cuts]):
        if number == 0 and cuts and chance.hits(0.2):
            continue  # nothing has a price before the first cut
        price = _price(chance, f"{target.sku}-{number}", target)
        if start is not None:
            price["effective_from"] = iso(start)
        following = cuts[number] if number < len(cuts) else None
        if following is not None and chance.hits(0.3):
            # A gap: it ends before the next one begins.
            price["effective_to"] = iso(following - chance.choice((0, 3_600, 86_400)))
        elif following is None and chance.hits(0.1):
            price["effective_to"] = iso(max(start or 0, BOUNDARIES[-1]) + 86_400)
        prices.append(price)
    if chance.hits(0.35):
        prices += _overrides(chance, target, accounts, foreign)
    return prices


def _overrides(chance: Chance, target: Target, accounts: list[str], foreign: dict[str, str]) -> list[dict[str, Any]]:
    """Prices of some accounts for a time; one in their own currency names only accounts that have it."""
    found = []
    chosen = chance.some(accounts, 1, 2)
    cuts = chance.ascending(BOUNDARIES, 3)
    spans = [(None, cuts[0] if cuts else None)] if chance.hits(0.4) else []
    if len(cuts) > 1:
        spans.append((cuts[0], cuts[1] if len(cuts) > 2 or chance.hits(0.5) else None))
    if len(cuts) > 2 and spans and spans[-1][1] is not None:
        spans.append((cuts[2], None))
    for number, (since, until) in enumerate(spans):
        price = _price(chance, f"{target.sku}-own-{number}", target)
        price["accounts"] = chosen
        currencies = {foreign.get(account) for account in chosen}
        if len(currencies) == 1 and (currency := currencies.pop()) is not None and chance.hits(0.5):
            price["currency"] = currency
        if since is not None:
            price["effective_from"] = iso(since)
        if until is not None:
            price["effective_to"] = iso(until)
        found.append(price)
    return found


def _price(chance: Chance, price_id: str, target: Target) -> dict[str, Any]:
    model = chance.choice([m for m in target.models if _possible(m, target)])
    price: dict[str, Any] = {"id": price_id, "sku": target.sku, "unit": target.unit, "model": model}
    price |= _DRAWN[model](chance, target)
    price |= _limits(chance)
    accumulate = [length for length in ("month", "day", "hour") if _fits(target.window, length)]
    price |= chance.maybe(0.25, {"accumulate": chance.choice(accumulate)})
    return price | chance.maybe(0.1, {"description": f"the price {price_id}"})


LENGTHS = ("minute", "hour", "day", "month")


def _fits(window: str, accumulate: str) -> bool:
    return LENGTHS.index(window) <= LENGTHS.index(accumulate)


def _possible(model: str, target: Target) -> bool:
    if model == "time_of_day":
        return target.window in ("minute", "hour")
    if model == "dynamic":
        return target.grouped is None or "dimensions.price" in target.grouped
    if model == "matrix":
        return target.grouped is None or bool(target.grouped)
    return True


def _limits(chance: Chance) -> dict[str, Any]:
    """minimum, maximum and rounding that go together: limits have no more digits than rounding keeps."""
    found: dict[str, Any] = {}
    if chance.hits(0.25):
        found["minimum"] = chance.choice(("1", "4", "10.5"))
        found |= chance.maybe(0.5, {"minimum_due": chance.choice(("always", "period_end"))})
    found |= chance.maybe(0.2, {"maximum": chance.choice(("11", "25", "60"))})
    if chance.hits(0.25):
        mode = chance.choice(("half_up", "half_even", "up", "down"))
        digits = chance.choice((1, 2))
        found["rounding"] = {"digits": digits} | chance.maybe(0.7, {"mode": mode}) | chance.maybe(0.5, {"scope": chance.choice(("period", "tier"))})
    return found


def _free(chance: Chance, key: str = "free") -> dict[str, Any]:
    return chance.maybe(0.25, {key: chance.choice(("0", "1", "3", "4.5"))})


def _unit(chance: Chance, target: Target) -> dict[str, Any]:
    return {"unit_price": chance.choice(UNIT_PRICES), **_free(chance)}


def _tiers(chance: Chance, target: Target) -> dict[str, Any]:
    bounds = BOUNDS if chance.hits(0.04) else chance.ascending(BOUNDS, 3)
    tiers = []
    for bound in [*bounds, None]:
        tier: dict[str, Any] = {} if bound is None else {"up_to": bound}
        tier["unit_price"] = chance.choice(UNIT_PRICES)
        tiers.append(tier | chance.maybe(0.25, {"flat_price": chance.choice(AMOUNTS)}))
    found: dict[str, Any] = {"tiers": tiers}
    found |= chance.maybe(0.3, {"bounds": chance.choice(("inclusive", "exclusive"))})
    found |= chance.maybe(0.2, {"tier_bounds": "width"})
    found |= chance.maybe(0.2, {"charge_flat_at_zero": chance.choice((True, False))})
    return found | _free(chance)


def _package(chance: Chance, target: Target) -> dict[str, Any]:
    found = {"package_size": chance.choice(("1", "2.5", "4")), "package_price": chance.choice(UNIT_PRICES)}
    return found | _free(chance, chance.choice(("free", "free_units")))


def _percentage(chance: Chance, target: Target) -> dict[str, Any]:
    found = {"percent": chance.choice(("2.9", "10", "0.125", "150"))}
    found |= chance.maybe(0.3, {"fixed_fee": chance.choice(AMOUNTS)})
    found |= chance.maybe(0.3, {"floor": chance.choice(("0.5", "1"))})
    found |= chance.maybe(0.3, {"cap": chance.choice(("1", "3"))})
    found |= chance.maybe(0.2, {"charge_flat_at_zero": True})
    return found | _free(chance)


def _matrix(chance: Chance, target: Target) -> dict[str, Any]:
    names = [name for name in ("region", "resource", "dimensions.tier") if target.grouped is None or name in target.grouped]
    if not names:
        names = sorted(target.grouped or ())[:1]
    names = chance.some(names, 1, 2)
    values = {"region": ("eu", "us", ""), "resource": ("r1", "r2"), "dimensions.tier": ("hot", "cold"), "dimensions.price": ("1", "0.5")}
    short = [name.removeprefix("dimensions.") if chance.hits(0.5) else name for name in names]
    cells: list[dict[str, Any]] = []
    seen: set[tuple[str, ...]] = set()
    for _ in range(chance.randint(1, 4)):
        match = tuple(chance.choice((*values[name], "*")) for name in names)
        # What an earlier cell matches as a whole would never be reached.
        if any(all(one in ("*", two) for one, two in zip(earlier, match, strict=True)) for earlier in seen):
            continue
        seen.add(match)
        written = {name: value for name, value in zip(short, match, strict=True) if value != "*" or chance.hits(0.5)}
        cells.append({"match": written, "unit_price": chance.choice(UNIT_PRICES)})
    return {"dimensions": short, "cells": cells}


def _time_of_day(chance: Chance, target: Target) -> dict[str, Any]:
    shapes: tuple[list[dict[str, Any]], ...] = (
        [{"from": "08:00", "to": "20:00"}],
        [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "07:30", "to": "19:00"}, {"days": ["sat", "sun"]}],
        [{"from": "22:00", "to": "06:00"}, {"from": "06:00", "to": "09:00"}],
    )
    bands = [band | {"unit_price": chance.choice(UNIT_PRICES)} for band in chance.choice(shapes)]
    return {"timezone": chance.choice(ZONES), "bands": bands, "otherwise": {"unit_price": chance.choice(UNIT_PRICES)}}


def _dynamic(chance: Chance, target: Target) -> dict[str, Any]:
    return {"price_field": chance.choice(("price", "dimensions.price")), **chance.maybe(0.5, {"markup": chance.choice(("1.1", "2", "0.25"))})}


_DRAWN = {
    "unit": _unit, "graduated": _tiers, "volume": _tiers, "package": _package, "percentage": _percentage, "matrix": _matrix,
    "time_of_day": _time_of_day, "dynamic": _dynamic,
}  # fmt: skip
