"""One price of a price book: from the fields of a map to a `Price`, or to mistakes."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any, NamedTuple

from . import book_models
from .book_form import Form, quoted
from .book_yaml import Mistakes, Node, Table, is_null, kind_of
from .money import ROUNDING_MODES, ZERO, money, plain, round_to
from .price import SINCE_ALWAYS, Price, Rounding, Tier
from .selection import Matrix, Schedule

__all__ = ["Draft", "read_price"]

SERVICE_CATEGORIES = (
    "AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools", "Identity", "Integration",
    "Internet of Things", "Management and Governance", "Media", "Migration", "Mobile", "Multicloud", "Networking", "Other", "Security",
    "Storage", "Web",
)  # fmt: skip

COMMON_KEYS = (
    "id", "sku", "unit", "model", "currency", "effective_from", "effective_to", "accounts", "accumulate", "minimum", "maximum", "minimum_due",
    "rounding", "description", "service_name", "service_category", "sku_price_id",
)  # fmt: skip
TIERED_KEYS = ("tiers", "bounds", "tier_bounds", "charge_flat_at_zero", "free")
KEYS = {
    "unit": ("unit_price", "free"),
    "graduated": TIERED_KEYS,
    "volume": TIERED_KEYS,
    "package": ("package_size", "package_price", "free_units", "free"),
    **book_models.KEYS,
}
MODELS = tuple(KEYS)
ALLOWED = {model: frozenset(COMMON_KEYS + keys) for model, keys in KEYS.items()}
ANY_KEY = frozenset().union(*ALLOWED.values())
TIER_KEYS = ("up_to", "unit_price", "flat_price", "sku_price_id")
ROUNDING_KEYS = ("digits", "mode", "scope")
OPTIONAL_KEYS = {"bounds", "tier_bounds", "charge_flat_at_zero", "free", "free_units", *book_models.OPTIONAL_KEYS}
EXAMPLES = {"tiers": '[{up_to: "100", unit_price: "0.02"}, {unit_price: "0.01"}]', "package_size": '"1000"', **book_models.EXAMPLES}


def _elsewhere(key: str) -> str:
    """Why a key that some model has does not go with another one."""
    *others, last = (model for model in MODELS if key in KEYS[model])
    return f"it belongs to {', '.join(others)}{' and ' if others else ''}{last}"


ELSEWHERE = {key: _elsewhere(key) for keys in KEYS.values() for key in keys}


MINUTE = 60_000_000_000  # ns


class Draft(NamedTuple):
    """A price as far as it could be read: what the checks between prices need, and the price if nothing was wrong in it."""

    line: int
    id: str
    series: tuple[str, str] | None  # (sku, unit)
    effective_from: int | None  # None: could not be read
    effective_to: int | None
    price: Price | None
    accounts: tuple[str, ...] = ()  # for which it replaces the general price; () for the general price


def read_price(node: Node, number: int, currency: str, mistakes: Mistakes) -> Draft | None:
    """Read item `number` of `prices`, counted from 1. Everything wrong in it goes to `mistakes`."""
    if not isinstance(node, Table):
        mistakes.add(node.line, f"price {number} is {kind_of(node)}, but must be a map with id, sku, unit, model")
        return None
    before = len(mistakes)
    form = Form(node, f"price {number}", mistakes)
    form.require("id", f"price-{number}")
    price_id = form.text("id", f"price-{number}")
    if price_id:
        form.what = f"price {quoted(price_id)}"
    sku, unit, series = _read_series(form)
    effective_from, effective_to = form.time("effective_from"), form.time("effective_to")
    since = SINCE_ALWAYS if effective_from is None else effective_from
    for key, time in (("effective_from", effective_from), ("effective_to", effective_to)):
        if time is not None and time % MINUTE:
            form.wrong(key, f"`{key}` is {quoted(form.scalar(key, '') or '')}, within a minute; windows begin on full minutes, and so must a price")
    readable = effective_from is not None or not form.has("effective_from") or is_null(node.entries["effective_from"][1])
    if readable and effective_to is not None and effective_to <= since:
        form.wrong("effective_to", "`effective_to` is not after `effective_from`, so the price would never apply; correct one of them")
    accounts = _read_accounts(form)
    price = None
    if form.require("model", "graduated"):
        price = _read_definition(form, price_id, sku, unit, currency, since, effective_to, accounts)
    if len(mistakes) > before:
        price = None
    return Draft(node.line, price_id, series, since if readable else None, effective_to, price, accounts)


def _read_accounts(form: Form) -> tuple[str, ...]:
    """The accounts that an override names, sorted; () for a general price."""
    named = form.texts("accounts", "[acct-1, acct-2]")
    if named is not None and not named:
        form.wrong("accounts", "`accounts` names no account, so the price would never apply; name one, or remove this line for a general price")
    for twice in sorted({account for account in named or () if (named or []).count(account) > 1}):
        form.wrong("accounts", f"`accounts` names {quoted(twice)} twice; keep one of them")
    return tuple(sorted(set(named or ())))


def _read_series(form: Form) -> tuple[str, str, tuple[str, str] | None]:
    """sku and unit, and both as the name of the series of prices they belong to, if they could be read."""
    form.require("sku", "acme.storage")
    form.require("unit", "GB-Mo")
    sku, unit = form.text("sku", "acme.storage"), form.text("unit", "GB-Mo")
    return sku, unit, (sku, unit) if sku and unit else None


def _read_definition(
    form: Form, price_id: str, sku: str, unit: str, currency: str, since: int, until: int | None, accounts: tuple[str, ...]
) -> Price | None:
    """Everything of a price that its model decides; None when the model is not known."""
    model = form.choice("model", MODELS, "")
    if not model:
        form.check_keys(ANY_KEY)
        return None
    what, form.what = form.what, f"model {model}"
    form.check_keys(ALLOWED[model], ELSEWHERE)
    form.what = what
    own = form.text("currency", currency, currency)
    if own != currency and not accounts:
        what = f"`currency` is {quoted(own)}, and the book's is {currency}; only a price of accounts that are billed in another currency may name it"
        form.wrong("currency", f"{what}; use the book's, `exchange_rates` convert it")
    free = _read_free(form)
    for key in KEYS[model]:
        if key not in OPTIONAL_KEYS:
            form.require(key, EXAMPLES.get(key, '"0.01"'))
    base = form.text("sku_price_id", "storage-1") or f"{book_models.part_of_name(sku)}/{book_models.part_of_name(unit)}"
    reading = book_models.READERS[model](form, base, free) if model in book_models.READERS else _read_model(form, model, base, free)
    rounding = _read_rounding(form)
    limits = {"minimum": form.number("minimum", "10"), "maximum": form.number("maximum", "1000")}
    _check_limits(form, limits | {key: reading.fields.get(key) for key in ("floor", "cap")}, rounding)
    price = Price(
        id=price_id,
        sku=sku,
        unit=unit,
        model=model,
        currency=own,
        effective_from=since,
        effective_to=until,
        tiers=tuple(reading.tiers),
        version="",
        accumulate=form.choice("accumulate", ("month", "day", "hour"), "month"),
        inclusive=form.choice("bounds", ("inclusive", "exclusive"), "inclusive") == "inclusive",
        flat_at_zero=form.flag("charge_flat_at_zero"),
        free_quantity=free,
        package_size=form.number("package_size", "1000", above_zero=True) or money(1),
        package_price=form.number("package_price", "0.01") or ZERO,
        minimum=limits["minimum"],
        minimum_at_close=form.choice("minimum_due", ("always", "period_end"), "always") == "period_end",
        maximum=limits["maximum"],
        rounding=rounding,
        description=form.text("description", "Storage, standard class", limit=1024),
        service_name=form.text("service_name", "Acme Storage"),
        service_category=form.choice("service_category", SERVICE_CATEGORIES, ""),
        accounts=accounts,
        **reading.fields,
    )
    return price._replace(version=_version(price))


def _read_model(form: Form, model: str, base: str, free: Decimal) -> book_models.Reading:
    """Tiers of unit, graduated, volume and package prices, the free allowance included where windows are charged one by one."""
    if model in ("unit", "package"):
        name = base if form.has("sku_price_id") else f"{base}/{'package' if model == 'package' else 'tier-1'}"
        tiers = [Tier(None, (form.number("unit_price", "0.01") or ZERO) if model == "unit" else ZERO, ZERO, name)]
    else:
        tiers = _read_tiers(form, base)
    if model in ("unit", "graduated") and free:
        shifted = [tier._replace(upper=tier.upper + free) if tier.upper is not None else tier for tier in tiers]
        tiers = [Tier(free, ZERO, ZERO, f"{base}/free"), *shifted]
    return book_models.Reading(tiers, {})


def _read_free(form: Form) -> Decimal:
    """The free allowance: `free`, or under packages also `free_units`."""
    if form.has("free") and form.has("free_units"):
        form.wrong("free_units", "`free_units` is another name of `free`; keep one of them")
    return form.number("free", "100") or form.number("free_units", "100") or ZERO


def _read_tiers(form: Form, base: str) -> list[Tier]:
    """The tiers with cumulative bounds, ascending; at least one, the last without bound."""
    listed = form.list_of("tiers", '[{up_to: "100", unit_price: "0.02"}, {unit_price: "0.01"}]')
    widths = form.choice("tier_bounds", ("cumulative", "width"), "cumulative") == "width"
    if listed is None:
        return []
    if not listed.items:
        form.wrong("tiers", "`tiers` has no tier; add at least one, such as `- {unit_price: \"0.01\"}`")
    tiers: list[Tier] = []
    names: set[str] = set()
    lower: Decimal | None = ZERO  # where the tier begins; None once a bound could not be read
    for number, node in enumerate(listed.items, 1):
        if not isinstance(node, Table):
            form.mistakes.add(node.line, f"tier {number} is {kind_of(node)}, but must be a map with unit_price and up_to")
            lower = None
            continue
        part = Form(node, f"tier {number}", form.mistakes)
        part.check_keys(TIER_KEYS)
        upper, lower = _read_bound(part, lower, widths, number == len(listed.items))
        name = part.text("sku_price_id", "storage-tier-1") or f"{base}/tier-{number}"
        if name in names:
            part.wrong("sku_price_id", f"`sku_price_id` {quoted(name)} is that of another tier; give each tier its own")
        names.add(name)
        part.require("unit_price", '"0.01"')
        tiers.append(Tier(upper, part.number("unit_price", "0.01") or ZERO, part.number("flat_price", "5") or ZERO, name))
    return tiers


def _read_bound(tier: Form, lower: Decimal | None, widths: bool, last: bool) -> tuple[Decimal | None, Decimal | None]:
    """(cumulative upper bound or None, where the next tier begins or None when that is not known)."""
    written = tier.table.entries.get("up_to")
    bounded = written is not None and not is_null(written[1])
    if last:
        if bounded:
            tier.wrong("up_to", "the last tier has an `up_to`, so usage beyond it would have no price; remove it or add a tier without `up_to`")
        return None, None
    if not bounded:
        tier.wrong("up_to", f"{tier.what} has no `up_to`, but another tier follows; add the bound, such as `up_to: \"100\"`")
        return None, None
    value = tier.number("up_to", "100", above_zero=True)
    if value is None or lower is None:
        return value, None if value is None or widths else value
    if widths:
        return lower + value, lower + value
    if value <= lower:
        tier.wrong("up_to", f"`up_to` is {plain(value)}, not above the tier before it ({plain(lower)}); sort the tiers, or say `tier_bounds: width`")
    return value, value


def _read_rounding(form: Form) -> Rounding | None:
    table = form.table_of("rounding", "{digits: 2, mode: half_up, scope: period}")
    if table is None:
        return None
    part = Form(table, "rounding", form.mistakes)
    part.check_keys(ROUNDING_KEYS)
    digits = 0
    if part.require("digits", "2") and (text := part.scalar("digits", "2")) is not None:
        if text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= 18:
            digits = int(text)
        else:
            part.wrong("digits", f"`digits` is {quoted(text)}; write how many digits stay after the point, 0 to 18")
    mode = part.choice("mode", ("half_up", *(name for name in ROUNDING_MODES if name != "half_up")), "half_up")
    return Rounding(digits, mode, part.choice("scope", ("period", "tier"), "period"))


def _check_limits(form: Form, limits: dict[str, Decimal | None], rounding: Rounding | None) -> None:
    """minimum and maximum of a period, floor and cap of its percentage, agree with each other and with the rounding."""
    if form.has("minimum_due") and not form.has("minimum"):
        form.wrong("minimum_due", "`minimum_due` says when the minimum is due, and there is none; add `minimum` or remove this line")
    for low, high in (("minimum", "maximum"), ("floor", "cap")):
        least, most = limits[low], limits[high]
        if least is not None and most is not None and least > most:
            form.wrong(low, f"`{low}` {plain(least)} is above `{high}` {plain(most)}; correct one of them")
    for key, limit in limits.items():
        # Else rounding, which comes last, could lead out of the limit again.
        if limit is not None and rounding is not None and round_to(limit, rounding.digits, rounding.mode) != limit:
            form.wrong(key, f"`{key}` {plain(limit)} has more than the {rounding.digits} digits that `rounding` keeps; shorten it")


def _plain_value(value: Any) -> Any:
    """What JSON cannot write as it is: amounts, and how entries are selected."""
    if isinstance(value, Matrix):
        return {"dimensions": value.dimensions, "matches": value.matches}
    if isinstance(value, Schedule):
        return {"timezone": value.timezone, "bands": value.bands}
    return plain(value)


DEFAULTS: dict[str, Any] = Price._field_defaults
CANONICAL = json.JSONEncoder(default=_plain_value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


def _version(price: Price) -> str:
    """12 hex digits over the definition as it is written.

    Fields at their default are left out, so that a later Ratemill with more options still finds the same versions.
    """
    definition = {key: value for key, value in zip(Price._fields, price, strict=True) if key not in DEFAULTS or value != DEFAULTS[key]}
    return hashlib.sha256(CANONICAL(definition).encode()).hexdigest()[:12]
