"""Tallies: what one account used, in totals from which two price books can be told apart without any line item.

Σ line items = price(Σ quantity), exactly (pricing.models). So what a book makes of a month follows from the quantities per stretch
(one price, one accumulation period), slice of the month and cell of the price. The stretches and slices of two books cut the
month into *atoms*; each atom keeps how many windows it holds and what they add up to, and serves both books. A window that is
added or changes costs an addition, however many line items it moves.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from ...pricing.models import period_cost
from ...pricing.money import ZERO, money, plain
from ...pricing.price import Price
from ...pricing.statement import Charge, Usage, statement
from ...schemas.variance import AdjustmentVariance, SkuVariance, Variance
from .corrections import month_name
from .entries import Change
from .items import GroupKey
from .segments import Rates, Segment, Stretch
from .store import BALANCES, SHADOW, Store

__all__ = ["AccountTallies", "Books", "account_prefix", "atoms_prefix", "opening_key", "opening_put", "openings_prefix"]

_ATOM, _OPENING = SHADOW + b"a", SHADOW + b"o"
_NO_PRICE = -1  # the cell of what a price has no unit price for
_decode_balances = msgspec.json.Decoder(dict[str, str]).decode


class Books(NamedTuple):
    """The digests of what is compared, and since when (nanoseconds since 1970)."""

    live: str
    draft: str
    since_ns: int


class _Atom:
    """Windows between two cuts, in one cell of each book."""

    __slots__ = ("draft", "live", "windows")

    def __init__(self, windows: int = 0, live: Decimal = ZERO, draft: Decimal = ZERO) -> None:
        self.windows, self.live, self.draft = windows, live, draft

    def encode(self) -> bytes | None:
        """windows NUL quantity [NUL quantity under the draft]; None when nothing is left of it."""
        if not self.windows and not self.live and not self.draft:
            return None
        live, draft = plain(self.live), plain(self.draft)
        return f"{self.windows}\0{live}".encode() if live == draft else f"{self.windows}\0{live}\0{draft}".encode()

    @classmethod
    def decode(cls, value: bytes) -> _Atom:
        windows, live, *draft = value.decode().split("\0")
        return cls(int(windows), money(live), money(draft[0] if draft else live))


class _Part:
    """One stretch under one book."""

    __slots__ = ("cost", "slices", "stretch", "unpriced", "windows")

    def __init__(self, stretch: Stretch) -> None:
        self.stretch = stretch
        self.slices: tuple[dict[int, Decimal], ...] = tuple({} for _ in range(len(stretch.cuts) + 1))
        self.windows = self.unpriced = 0
        self.cost: Decimal | None = None  # None: not known any more

    def add(self, start: bytes, cell: int, windows: int, quantity: Decimal) -> None:
        """Windows that begin in the atom at `start`."""
        self.windows += windows
        self.cost = None
        if self.stretch.price is None or cell == _NO_PRICE:
            self.unpriced += windows
            return
        its = self.slices[bisect_right(self.stretch.cuts, start)]
        its[cell] = its.get(cell, ZERO) + quantity

    def price_it(self, price: Price, final: bool) -> Decimal:
        """price(Σ quantity)."""
        if self.cost is None:
            together: Mapping[int, Decimal] = self.slices[0]
            if len(self.slices) > 1:
                together = {}
                for its in self.slices:
                    for cell, quantity in its.items():
                        together[cell] = together.get(cell, ZERO) + quantity
            self.cost = period_cost(price, together, self.windows > 0, final=final)
        return self.cost


class _Tally:
    """One group under both books."""

    def __init__(self, key: GroupKey, live: Rates, draft: Rates) -> None:
        self.key = key
        self._rates = live, draft
        self.atoms: dict[bytes, _Atom] = {}
        self.parts: tuple[dict[tuple[str, int], _Part], dict[tuple[str, int], _Part]] = {}, {}
        self.changed: set[bytes] = set()
        one, other = (rates.whole_month(key.sku, key.unit, key.month) for rates in self._rates)
        # The common case: one total says everything, under both books.
        self._only = _atom_key(max(one.first, other.first), 0, 0) if one and other and one.plain and other.plain else None

    def load(self, atom_key: bytes, value: bytes) -> None:
        """An atom from the store."""
        atom = self.atoms[atom_key] = _Atom.decode(value)
        self._spread(atom_key, atom.windows, atom.live, atom.draft)

    def change(self, changes: Iterable[Change]) -> None:
        """Windows that came, went, or have another quantity."""
        if self._only is None:
            for key, before, after in changes:
                self._change(key, before, after)
            return
        windows, quantity = 0, ZERO
        for _, before, after in changes:
            if before is not None:
                windows -= 1
                quantity -= before
            if after is not None:
                windows += 1
                quantity += after
        self._add(self._only, windows, quantity, quantity)

    def _change(self, key: bytes, before: Decimal | None, after: Decimal | None) -> None:
        start = int.from_bytes(key[:8], "big")
        windows = (after is not None) - (before is not None)
        quantity = (after or ZERO) - (before or ZERO)
        first, cells, weights = b"", [], []
        for rates in self._rates:
            stretch = rates.stretch_at(self.key.sku, self.key.unit, start)
            at = bisect_right(stretch.cuts, key[:8])
            first = max(first, stretch.first, stretch.cuts[at - 1] if at else b"")
            cell, weight = _cell(stretch, key, quantity)
            cells.append(cell)
            weights.append(weight)
        self._add(_atom_key(first, *cells), windows, *weights)

    def _add(self, atom_key: bytes, windows: int, live: Decimal, draft: Decimal) -> None:
        atom = self.atoms.get(atom_key)
        if atom is None:
            atom = self.atoms[atom_key] = _Atom()
        atom.windows += windows
        atom.live += live
        atom.draft += draft
        self.changed.add(atom_key)
        if atom.windows or atom.live or atom.draft:
            self._spread(atom_key, windows, live, draft)
            return
        # A slice or a cell may be unused now, which is not the same as used with 0.
        del self.atoms[atom_key]
        self.parts = {}, {}
        for key, left in self.atoms.items():
            self._spread(key, left.windows, left.live, left.draft)

    def _spread(self, atom_key: bytes, windows: int, live: Decimal, draft: Decimal) -> None:
        """Add to the parts of both books in which an atom lies."""
        start, cells = _split_atom_key(atom_key)
        for rates, parts, cell, quantity in zip(self._rates, self.parts, cells, (live, draft), strict=True):
            stretch = rates.stretch_at(self.key.sku, self.key.unit, int.from_bytes(start, "big"))
            part = parts.get(stretch.key)
            if part is None:
                part = parts[stretch.key] = _Part(stretch)
            part.add(start, cell, windows, quantity)

    def cost(self, side: int, final: bool) -> tuple[Decimal, int]:
        """What it costs under one of the books (0 live, 1 draft), and how many windows have no price."""
        cost, unpriced = ZERO, 0
        for part in self.parts[side].values():
            unpriced += part.unpriced
            if part.stretch.price is not None:
                cost += part.price_it(part.stretch.price, final)
        return cost, unpriced

    def usage(self, side: int) -> Iterator[Usage]:
        """Input of the account's statement under one of the books."""
        for part in self.parts[side].values():
            stretch = part.stretch
            if stretch.price is not None and part.windows:
                yield Usage(self.key.sku, self.key.unit, stretch.price, stretch.start, stretch.end, part.slices, True)


