"""Shadow rating: a draft of the price book runs beside the live one, on the live usage, and touches no line item.

A `Shadow` keeps tallies of every account (account_tallies.py) in the partition's store, under keys of its own. They travel in the same
transactions as the usage they count, so they are exact whatever happens to a worker. Its life:

    drop      tallies of another comparison go, some per commit: the draft, the live book or the closed months are others now
    sweep     all stored usage is gone through, some groups per commit; usage of groups that were passed is counted as it comes
    follow    everything is in; tallies grow with the stream
    off       there is no draft, and nothing of the last one is left

What it has to say are `Variance` records, one per account and month, and a `ShadowStatus`; both are in `effects`. Records are told
when the caller says so, as one usually stands for many commits; the store knows that some are untold, so none is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import localcontext
from itertools import islice
from typing import NamedTuple

import msgspec

from ...pricing.money import EXACT
from ...schemas.control import month_text
from ...schemas.variance import STATUS_KEY, ShadowStatus, encode_status, encode_variance, variance_key
from .account_tallies import ATOMS, AccountTallies, Books, account_prefix, has_terms
from .accounts import account_of_prefix
from .corrections import Closed
from .entries import Change, decode_usage
from .items import GroupKey, group_prefix
from .segments import Rates
from .state import stored_groups
from .store import ENTRY, SHADOW, Store

__all__ = ["Shadow", "ShadowEffects"]

DROP, SWEEP, FOLLOW, OFF = "drop", "sweep", "follow", "off"
_STATUS = SHADOW + b"s"
_PAST = b"\xff" * 9  # behind any key that follows a prefix


class _Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the tallies in the store are of, and how far they have come."""

    live: str  # digests
    draft: str
    closed: int  # the last closed month, 0 for none
    first: int  # the first month that is compared
    since_ns: int
    phase: str
    after: str = ""  # hex of the last group that the sweep has passed
    groups: int = 0
    swept: bool = False  # all of it was in at some time: a month that is closed since then stays in the comparison
    untold: bool = False  # some records are older than the tallies
    telling: str = ""  # hex of a key: after a restart, accounts below it have yet to be told of once more


class ShadowEffects(NamedTuple):
    """What one commit changes: both go into its transaction, puts also into the store."""

    puts: list[tuple[bytes, bytes | None]]  # store key -> value, for the changelog of windows
    records: list[tuple[bytes, bytes | None]]  # for the topic ratemill.shadow


