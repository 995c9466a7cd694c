"""All tallies of one account under the live book and a draft, and what follows from them together: its statements under both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import NamedTuple

from ...pricing.money import ZERO, plain
from ...pricing.statement import Charge, Usage
from ...schemas.control import month_text
from ...schemas.variance import AdjustmentVariance, Variance
from .chain import Chain, Row, row_of
from .corrections import Closed
from .entries import Change
from .items import GroupKey
from .segments import Rates
from .store import SHADOW, Store
from .tallies import Tally, tally_of

__all__ = ["ATOMS", "AccountTallies", "Books", "account_prefix", "has_terms"]

# Store keys of all atoms. Behind it comes the comparison that they belong to (8 bytes), then the
# account: a disk that was away for long may still hold keys of a comparison that is over, and these must never be counted.
ATOMS = SHADOW + b"a"

Charges = Mapping[tuple[str, str], Decimal]  # (adjustment, SKU) -> cost


class Books(NamedTuple):
    """What is compared: digests, since when (nanoseconds since 1970), the closed months, and the first month that is compared."""

    live: str
    draft: str
    since_ns: int
    closed: Closed
    first: int

    @property
    def comparison(self) -> bytes:
        """Eight bytes that no other comparison has."""
        return blake2b(f"{self.live} {self.draft} {self.since_ns} {self.closed.month}".encode(), digest_size=8).digest()


def account_prefix(comparison: bytes, account: str) -> bytes:
    """Store keys of an account's atoms begin with it; month, SKU, unit and atom follow."""
    return ATOMS + comparison + account.encode() + b"\0"


def has_terms(live: Rates, draft: Rates, account: str) -> bool:
    """Whether there are charges of the account under one of the books: then all its months are tallied, as credits go through them."""
    return live.of(account).terms is not None or draft.of(account).terms is not None


class _Side:
    """An account's statements under one of the books."""

    def __init__(self, name: str, rates: Rates) -> None:
        self.rates = rates
        self.rows: dict[Row, Usage] = {}
        self._of: dict[Tally, list[Row]] = {}
        self.chain = Chain(name, rates, self.rows)
        self.began: tuple[int, Mapping[str, Decimal]] = 0, {}

    def take(self, tally: Tally, side: int) -> None:
        """Take over what a tally says now."""
        for row in self._of.pop(tally, ()):
            del self.rows[row]
        for usage in tally.usage(side):
            row = row_of(tally.key.month, usage)
            self.rows[row] = usage
            self._of.setdefault(tally, []).append(row)
        self.chain.touch(tally.key.month)

    def begin(self, name: str, month: int, balances: Mapping[str, Decimal]) -> None:
        """Begin with this month, and with this left of the credits."""
        if self.began != (month, balances):
            self.began = month, balances
            self.chain = Chain(name, self.rates, self.rows, month, balances)


class AccountTallies:
    """As of the last commit, and with what has changed since. The caller's decimal context must be exact."""

    def __init__(self, name: str, live: Rates, draft: Rates, store: Store, books: Books) -> None:
        """live, draft: of all accounts."""
        self.name = name
        self._rates = live.of(name), draft.of(name)
        self._books = books
        self._sides = (_Side(name, self._rates[0]), _Side(name, self._rates[1])) if has_terms(live, draft, name) else None
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
        self._noted = [tally for month in self._months.values() for tally in month.values()]  # what the sides have yet to take over

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
        if self._sides is not None:
            self._noted.append(tally)

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
        if self._sides is None:
            return [self._variance(month, {}, {}) for month in sorted(touched)]
        for tally in dict.fromkeys(self._noted):
            for side, its in enumerate(self._sides):
                its.take(tally, side)
        self._noted = []
        live, draft = self._charges(*self._sides)
        since, months = max(min(touched), self._books.first), self._months.keys() | live.keys() | draft.keys()
        return [self._variance(month, live.get(month, {}), draft.get(month, {})) for month in sorted(months) if month >= since]

    def _variance(self, month: int, live: Charges, draft: Charges) -> Variance:
        books, final = self._books, month <= self._books.closed.month
        rows = [tally.row(final) for _, tally in sorted(self._months.get(month, {}).items()) if tally.atoms]
        adjustments, sums = [], [sum([row[1] for row in rows], ZERO), sum([row[2] for row in rows], ZERO)]
        for adjustment, sku in sorted({*live, *draft}):
            one, other = live.get((adjustment, sku), ZERO), draft.get((adjustment, sku), ZERO)
            adjustments.append(AdjustmentVariance(adjustment, sku, plain(one), plain(other)))
            sums = [sums[0] + one, sums[1] + other]
        return Variance(
            self.name, month_text(month), final, books.live, books.draft, books.since_ns, self._rates[0].names.currency,
            self._rates[1].names.currency, [row[0] for row in rows], adjustments, plain(sums[0]), plain(sums[1]),
        )  # fmt: skip

    def _charges(self, live: _Side, draft: _Side) -> tuple[dict[int, Charges], dict[int, Charges]]:
        """Charges of the account under both books, by month.

        The draft goes on with what is left of credits under the live book when the first month that is compared begins: what it
        would have made of the months before, nobody was billed.
        """
        first, closed = self._books.first, self._books.closed
        charged: tuple[dict[int, Charges], dict[int, Charges]] = {}, {}
        balances: Mapping[str, Decimal] = {}
        for month in live.chain.months(closed.first, closed.month, closed.month):
            charged[0][month.month] = _added(month.made.charges)
            if month.month < first:
                balances = month.made.closing
        if min(self._months, default=first) < first:
            draft.begin(self.name, first, balances)
        for month in draft.chain.months(closed.first, closed.month, closed.month):
            charged[1][month.month] = _added(month.made.charges)
        return charged


def _added(charges: Iterable[Charge]) -> Charges:
    found: dict[tuple[str, str], Decimal] = {}
    for charge in charges:
        name = charge.adjustment, charge.sku
        found[name] = found.get(name, ZERO) + charge.cost
    return found
