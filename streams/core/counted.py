"""What was counted since the last commit, by group and window, and who rates it.

Two classes do the same. `Counted` keeps dicts and leaves all rating to `Group`. `CountedNatively` keeps its windows in the compiled loops, which also
rate the plain groups, by far the most: one price for the whole month, each window charged by itself, usage behind the last mark and short of the
next bound. Whatever is not plain any more goes to `Group`, read from the store; once it is plain again, it goes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from ...schemas.line_item import encode_json
from ...schemas.usage_event import UsageEvent, hot
from .entries import Delta, Usage, Window, deltas_of, one_provider
from .groups import Group, Out
from .items import GroupKey, entry_key, group_prefix
from .segments import Rates
from .store import ENTRY, Store

__all__ = ["Counted", "CountedNatively", "Left", "Plain", "counted", "load_plain", "rating_of"]

_NS = 1_000_000_000
# (hot.Rating, account as JSON, stored entries, bounds reached, entry key of the last mark); None: not plain
Plain = tuple[Any, bytes, Sequence[tuple[bytes, bytes]], int, bytes | None] | None


Left = tuple[GroupKey, list[Delta]]  # a group whose change is for `Group`
Standing = tuple[Any, bytes, int, bytes | None]  # the same without the entries
Load = Callable[[GroupKey], Plain]


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

    def rate(self, most: int, load: Load, native: bool, closed: int, revision: int, out: Out) -> tuple[bool, list[Left]]:
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
                yield GroupKey(*series, month), deltas

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

    def rate(self, most: int, load: Load, native: bool, closed: int, revision: int, out: Out) -> tuple[bool, list[Left]]:
        """Rate the next groups, `most` at most; native: whether plain ones of months behind `closed` are rated here."""
        left: list[Left] = []
        more, unpriced = self.windows.seal(most, load, native, closed, revision, out.written, out.puts, left)
        if unpriced:
            out.unpriced.append(unpriced)
        return more, left


def counted(window_s: int, month_of: Callable[[int], int]) -> Any:
    """Whichever there is."""
    return Counted(window_s, month_of) if hot is None else CountedNatively(window_s, month_of)


def rating_of(rates: Rates, key: GroupKey) -> Any:
    """What plain groups of a SKU, unit and month have in common, for the compiled loops; None when there are no plain ones."""
    stretch = rates.whole_month(key.sku, key.unit, key.month)
    if stretch is None or stretch.charged or not stretch.by_window or not stretch.plain or rates.terms is not None:
        return None
    price, writer, any_account = stretch.price, rates.writer(0), key._replace(account="")
    rating = hot.Rating(stretch.bounds, price is not None, lambda entry, tier, provider: writer.form(any_account, entry, price, tier, provider))
    return rating if rating.usable else None


def load_plain(store: Store, rates: Rates, rating: Any, key: GroupKey) -> Plain:
    """What the compiled loops must know of a group to take it over; None when its usage is not plain."""
    stored = store.scan(ENTRY + group_prefix(key))
    standing: tuple[int, bytes | None] | None = 0, None
    stretch = rates.whole_month(key.sku, key.unit, key.month)
    if stored and stretch is not None and stretch.bounds:
        standing = Group(key, rates).load(stored).standing
    return None if standing is None else (rating, encode_json(key.account), stored, *standing)
