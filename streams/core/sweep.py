"""Going through everything that is stored: a new price book, a close, a re-rating, and the definition of all line items.

A sweep visits groups in order, some per commit, and nothing else is rated meanwhile; it can go on behind any group. When the
last group of an account has been visited, the account's statement follows. What a sweep writes is always the difference
between two definitions, so what is done twice after a crash changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import localcontext
from typing import NamedTuple

from ...pricing.money import EXACT
from ...schemas.line_item import RatedLineItem
from .accounts import Account, account_of_prefix
from .corrections import Closed, corrections
from .groups import Group
from .items import GroupKey, changes_between
from .segments import Rates
from .state import PartitionState, stored_groups
from .store import ENTRY, Store

__all__ = ["Swept", "Target", "Wanted", "definition", "invoiced", "rerate", "sweep"]


class Target(NamedTuple):
    """What holds after the sweep: these prices, and this last closed month."""

    rates: Rates
    closed: int


class Wanted(NamedTuple):
    """What to rate again; "" and 0 mean all."""

    account: str = ""
    sku: str = ""
    month: int = 0


class Swept(NamedTuple):
    """What some groups of a sweep come to. after: prefix of the last one visited; done: there are no more."""

    after: bytes
    items: list[RatedLineItem]
    puts: list[tuple[bytes, bytes]]
    groups: int
    done: bool


Owns = Callable[[str], bool]


def sweep(state: PartitionState, target: Target, after: bytes, limit: int, owns: Owns) -> Swept:
    """Visit at most `limit` groups behind `after`. owns: whether an account belongs to this partition.

    Nothing may be pending. When it is done, the caller commits and calls `PartitionState.use`.
    """
    with localcontext(EXACT):
        return _Sweep(state, target, owns).run(after, limit)


class _Sweep:
    """One stretch of a sweep."""

    def __init__(self, state: PartitionState, target: Target, owns: Owns) -> None:
        self._store, self._old, self._closed = state.store, state.rates, state.closed
        self._new, self._closing = target.rates, target.closed
        self._owns = owns
        self._items: list[RatedLineItem] = []
        self._puts: list[tuple[bytes, bytes]] = []
        self._account: Account | None = None  # under the new rates, of the groups being visited

    def run(self, after: bytes, limit: int) -> Swept:
        name = account_of_prefix(after) if after else None
        groups = 0
        for prefix, key in stored_groups(self._store, after):
            if groups == limit:
                if self._account is not None:
                    self._puts += self._account.take_puts()  # of an account that is under way: the next stretch reads them
                return Swept(after, self._items, self._puts, groups, False)
            if name is not None and key.account != name:
                self._finish(name)
            name, after, groups = key.account, prefix, groups + 1
            self._visit(prefix, key)
        if name is not None:
            self._finish(name)
        if self._closing:  # of what was closed, an account may have fees that it is named with, whatever it used
            for contract in sorted({*_contracts(self._old, self._closed), *self._new.book.contracts}):
                if self._owns(contract) and not _has_groups(self._store, contract):
                    self._finish(contract)
        return Swept(after, self._items, self._puts, groups, True)

    def _tallies(self, name: str) -> Account | None:
        if self._new.uniform or self._new.of(name).terms is None:
            return None
        if self._account is None or self._account.name != name:
            self._account = Account(name, self._new, self._store, self._closed)
        return self._account

    def _visit(self, prefix: bytes, key: GroupKey) -> None:
        if self._closing > self._closed.month:
            if not self._closed.month < key.month <= self._closing or not _changes_at_close(self._old, key):
                return
        elif self._same(key):
            return
        elif key.month <= self._closed.month:
            self._correct(prefix, key)
            return
        stored = self._store.scan(ENTRY + prefix)
        new = Group(key, self._new, final=key.month <= self._closing).load(stored)
        self._items += changes_between(Group(key, self._old).load(stored).line_items(), new.line_items())
        if (account := self._tallies(key.account)) is not None:
            account.note(new)

    def _same(self, key: GroupKey) -> bool:
        """Whether a group's line items cannot differ under the new prices, and no statement needs its totals."""
        old, new = self._old.of(key.account), self._new.of(key.account)
        if new.terms is not None or old.names != new.names:
            return False
        its = new.calendar_of(key.sku, key.unit)
        if old.calendar_of(key.sku, key.unit) is not its:
            return False
        versions = [rates.book.series_version(key.sku, key.unit, key.account, its) for rates in (old, new)]
        return versions[0] == versions[1]

    def _correct(self, prefix: bytes, key: GroupKey) -> None:
        """A new price in a closed month makes corrections."""
        stored = self._store.scan(ENTRY + prefix)
        billed_in = self._closed.month + 1
        base = self._closed.base(self._store, key).line_items()
        group = Group(key, self._new, final=True).load(stored)
        old = corrections(base, Group(key, self._old, final=True).load(stored).line_items(), group.calendar, key.month, billed_in)
        new = corrections(base, group.line_items(), group.calendar, key.month, billed_in)
        self._items += changes_between(old, new)
        if (account := self._tallies(key.account)) is not None:
            account.note(group)

    def _finish(self, name: str) -> None:
        """All groups of an account were visited: its statement."""
        if self._old.uniform and self._new.uniform:
            return
        before = Account(name, self._old, self._store, self._closed)
        after = self._tallies(name) or Account(name, self._new, self._store, self._closed)
        closing = self._closing if self._closing > self._closed.month else 0
        self._items += changes_between(before.line_items(), after.line_items(closing))
        self._puts += after.take_puts()
        if before.prefix != after.prefix:
            self._puts += [(before.prefix + key, b"") for key, value in self._store.scan(before.prefix) if value]
        if closing:
            self._puts += after.puts_at_close(closing, self._store)


