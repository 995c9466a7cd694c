"""The same usage under two books, by definition: all line items of both, added up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from ..metering.meter import Meters
from ..metering.tariff import Tariff
from ..pricing.book import PriceBook
from ..pricing.exchange import UTC_MONTHS, Months
from ..pricing.price import SINCE_ALWAYS, Price
from ..schemas.line_item import RatedLineItem
from ..streams.core.accounts import Account
from ..streams.core.comparison import CostKey, Spent, spend
from ..streams.core.corrections import Closed
from ..streams.core.groups import Group
from ..streams.core.items import GroupKey
from ..streams.core.segments import Rates
from ..streams.core.state import stored_groups
from ..streams.core.store import ENTRY, Effects, Store
from ..streams.core.sweep import definition
from .prices_usage import Usage, Wanted

__all__ = ["HeldBook", "carry_credits", "costs_of", "rates_of", "wanted_month"]


class HeldBook:
    """A book whose prices are at all times those of one time: what usage would have cost under them."""

    def __init__(self, book: PriceBook, at_ns: int) -> None:
        self._book = book
        self._at_ns = at_ns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    def price_at(self, sku: str, unit: str, time_ns: int, account: str = "", months: Months = UTC_MONTHS) -> Price | None:
        """The price in force at the one time, whatever time is asked for."""
        price = self._book.price_at(sku, unit, self._at_ns, account, months)
        return None if price is None else price._replace(effective_from=SINCE_ALWAYS, effective_to=None)

    def series(self, sku: str, unit: str, account: str = "", months: Months = UTC_MONTHS) -> tuple[Price, ...]:
        """That price alone."""
        price = self.price_at(sku, unit, 0, account, months)
        return () if price is None else (price,)


def rates_of(tariff: Tariff, window_s: int, meters: Meters | None = None, at_ns: int | None = None) -> Rates:
    """Rates under a tariff. meters: those that the usage was metered by, if not its own. at_ns: hold the prices of this time."""
    book = tariff.book if at_ns is None else cast(PriceBook, HeldBook(tariff.book, at_ns))
    return Rates(book, window_s, tariff.meters if meters is None else meters, tariff.digest)


def wanted_month(month: int, old: PriceBook) -> Wanted:
    """The windows of a month; and all earlier ones of accounts with credits, as these may be used up when the month begins."""
    credited = {account for account in old.contracts if (terms := old.terms_of(account)) is not None and terms.credits}
    return Wanted(lambda group: group.month == month, lambda group: group.month < month and group.account in credited)


def carry_credits(usage: Usage, rates: Rates, month: int) -> None:
    """Let the month begin with what is left of credits then: all earlier months under the book that is the older one."""
    account: Account | None = None
    puts: list[tuple[bytes, bytes | None]] = []

    def carry() -> None:
        if account is not None and (left := account.closing_balances(month - 1)) is not None:
            puts.append(left)

    for prefix, key in stored_groups(usage.before):
        if account is None or account.name != key.account:
            carry()
            account = Account(key.account, rates, usage.before, Closed(), empty=True)
        account.note(Group(GroupKey(*key), rates, final=True).load(usage.before.scan(ENTRY + prefix)))
    carry()
    usage.store.apply(Effects((), puts, {}, 0, []))


def costs_of(store: Store, rates: Rates, closing: int, told: Callable[[int], None] = lambda windows: None) -> dict[CostKey, Spent]:
    """All line items of what is stored, added up. closing: months up to this one are over, so what is due then is in; 0: none."""
    costs: dict[CostKey, Spent] = {}
    spend(costs, _told(definition(store, rates, None, closing), told))
    return costs


def _told(items: Iterator[RatedLineItem], told: Callable[[int], None]) -> Iterator[RatedLineItem]:
    for item in items:
        told(item.x_component != "" and item.consumed_quantity is not None)
        yield item
