"""Tallies: what one group used, in totals from which two price books can be told apart without any line item.

Σ line items = price(Σ quantity), exactly (pricing.models). So what a book makes of a month follows from the quantities per stretch
(one price, one accumulation period), slice of the month and cell of the price. The stretches and slices of two books cut the
month into *atoms*; each atom keeps how many windows it holds and what they add up to, and serves both books. A window that is
added or changes costs an addition, however many line items it moves.

Most groups have one atom: the whole month under one price of each book, where one total says everything (`WholeTally`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from decimal import Decimal

from ...pricing.models import MODELS, period_cost
from ...pricing.money import ZERO, money, plain
from ...pricing.price import Quantities
from ...pricing.slices import together
from ...pricing.statement import Usage
from ...schemas.variance import SkuVariance
from .entries import Change
from .items import GroupKey
from .segments import Rates, Stretch, place_of

__all__ = ["Row", "SplitTally", "Tally", "WholeTally", "tally_of"]

_NO_PRICE = -1  # the cell of what a price has no unit price for

Row = tuple[SkuVariance, Decimal, Decimal]  # what is said of a group, and both costs as numbers
Atom = tuple[int, Decimal, Decimal]  # windows, quantity under the live book and under the draft (what is counted there)


class Tally:
    """One group under both books. The caller's decimal context must be exact."""

    __slots__ = ("_row", "key", "rates")

    def __init__(self, key: GroupKey, live: Rates, draft: Rates) -> None:
        """live, draft: of the group's account."""
        self.key = key
        self.rates = live, draft
        self._row: Row | None = None  # None: not known any more

    @property
    def atoms(self) -> int:
        """How many there are; 0: nothing is used."""
        raise NotImplementedError

    def load(self, atom_key: bytes, value: bytes) -> None:
        """An atom from the store."""
        raise NotImplementedError

    def change(self, changes: Iterable[Change]) -> None:
        """Windows that came, went, or have another quantity."""
        raise NotImplementedError

    def take_puts(self) -> list[tuple[bytes, bytes]]:
        """Atoms that have changed, by their part of the key, as they are to be stored; told once."""
        raise NotImplementedError

    def usage(self, side: int) -> Iterator[Usage]:
        """Input of the account's statement under one of the books (0 live, 1 draft)."""
        raise NotImplementedError

    def cost(self, side: int, final: bool) -> tuple[Decimal, int]:
        """What it costs under one of the books, and how many windows have no price."""
        raise NotImplementedError

    def row(self, final: bool) -> Row:
        """What is said of the group. final: its month is closed; always the same for one tally."""
        if self._row is None:
            (live, unpriced), (draft, unpriced_draft) = self.cost(0, final), self.cost(1, final)
            said = SkuVariance(self.key.sku, self.key.unit, plain(live), plain(draft), unpriced, unpriced_draft)
            self._row = said, live, draft
        return self._row


def tally_of(key: GroupKey, live: Rates, draft: Rates) -> Tally:
    """An empty tally. live, draft: of the group's account."""
    one, other = live.whole_month(key.sku, key.unit, key.month), draft.whole_month(key.sku, key.unit, key.month)
    if one is not None and other is not None and one.plain and other.plain:
        return WholeTally(key, live, draft, (one, other))
    return SplitTally(key, live, draft)


def _encoded(atom: Atom) -> bytes:
    """windows NUL quantity [NUL quantity under the draft]; b"" when nothing is left of it."""
    windows, live, draft = atom
    if not windows and not live and not draft:
        return b""
    text = f"{windows}\0{plain(live)}" if live == draft else f"{windows}\0{plain(live)}\0{plain(draft)}"
    return text.encode()


def _decoded(value: bytes) -> Atom:
    windows, live, *draft = value.decode().split("\0")
    return int(windows), money(live), money(draft[0] if draft else live)


def _price(stretch: Stretch, quantities: Quantities, used: bool, final: bool) -> Decimal:
    """price(Σ quantity)."""
    price = stretch.price
    if price is None:
        return ZERO
    if stretch.charged:
        return period_cost(price, quantities, used, final=final)
    # No charge but by window: that is Σ quantity of a tier x its price, without anything around it.
    if len(price.tiers) == 1:
        return quantities.get(0, ZERO) * price.tiers[0].unit_price
    tiers = MODELS[price.model].tier_quantities(price, quantities)
    return sum([quantity * tier.unit_price for quantity, tier in zip(tiers, price.tiers, strict=True)], ZERO)


