"""The prices in force, for requests: as `ratemill prices check --json` shows them, and of other accounts nothing."""

from __future__ import annotations

import re
from typing import Any

from ...api.ports import PriceQuery, Prices
from ...metering.tariff import EMPTY_TARIFF, Tariff
from ...pricing.price import Price
from ...schemas.errors import BadInput
from ...schemas.times import format_time
from ...streams.config import Config
from ...streams.prices_topic import Live, read_live
from ..prices import price_as_json, rate_as_json
from ..tariff_json import account_as_json, step_as_json
from .jobs import Jobs

__all__ = ["LiveBook", "price_page", "price_reader"]

WITHIN_S = 30.0
_CURSOR = re.compile("([0-9a-f]{12})-([0-9]{1,9})")


class LiveBook:
    """The book in force, as of each call: what came since the last one is read."""

    def __init__(self, config: Config, jobs: Jobs) -> None:
        self._config, self._jobs = config, jobs
        self._known = Live()

    async def read(self) -> Live:
        """Raises Unavailable, Problem 504."""
        found = await self._jobs.run(lambda: read_live(self._config, self._known), WITHIN_S)
        if found.next >= self._known.next:  # another request may have read further meanwhile
            self._known = found
        return self._known


def price_reader(book: LiveBook, jobs: Jobs) -> Prices:
    """The port of prices."""

    async def read(query: PriceQuery) -> dict[str, Any]:
        return await jobs.compute(price_page, await book.read(), query)

    return read


def price_page(live: Live, query: PriceQuery) -> dict[str, Any]:
    """A page of the prices in force at a time. Raises BadInput for a cursor of another book."""
    found = live.found
    tariff = EMPTY_TARIFF if found is None or found.tariff is None else found.tariff
    book, account = tariff.book, query.account
    prices = [
        price
        for price in book.prices
        if query.sku in ("", price.sku)
        and (account is None or not price.accounts or account in price.accounts)
        and price.effective_from <= query.at_ns
        and (price.effective_to is None or query.at_ns < price.effective_to)
    ]
    start = _start(query.cursor, tariff)
    end = start + query.size
    currency = book.currency if account is None else book.currency_of(account)
    return {
        "at": format_time(query.at_ns),
        "digest": tariff.digest,
        "published_at": None if found is None else format_time(found.record.published_at_ns),
        "currency": currency,
        "exchange_rates": [rate_as_json(rate) for rate in book.exchange_rates.rates if account is None or rate.currency == currency],
        "prices": [_price(price, tariff, query) for price in prices[start:end]],
        "terms": None if account is None else _terms(account, tariff),
        "next": f"{tariff.digest[:12]}-{end}" if end < len(prices) else None,
    }


def _start(cursor: str, tariff: Tariff) -> int:
    if not cursor:
        return 0
    match = _CURSOR.fullmatch(cursor)
    if match is None or match[1] != tariff.digest[:12]:
        raise BadInput("cursor is none that a page of the book in force has given; begin without one")
    return int(match[2])


def _price(price: Price, tariff: Tariff, query: PriceQuery) -> dict[str, Any]:
    shown = price_as_json(price)
    if query.account is None:
        return shown | {"applies": None}
    applied = tariff.book.price_at(price.sku, price.unit, query.at_ns, query.account)
    return shown | {"accounts": [query.account] if price.accounts else [], "applies": applied is not None and applied.id == price.id}


def _terms(account: str, tariff: Tariff) -> dict[str, Any]:
    """What an account has of its own, and the adjustments that are for it, numbered as it sees them."""
    book = tariff.book
    steps = [(step, (account,) if accounts else ()) for step, accounts in book.adjustments if not accounts or account in accounts]
    return account_as_json(account, book) | {"adjustments": [step_as_json(at, step, accounts, book) for at, (step, accounts) in enumerate(steps, 1)]}
