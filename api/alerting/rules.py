"""What an alert rule may say. Pure: no clock, no database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, localcontext
from urllib.parse import urlsplit

import msgspec

from ...pricing.money import EXACT, money, plain
from ...schemas.errors import BadInput
from ...schemas.event_checks import require_text

__all__ = ["MAX_NAME", "MAX_THRESHOLDS", "MAX_URL", "Definition", "Rule", "amount_of", "check_definition", "check_name", "check_url"]

MAX_NAME = 100
MAX_THRESHOLDS = 20
MAX_URL = 2_048
_AMOUNT = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?")
_CURRENCY = re.compile("[A-Z]{3}")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HUNDREDTH = money("0.01")


class Definition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is watched in each billing month of an account.

    what: "cost", in `currency`, of everything or of one sku or service; or "usage": the quantity of a sku in a unit.
    thresholds: exact amounts as texts ("100", "12.5"), or percents of `budget` ("80%"). Empty texts: not given.
    """

    what: str
    thresholds: tuple[str, ...]
    currency: str = ""
    budget: str = ""
    sku: str = ""
    service: str = ""
    unit: str = ""


class Rule(msgspec.Struct, frozen=True):
    """A stored rule without its secret. Times are whole seconds since 1970, UTC. revision: how often the definition was changed."""

    id: str
    account: str
    name: str
    definition: Definition
    revision: int
    url: str
    created_at: int
    changed_at: int
    disabled_at: int | None = None


def check_definition(given: Definition) -> Definition:
    """The definition with its amounts in their one form ("1.50" is "1.5"). Raises BadInput."""
    for name in ("sku", "service", "unit"):
        if value := getattr(given, name):
            require_text(name, value)
    if given.what == "cost":
        if not _CURRENCY.fullmatch(given.currency):
            raise BadInput("a rule about cost needs a currency of three capital letters, such as USD")
        if given.unit:
            raise BadInput("a rule about cost has no unit; leave it out, or watch usage")
    elif given.what == "usage":
        if not given.sku or not given.unit:
            raise BadInput("a rule about usage needs a sku and a unit: quantities of others are not added to each other")
        if given.currency or given.service:
            raise BadInput("a rule about usage has no currency and no service; leave them out")
    else:
        raise BadInput(f"a rule watches cost or usage, not {given.what[:40]!r}")
    return msgspec.structs.replace(given, thresholds=_thresholds(given.thresholds, given.budget), budget=_budget(given))


def _budget(given: Definition) -> str:
    percents = any(each.endswith("%") for each in given.thresholds)
    if percents != bool(given.budget):
        raise BadInput("a budget and thresholds in percent go together; give both, or amounts alone")
    return _positive("budget", given.budget) if percents else ""


def _thresholds(given: Sequence[str], budget: str) -> tuple[str, ...]:
    if not 0 < len(given) <= MAX_THRESHOLDS:
        raise BadInput(f"a rule has 1 to {MAX_THRESHOLDS} thresholds, not {len(given)}")
    found = tuple(_positive("threshold", each.removesuffix("%")) + ("%" if each.endswith("%") else "") for each in given)
    if len(set(found)) < len(found):
        raise BadInput("a threshold is there twice; leave one out")
    return found


def _positive(name: str, text: str) -> str:
    if not _AMOUNT.fullmatch(text) or not (amount := money(text)):
        raise BadInput(f"the {name} {text[:40]!r} is no amount above zero, such as 100 or 12.5, with at most 30 digits before and after the point")
    return plain(amount)


def amount_of(definition: Definition, threshold: str) -> Decimal:
    """The amount at which a threshold is reached."""
    if not threshold.endswith("%"):
        return money(threshold)
    with localcontext(EXACT):
        return money(definition.budget) * money(threshold[:-1]) * _HUNDREDTH


def check_name(name: str) -> None:
    """Raise BadInput for a name that a rule may not have."""
    require_text("name", name)
    if len(name) > MAX_NAME:
        raise BadInput(f"the name has {len(name)} characters; give one of at most {MAX_NAME}")


def check_url(url: str, allow_private: bool) -> None:
    """Raise BadInput for a URL that nothing is sent to; never repeats it, there may be a secret in it.

    allow_private: http is allowed too. Which address a name leads to is looked at when it is connected to.
    """
    schemes = ("https", "http") if allow_private else ("https",)
    try:
        parts = urlsplit(url)
        right = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right or len(url) > MAX_URL or not _VISIBLE.fullmatch(url):
        raise BadInput(f"the url is no {' or '.join(schemes)}:// address of at most {MAX_URL:,} visible ASCII characters; give another one")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise BadInput("the url has a user name, a password or a fragment, which are not sent; leave them out: the signature says who sends")
