"""Exchange rates: what one unit of the book's currency is worth in another currency, month by month, and prices converted by it.

A rate holds for whole months, from the one whose first instant it names, so that a month of an account has one rate. Which
instants a month consists of is the caller's to say (`Months`): a meter may count its months in another time zone than UTC.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple, Protocol

from .book_form import Form, quoted
from .book_yaml import Mistakes, Table, kind_of
from .money import ZERO, money, plain
from .price import Price

__all__ = [
    "EVERY_MONTH", "NO_RATES", "UTC_MONTHS", "ExchangeRate", "ExchangeRates", "Months", "check_rates", "converted", "first_of_month",
    "read_currency", "read_exchange_rates",
]  # fmt: skip

CURRENCY = re.compile("[A-Z]{3}")
EVERY_MONTH = -1  # month of a rate that names none
RATE_KEYS = ("currency", "rate", "effective_from")
EXAMPLE = '[{currency: EUR, rate: "0.92", effective_from: 2026-01-01T00:00:00Z}]'
_NS = 1_000_000_000
ONE = money(1)


class Months(Protocol):
    """Calendar months as numbers, 12 x year + month - 1, in some time zone (metering.calendar.Calendar is one)."""

    def month_of(self, t_s: int) -> int:
        """The month that holds a time in seconds since 1970."""
        ...

    def month_start(self, month: int) -> int:
        """First second of a month."""
        ...

    def __hash__(self) -> int: ...


class _MonthsOfUtc:
    def month_of(self, t_s: int) -> int:
        moment = datetime.fromtimestamp(t_s, UTC)
        return moment.year * 12 + moment.month - 1

    def month_start(self, month: int) -> int:
        return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp())


UTC_MONTHS: Months = _MonthsOfUtc()


class ExchangeRate(NamedTuple):
    """`rate` units of `currency` for one unit of the book's currency, from a month until the next rate of that currency."""

    currency: str
    rate: Decimal
    month: int = EVERY_MONTH