def _cell(stretch: Stretch, key: bytes, quantity: Decimal) -> tuple[int, Decimal]:
    """Cell of an entry, and what a quantity counts for there."""
    price = stretch.price
    if price is None or not stretch.selector:
        return 0, quantity
    found = Segment(stretch).cell(key)
    if found is None:
        return _NO_PRICE, ZERO
    return found[0], quantity * found[1] if price.model == "dynamic" else quantity


def _atom_key(start: bytes, live: int, draft: int) -> bytes:
    return start + b"%d:%d" % (live, draft)


def _split_atom_key(key: bytes) -> tuple[bytes, tuple[int, int]]:
    live, _, draft = key[8:].partition(b":")
    return key[:8], (int(live), int(draft))


def atoms_prefix() -> bytes:
    """Store keys of all atoms of all accounts begin with it."""
    return _ATOM


def openings_prefix() -> bytes:
    """Store keys of what was left of credits begin with it."""
    return _OPENING


def account_prefix(account: str) -> bytes:
    """Store keys of an account's atoms begin with it; month, SKU, unit and atom follow."""
    return _ATOM + account.encode() + b"\0"


def opening_key(account: str) -> bytes:
    """Store key of what was left of an account's credits when the draft began to run."""
    return _OPENING + account.encode()


class AccountTallies:
    """All tallies of one account: as of the last commit, and with what has changed since."""

    def __init__(self, name: str, live: Rates, draft: Rates, store: Store, closed: int) -> None:
        """live, draft: of all accounts. closed: the last closed month, 0 for none."""
        self.name = name
        self._rates = live.of(name), draft.of(name)
        self._store = store
        self._closed = closed
        self._tallies: dict[tuple[int, str, str], _Tally] = {}
        self._touched: set[int] = set()  # months
        self.atoms = 0
        prefix = account_prefix(name)
        for key, value in store.scan(prefix):
            sku, unit, atom_key = key[4:].split(b"\0", 2)
            self._tally(GroupKey(name, sku.decode(), unit.decode(), int.from_bytes(key[:4], "big"))).load(atom_key, value)
            self.atoms += 1

    def _tally(self, group: GroupKey) -> _Tally:
        name = group.month, group.sku, group.unit
        found = self._tallies.get(name)
        if found is None:
            found = self._tallies[name] = _Tally(group, *self._rates)
        return found

    def change(self, group: GroupKey, changes: Iterable[Change]) -> None:
        """Usage of a group that has changed. The caller's decimal context must be exact."""
        tally = self._tally(group)
        known = len(tally.atoms)
        tally.change(changes)
        self.atoms += len(tally.atoms) - known
        self._touched.add(group.month)

    def touch_all(self) -> None:
        """Let the next `take_variances` tell of every month."""
        self._touched = {month for month, _, _ in self._tallies}

    def take_puts(self) -> list[tuple[bytes, bytes | None]]:
        """Atoms that have changed, as they are to be stored; told once."""
        puts: list[tuple[bytes, bytes | None]] = []
        for (month, sku, unit), tally in self._tallies.items():
            if not tally.changed:
                continue
            head = account_prefix(self.name) + month.to_bytes(4, "big") + f"{sku}\0{unit}\0".encode()
            for key in tally.changed:
                atom = tally.atoms.get(key)
                puts.append((head + key, None if atom is None else atom.encode()))
            tally.changed = set()
        return puts

    def take_variances(self, books: Books) -> list[Variance]:
        """What has to be said anew; told once.

        Where one of the books has terms for the account, credits lead from each month to the next: all later months follow.
        """
        touched, self._touched = self._touched, set()
        if not touched:
            return []
        since = min(touched)
        if not any(rates.terms for rates in self._rates):
            return [self._variance(month, books, {}, {}) for month in sorted(touched)]
        live, draft = (self._charges(side) for side in (0, 1))
        months = {month for month, _, _ in self._tallies} | live.keys() | draft.keys()
        return [self._variance(month, books, live.get(month, {}), draft.get(month, {})) for month in sorted(months) if month >= since]

    def _variance(self, month: int, books: Books, live: Mapping[tuple[str, str], Decimal], draft: Mapping[tuple[str, str], Decimal]) -> Variance:
        final = month <= self._closed
        skus, sums = [], [ZERO, ZERO]
        for (its, sku, unit), tally in sorted(self._tallies.items()):
            if its != month or not tally.atoms:
                continue
            (one, unpriced), (other, unpriced_draft) = tally.cost(0, final), tally.cost(1, final)
            skus.append(SkuVariance(sku, unit, plain(one), plain(other), unpriced, unpriced_draft))
            sums = [sums[0] + one, sums[1] + other]
        adjustments = []
        for adjustment, sku in sorted({*live, *draft}):
            one, other = live.get((adjustment, sku), ZERO), draft.get((adjustment, sku), ZERO)
            adjustments.append(AdjustmentVariance(adjustment, sku, plain(one), plain(other)))
            sums = [sums[0] + one, sums[1] + other]
        return Variance(
            self.name, month_name(month), final, books.live, books.draft, books.since_ns, self._rates[0].names.currency,
            self._rates[1].names.currency, skus, adjustments, plain(sums[0]), plain(sums[1]),
        )  # fmt: skip

    def _charges(self, side: int) -> dict[int, dict[tuple[str, str], Decimal]]:
        """Charges of the account under one of the books: month -> (adjustment, SKU) -> cost."""
        rates = self._rates[side]
        if rates.terms is None:
            return {}
        used: dict[int, list[Usage]] = {}
        for (month, _, _), tally in sorted(self._tallies.items()):
            if its := list(tally.usage(side)):
                used.setdefault(month, []).extend(its)
        if not used:
            return {}
        stored = self._store.get(opening_key(self.name))
        balances: Mapping[str, Decimal] = {credit: money(left) for credit, left in _decode_balances(stored).items()} if stored else {}
        found: dict[int, dict[tuple[str, str], Decimal]] = {}
        for month in range(min(used), max(used) + 1):
            start, end = rates.default.month_start(month), rates.default.month_start(month + 1)
            if month not in used and not rates.terms.due(start, end):
                continue
            made = statement(rates.terms, start, end, used.get(month, ()), (), balances, month <= self._closed)
            balances = made.closing
            found[month] = _added(made.charges)
        return found


def _added(charges: Iterable[Charge]) -> dict[tuple[str, str], Decimal]:
    found: dict[tuple[str, str], Decimal] = {}
    for charge in charges:
        name = charge.adjustment, charge.sku
        found[name] = found.get(name, ZERO) + charge.cost
    return found


def opening_put(store: Store, account: str) -> list[tuple[bytes, bytes | None]]:
    """What to store when the draft begins to run: what is left of the account's credits now. Both books go on from there."""
    stored = store.get(BALANCES + account.encode())
    return [(opening_key(account), stored)] if stored else []
