"""Meters, adjustments and what accounts have agreed in words, for people: `ratemill prices check`."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, localcontext

from ..metering.meter import FOREVER as METERED_FOREVER
from ..metering.meter import Meter
from ..pricing.money import EXACT, money, plain
from ..pricing.price import SINCE_ALWAYS
from ..pricing.statement.terms import (
    ALWAYS,
    FOREVER,
    Allowance,
    Commitment,
    Commitments,
    Credit,
    Credits,
    Discount,
    Fee,
    Fees,
    Maximum,
    Minimum,
    RoundTotal,
    Step,
    Uplift,
)
from ..schemas.control import month_text
from ..schemas.times import NS, format_time

__all__ = ["in_force", "length", "meter_reads", "meter_works", "month_period", "step_in_words", "term_in_words", "time_period", "type_of"]

TYPES: dict[type, str] = {
    Allowance: "allowance", Discount: "discount", Minimum: "minimum_spend", Maximum: "maximum_spend", Uplift: "uplift", RoundTotal: "rounding",
    Commitments: "commitment", Credits: "credits", Fees: "recurring",
}  # fmt: skip
CREDIT_ORDERS = {
    "expiry": "soonest expiry first", "discount": "highest discount first", "balance": "lowest balance first", "listed": "in the order written",
}  # fmt: skip
SPANS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
MIDNIGHT = "T00:00:00Z"


# -- meters ----------------------------------------------------------------------------------------------------------


def meter_reads(meter: Meter) -> list[str]:
    """Which events a meter reads, and what of them."""
    lines = [meter.event]
    if meter.filter is not None:
        lines.append(f"where {meter.filter.text}")
    if meter.quantity is not None:
        lines.append(f"counts {meter.quantity.text}")
    return lines


def meter_works(meter: Meter) -> list[str]:
    """How a meter makes one quantity of what it reads, by what it tells usage apart, and in which windows."""
    lines = [_aggregation(meter)]
    kept = [f"{meter.factor.digits} digits"] if meter.factor is not None and meter.factor.digits is not None else []
    units = [f"{meter.source_unit} → {meter.unit}"] if meter.source_unit and meter.source_unit != meter.unit else []
    if units or kept:
        lines.append(", ".join([*units, *kept]))
    if meter.gap_limit:
        lines.append(f"a sample holds {length(meter.gap_limit // NS)} at most" + ("" if meter.carry_forward else ", and only until a next one"))
    if meter.count_first:
        lines.append("the first sample counts")
    lines.append(f"by {_groups(meter)}")
    its = meter.calendar
    lines.append("windows of the worker" if its is None else f"windows of {_article(str(its.window))}, {its.timezone}")
    until = None if meter.effective_to == METERED_FOREVER else meter.effective_to
    return lines + in_force(None if meter.effective_from == SINCE_ALWAYS else meter.effective_from, until)


def _aggregation(meter: Meter) -> str:
    if meter.unique is not None:
        return f"unique {meter.unique.text}"
    return meter.aggregation + (" per month" if meter.month_digits is not None else "")


def _article(word: str) -> str:
    return f"an {word}" if word == "hour" else f"a {word}"


def _groups(meter: Meter) -> str:
    group = meter.group_by
    names = [name for name, wanted in (("region", group.region), ("resource", group.resource)) if wanted]
    names += ["all dimensions"] if group.dimensions is None else group.dimensions
    return ", ".join(names) or "nothing"


def length(seconds: int) -> str:
    """A span of time as it is written in a tariff: 90s, 45m, 2h, 7d."""
    name, size = next((name, size) for name, size in SPANS if seconds % size == 0)
    return f"{seconds // size}{name}"


# -- adjustments -----------------------------------------------------------------------------------------------------


def type_of(step: Step) -> str:
    """The `type` of an adjustment."""
    return TYPES[type(step)]


def step_in_words(step: Step, currency: str) -> list[str]:
    """What an adjustment does. currency: of its amounts."""
    match step:
        case Allowance():
            order = "" if step.order == "listed" or len(step.skus) == 1 else f", {step.order.replace('_', ' ')}"
            lines = [f"{plain(step.quantity)} {step.unit} of {', '.join(step.skus)} are free{order}"]
        case Discount():
            off = f"{percent(step.share)} %" if step.share is not None else f"{plain(step.amount or money(0))} {currency}"
            lines = [f"{off} off {_about(step.skus)}"]
        case Minimum():
            lines = [f"{_about(step.skus)} cost {plain(step.amount)} {currency} at least", *_due(step.always, step.unused)]
        case Maximum():
            lines = [f"{_about(step.skus)} cost {plain(step.amount)} {currency} at most"]
        case Uplift():
            lines = _uplift(step, currency)
        case RoundTotal():
            lines = [f"the total, to {step.digits} digits, {step.mode}"]
        case Fees():
            lines = ["the fees of the account"]
        case Commitments():
            lines = ["the commitments of the account"]
        case Credits():
            lines = [f"what the account's credits pay, {CREDIT_ORDERS[step.order]}"]
    period = month_period(step.since, step.until)
    return [*lines, period] if period else lines


def _uplift(step: Uplift, currency: str) -> list[str]:
    of = ", ".join((*step.of_skus, *step.of_adjustments)) or "everything before it"
    if len(step.tiers) == 1:
        lines = [f"{percent(step.tiers[0].share)} % of {of}"]
    else:
        lines = [f"of {of}:"]
        lines += [f"{percent(tier.share)} % " + ("beyond" if tier.upper is None else f"up to {plain(tier.upper)} {currency}") for tier in step.tiers]
    if step.minimum is not None:
        lines += [f"at least {plain(step.minimum)} {currency}", *_due(step.always, step.unused)]
    return lines if step.sku == step.id else [*lines, f"shown as {step.sku}"]


def _due(always: bool, unused: bool) -> list[str]:
    return [*(["shown from the start"] if always else []), *(["due without usage too"] if unused else [])]


def percent(share: Decimal) -> str:
    """0.1 is 10."""
    with localcontext(EXACT):
        return plain(share * money(100))


def _about(skus: Iterable[str]) -> str:
    return ", ".join(skus) or "all SKUs"


# -- accounts --------------------------------------------------------------------------------------------------------


def term_in_words(term: Fee | Commitment | Credit, currency: str) -> str:
    """A fee, a commitment or a credit of an account, with when it holds."""
    match term:
        case Fee():
            share = "whole" if term.prorate == "none" else f"by the {term.prorate}"
            what = f"fee {term.id}: {plain(term.amount)} {currency} a month for {term.sku}, {share}"
            until = term.until
        case Commitment():
            lines = [f"commitment {term.id}: {plain(term.amount)} {currency} a month for {_about(term.skus)}"]
            lines += ["paid in advance"] if term.prepaid else []
            for share_of, name in ((term.surcharge, "more"), (term.discount, "less")):
                lines += [f"{percent(share_of)} % {name} beyond it"] if share_of else []
            what, until = ", ".join([*lines, *_due(term.always, False)]), term.until
        case Credit():
            what = f"credit {term.id}: {plain(term.amount)} {currency} for {_about(term.skus)}"
            what += f", {percent(term.discount)} % discount" if term.discount else ""
            what += ", bought on the statement" if term.prepaid else ""
            until = None if term.until == FOREVER else term.until
    period = time_period(term.since, until)
    return f"{what}, {period}" if period else what


# -- times -----------------------------------------------------------------------------------------------------------


def month_period(since: int, until: int | None) -> str:
    """When an adjustment holds: months, `until` is the first one without it. "" for always."""
    begin = [] if since == ALWAYS else [f"from {month_text(since)}"]
    return " ".join([*begin, *([] if until is None else [f"through {month_text(until - 1)}"])])


def time_period(since_s: int, until_s: int | None) -> str:
    """When a term of an account holds, in seconds. "" for always."""
    return " ".join(in_force(None if since_s == ALWAYS else since_s * NS, None if until_s is None else until_s * NS))


def in_force(since_ns: int | None, until_ns: int | None) -> list[str]:
    """`from` and `to` of what is not in force for ever, in UTC; midnight is written as the day alone."""
    times = (("from", since_ns), ("to", until_ns))
    return [f"{word} {format_time(at).removesuffix(MIDNIGHT)}" for word, at in times if at is not None]
