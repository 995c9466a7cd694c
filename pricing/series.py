"""Prices in time: the series of one (sku, unit), and the series of an account that has prices or a currency of its own.

An override replaces the general price for its accounts while it is in force; before and after, the general one holds. So the
series of an account tiles time as the general one does: a price that an override interrupts comes back as a new piece of the
same price. Then, if the account has another currency, every piece is converted, month by month.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from decimal import localcontext
from functools import lru_cache
from typing import NamedTuple

from .exchange import NO_RATES, UTC_MONTHS, ExchangeRates, Months
from .money import EXACT
from .price import Price

__all__ = ["NO_SERIES", "AccountPrices", "Series", "digest", "merged", "series_by_name", "series_of"]

SERIES_KEPT = 65_536  # merged series that are remembered at once


def digest(parts: Iterable[object]) -> str:
    """SHA-256 over a list of plain values, in hex."""
    return hashlib.sha256(json.dumps(list(parts), ensure_ascii=False).encode()).hexdigest()


class Series(NamedTuple):
    """The prices of one (sku, unit), ascending by effective_from, with their starts beside them for bisection."""

    starts: tuple[int, ...]
    prices: tuple[Price, ...]
    version: str

    def at(self, time_ns: int) -> Price | None:
        """The price in force at a time (nanoseconds since 1970), or None."""
        index = bisect_right(self.starts, time_ns) - 1
        if index < 0:
            return None
        price = self.prices[index]
        return price if price.effective_to is None or time_ns < price.effective_to else None


NO_SERIES = Series((), (), "")


def series_of(prices: Iterable[Price]) -> Series:
    """The series of prices that do not begin together; each ends at the latest where the next begins."""
    members = sorted(prices, key=lambda price: price.effective_from)
    starts = tuple(price.effective_from for price in members)
    ended = tuple(
        price._replace(effective_to=end) if price.effective_to is None else price for price, end in zip(members, [*starts[1:], None], strict=True)
    )
    # Versions are those of the definitions as written: a successor does not make another price of its predecessor.
    return Series(starts, ended, digest(price.version for price in ended)[:12])


def series_by_name(prices: Iterable[Price]) -> dict[tuple[str, str], Series]:
    """Series by (sku, unit), in that order."""
    found: dict[tuple[str, str], list[Price]] = {}
    for price in sorted(prices, key=lambda price: (price.sku, price.unit)):
        found.setdefault((price.sku, price.unit), []).append(price)
    return {name: series_of(members) for name, members in found.items()}


def merged(general: Sequence[Price], overrides: Sequence[Price]) -> list[Price]:
    """The prices of one (sku, unit) as an account sees them. Both series tile time without overlap, ascending; so does the result."""
    found = list(overrides)
    for price in general:
        since: int | None = price.effective_from
        for override in overrides:
            if since is None or (override.effective_to is not None and override.effective_to <= since):
                continue
            if price.effective_to is not None and override.effective_from >= price.effective_to:
                break
            if override.effective_from > since:
                found.append(price._replace(effective_from=since, effective_to=override.effective_from))
            since = override.effective_to
        if since is not None and (price.effective_to is None or since < price.effective_to):
            found.append(price._replace(effective_from=since))
    return sorted(found, key=lambda price: price.effective_from)


class AccountPrices:
    """The series of accounts that differ from the general ones. Immutable, but for what it remembers."""

    __slots__ = ("_by_account", "_currencies", "_general", "_rates", "_remembered", "accounts")

    def __init__(
        self, general: Mapping[tuple[str, str], Series], overrides: Iterable[Price] = (), currencies: Mapping[str, str] | None = None,
        rates: ExchangeRates = NO_RATES,
    ) -> None:  # fmt: skip
        """overrides: prices that name accounts. currencies: those of the accounts that have another one than the book."""
        by_account: dict[str, list[Price]] = {}
        for price in overrides:
            for account in price.accounts:
                by_account.setdefault(account, []).append(price)
        self._general = general
        self._by_account = {account: series_by_name(prices) for account, prices in by_account.items()}
        self._currencies = dict(currencies or {})
        self._rates = rates
        self.accounts = frozenset([*self._by_account, *self._currencies])
        self._remembered = lru_cache(maxsize=SERIES_KEPT)(self._series)

    def series(self, account: str, sku: str, unit: str, months: Months = UTC_MONTHS) -> Series:
        """The series of an account that is in `accounts`; NO_SERIES when it has no price."""
        own = (sku, unit) in self._by_account.get(account, {})
        currency = self._currencies.get(account, "")
        if not own and not currency:
            return self._general.get((sku, unit), NO_SERIES)
        # Accounts of one currency share what they have in common.
        return self._remembered(account if own else "", currency, sku, unit, months)

    def _series(self, account: str, currency: str, sku: str, unit: str, months: Months) -> Series:
        overrides = self._by_account.get(account, {}).get((sku, unit), NO_SERIES)
        prices = merged(self._general.get((sku, unit), NO_SERIES).prices, overrides.prices)
        with localcontext(EXACT):
            pieces = tuple(self._rates.convert(prices, currency, months) if currency else prices)
        starts = tuple(price.effective_from for price in pieces)
        return Series(starts, pieces, digest([price.version, price.effective_from] for price in pieces)[:12] if pieces else "")
