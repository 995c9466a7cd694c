"""Adjustments and accounts: every step of the pipeline in any order that a tariff may have, fees, commitments and credits."""

from __future__ import annotations

from typing import Any

from .chance import APRIL, BOUNDARIES, MARCH, MAY, Chance, iso
from .prices_drawn import SELECTORS

__all__ = ["exchange_rates", "terms_drawn"]

Fields = dict[str, Any]
MODES = ("half_up", "half_even", "up", "down")


def exchange_rates(chance: Chance) -> list[Fields]:
    """Rates of EUR: always one, one per month, or none before April."""
    shape = chance.randrange(4)
    if shape == 0:
        return [{"currency": "EUR", "rate": "0.92"}]
    if shape == 1:
        return [{"currency": "EUR", "rate": "0.92"}, {"currency": "EUR", "rate": "0.8", "effective_from": iso(APRIL)}]
    if shape == 2:
        return [{"currency": "EUR", "rate": "0.9", "effective_from": iso(MARCH)}, {"currency": "EUR", "rate": "1.05", "effective_from": iso(MAY)}]
    return [{"currency": "EUR", "rate": "0.7", "effective_from": iso(APRIL)}]


def terms_drawn(chance: Chance, prices: list[Fields], accounts: list[str], foreign: dict[str, str]) -> Fields:
    """The sections `adjustments` and `accounts`; accounts with another currency are in the latter, whatever else is."""
    skus = sorted({price["sku"] for price in prices})
    if not skus or chance.hits(0.1):
        named = [{"account": account, "currency": currency} for account, currency in foreign.items()]
        return {"accounts": named} if named else {}
    section = [_account(chance, name, skus, foreign.get(name), number) for number, name in enumerate(chance.some([*accounts, "unused"], 0, 3))]
    section += [{"account": a, "currency": c} for a, c in foreign.items() if a not in {one["account"] for one in section}]
    steps = _steps(chance, prices, skus, accounts, section)
    return ({"adjustments": steps} if steps else {}) | ({"accounts": section} if section else {})


def _steps(chance: Chance, prices: list[Fields], skus: list[str], accounts: list[str], section: list[Fields]) -> list[Fields]:
    first = [_allowance(chance, number, prices, accounts) for number in range(chance.choice((0, 0, 1, 2)))]
    places: list[Fields] = []
    if any("commitments" in account for account in section):
        places.append({"id": "commits", "type": "commitment"})
    if any("credits" in account for account in section):
        places.append({"id": "burn", "type": "credits"} | chance.maybe(0.5, {"order": chance.choice(("expiry", "discount", "balance", "listed"))}))
    if any("recurring" in account for account in section) and chance.hits(0.5):
        places.append({"id": "fees", "type": "recurring"})
    kinds = [chance.choice(("discount", "minimum", "maximum", "uplift", "rounding")) for _ in range(chance.choice((0, 1, 2, 3)))]
    steps: list[Fields] = [step for step in first if step]
    rest: list[Fields | str] = [*places, *kinds]
    chance.shuffle(rest)
    for number, one in enumerate(rest):
        if isinstance(one, str):
            # Only what stands before can be named.
            one = _KINDS[one](chance, number, skus, [step["id"] for step in steps])
            one |= chance.maybe(0.2, {"accounts": chance.some(accounts, 1, 2)})
            one |= chance.maybe(0.15, {chance.choice(("effective_from", "effective_to")): iso(APRIL)})
        steps.append(one)
    return steps


def _allowance(chance: Chance, number: int, prices: list[Fields], accounts: list[str]) -> Fields:
    """An allowance over SKUs that have prices in one unit, none of which selects. Empty if there is none."""
    units: dict[str, set[str]] = {}
    for price in prices:
        units.setdefault(price["sku"], set()).add("" if price["model"] in SELECTORS else price["unit"])
    by_unit: dict[str, list[str]] = {}
    for sku, its in units.items():
        if len(its) == 1 and (unit := min(its)):
            by_unit.setdefault(unit, []).append(sku)
    if not by_unit:
        return {}
    unit = chance.choice(sorted(by_unit))
    found: Fields = {"id": f"pool{number}", "type": "allowance", "skus": chance.some(by_unit[unit]), "unit": unit}
    found["quantity"] = chance.choice(("1", "4", "9.5"))
    found |= chance.maybe(0.6, {"order": chance.choice(("listed", "cheapest_first", "dearest_first"))})
    return found | chance.maybe(0.15, {"accounts": chance.some(accounts, 1, 2)})


def _skus(chance: Chance, skus: list[str]) -> Fields:
    return chance.maybe(0.5, {"skus": chance.some(skus)})


