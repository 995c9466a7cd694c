"""The price book: what each SKU costs in each unit at each time, read from YAML once and never changed after.

    parse_price_book(text, name)     YAML -> PriceBook, or BadPriceBook with every mistake as `file:line: what; what to do`
    PriceBook.price_at(...)          the price in force at a time

Prices of one (sku, unit) form a series: each ends where the next begins. A published price is not edited: another price with
a later effective_from replaces it, so that old usage keeps its price. What an account sees instead is in series.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from types import MappingProxyType

from ..schemas.errors import BadPriceBook
from .book_checks import check_currencies, check_ids, check_series
from .book_form import Form
from .book_price import Draft, read_price
from .book_yaml import Mistakes, Node, Table, kind_of, read_yaml
from .exchange import NO_RATES, UTC_MONTHS, ExchangeRates, Months, check_rates, read_currency, read_exchange_rates
from .money import EXACT, money, plain
from .price import Price
from .series import NO_SERIES, AccountPrices, Series, digest, series_by_name
from .statement.contracts import NO_CONTRACTS, Contracts
from .statement.terms import Step, Terms
from .statement.terms_form import read_accounts, read_contracts

__all__ = ["EMPTY_BOOK", "PriceBook", "make_book", "parse_price_book", "read_book"]

BOOK_KEYS = ("currency", "provider_name", "publisher_name", "invoice_issuer_name", "prices", "exchange_rates", "adjustments", "accounts")
UNNAMED = "Unnamed provider"


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Immutable. Equal content has an equal digest, whatever the order or the formatting of the YAML."""

    currency: str
    provider_name: str
    publisher_name: str
    invoice_issuer_name: str
    prices: tuple[Price, ...]  # by sku, unit and effective_from; then those of accounts, as they are written
    digest: str
    exchange_rates: ExchangeRates
    _series: Mapping[tuple[str, str], Series] = field(repr=False, compare=False)
    _units: Mapping[str, frozenset[str]] = field(repr=False, compare=False)
    _accounts: AccountPrices = field(repr=False, compare=False)
    _terms: Contracts = field(default=NO_CONTRACTS, repr=False, compare=False)

    def price_at(self, sku: str, unit: str, time_ns: int, account: str = "", months: Months = UTC_MONTHS) -> Price | None:
        """The price in force at a time (nanoseconds since 1970), or None: not priced then, or never, or not in this unit.

        account: whose prices, in its currency; "" for the general ones. months: what months of an exchange rate consist of.
        """
        return self._series_of(sku, unit, account, months).at(time_ns)

    def series(self, sku: str, unit: str, account: str = "", months: Months = UTC_MONTHS) -> tuple[Price, ...]:
        """All prices of an SKU in a unit, ascending by effective_from; empty when there is none. Arguments as for `price_at`.

        They tile the time in which there is a price. Of a price that an account's own one interrupts there are several pieces.
        """
        return self._series_of(sku, unit, account, months).prices

    def series_version(self, sku: str, unit: str, account: str = "", months: Months = UTC_MONTHS) -> str:
        """12 hex digits that change whenever a price of the series does; "" when there is none."""
        return self._series_of(sku, unit, account, months).version

    def _series_of(self, sku: str, unit: str, account: str, months: Months) -> Series:
        if account and account in self._accounts.accounts:
            return self._accounts.series(account, sku, unit, months)
        return self._series.get((sku, unit), NO_SERIES)

    def special(self, account: str) -> bool:
        """Whether an account has a price or a currency of its own: else its series are the general ones."""
        return account in self._accounts.accounts

    @property
    def has_specials(self) -> bool:
        """Whether there is anything that holds for some accounts only: prices, currencies, terms."""
        return bool(self._accounts.accounts) or bool(self._terms.digest)

    def exchange(self, currency: str, time_s: int, months: Months = UTC_MONTHS) -> Decimal | None:
        """Units of a currency per unit of the book's in the month that holds a time (seconds since 1970); None: no rate then."""
        return money(1) if currency == self.currency else self.exchange_rates.rate(currency, months.month_of(time_s))

    def units_of(self, sku: str) -> frozenset[str]:
        """The units in which an SKU has prices."""
        return self._units.get(sku, frozenset())

    def terms_of(self, account: str) -> Terms | None:
        """What holds for an account beyond the prices of SKUs: adjustments, fees, commitments, credits. None: nothing."""
        return self._terms.terms_of(account)

    @property
    def contracts(self) -> tuple[str, ...]:
        """The accounts of the `accounts:` section, sorted."""
        return self._terms.named

    @property
    def adjustments(self) -> tuple[tuple[Step, tuple[str, ...]], ...]:
        """Every adjustment in the order written, with the accounts for which it is; () is all. Amounts are in the book's currency."""
        return self._terms.pipeline

    def currency_of(self, account: str) -> str:
        """The currency in which an account is billed."""
        return self._terms.currencies.get(account, self.currency)


