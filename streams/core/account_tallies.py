"""All tallies of one account under the live book and a draft, and what follows from them together: its statements under both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from ...pricing.money import ZERO, money, plain
from ...pricing.statement import Charge, Usage, statement
from ...schemas.variance import AdjustmentVariance, Variance
from .corrections import month_name
from .entries import Change
from .items import GroupKey
from .segments import Rates
from .store import BALANCES, SHADOW, Store
from .tallies import Tally, tally_of

__all__ = ["ATOMS", "OPENINGS", "AccountTallies", "Books", "account_prefix", "opening_key", "opening_put"]

# Store keys of all atoms, and of what was left of credits. Behind it comes the comparison that they belong to (8 bytes), then the
# account: a disk that was away for long may still hold keys of a comparison that is over, and these must never be counted.
ATOMS, OPENINGS = SHADOW + b"a", SHADOW + b"o"
_decode_balances = msgspec.json.Decoder(dict[str, str]).decode

Charges = Mapping[tuple[str, str], Decimal]  # (adjustment, SKU) -> cost


class Books(NamedTuple):
    """What is compared: digests, since when (nanoseconds since 1970), and the last closed month (0 for none)."""

    live: str
    draft: str
    since_ns: int
    closed: int

    @property
    def comparison(self) -> bytes:
        """Eight bytes that no other comparison has."""
        return blake2b(f"{self.live} {self.draft} {self.since_ns} {self.closed}".encode(), digest_size=8).digest()

    @property
    def run(self) -> bytes:
        """Eight bytes for this run of the draft, whatever book is live beside it and whatever months are closed meanwhile."""
        return blake2b(f"{self.draft} {self.since_ns}".encode(), digest_size=8).digest()


def account_prefix(comparison: bytes, account: str) -> bytes:
    """Store keys of an account's atoms begin with it; month, SKU, unit and atom follow."""
    return ATOMS + comparison + account.encode() + b"\0"


def opening_key(draft: bytes, account: str) -> bytes:
    """Store key of what was left of an account's credits when the draft began to run."""
    return OPENINGS + draft + account.encode()


def opening_put(store: Store, draft: bytes, account: str) -> list[tuple[bytes, bytes | None]]:
    """What to store when the draft begins to run: what is left of the account's credits now. Both books go on from there."""
    stored = store.get(BALANCES + account.encode())
    return [(opening_key(draft, account), stored)] if stored else []


class AccountTallies:
    """As of the last commit, and with what has changed since. The caller's decimal context must be exact."""

    def __init__(self, name: str, live: Rates, draft: Rates, store: Store, books: Books) -> None:
        """live, draft: of all accounts."""
        self.name = name
        self._rates = live.of(name), draft.of(name)
        self._store = store
        self._books = books
        self._prefix = account_prefix(books.comparison, name)
        self._months: dict[int, dict[tuple[str, str], Tally]] = {}
        self._changed: dict[Tally, None] = {}
        self._touched: set[int] = set()  # months
        self.atoms = 0
        for key, value in store.scan(self._prefix):
            if not value:
                continue
            sku, unit, atom_key = key[4:].split(b"\0", 2)
            self._tally(GroupKey(name, sku.decode(), unit.decode(), int.from_bytes(key[:4], "big"))).load(atom_key, value)
            self.atoms += 1

    def _tally(self, group: GroupKey) -> Tally:
        month = self._months.get(group.month)
        if month is None:
            month = self._months[group.month] = {}
        found = month.get((group.sku, group.unit))
        if found is None:
            found = month[group.sku, group.unit] = tally_of(group, *self._rates)
        return found

    def change(self, group: GroupKey, changes: Iterable[Change]) -> None:
        """Usage of a group that has changed."""
        tally = self._tally(group)
        known = tally.atoms
        tally.change(changes)
        self.atoms += tally.atoms - known
        self._changed[tally] = None
        self._touched.add(group.month)

    def touch_all(self) -> None:
        """Let the next `take_variances` tell of every month."""
        self._touched = set(self._months)

    def take_puts(self) -> list[tuple[bytes, bytes | None]]:
        """Atoms that have changed, as they are to be stored (b"": nothing is left of it); told once."""
        puts: list[tuple[bytes, bytes | None]] = []
        for tally in self._changed:
            _, sku, unit, month = tally.key
            head = b"%b%b%b" % (self._prefix, month.to_bytes(4, "big"), f"{sku}\0{unit}\0".encode())
            puts += [(head + atom_key, value) for atom_key, value in tally.take_puts()]
        self._changed = {}
        return puts

    def take_variances(self) -> list[Variance]:
        """What has to be said anew; told once.

        Where one of the books has terms for the account, credits lead from each month to the next: all later months follow.
        """
        touched, self._touched = self._touched, set()
        if not touched:
            return []
        since = min(touched)
        if not any(rates.terms for rates in self._rates):
            return [self._variance(month, {}, {}) for month in sorted(touched)]
        live, draft = (self._charges(side) for side in (0, 1))
        months = self._months.keys() | live.keys() | draft.keys()
        return [self._variance(month, live.get(month, {}), draft.get(month, {})) for month in sorted(months) if month >= since]

    def _variance(self, month: int, live: Charges, draft: Charges) -> Variance:
        books, final = self._books, month <= self._books.closed
        rows = [tally.row(final) for _, tally in sorted(self._months.get(month, {}).items()) if tally.atoms]
        adjustments, sums = [], [sum([row[1] for row in rows], ZERO), sum([row[2] for row in rows], ZERO)]
        for adjustment, sku in sorted({*live, *draft}):
            one, other = live.get((adjustment, sku), ZERO), draft.get((adjustment, sku), ZERO)
            adjustments.append(AdjustmentVariance(adjustment, sku, plain(one), plain(other)))
            sums = [sums[0] + one, sums[1] + other]
        return Variance(
            self.name, month_name(month), final, books.live, books.draft, books.since_ns, self._rates[0].names.currency,
            self._rates[1].names.currency, [row[0] for row in rows], adjustments, plain(sums[0]), plain(sums[1]),
        )  # fmt: skip

    def _charges(self, side: int) -> dict[int, Charges]:
        """Charges of the account under one of the books, by month."""
        rates = self._rates[side]
        if rates.terms is None:
            return {}
        used: dict[int, list[Usage]] = {}
        for month, tallies in self._months.items():
            if its := [usage for tally in tallies.values() for usage in tally.usage(side)]:
                used[month] = its
        if not used:
            return {}
        stored = self._store.get(opening_key(self._books.run, self.name))
        balances: Mapping[str, Decimal] = {credit: money(left) for credit, left in _decode_balances(stored).items()} if stored else {}
        found: dict[int, Charges] = {}
        for month in range(min(used), max(used) + 1):
            start, end = rates.default.month_start(month), rates.default.month_start(month + 1)
            if month not in used and not rates.terms.due(start, end):
                continue
            made = statement(rates.terms, start, end, used.get(month, ()), balances, month <= self._books.closed)
            balances = made.closing
            found[month] = _added(made.charges)
        return found


def _added(charges: Iterable[Charge]) -> Charges:
    found: dict[tuple[str, str], Decimal] = {}
    for charge in charges:
        name = charge.adjustment, charge.sku
        found[name] = found.get(name, ZERO) + charge.cost
    return found