def _discount(chance: Chance, number: int, skus: list[str], earlier: list[str]) -> Fields:
    off = {"percent": chance.choice(("10", "33.3", "100"))} if chance.hits(0.6) else {"amount": chance.choice(("1", "8", "50"))}
    return {"id": f"off{number}", "type": "discount"} | off | _skus(chance, skus)


def _minimum(chance: Chance, number: int, skus: list[str], earlier: list[str]) -> Fields:
    found = {"id": f"least{number}", "type": "minimum_spend", "amount": chance.choice(("5", "40", "200"))}
    found |= chance.maybe(0.5, {"due": chance.choice(("always", "period_end"))}) | chance.maybe(0.2, {"charge_unused": True})
    return found | _skus(chance, skus)


def _maximum(chance: Chance, number: int, skus: list[str], earlier: list[str]) -> Fields:
    return {"id": f"most{number}", "type": "maximum_spend", "amount": chance.choice(("0", "10", "60"))} | _skus(chance, skus)


def _uplift(chance: Chance, number: int, skus: list[str], earlier: list[str]) -> Fields:
    found: Fields = {"id": f"up{number}", "type": "uplift"}
    found["of"] = "all" if chance.hits(0.4) else chance.some([*skus, *earlier])
    if chance.hits(0.6):
        found["percent"] = chance.choice(("10", "3.25"))
    else:
        found["tiers"] = [{"up_to": "10", "percent": "10"}, {"up_to": "30", "percent": chance.choice(("0", "7"))}, {"percent": "3"}]
    if chance.hits(0.3):
        found["minimum"] = chance.choice(("2", "20"))
        found |= chance.maybe(0.5, {"due": "always"}) | chance.maybe(0.2, {"charge_unused": True})
    return found


def _rounding(chance: Chance, number: int, skus: list[str], earlier: list[str]) -> Fields:
    return {"id": f"round{number}", "type": "rounding", "digits": chance.choice((0, 2))} | chance.maybe(0.6, {"mode": chance.choice(MODES)})


_KINDS = {"discount": _discount, "minimum": _minimum, "maximum": _maximum, "uplift": _uplift, "rounding": _rounding}


def _account(chance: Chance, name: str, skus: list[str], currency: str | None, number: int) -> Fields:
    found: Fields = {"account": name} | ({"currency": currency} if currency else {})
    if chance.hits(0.4):
        found["recurring"] = [_fee(chance, f"fee-{number}-{n}") for n in range(chance.randint(1, 2))]
    if chance.hits(0.4):
        found["commitments"] = [_commitment(chance, f"commit-{number}-{n}", skus) for n in range(chance.randint(1, 2))]
    if chance.hits(0.6):
        found["credits"] = [_credit(chance, f"credit-{number}-{n}", skus) for n in range(chance.randint(1, 3))]
    return found


def _span(chance: Chance, until_key: str = "effective_to") -> Fields:
    cuts = chance.ascending(BOUNDARIES, 2)
    if not cuts:
        return {}
    if len(cuts) == 1:
        return {chance.choice(("effective_from", until_key)): iso(cuts[0])}
    return {"effective_from": iso(cuts[0]), until_key: iso(cuts[1])}


def _fee(chance: Chance, own_id: str) -> Fields:
    found = {"id": own_id, "sku": "platform", "amount": chance.choice(("10", "33.33"))} | _span(chance)
    return found | chance.maybe(0.6, {"prorate": chance.choice(("second", "day", "none"))})


def _commitment(chance: Chance, own_id: str, skus: list[str]) -> Fields:
    found = {"id": own_id, "amount": chance.choice(("5", "60")), "per": "month"} | _span(chance) | _skus(chance, skus)
    if chance.hits(0.3):
        found["prepaid"] = True
    else:
        found |= chance.maybe(0.4, {"due": chance.choice(("always", "period_end"))})
    if chance.hits(0.4):
        found["overage"] = chance.choice(({"surcharge": "20"}, {"discount": "12.5"}))
    return found | chance.maybe(0.4, {"prorate": chance.choice(("second", "day", "none"))})


def _credit(chance: Chance, own_id: str, skus: list[str]) -> Fields:
    found = {"id": own_id, "amount": chance.choice(("2", "7.5", "30"))} | _span(chance, "expires") | _skus(chance, skus)
    found.setdefault("effective_from", iso(MARCH if "expires" in found else chance.choice((MARCH, APRIL))))
    found |= chance.maybe(0.4, {"discount": chance.choice(("0", "10", "25"))})
    return found | chance.maybe(0.2, {"prepaid": True})