def make_book(
    currency: str, prices: Iterable[Price], provider_name: str = UNNAMED, publisher_name: str = "", invoice_issuer_name: str = "", *,
    exchange_rates: ExchangeRates = NO_RATES, terms: Contracts = NO_CONTRACTS,
) -> PriceBook:  # fmt: skip
    """A book of valid prices. Each price ends at the latest where the next of its series begins. Currencies in `terms` have a rate."""
    members = list(prices)
    series = series_by_name(price for price in members if not price.accounts)
    overrides = sorted((p for p in members if p.accounts), key=lambda p: (p.sku, p.unit, p.effective_from, p.accounts))
    foreign = dict(sorted(terms.currencies.items()))
    units: dict[str, set[str]] = {}
    for sku, unit in [*series, *((price.sku, price.unit) for price in overrides)]:
        units.setdefault(sku, set()).add(unit)
    names = (provider_name, publisher_name or provider_name, invoice_issuer_name or provider_name)
    content: list[object] = [currency, *names, *([*name, member.version] for name, member in series.items())]
    # What a book may leave out takes no part when it does: digests of books do not change with the options that there are.
    content += [{"override": version} for version in sorted(price.version for price in overrides)]
    content += [{"exchange_rate": [rate.currency, plain(rate.rate), rate.month]} for rate in exchange_rates.rates]
    content += [{"account": account, "currency": its} for account, its in foreign.items()]
    content += [{"terms": terms.digest}] if terms.digest else []
    return PriceBook(
        currency,
        *names,
        prices=(*(price for member in series.values() for price in member.prices), *overrides),
        digest=digest(content),
        exchange_rates=exchange_rates,
        _series=MappingProxyType(series),
        _units=MappingProxyType({sku: frozenset(found) for sku, found in units.items()}),
        _accounts=AccountPrices(series, overrides, foreign, exchange_rates),
        _terms=terms,
    )


EMPTY_BOOK = make_book("USD", ())


def parse_price_book(text: str | bytes, name: str) -> PriceBook:
    """Read a price book. name: the file, for messages. Raises BadPriceBook with every mistake at once, by line."""
    mistakes = Mistakes(name)
    book = read_book(read_yaml(text, mistakes), mistakes)
    if mistakes or book is None:
        raise BadPriceBook(mistakes.sorted_lines())
    return book


def read_book(root: Node | None, mistakes: Mistakes) -> PriceBook | None:
    """Read a price book from the root of its file (None: it could not be read). What is wrong goes to `mistakes`, and the book is of no use then."""
    if root is None:
        if not mistakes:
            mistakes.add(1, "the file is empty; a price book begins with `currency: USD`")
        return None
    if not isinstance(root, Table):
        mistakes.add(root.line, f"the file is {kind_of(root)}, but a price book is a map; begin with `currency: USD`")
        return None
    # Bounds are added up here, and no digit may be lost whatever the caller's context is.
    with localcontext(EXACT):
        return _read_book(Form(root, "a price book", mistakes))


def _read_book(form: Form) -> PriceBook:
    """The book of the valid prices; the caller discards it if there was any mistake."""
    form.check_keys(BOOK_KEYS)
    form.require("currency", "USD")
    currency = read_currency(form, "USD")
    provider = form.text("provider_name", "Acme", UNNAMED)
    publisher, issuer = form.text("publisher_name", "Acme"), form.text("invoice_issuer_name", "Acme")
    form.require("prices", "[{id: ..., sku: ..., unit: ..., model: unit, unit_price: \"0.01\"}]")
    listed = form.list_of("prices", "[{id: ..., sku: ..., unit: ..., model: unit, unit_price: \"0.01\"}]")
    drafts: list[Draft] = []
    for number, node in enumerate(listed.items if listed else (), 1):
        draft = read_price(node, number, currency, form.mistakes)
        if draft is not None:
            drafts.append(draft)
    check_ids(drafts, form.mistakes)
    check_series(drafts, form.mistakes)
    rates = read_exchange_rates(form, currency)
    accounts = read_accounts(form, currency)
    check_rates(((each.account, each.currency, each.currency_line) for each in accounts if each.account), currency, rates, form.mistakes)
    check_currencies(drafts, currency, {each.account: each.currency for each in accounts}, form.mistakes)
    terms = read_contracts(form, currency, accounts, ((*draft.series, draft.price) for draft in drafts if draft.series), rates)
    prices = (draft.price for draft in drafts if draft.price is not None)
    return make_book(currency, prices, provider, publisher, issuer, exchange_rates=rates, terms=terms)