class WholeTally(Tally):
    """A month under one price of each book, or under none: one atom."""

    __slots__ = ("_atom_key", "_changed", "_quantity", "_stretches", "_windows")

    def __init__(self, key: GroupKey, live: Rates, draft: Rates, stretches: tuple[Stretch, Stretch]) -> None:
        super().__init__(key, live, draft)
        self._stretches = stretches
        self._atom_key = _atom_key(max(stretches[0].first, stretches[1].first), 0, 0)
        self._windows, self._quantity = 0, ZERO
        self._changed = False

    @property
    def atoms(self) -> int:
        return 1 if self._windows or self._quantity else 0

    def load(self, atom_key: bytes, value: bytes) -> None:
        if atom_key != self._atom_key:
            raise ValueError(f"{self.key}: the tallies in the store are of other books")
        self._windows, self._quantity, _ = _decoded(value)

    def change(self, changes: Iterable[Change]) -> None:
        for _, before, after in changes:
            if before is None:
                self._windows += 1
            else:
                self._quantity -= before
            if after is None:
                self._windows -= 1
            else:
                self._quantity += after
        self._changed, self._row = True, None

    def take_puts(self) -> list[tuple[bytes, bytes]]:
        if not self._changed:
            return []
        self._changed = False
        return [(self._atom_key, _encoded((self._windows, self._quantity, self._quantity)))]

    def usage(self, side: int) -> Iterator[Usage]:
        stretch = self._stretches[side]
        if stretch.price is not None and self._windows:
            yield Usage(self.key.sku, self.key.unit, stretch.price, stretch.start, stretch.end, ({0: self._quantity},), True)

    def cost(self, side: int, final: bool) -> tuple[Decimal, int]:
        stretch = self._stretches[side]
        if stretch.price is None:
            return ZERO, self._windows
        return _price(stretch, {0: self._quantity}, self._windows > 0, final), 0


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

    def price_it(self, final: bool) -> Decimal:
        """What the stretch costs."""
        if self.cost is None:
            self.cost = _price(self.stretch, together(self.slices), self.windows > 0, final)
        return self.cost


class SplitTally(Tally):
    """Any number of stretches, slices and cells."""

    __slots__ = ("_atoms", "_changed", "_parts")

    def __init__(self, key: GroupKey, live: Rates, draft: Rates) -> None:
        super().__init__(key, live, draft)
        self._atoms: dict[bytes, Atom] = {}
        self._parts: tuple[dict[tuple[str, int], _Part], dict[tuple[str, int], _Part]] = {}, {}
        self._changed: dict[bytes, None] = {}

    @property
    def atoms(self) -> int:
        return len(self._atoms)

    def load(self, atom_key: bytes, value: bytes) -> None:
        atom = self._atoms[atom_key] = _decoded(value)
        self._spread(atom_key, *atom)

    def change(self, changes: Iterable[Change]) -> None:
        for key, before, after in changes:
            self._change(key, before, after)
        self._row = None

    def _change(self, key: bytes, before: Decimal | None, after: Decimal | None) -> None:
        start = int.from_bytes(key[:8], "big")
        windows = (after is not None) - (before is not None)
        quantity = (after or ZERO) - (before or ZERO)
        first, cells, weights = b"", [], []
        for rates in self.rates:
            stretch = rates.stretch_at(self.key.sku, self.key.unit, start)
            at = bisect_right(stretch.cuts, key[:8])
            first = max(first, stretch.first, stretch.cuts[at - 1] if at else b"")
            cell, weight = place_of(stretch, key, quantity) or (_NO_PRICE, ZERO)
            cells.append(cell)
            weights.append(weight)
        self._add(_atom_key(first, *cells), windows, *weights)

    def _add(self, atom_key: bytes, windows: int, live: Decimal, draft: Decimal) -> None:
        known = self._atoms.get(atom_key, (0, ZERO, ZERO))
        now = known[0] + windows, known[1] + live, known[2] + draft
        self._changed[atom_key] = None
        if any(now):
            self._atoms[atom_key] = now
            self._spread(atom_key, windows, live, draft)
            return
        # A slice or a cell may be unused now, which is not the same as used with 0.
        self._atoms.pop(atom_key, None)
        self._parts = {}, {}
        for key, left in self._atoms.items():
            self._spread(key, *left)

    def _spread(self, atom_key: bytes, windows: int, live: Decimal, draft: Decimal) -> None:
        """Add to the parts of both books in which an atom lies."""
        start, cells = _split_atom_key(atom_key)
        for rates, parts, cell, quantity in zip(self.rates, self._parts, cells, (live, draft), strict=True):
            stretch = rates.stretch_at(self.key.sku, self.key.unit, int.from_bytes(start, "big"))
            part = parts.get(stretch.key)
            if part is None:
                part = parts[stretch.key] = _Part(stretch)
            part.add(start, cell, windows, quantity)

    def take_puts(self) -> list[tuple[bytes, bytes]]:
        changed, self._changed = self._changed, {}
        return [(key, _encoded(self._atoms.get(key, (0, ZERO, ZERO)))) for key in changed]

    def usage(self, side: int) -> Iterator[Usage]:
        for part in self._parts[side].values():
            stretch = part.stretch
            if stretch.price is not None and part.windows:
                yield Usage(self.key.sku, self.key.unit, stretch.price, stretch.start, stretch.end, part.slices, True)

    def cost(self, side: int, final: bool) -> tuple[Decimal, int]:
        parts = self._parts[side].values()
        return sum([part.price_it(final) for part in parts], ZERO), sum([part.unpriced for part in parts])


def _atom_key(start: bytes, live: int, draft: int) -> bytes:
    return start + b"%d:%d" % (live, draft)


def _split_atom_key(key: bytes) -> tuple[bytes, tuple[int, int]]:
    live, _, draft = key[8:].partition(b":")
    return key[:8], (int(live), int(draft))