def _changes_at_close(rates: Rates, key: GroupKey) -> bool:
    """Whether some charge of a group is due only when its month is closed."""
    return any(price.minimum_at_close for price in rates.of(key.account).book.series(key.sku, key.unit, key.account))


def _has_groups(store: Store, account: str) -> bool:
    head = ENTRY + account.encode() + b"\0"
    return next(store.prefixes(head), b"").startswith(head)


def rerate(state: PartitionState, wanted: Wanted, after: bytes, limit: int) -> Swept:
    """All line items of the open month, by definition, of at most `limit` of the groups that are wanted, corrections included.

    They are written again whether they differ from what stands in the topic or not: what stands there is not read. Statements
    of accounts follow when the last of an account's groups was visited.
    """
    found: list[RatedLineItem] = []
    groups = 0
    name = account_of_prefix(after) if after else None
    with localcontext(EXACT):
        for prefix, key in stored_groups(state.store, after):
            if wanted.account and key.account != wanted.account:
                continue
            if groups == limit:
                return Swept(after, found, [], groups, False)
            if name is not None and key.account != name:
                found += _statement(state, name, wanted)
            name, after = key.account, prefix
            if (wanted.sku and key.sku != wanted.sku) or (wanted.month and key.month != wanted.month):
                continue
            groups += 1
            found += _of_group(state.store, prefix, key, state.rates, state.closed)[1].values()
        if name is not None:
            found += _statement(state, name, wanted)
    return Swept(after, found, [], groups, True)


def _statement(state: PartitionState, name: str, wanted: Wanted) -> list[RatedLineItem]:
    if wanted.sku or not _has_statement(state.rates, state.closed, name):
        return []
    return list(Account(name, state.rates, state.store, state.closed).line_items().values())


def _has_statement(rates: Rates, closed: Closed, account: str) -> bool:
    """Whether an account has charges as a whole, or had some that were invoiced."""
    return rates.of(account).terms is not None or (closed.rates is not None and closed.rates.of(account).terms is not None)


def _contracts(rates: Rates, closed: Closed) -> set[str]:
    """Accounts that may have charges without usage, or that may have been invoiced some."""
    return {*rates.book.contracts, *(closed.rates.book.contracts if closed.rates is not None else ())}


def _of_group(store: Store, prefix: bytes, key: GroupKey, rates: Rates, closed: Closed) -> tuple[Group, dict[str, RatedLineItem]]:
    """A group and its line items by definition: of a closed month, its corrections."""
    final = key.month <= closed.month
    group = Group(key, rates, final).load(store.scan(ENTRY + prefix))
    items = group.line_items()
    if final:
        items = corrections(closed.base(store, key).line_items(), items, group.calendar, key.month, closed.month + 1)
    return group, items


def definition(store: Store, rates: Rates, closed: Closed | None = None, closing: int = 0) -> Iterator[RatedLineItem]:
    """Every line item of the open months, computed from the stored usage alone, by account; corrections of closed months included.

    closing: months up to this one are taken as over, so what is due only then is in. Line items of months that are closed
    already are not here: they were written when the month was closed, and are not made again.
    """
    closed = closed or Closed()
    contracts = sorted(_contracts(rates, closed), reverse=True) if closed.month or closing else []
    with localcontext(EXACT):
        account: Account | None = None
        for prefix, key in stored_groups(store):
            if account is None or account.name != key.account:
                if account is not None:
                    yield from account.line_items(closing).values()
                while contracts and contracts[-1] <= key.account:
                    if (name := contracts.pop()) != key.account:
                        yield from Account(name, rates, store, closed, empty=True).line_items(closing).values()
                account = Account(key.account, rates, store, closed, empty=True)
            if closed.month < key.month <= closing:
                group = Group(key, rates, final=True).load(store.scan(ENTRY + prefix))
                items = group.line_items()
            else:
                group, items = _of_group(store, prefix, key, rates, closed)
            yield from items.values()
            if not _has_statement(rates, closed, key.account):
                continue
            account.note(group)
            if key.month <= closed.month:
                account.note_invoiced(closed.base(store, key))
        if account is not None:
            yield from account.line_items(closing).values()
        while contracts:
            yield from Account(contracts.pop(), rates, store, closed, empty=True).line_items(closing).values()


def invoiced(store: Store, closed: Closed) -> Iterator[RatedLineItem]:
    """Every line item of the closed months as it was when they were closed, by account; only while no month was closed twice over.

    After a second close the usage of the months before it has moved on: what was invoiced then stands in the topic alone.
    """
    if closed.rates is None:
        return
    contracts = list(reversed(closed.rates.book.contracts))
    with localcontext(EXACT):
        name: str | None = None
        for _, key in stored_groups(store):
            if key.account != name:
                if name is not None:
                    yield from _invoiced_statement(store, name, closed)
                name = key.account
                while contracts and contracts[-1] < name:
                    yield from _invoiced_statement(store, contracts.pop(), closed)
                if contracts and contracts[-1] == name:
                    contracts.pop()
            if key.month <= closed.month:
                yield from closed.base(store, key).line_items().values()
        if name is not None:
            yield from _invoiced_statement(store, name, closed)
        while contracts:
            yield from _invoiced_statement(store, contracts.pop(), closed)


def _invoiced_statement(store: Store, name: str, closed: Closed) -> Iterator[RatedLineItem]:
    if closed.rates is None or closed.rates.of(name).terms is None:
        return
    yield from Account(name, closed.rates, store, closed).invoiced_items().values()
