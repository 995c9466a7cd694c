"""The price book: what each SKU costs in each unit at each time, read from YAML once and never changed after.

    parse_price_book(text, name)     YAML -> PriceBook, or BadPriceBook with every mistake as `file:line: what; what to do`
    PriceBook.price_at(...)          the price in force at a time

Prices of one (sku, unit) form a series: each ends where the next begins. A published price is not edited: another price with
a later effective_from replaces it, so that old usage keeps its price.
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import localcontext
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from ..schemas.errors import BadPriceBook
from .book_form import Form, quoted
from .book_price import Draft, read_price
from .book_yaml import Mistakes, Node, Table, kind_of, read_yaml
from .money import EXACT
from .price import Price
from .statement.contracts import NO_CONTRACTS, Contracts
from .statement.terms import Terms

__all__ = ["EMPTY_BOOK", "PriceBook", "make_book", "parse_price_book", "read_book"]

BOOK_KEYS = ("currency", "provider_name", "publisher_name", "invoice_issuer_name", "prices", "adjustments", "accounts")
UNNAMED = "Unnamed provider"


class Series(NamedTuple):
    """The prices of one (sku, unit), ascending by effective_from, with their starts beside them for bisection."""

    starts: tuple[int, ...]
    prices: tuple[Price, ...]
    version: str


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Immutable. Equal content has an equal digest, whatever the order or the formatting of the YAML."""

    currency: str
    provider_name: str
    publisher_name: str
    invoice_issuer_name: str
    prices: tuple[Price, ...]  # by sku, unit and effective_from
    digest: str
    _series: Mapping[tuple[str, str], Series] = field(repr=False, compare=False)
    _units: Mapping[str, frozenset[str]] = field(repr=False, compare=False)
    _terms: Contracts = field(default=NO_CONTRACTS, repr=False, compare=False)

    def price_at(self, sku: str, unit: str, time_ns: int) -> Price | None:
        """The price in force at a time (nanoseconds since 1970), or None: not priced then, or never, or not in this unit."""
        series = self._series.get((sku, unit))
        if series is None:
            return None
        index = bisect_right(series.starts, time_ns) - 1
        if index < 0:
            return None
        price = series.prices[index]
        return price if price.effective_to is None or time_ns < price.effective_to else None

    def series(self, sku: str, unit: str) -> tuple[Price, ...]:
        """All prices of an SKU in a unit, ascending by effective_from; empty when there is none."""
        found = self._series.get((sku, unit))
        return found.prices if found else ()

    def series_version(self, sku: str, unit: str) -> str:
        """12 hex digits that change whenever a price of the series does; "" when there is none."""
        found = self._series.get((sku, unit))
        return found.version if found else ""

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


def _digest(parts: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(list(parts), ensure_ascii=False).encode()).hexdigest()


def make_book(
    currency: str, prices: Iterable[Price], provider_name: str = UNNAMED, publisher_name: str = "", invoice_issuer_name: str = ""
) -> PriceBook:
    """A book of valid prices. Each price ends at the latest where the next of its series begins."""
    by_series: dict[tuple[str, str], list[Price]] = {}
    for price in sorted(prices, key=lambda p: (p.sku, p.unit, p.effective_from)):
        by_series.setdefault((price.sku, price.unit), []).append(price)
    series: dict[tuple[str, str], Series] = {}
    units: dict[str, set[str]] = {}
    for name, members in by_series.items():
        ends = [after.effective_from for after in members[1:]]
        ended = tuple(
            price._replace(effective_to=end) if price.effective_to is None else price
            for price, end in zip(members, [*ends, None], strict=True)
        )
        # Versions are those of the definitions as written: a successor does not make another price of its predecessor.
        series[name] = Series(tuple(p.effective_from for p in ended), ended, _digest(p.version for p in ended)[:12])
        units.setdefault(name[0], set()).add(name[1])
    names = (provider_name, publisher_name or provider_name, invoice_issuer_name or provider_name)
    return PriceBook(
        currency,
        *names,
        prices=tuple(price for member in series.values() for price in member.prices),
        digest=_digest([currency, *names, *([*name, member.version] for name, member in series.items())]),
        _series=MappingProxyType(series),
        _units=MappingProxyType({sku: frozenset(found) for sku, found in units.items()}),
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
    currency = form.text("currency", "USD")
    if form.has("currency") and currency and not re.fullmatch("[A-Z]{3}", currency):
        form.wrong("currency", f"`currency` is {quoted(currency)}; write the three capital letters of ISO 4217, such as USD")
    provider = form.text("provider_name", "Acme", UNNAMED)
    publisher, issuer = form.text("publisher_name", "Acme"), form.text("invoice_issuer_name", "Acme")
    form.require("prices", "[{id: ..., sku: ..., unit: ..., model: unit, unit_price: \"0.01\"}]")
    listed = form.list_of("prices", "[{id: ..., sku: ..., unit: ..., model: unit, unit_price: \"0.01\"}]")
    drafts: list[Draft] = []
    for number, node in enumerate(listed.items if listed else (), 1):
        draft = read_price(node, number, currency, form.mistakes)
        if draft is not None:
            drafts.append(draft)
    _check_ids(drafts, form.mistakes)
    _check_series(drafts, form.mistakes)
    return make_book(currency, (draft.price for draft in drafts if draft.price is not None), provider, publisher, issuer)


def _check_ids(drafts: list[Draft], mistakes: Mistakes) -> None:
    """Every price has an id of its own, and a SKU price id belongs to one series."""
    lines: dict[str, int] = {}
    owners: dict[str, tuple[str, str]] = {}
    for draft in drafts:
        if draft.id and draft.id in lines:
            mistakes.add(draft.line, f"price id {quoted(draft.id)} is used twice, first in line {lines[draft.id]}; give this price another id")
        lines.setdefault(draft.id, draft.line)
        for tier in draft.price.tiers if draft.price else ():
            owner = owners.setdefault(tier.sku_price_id, draft.series or ("", ""))
            if owner != draft.series:
                what = f"`sku_price_id` {quoted(tier.sku_price_id)} of price {quoted(draft.id)} is also that of SKU {quoted(owner[0])}"
                mistakes.add(draft.line, f"{what} in {quoted(owner[1])}; give it another")


def _check_series(drafts: list[Draft], mistakes: Mistakes) -> None:
    """Within a series, no time has two prices."""
    by_series: dict[tuple[str, str], list[tuple[int, int, Draft]]] = {}
    for draft in drafts:
        if draft.series is not None and draft.effective_from is not None:
            by_series.setdefault(draft.series, []).append((draft.effective_from, draft.line, draft))
    for members in by_series.values():
        members.sort(key=lambda member: member[:2])
        for (since, line, earlier), (next_since, next_line, later) in pairwise(members):
            if since == next_since:
                what = f"price {quoted(later.id)} begins when price {quoted(earlier.id)} (line {line}) does, for the same sku and unit"
                mistakes.add(next_line, f"{what}; give one of them a later effective_from, or remove it")
            elif earlier.effective_to is not None and earlier.effective_to > next_since:
                what = f"price {quoted(earlier.id)} (line {line}) ends after this price {quoted(later.id)} begins, for the same sku and unit"
                mistakes.add(next_line, f"{what}; let it end at this effective_from, or leave its effective_to out")
