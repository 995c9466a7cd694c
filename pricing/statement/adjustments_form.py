"""The section `adjustments` of a tariff file: each item becomes a step of the pipeline, or mistakes with their lines."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from ..book_form import Form, quoted
from ..book_yaml import Mistakes, Node, Table, is_null, kind_of
from ..money import ROUNDING_MODES, ZERO, plain
from .form_parts import Reference, digits_of, due_always, is_word, months, named, one_of, share_of
from .terms import Allowance, Commitments, Credits, Discount, Fees, Maximum, Minimum, RoundTotal, Step, Uplift, UpliftTier

__all__ = ["AdjustmentDraft", "read_adjustment"]

MOST_PERCENT_OFF = 100
MOST_PERCENT_ON = 1_000
EXAMPLE_SKUS = "[acme.storage]"
ALL_SKUS = "remove this line to mean every SKU"

COMMON_KEYS = ("id", "type", "accounts", "description")
DATED_KEYS = (*COMMON_KEYS, "effective_from", "effective_to")
KEYS = {
    "allowance": (*DATED_KEYS, "skus", "unit", "quantity", "order"),
    "discount": (*DATED_KEYS, "skus", "percent", "amount"),
    "minimum_spend": (*DATED_KEYS, "skus", "amount", "sku", "due", "charge_unused"),
    "maximum_spend": (*DATED_KEYS, "skus", "amount"),
    "uplift": (*DATED_KEYS, "of", "percent", "tiers", "minimum", "sku", "due", "charge_unused"),
    "rounding": (*DATED_KEYS, "digits", "mode", "sku"),
    # Where the fees, commitments and credits of accounts come; they have times of their own.
    "recurring": COMMON_KEYS,
    "commitment": COMMON_KEYS,
    "credits": (*COMMON_KEYS, "order"),
}
ANY_KEY = frozenset().union(*KEYS.values())
TIER_KEYS = ("up_to", "percent")


class AdjustmentDraft(NamedTuple):
    """An adjustment as far as it could be read."""

    line: int
    id: str
    type: str
    accounts: tuple[str, ...]  # for which it is; () is all
    skus: tuple[Reference, ...]  # whose charges it is about
    of: tuple[Reference, ...]  # of an uplift: SKUs or adjustments
    own_sku: Reference | None  # the SKU that was chosen for its charge
    unused: bool  # it may be due for accounts that used nothing
    step: Step | None  # None: something was wrong


def read_adjustment(node: Node, number: int, mistakes: Mistakes) -> AdjustmentDraft | None:
    """Read item `number` of `adjustments`, counted from 1. Everything wrong in it goes to `mistakes`."""
    if not isinstance(node, Table):
        mistakes.add(node.line, f"adjustment {number} is {kind_of(node)}, but must be a map with id and type")
        return None
    before = len(mistakes)
    form = Form(node, f"adjustment {number}", mistakes)
    form.require("id", f"adjustment-{number}")
    own_id = form.text("id", f"adjustment-{number}")
    if own_id:
        form.what = f"adjustment {quoted(own_id)}"
    form.require("type", "discount")
    kind = form.choice("type", KEYS, "")
    what, form.what = form.what, f"type {kind}" if kind else form.what
    form.check_keys(KEYS.get(kind, ANY_KEY), {key: f"it belongs to {_owners(key)}" for key in ANY_KEY} if kind else None)
    form.what = what
    accounts = tuple(sorted(reference.name for reference in named(form, "accounts", "[acct-1, acct-2]", "remove this line to mean every account")))
    skus = tuple(named(form, "skus", EXAMPLE_SKUS, ALL_SKUS)) if "skus" in KEYS.get(kind, ()) else ()
    of: tuple[Reference, ...] = ()
    if kind == "uplift" and form.require("of", "all") and not is_word(form, "of", ("all",)):
        of = tuple(named(form, "of", "[acme.storage, my-discount]", "write `of: all`"))
    sku = form.text("sku", "acme.support") if "sku" in KEYS.get(kind, ()) else ""
    own_sku = Reference("sku", form.line("sku"), sku) if sku else None
    step = READERS[kind](form, own_id, tuple(reference.name for reference in skus or of), sku) if kind else None
    unused = bool(step is not None and getattr(step, "unused", False))
    return AdjustmentDraft(node.line, own_id, kind, accounts, skus, of, own_sku, unused, None if len(mistakes) > before else step)


def _owners(key: str) -> str:
    """The types that have a key, in words."""
    *others, last = (kind for kind, keys in KEYS.items() if key in keys)
    return f"{', '.join(others)} and {last}" if others else last


def _label(form: Form) -> str:
    return form.text("description", "Partner discount", limit=1024)


def _amount(form: Form, example: str, above_zero: bool = True) -> Decimal:
    form.require("amount", f'"{example}"')
    return form.number("amount", example, above_zero=above_zero) or ZERO


def _allowance(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Step:
    form.require("skus", EXAMPLE_SKUS)
    form.require("unit", "GB")
    form.require("quantity", '"100"')
    since, until = months(form)
    unit, quantity = form.text("unit", "GB"), form.number("quantity", "100", above_zero=True) or ZERO
    order = form.choice("order", ("listed", "cheapest_first", "dearest_first"), "listed")
    return Allowance(own_id, skus, unit, quantity, order, since, until, _label(form))


def _discount(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Step:
    one_of(form, ("percent", "amount"), ('"10"', '"50"'))
    since, until = months(form)
    share, amount = share_of(form, "percent", "10", MOST_PERCENT_OFF), form.number("amount", "50", above_zero=True)
    return Discount(own_id, share, amount, skus, since, until, _label(form))


def _minimum(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Step:
    since, until = months(form)
    # A top-up for one SKU is that SKU's; for several, or for all, it is an SKU of its own.
    shown = sku or (skus[0] if len(skus) == 1 else own_id)
    return Minimum(own_id, shown, _amount(form, "50"), skus, due_always(form), form.flag("charge_unused"), since, until, _label(form))


def _maximum(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Step:
    since, until = months(form)
    return Maximum(own_id, _amount(form, "9000", above_zero=False), skus, since, until, _label(form))


def _uplift(form: Form, own_id: str, of: tuple[str, ...], sku: str) -> Step:
    tiers: list[UpliftTier] = []
    if one_of(form, ("percent", "tiers"), ('"10"', '[{up_to: "10000", percent: "10"}, {percent: "7"}]')):
        if form.has("percent"):
            tiers.append(UpliftTier(None, share_of(form, "percent", "10", MOST_PERCENT_ON) or ZERO))
        else:
            tiers = _tiers(form)
    minimum = form.number("minimum", "100", above_zero=True)
    for key in ("due", "charge_unused"):
        if form.has(key) and not form.has("minimum"):
            form.wrong(key, f"`{key}` says when the minimum is due, and there is none; add `minimum` or remove this line")
    since, until = months(form)
    # Which of the names are SKUs and which are adjustments is known when all have been read.
    unused = form.flag("charge_unused")
    return Uplift(own_id, sku or own_id, tuple(tiers), of, (), minimum, due_always(form), unused, since, until, _label(form))


def _tiers(form: Form) -> list[UpliftTier]:
    """Ascending tiers, the last without bound. A tier of 0 percent is free."""
    listed = form.list_of("tiers", '[{up_to: "10000", percent: "10"}, {percent: "7"}]')
    found: list[UpliftTier] = []
    lower: Decimal | None = ZERO  # where the tier begins; None once a bound could not be read
    if listed is not None and not listed.items:
        form.wrong("tiers", "`tiers` has no tier; add at least one, such as `- {percent: \"10\"}`")
    for number, node in enumerate(listed.items if listed else (), 1):
        if not isinstance(node, Table):
            form.mistakes.add(node.line, f"tier {number} is {kind_of(node)}, but must be a map with percent and up_to")
            lower = None
            continue
        part = Form(node, f"tier {number}", form.mistakes)
        part.check_keys(TIER_KEYS)
        written = node.entries.get("up_to")
        bounded, last = written is not None and not is_null(written[1]), listed is not None and number == len(listed.items)
        if bounded == last:
            hint = "the last tier has an `up_to`, so what exceeds it would have no percentage; remove it" if last else (
                f"tier {number} has no `up_to`, but another tier follows; add the bound, such as `up_to: \"10000\"`"
            )  # fmt: skip
            part.wrong("up_to", hint)
        upper = part.number("up_to", "10000", above_zero=True) if bounded else None
        if upper is not None and lower is not None and upper <= lower:
            part.wrong("up_to", f"`up_to` is {plain(upper)}, not above the tier before it ({plain(lower)}); sort the tiers")
        lower = upper
        part.require("percent", '"10"')
        found.append(UpliftTier(upper, share_of(part, "percent", "10", MOST_PERCENT_ON, above_zero=False) or ZERO))
    return found


def _rounding(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Step:
    mode = form.choice("mode", ("half_up", *(name for name in ROUNDING_MODES if name != "half_up")), "half_up")
    since, until = months(form)
    return RoundTotal(own_id, sku or own_id, digits_of(form), mode, since, until, _label(form))


def _recurring(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Step:
    _label(form)
    return Fees(own_id)


def _commitment(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Step:
    _label(form)
    return Commitments(own_id)


def _credits(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Step:
    _label(form)
    return Credits(own_id, form.choice("order", ("expiry", "discount", "balance", "listed"), "expiry"))


READERS: dict[str, Callable[[Form, str, tuple[str, ...], str], Step]] = {
    "allowance": _allowance,
    "discount": _discount,
    "minimum_spend": _minimum,
    "maximum_spend": _maximum,
    "uplift": _uplift,
    "rounding": _rounding,
    "recurring": _recurring,
    "commitment": _commitment,
    "credits": _credits,
}