class Shadow:
    """The comparison of one partition. Whoever fails between `effects` and `committed` throws it away and makes a new one."""

    def __init__(self, store: Store, live: Rates, draft: Rates | None, closed: Closed, now_ns: int, *, cached_atoms: int = 250_000) -> None:
        """Go on with what the store holds, if it is of this comparison; else begin.

        live, draft: with the same meters, as usage is metered once. closed: the closed months. now_ns: what a
        comparison that begins here says of its begin.
        """
        self._store = store
        self._live = live
        self._draft = draft
        self._closed = closed.month
        self._cached_atoms = cached_atoms
        self._accounts: dict[str, AccountTallies] = {}
        self._older: dict[str, AccountTallies] = {}
        self._changed: dict[str, None] = {}  # accounts, since the last commit
        self._touched: dict[str, None] = {}  # accounts, since they were told of last
        self._puts: list[tuple[bytes, bytes | None]] = []
        self._records: list[tuple[bytes, bytes | None]] = []
        stored = store.get(_STATUS)
        self._stored = msgspec.json.decode(stored, type=_Status) if stored else None
        self._status = self._begin(self._stored, now_ns)
        self._books = Books(self._status.live, self._status.draft, self._status.since_ns, closed, self._status.first)
        # Which records were not told before a restart nobody knows: all accounts below this key are told of once more.
        self._telling = ATOMS + self._books.comparison + _PAST if self._status.untold else bytes.fromhex(self._status.telling)
        if self.phase == SWEEP and self._status.after:
            # Its groups may all have been passed, and its record was not written yet.
            name = account_of_prefix(bytes.fromhex(self._status.after))
            self._account(name).touch_all()
            self._touched[name] = None

    def _begin(self, known: _Status | None, now_ns: int) -> _Status:
        draft = "" if self._draft is None else self._draft.digest
        if known is None:
            return _Status(self._live.digest, draft, self._closed, self._closed + 1, now_ns, SWEEP if draft else OFF)
        if (known.live, known.draft, known.closed) == (self._live.digest, draft, self._closed):
            return known
        if known.draft == draft and known.swept:
            # The same draft beside another live book, or after a close: the months and the begin stay.
            return _Status(self._live.digest, draft, self._closed, known.first, known.since_ns, DROP, swept=True)
        return _Status(self._live.digest, draft, self._closed, self._closed + 1, now_ns, DROP)

    # -- what the caller asks ----------------------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        """drop, sweep, follow or off."""
        return self._status.phase

    @property
    def busy(self) -> bool:
        """Whether `sweep` has work to do."""
        return self.phase in (DROP, SWEEP) or (self.phase == FOLLOW and self._telling != b"")

    @property
    def untold(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._touched)

    @property
    def groups(self) -> int:
        """Groups of usage that the sweep has gone through."""
        return self._status.groups

    def of(self, live: Rates, draft: Rates | None, closed: int) -> bool:
        """Whether this is the comparison of these two; if not, make a new `Shadow`."""
        status = self._status
        return (status.live, status.draft, status.closed) == (live.digest, "" if draft is None else draft.digest, closed)

    # -- usage -------------------------------------------------------------------------------------------------------

    def wants(self, group: GroupKey) -> bool:
        """Whether a change of this group is counted: not before the sweep has passed it, for then the sweep counts it whole."""
        if not self._compares(group):
            return False
        return self.phase == FOLLOW or (self.phase == SWEEP and group_prefix(group) <= bytes.fromhex(self._status.after))

    def _compares(self, group: GroupKey) -> bool:
        if group.month >= self._status.first:
            return True
        return self._draft is not None and has_terms(self._live, self._draft, group.account)

    def change(self, group: GroupKey, changes: Iterable[Change]) -> None:
        """Windows of a group that it `wants`, each once: (entry key, quantity before, quantity after).

        The caller's decimal context must be exact.
        """
        self._account(group.account).change(group, changes)
        self._touched[group.account] = self._changed[group.account] = None

    def _account(self, name: str) -> AccountTallies:
        account = self._accounts.get(name)
        if account is None:
            account = self._older.pop(name, None)
            if account is None:
                if self._draft is None:
                    raise ValueError("there is no draft to count for")
                account = AccountTallies(name, self._live, self._draft, self._store, self._books)
            self._accounts[name] = account
        return account

    # -- going through what is stored --------------------------------------------------------------------------------

    def sweep(self, limit: int) -> None:
        """Do a part of what is to be done once: at most `limit` keys or groups. Nothing else may be pending."""
        if self.phase == DROP:
            self._drop(limit)
        elif self.phase == SWEEP:
            with localcontext(EXACT):
                self._visit(limit)
        elif self.phase == FOLLOW and self._telling:
            with localcontext(EXACT):
                self._tell_again(limit)

    def _drop(self, limit: int) -> None:
        found = list(islice(self._store.below(ATOMS, ATOMS + _PAST), limit))
        self._puts += [(key, None) for key, _ in found]
        gone = {_account_and_month(key) for key, _ in found}
        self._records += [(variance_key(account, month_text(month)), None) for account, month in sorted(gone)]
        if len(found) < limit:
            self._status = msgspec.structs.replace(self._status, phase=SWEEP if self._status.draft else OFF)

    def _visit(self, limit: int) -> None:
        status = self._status
        after, passed = bytes.fromhex(status.after), 0
        for prefix, key in stored_groups(self._store, after):
            if passed == limit:
                self._status = msgspec.structs.replace(status, after=after.hex(), groups=status.groups + passed)
                return
            after, passed = prefix, passed + 1
            if self._compares(key):
                stored = self._store.scan(ENTRY + prefix)
                self.change(key, ((entry, None, decode_usage(value)[0]) for entry, value in stored if value))
        self._status = msgspec.structs.replace(status, after="", groups=status.groups + passed, phase=FOLLOW, swept=True)

    def _tell_again(self, limit: int) -> None:
        for _ in range(limit):
            last = next(iter(self._store.below(ATOMS + self._books.comparison, self._telling)), None)
            if last is None:
                self._telling = b""
                return
            name, _ = _account_and_month(last[0])
            self._account(name).touch_all()
            self._touched[name] = None
            self._telling = account_prefix(self._books.comparison, name)

    # -- commits -----------------------------------------------------------------------------------------------------

    def effects(self, tell: bool = True) -> ShadowEffects:
        """Everything since the last commit. tell: with the records of what has changed; else they wait."""
        with localcontext(EXACT):
            for name in self._changed:
                self._puts += self._account(name).take_puts()
            if tell:
                self._tell()
        self._changed = {}
        untold = not tell and bool(self._touched)
        status = self._status = msgspec.structs.replace(self._status, untold=untold, telling=self._telling.hex())
        said = _said(status)
        if status != self._stored and not (self.phase == OFF and self._stored is None):
            # Off, the store holds nothing of it any more; the topic says so.
            self._puts.append((_STATUS, None if status.phase == OFF else msgspec.json.encode(status)))
            if self._stored is None or said != _said(self._stored):
                self._records.append((STATUS_KEY, encode_status(said)))
        return ShadowEffects(self._puts, self._records)

    def _tell(self) -> None:
        waiting: dict[str, None] = {}
        for name in self._touched:
            if self._is_whole(name):
                for variance in self._account(name).take_variances():
                    self._records.append((variance_key(name, variance.period), encode_variance(variance)))
            else:
                waiting[name] = None
        self._touched = waiting

    def _is_whole(self, account: str) -> bool:
        """Whether the sweep has passed all groups of an account; with a part of them its record would be wrong."""
        if self.phase == FOLLOW:
            return True
        after, head = bytes.fromhex(self._status.after), account.encode() + b"\0"
        return head < after and not after.startswith(head)

    def committed(self) -> None:
        """The effects are durable, and the store has taken them over."""
        self._puts, self._records = [], []
        self._stored = None if self.phase == OFF else self._status
        if sum(account.atoms + 1 for account in self._accounts.values()) > self._cached_atoms // 2:
            # Two generations: what was not touched while the younger one filled goes. What waits for the sweep stays.
            self._older, self._accounts = self._accounts, {name: self._accounts[name] for name in self._touched}


def _said(status: _Status) -> ShadowStatus:
    whole, untold = status.phase in (FOLLOW, OFF), status.untold or status.telling != ""
    return ShadowStatus(status.live, status.draft, status.since_ns, whole, status.groups, untold)


def _account_and_month(key: bytes) -> tuple[str, int]:
    account, rest = key[len(ATOMS) + 8 :].split(b"\0", 1)
    return account.decode(), int.from_bytes(rest[:4], "big")
