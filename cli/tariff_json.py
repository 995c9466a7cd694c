"""What a tariff holds beside its prices, as JSON: numbers as decimal strings, times as they are written, null for what is not there."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..metering.meter import FOREVER as METERED_FOREVER
from ..metering.meter import Meter
from ..metering.tariff import Tariff
from ..pricing.book import PriceBook
from ..pricing.money import plain
from ..pricing.price import SINCE_ALWAYS
from ..pricing.statement.terms import ALWAYS, FOREVER, Commitment, Credit, Fee, Step, UpliftTier
from ..schemas.control import month_text
from ..schemas.times import NS, format_time
from .tariff_words import length, percent, step_in_words, term_in_words, type_of

__all__ = ["accounts_of", "tariff_as_json"]

SHARES = ("share", "discount", "surcharge")  # fields that a file has as percentages


def tariff_as_json(tariff: Tariff) -> dict[str, Any]:
    """Meters, adjustments in their order, and accounts. digest: of all of it, prices included, as workers name it."""
    book = tariff.book
    return {
        "digest": tariff.digest,
        "meters": [meter_as_json(meter) for meter in tariff.meters.all],
        "adjustments": [step_as_json(position, step, accounts, book) for position, (step, accounts) in enumerate(book.adjustments, 1)],
        "accounts": [account_as_json(account, book) for account in accounts_of(book)],
    }


def accounts_of(book: PriceBook) -> list[str]:
    """The accounts that have something of their own: terms, a currency, a price."""
    return sorted({*book.contracts, *(account for price in book.prices for account in price.accounts)})


def meter_as_json(meter: Meter) -> dict[str, Any]:
    """One meter."""
    group, factor = meter.group_by, meter.factor
    return {
        "id": meter.id,
        "version": meter.version,
        "event": meter.event,
        "filter": None if meter.filter is None else meter.filter.text,
        "quantity": None if meter.quantity is None else meter.quantity.text,
        "aggregation": meter.aggregation,
        "unique": None if meter.unique is None else meter.unique.text,
        "group_by": {"region": group.region, "resource": group.resource, "dimensions": group.dimensions},
        "sku": meter.sku,
        "unit": meter.unit or None,
        "source_unit": meter.source_unit or None,
        "factor": None if factor is None else str(factor.fraction),
        "digits": None if factor is None else factor.digits,
        "per_month": meter.month_digits is not None,
        "gap_limit": length(meter.gap_limit // NS) if meter.gap_limit else None,
        "carry_forward": meter.carry_forward,
        "first_sample": "count" if meter.count_first else "baseline",
        "window": None if meter.calendar is None else meter.calendar.window,
        "timezone": "UTC" if meter.calendar is None else meter.calendar.timezone,
        "effective_from": None if meter.effective_from == SINCE_ALWAYS else format_time(meter.effective_from),
        "effective_to": None if meter.effective_to == METERED_FOREVER else format_time(meter.effective_to),
    }


def step_as_json(position: int, step: Step, accounts: tuple[str, ...], book: PriceBook) -> dict[str, Any]:
    """One adjustment with its place, from 1. accounts: for which it is, null for all. Its last month is `last_month`."""
    fields = _fields(step._asdict(), ("id", "since", "until"))
    return {
        "position": position,
        "id": step.id,
        "type": type_of(step),
        "accounts": list(accounts) or None,
        **fields,
        "first_month": None if step.since == ALWAYS else month_text(step.since),
        "last_month": None if step.until is None else month_text(step.until - 1),
        "in_words": "; ".join(step_in_words(step, book.currency)),
    }


def account_as_json(account: str, book: PriceBook) -> dict[str, Any]:
    """What one account has of its own; adjustments: the ids of all that apply to it, in their order."""
    terms, currency = book.terms_of(account), book.currency_of(account)
    return {
        "account": account,
        "currency": currency,
        "recurring": [term_as_json(fee, currency) for fee in (terms.fees if terms else ())],
        "commitments": [term_as_json(commitment, currency) for commitment in (terms.commitments if terms else ())],
        "credits": [term_as_json(credit, currency) for credit in (terms.credits if terms else ())],
        "prices": [price.id for price in book.prices if account in price.accounts],
        "adjustments": [step.id for step in terms.steps] if terms else [],
    }


def term_as_json(term: Fee | Commitment | Credit, currency: str) -> dict[str, Any]:
    """A fee, a commitment or a credit."""
    until = None if term.until in (None, FOREVER) else term.until
    return {
        **_fields(term._asdict(), ("since", "until")),
        "effective_from": None if term.since == ALWAYS else format_time(term.since * NS),
        "effective_to": None if until is None else format_time(until * NS),
        "in_words": term_in_words(term, currency),
    }


def _fields(fields: dict[str, Any], apart: tuple[str, ...]) -> dict[str, Any]:
    """Fields as JSON: shares as the percentages that stand in the file."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name in apart:
            continue
        if name == "tiers":
            found[name] = [_tier(tier) for tier in value]
        elif name in SHARES:
            found["percent" if name == "share" else name] = None if value is None else percent(value)
        else:
            found[name] = plain(value) if isinstance(value, Decimal) else value
    return found


def _tier(tier: UpliftTier) -> dict[str, Any]:
    return {"up_to": None if tier.upper is None else plain(tier.upper), "percent": percent(tier.share)}
