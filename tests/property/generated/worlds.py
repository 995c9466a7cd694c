"""Worlds: a tariff as a YAML text, read by the readers of the product, and the tariff that replaces it later.

    world_of(seed, profile)    the same world for the same arguments, always
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from ratemill.metering.tariff import Tariff, parse_tariff
from ratemill.streams.core.segments import Rates

from .chance import Chance
from .meters_drawn import Feed, Metered, ended, later_meter, meters_drawn, plain_feeds
from .prices_drawn import Target, series_drawn
from .terms_drawn import exchange_rates, terms_drawn

__all__ = ["PROFILES", "Profile", "World", "made", "world_of", "yaml_of"]

Fields = dict[str, Any]


class Profile(NamedTuple):
    """What a world is mostly about."""

    name: str
    skus: int  # of plain usage, at most
    meters: int
    terms: bool
    foreign: bool
    windows: tuple[int, ...] = (3_600,)  # of the worker, seconds


PROFILES = (
    Profile("prices", 5, 0, False, False, (3_600, 900, 60)),
    Profile("meters", 1, 4, False, True),
    Profile("accounts", 4, 0, True, True),
    Profile("everything", 3, 3, True, True, (3_600, 3_600, 900)),
)


class World(NamedTuple):
    """specs: the tariffs as plain data; the second replaces the first. feeds: the events that there are."""

    specs: tuple[Fields, Fields]
    feeds: tuple[Feed, ...]
    accounts: tuple[str, ...]
    window_s: int
    rates: tuple[Rates, Rates]


@lru_cache(maxsize=8)
def world_of(seed: int, name: str) -> World:
    """The world of a seed and the profile of a name."""
    profile = next(profile for profile in PROFILES if profile.name == name)
    chance = Chance(f"world {seed} {name}")
    accounts = ["a", "b", "c"][: chance.choice((1, 1, 2, 3))]
    foreign = {chance.choice(accounts): "EUR"} if profile.foreign and chance.hits(0.5) else {}
    plain = plain_feeds(chance, profile.skus)
    meters = meters_drawn(chance, profile.meters)
    targets = _targets(plain, meters)
    one = _spec(chance, targets, accounts, foreign, profile.terms, meters)
    if meters and chance.hits(0.25):
        meters = ended(chance, meters) or meters
    elif meters and chance.hits(0.3):
        added = later_meter(chance)
        meters = [*meters, added]
        targets = [*targets, added.target]
    feeds = [feed for feed, _ in plain] + list({metered.feed.event: metered.feed for metered in meters}.values())
    if chance.hits(0.2):
        foreign = {} if foreign else {chance.choice(accounts): "EUR"} if profile.foreign else {}
    two = _spec(chance, targets, accounts, foreign, profile.terms, meters)
    if chance.hits(0.5):
        # Most of what there was stays; some SKUs have other prices.
        kept = set(chance.some([target.sku for target in targets], 0, 3))
        two["prices"] = [p for p in two["prices"] if p["sku"] not in kept] + [p for p in one["prices"] if p["sku"] in kept and _in_force(p, two)]
        two |= _terms_again(chance, two, accounts, foreign, profile.terms)
    return made((one, two), tuple(feeds), tuple(accounts), chance.choice(profile.windows))


def made(specs: tuple[Fields, Fields], feeds: tuple[Feed, ...], accounts: tuple[str, ...], window_s: int) -> World:
    """The world of tariffs given as plain data. Raises BadPriceBook where a reader refuses one."""
    tariffs = [parse_tariff(yaml_of(spec), f"tariff-{number}.yaml") for number, spec in enumerate(specs, 1)]
    first, second = (_rates(tariff, window_s) for tariff in tariffs)
    return World(specs, feeds, accounts, window_s, (first, second))


def _rates(tariff: Tariff, window_s: int) -> Rates:
    return Rates(tariff.book, window_s, tariff.meters, tariff.digest)


def _targets(plain: list[tuple[Feed, Target]], meters: list[Metered]) -> list[Target]:
    """What prices are for. Where two meters feed one SKU, or a meter its own event, every price must suit all of them."""
    found = {target.sku: target for _, target in plain}
    for metered in meters:
        target = metered.target
        known = found.get(target.sku)
        if known is not None and known != target:
            continue
        found[target.sku] = target
    return list(found.values())


def _in_force(price: Fields, spec: Fields) -> bool:
    """Whether a price of the first tariff can stand in the second: in a currency that its accounts still have."""
    if "currency" not in price:
        return True
    foreign = {one["account"] for one in spec.get("accounts", ()) if "currency" in one}
    return set(price.get("accounts", ())) <= foreign


def _spec(chance: Chance, targets: list[Target], accounts: list[str], foreign: dict[str, str], terms: bool, meters: list[Metered]) -> Fields:
    prices = [price for target in targets for price in series_drawn(chance, target, accounts, foreign)]
    spec: Fields = {"currency": "USD", "prices": prices}
    if foreign:
        spec["exchange_rates"] = exchange_rates(chance)
    if meters:
        spec["meters"] = [metered.meter for metered in meters]
    return spec | _terms_again(chance, spec, accounts, foreign, terms)


def _terms_again(chance: Chance, spec: Fields, accounts: list[str], foreign: dict[str, str], terms: bool) -> Fields:
    drawn = terms_drawn(chance, spec["prices"], accounts, foreign) if terms else {}
    if not terms and foreign:
        drawn = {"accounts": [{"account": account, "currency": currency} for account, currency in foreign.items()]}
    return {"adjustments": [], "accounts": []} | drawn


_SAFE = re.compile(r"[a-z][a-z0-9_.-]*")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def yaml_of(spec: Fields) -> str:
    """A tariff as a person might write it: maps in blocks or in braces, words and numbers with and without quotes."""
    lines: list[str] = []
    for key, value in spec.items():
        if value == [] and key != "prices":
            continue
        if not isinstance(value, list) or not value:
            lines.append(f"{key}: {_flow(value)}")
            continue
        lines.append(f"{key}:")
        for number, item in enumerate(value):
            lines += [f"  - {_flow(item)}"] if number % 3 else list(_block(item))
    return "\n".join(lines) + "\n"


def _block(item: Fields) -> Iterator[str]:
    for number, (key, value) in enumerate(item.items()):
        yield f"  {'-' if not number else ' '} {key}: {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    if isinstance(value, str):
        bare = _SAFE.fullmatch(value) and value not in ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
        return value if bare or (_NUMBER.fullmatch(value) and len(value) % 2) else json.dumps(value)
    return json.dumps(value)
