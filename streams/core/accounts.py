"""Accounts: what one used in each month, in totals, and the charges that follow from all of it together (its statement).

Only accounts with terms (pricing.statement) have this. The totals follow from the groups; they are kept in the store so that a
statement never needs all groups of an account. Totals carry the digest of the rates under which they were made: while a price
book is being taken over there are two sets of them, and the difference between two statements can be told at any point.

Credits pass from month to month, so statements are made in a chain, from an account's first month on. Those of closed months
were invoiced: what they would be now, less what they were (made of the totals that were kept at the last close), is billed in
the open month as corrections. So late usage finds the allowance, the minimum and the credits of its own month.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from ...pricing.money import money, plain
from ...pricing.price import Quantities
from ...pricing.statement import Usage
from ...schemas.line_item import RatedLineItem
from .chain import Chain, Row, Rows, row_of, usages_of
from .corrections import Closed, corrections
from .groups import Group
from .segments import Rates
from .store import BALANCES, INVOICED, TALLY, Store

__all__ = ["Account", "account_of_prefix", "invoiced_prefix", "tally_prefix"]

_encode = msgspec.json.Encoder().encode  # what it gets is sorted
_decode_slices = msgspec.json.Decoder(list[dict[int, str]]).decode
_decode_opening = msgspec.json.Decoder(tuple[int, dict[str, str]]).decode


class Account:
    """Totals of one account under one set of rates, as of the last commit and with what has changed since."""

    def __init__(self, name: str, rates: Rates, store: Store, closed: Closed, *, empty: bool = False) -> None:
        """rates: of all accounts. closed: the closed months. empty: begin without the stored totals, to make all of them anew."""
        self.name = name
        self.rates = rates.of(name)
        self.closed = closed
        self.puts: dict[bytes, bytes] = {}
        self._shown: dict[str, RatedLineItem] | None = None  # line items as they were told last
        self.prefix = tally_prefix(rates, name)
        stored = store.get(BALANCES + name.encode())
        since, left = _decode_opening(stored) if stored else (0, {})
        opening = {credit: money(amount) for credit, amount in left.items()}
        rows = {} if empty else _rows(self.rates, store.scan(self.prefix))
        self._chain = Chain(name, self.rates, rows, since, opening)
        self._invoiced: Chain | None = None  # as it was at the last close
        if closed.rates is not None and closed.rates.of(name).terms is not None:
            own = closed.rates.of(name)
            self._invoiced = Chain(name, own, {} if empty else _rows(own, store.scan(invoiced_prefix(name))), since, opening)

    def note(self, group: Group) -> None:
        """Take over the totals of a group, as they are now."""
        rows, month = self._chain.rows, group.key.month
        for row, usage in _noted(rows, group):
            if usage is None:
                del rows[row]
            else:
                rows[row] = usage
            self.puts[self.prefix + _row_key(row)] = b"" if usage is None else _encode_slices(usage.slices)
            self._chain.touch(month)

    def note_invoiced(self, group: Group) -> None:
        """Take over the totals of a group of a closed month as it was invoiced; only where the account began `empty`."""
        if self._invoiced is not None:
            for row, usage in _noted(self._invoiced.rows, group):
                if usage is not None:
                    self._invoiced.rows[row] = usage

    def take_puts(self) -> list[tuple[bytes, bytes]]:
        """Totals that have changed, as they are to be stored; told once."""
        puts, self.puts = list(self.puts.items()), {}
        return puts

    def puts_at_close(self, closing: int, store: Store) -> list[tuple[bytes, bytes]]:
        """What to store when months up to `closing` are closed: the totals as they are now are those that were invoiced."""
        head = invoiced_prefix(self.name)
        old = {key: value for key, value in store.scan(head) if value}
        now = {_row_key(row): _encode_slices(usage.slices) for row, usage in self._chain.rows.items() if row.month <= closing}
        changed = [(head + key, value) for key, value in now.items() if old.get(key) != value]
        return changed + [(head + key, b"") for key in old if key not in now]

    def line_items(self, closing: int = 0) -> dict[str, RatedLineItem]:
        """Charges of every open month by line item id, corrections of closed ones included.

        closing: months up to this one are over, so what is due then is in.
        """
        last = self.closed.month
        now = self._chain.line_items(self.closed.first or closing, max(last, closing), max(last, closing))
        found: dict[str, RatedLineItem] = {}
        for month, items in now.items():
            if month > last:
                found |= items
        if last:
            was = self._invoiced_items()
            for month in sorted({*was, *now}):
                if month <= last:
                    found |= corrections(was.get(month, {}), now.get(month, {}), self.rates.default, month, last + 1)
        return found

    def invoiced_items(self) -> dict[str, RatedLineItem]:
        """Charges of the closed months as they were at the last close, by line item id."""
        return {name: item for items in self._invoiced_items().values() for name, item in items.items()}

    def _invoiced_items(self) -> dict[int, dict[str, RatedLineItem]]:
        if self._invoiced is None:
            return {}
        return self._invoiced.line_items(self.closed.first, self.closed.month, self.closed.month)

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
        """Key and value that let a later chain begin behind a month, with what is left of the credits then; None: nothing was used.

        For whoever looks at one month alone; a partition keeps all months.
        """
        balances: Mapping[str, Decimal] | None = None
        for month in self._chain.months(0, closing, closing):
            if month.month <= closing:
                balances = month.made.closing
        if balances is None:
            return None
        return BALANCES + self.name.encode(), _encode((closing + 1, {credit: plain(left) for credit, left in sorted(balances.items())}))


def _rows(rates: Rates, stored: Iterable[tuple[bytes, bytes]]) -> Rows:
    found: Rows = {}
    for key, value in stored:
        if not value:
            continue
        sku, unit, rest = key[4:].split(b"\0", 2)
        row = Row(int.from_bytes(key[:4], "big"), sku.decode(), unit.decode(), rest[:-8].decode(), int.from_bytes(rest[-8:], "big"))
        stretch = rates.stretch_at(row.sku, row.unit, row.start)
        slices = tuple({cell: money(quantity) for cell, quantity in its.items()} for its in _decode_slices(value))
        found[row] = Usage(row.sku, row.unit, stretch.price, stretch.start, stretch.end, slices, True)
    return found


def _noted(rows: Rows, group: Group) -> list[tuple[Row, Usage | None]]:
    """What a group changes in the totals; None: that total is no more."""
    _, sku, unit, month = group.key
    now = {row_of(month, usage): usage for usage in usages_of(group)}
    found: list[tuple[Row, Usage | None]] = []
    for row, usage in now.items():
        known = rows.get(row)
        if known is None or known.slices != usage.slices:
            found.append((row, usage))
    return found + [(row, None) for row in rows if row.month == month and row.sku == sku and row.unit == unit and row not in now]


def _row_key(row: Row) -> bytes:
    return row.month.to_bytes(4, "big") + f"{row.sku}\0{row.unit}\0{row.price_id}".encode() + row.start.to_bytes(8, "big")


def invoiced_prefix(account: str) -> bytes:
    """Store key of an account's totals as they were at the last close, up to the month."""
    return INVOICED + account.encode() + b"\0"


def tally_prefix(rates: Rates, account: str) -> bytes:
    """Store key of an account's totals under some rates, up to the month."""
    return TALLY + bytes.fromhex(rates.digest[:16]) + account.encode() + b"\0"


def account_of_prefix(group_prefix: bytes) -> str:
    """The account that a group's prefix begins with."""
    return group_prefix.split(b"\0", 1)[0].decode()


def _encode_slices(slices: Iterable[Quantities]) -> bytes:
    return _encode([{cell: plain(quantity) for cell, quantity in sorted(its.items())} for its in slices])
