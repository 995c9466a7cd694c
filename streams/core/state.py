"""The stateful step: deduplicate, window, price. Pure: no Kafka, no Faust, no Elasticsearch, no clock of its own.

One `PartitionState` per partition. `add` takes decoded events and says what became of each; `seal` turns everything added
since the last commit into `Effects`; `committed` says that they are durable. Whoever fails between `seal` and `committed`
throws the object away and builds a new one from the store: nothing in here is worth saving.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import localcontext
from itertools import islice
from typing import Any, NamedTuple

from ...pricing.money import EXACT
from ...schemas.line_item import RatedLineItem, encode_line_item
from ...schemas.usage_event import UsageEvent, identify
from .groups import Delta, Group, Out, Rates, one_provider
from .items import GroupKey, WindowWriter, entry_key, group_prefix, withdraw
from .periods import month_of
from .store import ENTRY, Effects, Store

__all__ = ["Added", "PartitionState", "Settings", "written"]

_NS = 1_000_000_000
GROUPS_AT_ONCE = 200


class Settings(NamedTuple):
    """Limits of one partition's state. Durations in seconds."""

    window_s: int = 3_600
    dedupe_window_s: int = 35 * 86_400
    cached_entries: int = 250_000  # entries of recently touched groups kept in memory
    deduplicate: bool = True  # off only in tests, to show that they notice

    @property
    def bucket_s(self) -> int:
        """Identities are remembered in buckets of arrival time, dropped whole: half a dedupe window each."""
        return self.dedupe_window_s // 2 or 1

    def oldest_bucket(self, now_s: int) -> int:
        """First bucket that must still be remembered: the window, and one bucket for events under way."""
        return (now_s - self.dedupe_window_s) // self.bucket_s - 1


class Added(NamedTuple):
    """What became of the events of one batch: counted + duplicates + len(conflicts) is their number."""

    counted: int
    duplicates: int
    conflicts: list[int]  # positions in the batch