@dataclass(frozen=True, slots=True)
class ExchangeRates:
    """The rates of a book, by currency and month; no two of one currency begin together."""

    rates: tuple[ExchangeRate, ...]  # by currency and month
    _by_currency: Mapping[str, tuple[ExchangeRate, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, list[ExchangeRate]] = {}
        for rate in sorted(self.rates, key=lambda rate: (rate.currency, rate.month)):
            found.setdefault(rate.currency, []).append(rate)
        object.__setattr__(self, "rates", tuple(rate for rates in found.values() for rate in rates))
        object.__setattr__(self, "_by_currency", MappingProxyType({currency: tuple(rates) for currency, rates in found.items()}))

    def of(self, currency: str) -> tuple[ExchangeRate, ...]:
        """The rates of a currency, ascending by month; empty when there is none."""
        return self._by_currency.get(currency, ())

    def rate(self, currency: str, month: int) -> Decimal | None:
        """The rate in a month (12 x year + month - 1); None before the first one, and for a currency without rates."""
        rates = self.of(currency)
        index = bisect_right(rates, month, key=lambda rate: rate.month)
        return rates[index - 1].rate if index else None

    def convert(self, prices: Iterable[Price], currency: str, months: Months) -> list[Price]:
        """Prices that follow each other in time, in another currency: cut where the rate changes, nothing where there is none yet.

        What is written in that currency stays as it is.
        """
        rates = self.of(currency)
        starts = [None if rate.month == EVERY_MONTH else months.month_start(rate.month) * _NS for rate in rates]
        found = []
        for price in prices:
            if price.currency == currency:
                found.append(price)
                continue
            for rate, since, until in zip(rates, starts, [*starts[1:], None], strict=True):
                low = price.effective_from if since is None else max(price.effective_from, since)
                ends = [end for end in (price.effective_to, until) if end is not None]
                high = min(ends, default=None)
                if high is None or low < high:
                    found.append(converted(price, currency, rate.rate)._replace(effective_from=low, effective_to=high))
        return found


NO_RATES = ExchangeRates(())


def converted(price: Price, currency: str, rate: Decimal) -> Price:
    """The same price in another currency, every amount x rate, exactly. Its version says so; quantities and digits of rounding stay.

    The caller's decimal context must be exact (money.EXACT).
    """

    def amount(value: Decimal | None) -> Decimal | None:
        return None if value is None else value * rate

    dynamic = price.model == "dynamic"
    # What a dynamic price counts is an amount already, and it is the markup that brings it into the currency.
    tiers = price.tiers if dynamic else tuple(t._replace(unit_price=t.unit_price * rate, flat_price=t.flat_price * rate) for t in price.tiers)
    return price._replace(
        currency=currency,
        tiers=tiers,
        version=hashlib.sha256(f"{price.version}\0{currency}\0{plain(rate)}".encode()).hexdigest()[:12],
        package_price=price.package_price * rate,
        minimum=amount(price.minimum),
        maximum=amount(price.maximum),
        floor=amount(price.floor),
        cap=amount(price.cap),
        markup=price.markup * rate if dynamic else price.markup,
        pricing_currency=price.currency,
        exchange_rate=rate,
    )


def read_exchange_rates(form: Form, currency: str) -> ExchangeRates:
    """The section `exchange_rates` of a price book, whose currency is given; mistakes go to those of the form."""
    listed = form.list_of("exchange_rates", EXAMPLE)
    lines: dict[tuple[str, int], int] = {}
    rates = []
    for number, node in enumerate(listed.items if listed else (), 1):
        if not isinstance(node, Table):
            form.mistakes.add(node.line, f"exchange rate {number} is {kind_of(node)}, but must be a map with currency, rate and effective_from")
            continue
        rate = _read_rate(Form(node, f"exchange rate {number}", form.mistakes), currency)
        if rate is None:
            continue
        first = lines.setdefault((rate.currency, rate.month), node.line)
        if first != node.line:
            form.mistakes.add(node.line, f"{rate.currency} has two rates from the same month, the first in line {first}; keep one of them")
        else:
            rates.append(rate)
    return ExchangeRates(tuple(rates))


def read_currency(form: Form, example: str, default: str = "") -> str:
    """`currency`, as three capital letters. What is wrong goes to the mistakes of the form."""
    currency = form.text("currency", example, default)
    if form.has("currency") and currency and not CURRENCY.fullmatch(currency):
        form.wrong("currency", f"`currency` is {quoted(currency)}; write the three capital letters of ISO 4217, such as {example}")
    return currency


def first_of_month(form: Form, key: str, why: str) -> int | None:
    """A time that is the first instant of a month in UTC, as that month; None when absent or wrong. why: no other time will do."""
    time = form.time(key)
    if time is None:
        return None
    month = UTC_MONTHS.month_of(time // _NS)
    if UTC_MONTHS.month_start(month) * _NS != time:
        what = f"`{key}` is {quoted(form.scalar(key, '') or '')}, within a month, and {why}"
        form.wrong(key, f"{what}; write the first instant of one in UTC, such as 2026-01-01T00:00:00Z")
        return None
    return month


def _read_rate(form: Form, own: str) -> ExchangeRate | None:
    before = len(form.mistakes)
    form.check_keys(RATE_KEYS)
    form.require("rate", '"0.92"')
    form.require("currency", "EUR")
    currency = read_currency(form, "EUR")
    if currency and currency == own and CURRENCY.fullmatch(currency):
        form.wrong("currency", f"`currency` is {currency}, the book's own; a rate is that of another currency")
    rate = form.number("rate", "0.92", above_zero=True)
    month = first_of_month(form, "effective_from", "a month has one rate")
    return None if len(form.mistakes) > before else ExchangeRate(currency, rate or ZERO, EVERY_MONTH if month is None else month)


def check_rates(currencies: Iterable[tuple[str, str, int]], own: str, rates: ExchangeRates, mistakes: Mistakes) -> None:
    """Every currency of an account has a rate. currencies: (account, currency, line where it is written)."""
    for account, currency, line in currencies:
        if CURRENCY.fullmatch(currency) and currency != own and not rates.of(currency):
            what = f"account {quoted(account)} has the currency {currency}, which has no exchange rate; add one"
            mistakes.add(line, f"{what}, such as `exchange_rates: {EXAMPLE.replace('EUR', currency)}`")
