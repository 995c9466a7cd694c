"""The stateful step: deduplicate, window, price. Pure: it knows no Kafka, no disk and no clock of its own.

One `PartitionState` per partition. `add` takes decoded events and says what became of each; `seal` turns everything added
since the last commit into `Effects`; `committed` says that they are durable. Whoever fails between `seal` and `committed`
throws the object away and builds a new one from the store: nothing in here is worth saving.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import localcontext
from itertools import islice
from typing import Any

from ...pricing.money import EXACT
from ...schemas.errors import Rejection
from ...schemas.line_item import RatedLineItem, decode_line_item, encode_line_item
from ...schemas.usage_event import UsageEvent, hot, identify, identify_many
from .accounts import Account
from .adding import Added, Adding, Settings
from .amendments import Amendments, Backfills, Mark
from .corrections import Closed, corrections
from .counted import Source, Watch, counted
from .entries import Delta, Set, changed, changes_since, quantities
from .groups import Group, Out
from .items import GroupKey, changes_between, group_prefix
from .metered import Metered
from .segments import Rates
from .store import ENTRY, Effects, Layered, Store, new_ids

__all__ = ["Added", "Closed", "Effects", "PartitionState", "Settings", "stored_groups", "written"]

GROUPS_AT_ONCE = 200
ACCOUNTS_CACHED = 20_000

Pending = tuple[GroupKey, list[Delta], list[Set]]


class PartitionState:
    """State of one partition: what was counted, what each window holds, what it costs."""

    def __init__(self, store: Store, rates: Rates, settings: Settings, closed: Closed | None = None) -> None:
        self.store = store
        self._rates = rates
        self._settings = settings
        self.closed = closed or Closed()
        self._fresh: Any = new_ids()  # identities counted since the last commit, with their fingerprints
        self._counted = counted(settings.window_s, lambda start: self._rates.default.month_of(start))
        self._source = Source(store, rates)
        self._metered = Metered(store)
        self.amendments = Amendments(store)
        self.backfills = Backfills(store)
        self._groups: dict[tuple[str, str, str, int], Group] = {}
        self._older: dict[tuple[str, str, str, int], Group] = {}
        self._cached = 0
        self._accounts: dict[str, Account] = {}
        self.watch: Watch | None = None

    @property
    def rates(self) -> Rates:
        """The prices in force."""
        return self._rates

    # -- counting ----------------------------------------------------------------------------------------------------

    def add(self, events: Sequence[UsageEvent]) -> Added:
        """Count the events that were not counted before. A second payload under a counted identity is a conflict."""
        hashes, prints = identify_many(events)
        stored = self.store.seen(hashes) if self._settings.deduplicate else None
        events = events if type(events) is list else list(events)
        added = Adding(events, hashes, prints, stored)
        with localcontext(EXACT):
            if not self.native:
                self._count(added, 0, len(events))
            else:
                windows, claimed, at = self._counted.windows, self._rates.meters.claimed, 0
                while at < len(events):
                    at, counted, duplicates = windows.count_events(events, hashes, prints, stored, self._fresh, claimed, at, added.conflicts)
                    added.counted += counted
                    added.duplicates += duplicates
                    if at < len(events):  # one that is not so plain
                        self._count(added, at, at + 1)
                        at += 1
        return Added(added.counted, added.duplicates, added.conflicts, added.rejected, added.unmetered)

    @property
    def native(self) -> bool:
        """Whether `add_readings` may be used: the compiled loops are there, and no event may be one that was amended or taken back."""
        return hot is not None and self._settings.deduplicate and not self.amendments.awaited and not self.backfills.freed

    def add_readings(self, readings: Any) -> Added:
        """As `add`, of hot.Readings; positions are those of the readings."""
        number, claimed = len(readings), self._rates.meters.claimed
        known: list[bytes | None] = [None] * number
        tables, further = self.store.newest() if isinstance(self.store, Layered) else ([], True)
        positions, hashes = readings.unknown(self._fresh, tables, known, further)
        if hashes:
            for at, found in zip(positions, self.store.seen(hashes), strict=True):
                known[at] = found
        added, at = Adding([], [], [], None), 0
        with localcontext(EXACT):
            while at < number:
                at, counted, duplicates = self._counted.windows.count(readings, self._fresh, known, claimed, at, added.conflicts)
                added.counted += counted
                added.duplicates += duplicates
                if at < number:  # one that meters read
                    identity, print_ = readings.identity(at)
                    one = Adding([readings.event(at)], [identity], [print_], [known[at]])
                    self._count(one, 0, 1)
                    added.take(one, at)
                    at += 1
        return Added(added.counted, added.duplicates, added.conflicts, added.rejected, added.unmetered)

    def _count(self, added: Adding, since: int, past: int) -> None:
        """Count the events at positions since <= at < past."""
        hashes, prints, stored = added.hashes, added.prints, added.stored
        fresh, add = self._fresh, self._counted.add
        claimed, awaited, freed = self._rates.meters.claimed, self.amendments.awaited, self.backfills.freed
        counted = duplicates = 0
        for at in range(since, past):
            e = added.events[at]
            if stored is not None:
                print_, identity = prints[at], hashes[at]
                # Of a reverted event only a new count matters.
                known = (None if freed and identity in freed else stored[at]) or fresh.setdefault(identity, print_)
                if known is not print_:
                    if known == print_:
                        duplicates += 1
                    else:
                        added.conflicts.append(at)
                    continue
            if e.sku in claimed or e.backfill or (awaited and hashes[at] in awaited) or (freed and hashes[at] in freed):
                read = self._count_special(e, hashes[at])
                if isinstance(read, Rejection):
                    fresh.pop(hashes[at], None)
                    added.rejected.append((at, read))
                    continue
                counted += 1
                added.unmetered += not read
                continue
            counted += 1
            add(e)
        added.counted += counted
        added.duplicates += duplicates

    def _count_special(self, event: UsageEvent, identity: bytes) -> bool | Rejection:
        """Count an event that meters read, that came with a backfill, or that was amended before it came."""
        if event.backfill and (problem := self.backfills.problem(event)) is not None:
            return problem
        mark = self.amendments.awaited.get(identity)
        if mark is not None and identify(mark.original) != identify(event):
            self.amendments.forget(identity)  # it was about another event, which is in conflict with this one
            mark = None
        forms = [] if mark is None else [*mark.before, *([] if mark.now is None else [mark.now])]
        try:
            for form in forms:
                self.check(form)
            read = self.contribute(event, 1)
        except Rejection as rejection:
            return rejection.with_traceback(None)
        if event.backfill:
            self.backfills.journal(identity, event)
        if identity in self.backfills.freed:
            self.backfills.use_freed(identity)
        if mark is not None:
            # As if it had been counted first and amended then, each time.
            self.contribute(event, -1)
            for form in mark.before:
                self.contribute(form, 1)
                self.contribute(form, -1)
            if mark.now is not None:
                self.contribute(mark.now, 1)
            self.amendments.put(identity, Mark(mark.original, mark.now, True))
        return read

    def contribute(self, event: UsageEvent, sign: int) -> bool:
        """Let an event count, or (sign -1) no longer. False when no meter reads it. Raises Rejection when a meter cannot."""
        meters = self._rates.meters
        if event.sku in meters.claimed:
            readings = meters.read(event)
            self._metered.count(event, readings, self._rates, sign)
            return bool(readings)
        self._counted.add(event, sign < 0)
        return True

    def check(self, event: UsageEvent) -> None:
        """Raises Rejection when a meter that reads such events cannot read this one."""
        if event.sku in self._rates.meters.claimed:
            self._rates.meters.read(event)

    def known(self, event: UsageEvent) -> bool | None:
        """Whether this very event was counted; None when another one was, under its identity."""
        identity, print_ = identify(event)
        found = self._fresh.get(identity) or self.store.seen([identity])[0]
        if found is None or identity in self.backfills.freed:
            return False
        return True if found == print_ else None

    # -- pricing -----------------------------------------------------------------------------------------------------

    def seal(self, now_s: int, revision: int, cause: str = "") -> Effects:
        """Price everything added since the last commit.

        now_s: arrival time of these events in seconds since 1970; revision: must be greater than that of any earlier commit
        of the partition, and becomes x_Revision of the line items that change. The line items are priced as they are read.
        """
        puts: list[tuple[bytes, bytes]] = []
        unpriced: list[int] = []
        line_items = self._priced(revision, puts, unpriced)
        if cause:
            line_items = (_caused(item, cause) for item in line_items)
        return Effects(line_items, puts, self._fresh, now_s // self._settings.bucket_s, unpriced)

    def _priced(self, revision: int, puts: list[tuple[bytes, bytes]], unpriced: list[int]) -> Iterator[tuple[bytes, bytes]]:
        """Line items of the groups touched, some groups at a time: what was just written is sent while it is in the cache."""
        before: dict[str, tuple[Account, dict[str, RatedLineItem]]] = {}
        for out, some in self._rated(revision, puts, unpriced):
            with localcontext(EXACT):
                for key, deltas, sets in some:
                    self._rate(key, deltas, sets, revision, before, out)
            objects, more = written(out.items, revision)
            unpriced.append(more)
            yield from out.written
            yield from objects
        with localcontext(EXACT):
            items = [item for account, old in before.values() for item in changes_between(old, account.show())]
            for account, _ in before.values():
                puts += account.take_puts()
            puts += self._metered.puts()
        puts += self.amendments.puts.items()
        puts += self.backfills.puts.items()
        yield from written(items, revision)[0]

    def _rated(self, revision: int, puts: list[tuple[bytes, bytes]], unpriced: list[int]) -> Iterator[tuple[Out, list[Pending]]]:
        """What was counted since the last commit, some groups at a time, each once: what is rated already, and what is left to `_rate`."""
        more = True
        while more:
            out = Out([], [], puts, unpriced)
            with localcontext(EXACT):
                more, left = self._counted.rate(GROUPS_AT_ONCE, self._source, self.watch, self.closed.month, revision, out)
            for key, _, old in left:
                if old:
                    self._drop(key)
            yield out, [(key, deltas, []) for key, deltas, _ in left]
        # A meter's SKUs are fed by meters only (Meters.claimed), so none of these groups was in the loop above.
        metered = self._metered_groups()
        while some := list(islice(metered, GROUPS_AT_ONCE)):
            yield Out([], [], puts, unpriced), some

    def _metered_groups(self) -> Iterator[Pending]:
        with localcontext(EXACT):
            sets = self._metered.set(self._rates)
        for key, deltas in self._metered.added():
            yield GroupKey(*key), deltas, sets.pop(key, [])
        for key, its in sets.items():
            yield GroupKey(*key), [], its

    def _drop(self, key: GroupKey) -> None:
        group = self._groups.pop(key, None)
        if group is not None:
            self._cached -= len(group.entries)
        self._older.pop(key, None)

    def _rate(
        self, key: GroupKey, deltas: list[Delta], sets: list[Set], revision: int,
        before: dict[str, tuple[Account, dict[str, RatedLineItem]]], out: Out,
    ) -> None:  # fmt: skip
        """Rate one group. before: accounts that this changes, with their line items from before."""
        account = self._account(key.account, before)
        if key.month <= self.closed.month:
            self._correct(key, deltas, sets, account, out)
            return
        group = self._group(key)
        known = len(group.entries)
        watch = self.watch
        seen = quantities(group.entries, deltas, sets) if watch is not None and watch.wants(key) else None
        if sets:
            deltas = group.set(sets, deltas, revision, out)
        if deltas:
            group.change(deltas, revision, out)
        self._cached += len(group.entries) - known
        if watch is not None and seen is not None:
            watch.change(key, changes_since(seen, group.entries))
        if account is not None:
            account.note(group)
        if hot is None or key.sku in self._rates.meters.claimed or (standing := group.standing) is None:
            return
        rating = self._source.rating_of(key)
        if rating is not None and self._counted.adopt(key, (rating, group.quoted, *standing), group.entries):
            self._drop(key)

    def _account(self, name: str, before: dict[str, tuple[Account, dict[str, RatedLineItem]]]) -> Account | None:
        """The account with its totals, if it has a statement; its line items from before this commit go into `before`."""
        if self._rates.uniform or self._rates.of(name).terms is None:
            return None
        known = before.get(name)
        if known is not None:
            return known[0]
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(name, self._rates, self.store, self.closed)
        before[name] = account, account.shown()
        return account

    def _correct(self, key: GroupKey, deltas: list[Delta], sets: list[Set], account: Account | None, out: Out) -> None:
        """A change in a closed month: what was invoiced stays, the difference is billed in the open month."""
        store, billed_in = self.store, self.closed.month + 1
        prefix = group_prefix(key)
        group = Group(key, self._rates, final=True).load(store.scan(ENTRY + prefix))
        entries, puts = changed(group.entries, deltas, sets)
        if self.watch is not None and self.watch.wants(key):
            self.watch.change(key, changes_since(quantities(group.entries, deltas, sets), entries))
        after = Group(key, self._rates, final=True).take(entries.items())
        base = self.closed.base(store, key).line_items()
        old = corrections(base, group.line_items(), group.calendar, key.month, billed_in)
        new = corrections(base, after.line_items(), group.calendar, key.month, billed_in)
        out.items.extend(changes_between(old, new))
        out.puts.extend(self.closed.freeze(store, key))
        out.puts.extend((ENTRY + prefix + entry, value) for entry, value in puts)
        if account is not None:
            account.note(after)

    def committed(self) -> None:
        """The effects are durable and the store has taken them over (`Store.apply`)."""
        self._fresh = new_ids()
        self._counted.committed(self._settings.cached_entries)
        self._metered.clear()
        self.amendments.puts = {}
        self.backfills.committed()
        if self._cached > self._settings.cached_entries // 2:
            # Two generations: what was not touched while the younger one filled goes. Cheaper than keeping an exact order.
            self._older, self._groups, self._cached = self._groups, {}, 0
        if len(self._accounts) > ACCOUNTS_CACHED:
            self._accounts = {}

    def _group(self, key: GroupKey) -> Group:
        group = self._groups.get(key)
        if group is None:
            group = self._older.pop(key, None)
            if group is None:
                group = Group(key, self._rates).load(self.store.scan(ENTRY + group_prefix(key)))
            self._groups[key] = group
            self._cached += len(group.entries)
        return group

    def use(self, rates: Rates, closed: Closed | None = None) -> None:
        """Rate with these prices and closed months from now on; what was cached followed from the old ones, so it goes."""
        self._rates = rates
        self.closed = closed or self.closed
        self._counted.forget()
        self._source = Source(self.store, rates)
        self._groups.clear()
        self._older.clear()
        self._accounts.clear()
        self._cached = 0


def stored_groups(store: Store, after: bytes = b"") -> Iterator[tuple[bytes, GroupKey]]:
    """Prefix and key of every stored group behind the group prefix `after`, in order: by account first."""
    last = after
    for key in store.prefixes(ENTRY + after + b"\xff" * 9 if after else ENTRY):
        body = key[len(ENTRY) :]
        if last and body.startswith(last):
            continue
        account, sku, unit, rest = body.split(b"\0", 3)
        found = GroupKey(account.decode(), sku.decode(), unit.decode(), int.from_bytes(rest[:4], "big"))
        last = group_prefix(found)
        yield last, found


def written(items: list[RatedLineItem], revision: int, cause: str = "") -> tuple[list[tuple[bytes, bytes]], int]:
    """Line items as they go to the topic, with their revision; and how many of them lack a price."""
    unpriced = 0
    result = []
    for item in items:
        item.x_revision = revision
        item.x_cause = cause
        unpriced += item.x_unpriced
        result.append((item.x_line_item_id.encode(), encode_line_item(item)))
    return result, unpriced


def _caused(written: tuple[bytes, bytes], cause: str) -> tuple[bytes, bytes]:
    item = decode_line_item(written[1])
    item.x_cause = cause
    return written[0], encode_line_item(item)