class PartitionState:
    """State of one partition: what was counted, what each window holds, what it costs."""

    def __init__(self, store: Store, rates: Rates, settings: Settings) -> None:
        self._store = store
        self._rates = rates
        self._settings = settings
        self._fresh: dict[bytes, bytes] = {}  # identities counted since the last commit
        # What was counted since the last commit: (account, sku, unit) -> (window, region, resource, dimensions) -> [quantity, provider]
        self._usage: dict[tuple[str, str, str], dict[tuple[int, str, str, str], list[Any]]] = {}
        self._groups: dict[tuple[str, str, str, int], Group] = {}
        self._older: dict[tuple[str, str, str, int], Group] = {}
        self._cached = 0
        self._writer = WindowWriter(rates.names, settings.window_s)

    @property
    def rates(self) -> Rates:
        """The prices in force."""
        return self._rates

    def add(self, events: Sequence[UsageEvent]) -> Added:
        """Count the events that were not counted before. A second payload under a counted identity is a conflict."""
        hashes: list[bytes] = []
        prints: list[bytes] = []
        for e in events:
            identity, print_ = identify(e)
            hashes.append(identity)
            prints.append(print_)
        stored = self._store.seen(hashes) if self._settings.deduplicate else None
        first_of = self._fresh.setdefault
        usage = self._usage
        window_ns = self._settings.window_s * _NS
        counted = duplicates = 0
        conflicts: list[int] = []
        with localcontext(EXACT):
            for at, e in enumerate(events):
                if stored is not None:
                    print_ = prints[at]
                    known = stored[at] or first_of(hashes[at], print_)
                    if known is not print_:
                        if known == print_:
                            duplicates += 1
                        else:
                            conflicts.append(at)
                        continue
                counted += 1
                series = (e.account, e.sku, e.unit)
                window = (e.time // window_ns, e.region, e.resource, e.dimensions)
                windows = usage.get(series)
                if windows is None:
                    usage[series] = {window: [e.quantity, e.provider]}
                    continue
                cell = windows.get(window)
                if cell is None:
                    windows[window] = [e.quantity, e.provider]
                else:
                    cell[0] += e.quantity
                    if cell[1] != e.provider:
                        cell[1] = one_provider(cell[1], e.provider)
        return Added(counted, duplicates, conflicts)

    def seal(self, now_s: int, revision: int) -> Effects:
        """Price everything added since the last commit.

        now_s: arrival time of these events in seconds since 1970; revision: must be greater than that of any earlier commit
        of the partition, and becomes x_Revision of the line items that change. The line items are priced as they are read.
        """
        puts: list[tuple[bytes, bytes]] = []
        unpriced: list[int] = []
        line_items = self._priced(revision, puts, unpriced)
        return Effects(line_items, puts, self._fresh, now_s // self._settings.bucket_s, unpriced)

    def _priced(self, revision: int, puts: list[tuple[bytes, bytes]], unpriced: list[int]) -> Iterator[tuple[bytes, bytes]]:
        """Line items of the groups touched, some groups at a time: what was just written is sent while it is in the cache."""
        writer = self._writer.at(revision)
        touched = self._touched()
        while some := list(islice(touched, GROUPS_AT_ONCE)):
            out = Out([], [], puts, unpriced)
            with localcontext(EXACT):
                for key, deltas in some:
                    group = self._group(key)
                    known = len(group.entries)
                    group.change(deltas, self._rates, writer, out)
                    self._cached += len(group.entries) - known
            objects, more = written(out.items, revision)
            unpriced.append(more)
            yield from out.written
            yield from objects

    def _touched(self) -> Iterator[tuple[tuple[str, str, str, int], list[Delta]]]:
        """What was counted since the last commit, by group."""
        window_s = self._settings.window_s
        for series, windows in self._usage.items():
            by_month: dict[int, list[Delta]] = {}
            for (window, region, resource, dimensions), (quantity, provider) in windows.items():
                start = window * window_s
                by_month.setdefault(month_of(start), []).append((entry_key(start, region, resource, dimensions), quantity, provider))
            for month, deltas in by_month.items():
                yield (*series, month), deltas

    def committed(self) -> None:
        """The effects are durable and the store has taken them over (`Store.apply`)."""
        self._fresh = {}
        self._usage = {}
        if self._cached > self._settings.cached_entries // 2:
            # Two generations: what was not touched while the younger one filled goes. Cheaper than keeping an exact order.
            self._older, self._groups, self._cached = self._groups, {}, 0

    def _group(self, key: tuple[str, str, str, int]) -> Group:
        group = self._groups.get(key)
        if group is None:
            group = self._older.pop(key, None)
            if group is None:
                group = Group(GroupKey(*key))
                group.load(self._store.scan(ENTRY + group.prefix), self._rates)
            self._groups[key] = group
            self._cached += len(group.entries)
        return group

    def reprice(self, rates: Rates, after: bytes, limit: int) -> Iterator[tuple[bytes, list[RatedLineItem]]]:
        """Line items that change when `rates` replace the present ones, group by group, behind the group prefix `after`.

        Yields (group prefix, line items, withdrawn ones included); at most `limit` groups. Only stored usage is looked at, so
        nothing may be pending. The caller puts the result into a commit and calls `use` when all groups are done.
        """
        with localcontext(EXACT):
            for prefix, key in self._stored_groups(after):
                if limit <= 0:
                    return
                limit -= 1
                old, new = Group(key), Group(key)
                stored = self._store.scan(ENTRY + prefix)
                old.load(stored, self._rates)
                new.load(stored, rates)
                yield prefix, _difference(old.line_items(self._rates), new.line_items(rates))

    def use(self, rates: Rates) -> None:
        """Rate with these prices from now on; cached groups were cut into segments by the old ones, so they go."""
        self._rates = rates
        self._writer = WindowWriter(rates.names, self._settings.window_s)
        self._groups.clear()
        self._older.clear()
        self._cached = 0

    def groups(self) -> Iterator[Group]:
        """Every stored group, loaded: for the offline command and for checks."""
        with localcontext(EXACT):
            for prefix, key in self._stored_groups(b""):
                group = Group(key)
                group.load(self._store.scan(ENTRY + prefix), self._rates)
                yield group

    def _stored_groups(self, after: bytes) -> Iterator[tuple[bytes, GroupKey]]:
        last = after
        for key in self._store.prefixes(ENTRY + after + b"\xff" * 9 if after else ENTRY):
            body = key[len(ENTRY) :]
            if last and body.startswith(last):
                continue
            account, sku, unit, rest = body.split(b"\0", 3)
            found = GroupKey(account.decode(), sku.decode(), unit.decode(), int.from_bytes(rest[:4], "big"))
            last = group_prefix(found)
            yield last, found


def written(items: list[RatedLineItem], revision: int) -> tuple[list[tuple[bytes, bytes]], int]:
    """Line items as they go to the topic, with their revision; and how many of them lack a price."""
    unpriced = 0
    result = []
    for item in items:
        item.x_revision = revision
        unpriced += item.x_unpriced
        result.append((item.x_line_item_id.encode(), encode_line_item(item)))
    return result, unpriced


def _difference(old: dict[str, RatedLineItem], new: dict[str, RatedLineItem]) -> list[RatedLineItem]:
    changed = [item for key, item in new.items() if old.get(key) != item]
    return changed + [withdraw(item) for key, item in old.items() if key not in new]
