"""What was counted since the last commit, by group and window, and who rates it.

Two classes do the same. `Counted` keeps dicts and leaves all rating to `Group`. `CountedNatively` keeps its windows in the compiled
loops, which also rate the plain groups, by far the most: one price for the whole month, each window charged by itself, no reversal under
tiers. Whatever is not plain any more goes to `Group`, read from the store; once it is plain again, it goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from ...pricing.money import ZERO
from ...schemas.line_item import RatedLineItem, encode_json
from ...schemas.usage_event import UsageEvent, hot
from .entries import Change, Delta, Usage, Window, deltas_of, one_provider
from .groups import Group, Out
from .items import Form, GroupKey, entry_key, group_prefix, window_item, withdraw
from .segments import Rates
from .store import Store

__all__ = ["Counted", "CountedNatively", "Left", "Source", "Watch", "counted"]

_NS = 1_000_000_000
Left = tuple[GroupKey, list[Delta], bool]  # a group whose change is for `Group`; whether what is cached of it is old
Standing = tuple[Any, bytes, int, bytes | None]  # hot.Rating, account as JSON, bounds reached, entry key at which the last one was
RATINGS_CACHED = 65_536


class Watch(Protocol):
    """Who is told what each commit changes of the usage, while it is priced. Nothing is asked of it: line items do not depend on it."""

    def wants(self, group: GroupKey) -> bool:
        """Whether it is to be told of this group in the coming commit. What it is not told of, nobody works out."""

    def change(self, group: GroupKey, changes: list[Change]) -> None:
        """What becomes of the windows of a group that it wants, each once. In an exact context."""


class Source:
    """What the compiled loops ask of groups, each of them once while they remember it."""

    def __init__(self, store: Store, rates: Rates) -> None:
        self._rates = rates
        self._ratings: dict[tuple[Rates, str, str, int], Any] = {}
        self.scan: Callable[[bytes], list[tuple[bytes, bytes]]] = store.scan
        self.uniform = rates.uniform  # whether a SKU, unit and month have one Rating, whatever the account

    def rating_of(self, key: GroupKey) -> Any:
        """What plain groups of a SKU, unit and month have in common; None when there are no plain ones."""
        rates = self._rates.of(key.account)
        name = (rates, key.sku, key.unit, key.month)
        if name not in self._ratings:
            if len(self._ratings) >= RATINGS_CACHED:
                self._ratings.clear()
            self._ratings[name] = _rating(rates, key)
        return self._ratings[name]

    def standing(self, key: GroupKey, stored: list[tuple[bytes, bytes]]) -> tuple[int, bytes | None] | None:
        """(bounds reached, entry key at which the last one was) of a group with these entries; None when it is not plain."""
        return Group(key, self._rates).load(stored).standing

    def quoted(self, key: GroupKey) -> bytes:
        """The account as JSON."""
        return encode_json(key.account)


def _rating(rates: Rates, key: GroupKey) -> Any:
    stretch = rates.whole_month(key.sku, key.unit, key.month)
    if stretch is None or stretch.charged or not stretch.by_window or not stretch.plain or rates.terms is not None:
        return None
    price, writer, any_account = stretch.price, rates.writer(0), key._replace(account="")

    def form(entry: bytes, tier: int, provider: str) -> Form:
        return writer.form(any_account, entry, price, tier, provider)

    def withdrawn(group: GroupKey, entry: bytes, tier: int, provider: str) -> RatedLineItem:
        names, its = rates.names, rates.calendar_of(key.sku, key.unit)
        return withdraw(window_item(names, its, group, group_prefix(group), entry, price, tier, ZERO, provider))

    rating = hot.Rating(stretch.bounds, price is not None, form, withdrawn)
    return rating if rating.usable else None


class Counted:
    """In Python."""

    def __init__(self, window_s: int, month_of: Callable[[int], int]) -> None:
        """month_of: start of a window in seconds -> month."""
        self._window_s, self._month_of = window_s, month_of
        # (account, sku, unit) -> (window, region, resource, dimensions) -> [quantity, provider]
        self._usage: dict[tuple[str, str, str], dict[Window, list[Any]]] = {}
        self._left: Iterator[Left] | None = None

    def add(self, event: UsageEvent, less: bool = False) -> None:
        """Let an event count, or (less) no longer."""
        windows = self._usage.setdefault((event.account, event.sku, event.unit), {})
        window = (event.time // (self._window_s * _NS), event.region, event.resource, event.dimensions)
        cell = windows.get(window)
        if cell is None:
            windows[window] = [-event.quantity if less else event.quantity, event.provider]
            return
        cell[0] += -event.quantity if less else event.quantity
        if cell[1] != event.provider:
            cell[1] = one_provider(cell[1], event.provider)

    def rate(self, most: int, source: Source, watch: Watch | None, closed: int, revision: int, out: Out) -> tuple[bool, list[Left]]:
        """Rate the next groups, `most` at most: (whether there are more, those that are left to `Group`)."""
        if self._left is None:
            self._left = self._groups()
        left = list(islice(self._left, most))
        return len(left) == most, left

    def _groups(self) -> Iterator[Left]:
        """Each group once."""
        window_s = self._window_s
        keys: dict[Window, bytes] = {}
        months: dict[int, int] = {}

        def key_of(window: Window) -> bytes:
            return entry_key(window[0] * window_s, *window[1:])

        def month_of(number: int) -> int:
            return self._month_of(number * window_s)

        for series, windows in self._usage.items():
            for month, deltas in deltas_of(windows, keys, months, key_of, month_of).items():
                yield GroupKey(*series, month), deltas, False

    def adopt(self, key: GroupKey, plain: Standing, entries: Mapping[bytes, Usage]) -> bool:
        """Whether a group that `Group` has rated, and found plain, is rated here from now on."""
        return False

    def committed(self, most: int) -> None:
        """What was rated is durable. most: cells that may be kept."""
        self._usage = {}
        self._left = None

    def forget(self) -> None:
        """Prices or meters have changed."""


class CountedNatively:
    """The same with the compiled loops."""

    def __init__(self, window_s: int, month_of: Callable[[int], int]) -> None:
        self.windows = hot.Windows(window_s, month_of, GroupKey)
        self.add: Callable[..., None] = self.windows.add
        self.adopt: Callable[[GroupKey, Standing, Mapping[bytes, Usage]], bool] = self.windows.adopt
        self.committed: Callable[[int], None] = self.windows.committed
        self.forget: Callable[[], None] = self.windows.forget

    def rate(self, most: int, source: Source, watch: Watch | None, closed: int, revision: int, out: Out) -> tuple[bool, list[Left]]:
        """Rate the next groups, `most` at most: plain ones of months behind `closed` here, and of these the watch is told here."""
        left: list[Left] = []
        more, unpriced = self.windows.seal(most, source, watch, closed, revision, out.written, out.items, out.puts, left)
        if unpriced:
            out.unpriced.append(unpriced)
        return more, left


def counted(window_s: int, month_of: Callable[[int], int]) -> Any:
    """Whichever there is."""
    return Counted(window_s, month_of) if hot is None else CountedNatively(window_s, month_of)
