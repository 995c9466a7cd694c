"""Accounts: what one used in each month, in totals, and the charges that follow from all of it together (its statement).

Only accounts with terms (pricing.statement) have this. The totals follow from the groups; they are kept in the store so that a
statement never needs all groups of an account. Totals carry the digest of the rates under which they were made: while a price
book is being taken over there are two sets of them, and the difference between two statements can be told at any point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from ...pricing.money import ZERO, money, plain
from ...pricing.price import Quantities
from ...pricing.statement import CorrectionTotal, Statement, Usage, statement
from ...schemas.line_item import RatedLineItem
from .groups import Group
from .items import GroupKey, statement_item
from .segments import Rates
from .store import BALANCES, TALLY, Store

__all__ = ["Account", "account_of_prefix", "tally_prefix"]

_USED, _CORRECTED = b"u", b"c"
_encode = msgspec.json.Encoder().encode  # what it gets is sorted
_decode_slices = msgspec.json.Decoder(list[dict[int, str]]).decode
_decode_balances = msgspec.json.Decoder(dict[str, str]).decode


class Row(NamedTuple):
    """Name of one total: a stretch of one SKU in one unit, within a month."""

    month: int
    sku: str
    unit: str
    price_id: str
    start: int  # seconds


class Corrected(NamedTuple):
    """Name of the corrections of a closed month, in the month in which they are billed."""

    month: int
    sku: str
    unit: str
    of_month: int


class Account:
    """Totals of one account under one set of rates, as of the last commit and with what has changed since."""

    def __init__(self, name: str, rates: Rates, store: Store, closed: int, *, empty: bool = False, fresh: bool = False) -> None:
        """rates: of all accounts. closed: the last closed month, 0 for none; statements of closed months are never made again.

        empty: begin without the stored totals, to make all of them anew. fresh: with all credits untouched, as before any close.
        """
        self.name = name
        self.rates = rates.of(name)
        self.closed = closed
        self.puts: dict[bytes, bytes] = {}
        self._shown: dict[str, RatedLineItem] | None = None  # line items as they were told last
        self.prefix = tally_prefix(rates, name)
        self._used: dict[Row, Usage] = {}
        self._corrected: dict[Corrected, Decimal] = {}
        cut = len(self.prefix)
        for key, value in () if empty else store.between(self.prefix + (closed + 1).to_bytes(4, "big"), self.prefix + b"\xff" * 9):
            if value:
                self._load(key[cut:], value)
        stored = None if fresh else store.get(BALANCES + name.encode())
        self._opening = {credit: money(left) for credit, left in _decode_balances(stored).items()} if stored else {}

    def _load(self, key: bytes, value: bytes) -> None:
        month, kind, rest = int.from_bytes(key[:4], "big"), key[4:5], key[5:]
        sku, unit, rest = rest.split(b"\0", 2)
        if kind == _CORRECTED:
            self._corrected[Corrected(month, sku.decode(), unit.decode(), int.from_bytes(rest, "big"))] = money(value.decode())
            return
        row = Row(month, sku.decode(), unit.decode(), rest[:-8].decode(), int.from_bytes(rest[-8:], "big"))
        stretch = self.rates.stretch_at(row.sku, row.unit, row.start)
        slices = tuple({cell: money(quantity) for cell, quantity in its.items()} for its in _decode_slices(value))
        self._used[row] = Usage(row.sku, row.unit, stretch.price, stretch.start, stretch.end, slices, True)

    def note(self, group: Group) -> None:
        """Take over the totals of a group, as they are now."""
        _, sku, unit, month = group.key
        gone = {row for row in self._used if row.month == month and row.sku == sku and row.unit == unit}
        for (price_id, start), segment in group.segments.items():
            price = segment.stretch.price
            if price is None or not segment.used:
                continue
            row = Row(month, sku, unit, price_id, start)
            gone.discard(row)
            slices = tuple(dict(its) for its in segment.quantities())
            known = self._used.get(row)
            if known is not None and known.slices == slices:
                continue
            self._used[row] = Usage(sku, unit, price, segment.stretch.start, segment.stretch.end, slices, True)
            self.puts[self._row_key(row)] = _encode_slices(slices)
        for row in gone:
            del self._used[row]
            self.puts[self._row_key(row)] = b""

    def note_correction(self, group: GroupKey, billed_in: int, cost: Decimal) -> None:
        """What correcting a group of a closed month costs in the month it is billed in."""
        name = Corrected(billed_in, group.sku, group.unit, group.month)
        if cost == self._corrected.get(name, ZERO):
            return
        self._corrected[name] = cost
        head = self.prefix + name.month.to_bytes(4, "big") + _CORRECTED
        self.puts[head + f"{name.sku}\0{name.unit}\0".encode() + name.of_month.to_bytes(4, "big")] = plain(cost).encode()

    def take_puts(self) -> list[tuple[bytes, bytes]]:
        """Totals that have changed, as they are to be stored; told once."""
        puts, self.puts = list(self.puts.items()), {}
        return puts

    def _row_key(self, row: Row) -> bytes:
        head = self.prefix + row.month.to_bytes(4, "big") + _USED
        return head + f"{row.sku}\0{row.unit}\0{row.price_id}".encode() + row.start.to_bytes(8, "big")

    def line_items(self, closing: int = 0) -> dict[str, RatedLineItem]:
        """Charges of every open month by line item id. closing: months up to this one are over, so what is due then is in."""
        found: dict[str, RatedLineItem] = {}
        for month, made in self._statements(closing):
            its = self.rates.default
            start, end = its.month_start(month), its.month_start(month + 1)
            names = self.rates.names
            for charge in made.charges:
                item = statement_item(names, self.name, names.currency, month, start, end, charge)
                found[item.x_line_item_id] = item
        return found

    def shown(self) -> dict[str, RatedLineItem]:
        """Line items as they were told last: those of the last commit."""
        if self._shown is None:
            self._shown = self.line_items()
        return self._shown

    def show(self) -> dict[str, RatedLineItem]:
        """Line items as they are now, told as those of this commit."""
        self._shown = self.line_items()
        return self._shown

    def closing_balances(self, closing: int) -> tuple[bytes, bytes] | None:
        """Key and value of what is left of the credits when a month is closed; None when there is nothing to keep."""
        balances: Mapping[str, Decimal] = self._opening
        for month, made in self._statements(closing):
            if month <= closing:
                balances = made.closing
        if balances == self._opening:
            return None
        return BALANCES + self.name.encode(), _encode({credit: plain(left) for credit, left in sorted(balances.items())})

    def _statements(self, closing: int) -> Iterator[tuple[int, Statement]]:
        terms = self.rates.terms
        if terms is None:
            return
        by_month: dict[int, tuple[list[Usage], list[CorrectionTotal]]] = {}
        for row, usage in self._used.items():
            by_month.setdefault(row.month, ([], []))[0].append(usage)
        for name, cost in self._corrected.items():
            by_month.setdefault(name.month, ([], []))[1].append(CorrectionTotal(name.sku, name.unit, name.of_month, cost))
        months = {month for month in by_month if month > self.closed}
        if closing > self.closed:
            # A month that is closed has its charges even if nothing was used in it. Before the first close no month is known to be one of ours.
            months |= set(range(self.closed + 1, closing + 1)) if self.closed else {closing}
        if not months:
            return
        its = self.rates.default
        balances: Mapping[str, Decimal] = self._opening
        for month in range(min(months), max(months) + 1):
            start, end = its.month_start(month), its.month_start(month + 1)
            used, corrections = by_month.get(month, ([], []))
            if not used and not corrections and not terms.due(start, end):
                continue
            made = statement(terms, start, end, used, corrections, balances, month <= closing)
            balances = made.closing
            yield month, made


def tally_prefix(rates: Rates, account: str) -> bytes:
    """Store key of an account's totals under some rates, up to the month."""
    return TALLY + bytes.fromhex(rates.digest[:16]) + account.encode() + b"\0"


def account_of_prefix(group_prefix: bytes) -> str:
    """The account that a group's prefix begins with."""
    return group_prefix.split(b"\0", 1)[0].decode()


def _encode_slices(slices: Iterable[Quantities]) -> bytes:
    return _encode([{cell: plain(quantity) for cell, quantity in sorted(its.items())} for its in slices])
