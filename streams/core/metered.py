"""What meters read since the last commit: quantities of windows, ready for the groups that they feed.

Additive meters (sum, count) add to windows as plain usage does. The others keep their samples in the store, because what a
window comes to depends on all of them: at a commit the windows that a sample may have changed are computed anew, and set.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from ...metering.aggregate import window_value, windows_touched
from ...metering.meter import Meter, Reading
from ...metering.samples import Sample, decode_sample, encode_sample, time_key
from ...schemas.usage_event import UsageEvent
from .entries import Set, one_provider
from .items import entry_key
from .segments import Rates
from .store import SAMPLE, Store

__all__ = ["Metered"]

_NS = 1_000_000_000

GroupTuple = tuple[str, str, str, int]


class Series(NamedTuple):
    """Samples that belong together: those of one account, meter and unit with the same values of what is grouped by."""

    account: str
    meter: Meter
    unit: str
    region: str
    resource: str
    dimensions: str

    @property
    def prefix(self) -> bytes:
        """Store key of its samples, up to their time."""
        return SAMPLE + f"{self.account}\0{self.meter.id}\0{self.unit}\0{self.region}\0{self.resource}\0{self.dimensions}\0".encode()


class Metered:
    """Readings since the last commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._added: dict[GroupTuple, dict[bytes, list[Any]]] = {}  # entry key -> [quantity, provider]
        self._series: dict[bytes, tuple[Series, _Samples]] = {}

    def count(self, event: UsageEvent, readings: list[Reading], rates: Rates, sign: int = 1) -> None:
        """Let an event's readings count; sign -1: take them back."""
        for reading in readings:
            meter, unit = reading.meter, reading.unit
            its = rates.calendar_of(meter.sku, unit)
            if not meter.additive:
                series = Series(event.account, meter, unit, reading.region, reading.resource, reading.dimensions)
                prefix = series.prefix
                known = self._series.get(prefix)
                if known is None:
                    known = self._series[prefix] = series, _Samples(self._store, prefix)
                key, value = encode_sample(Sample(event.time, event.source, event.id, reading.quantity, reading.text, event.provider))
                known[1].change(key, value if sign > 0 else None, event.time)
                continue
            start = its.start(event.time // _NS)
            cells = self._added.setdefault((event.account, meter.sku, unit, its.month_of(start)), {})
            key = entry_key(start, reading.region, reading.resource, reading.dimensions)
            cell = cells.get(key)
            quantity = reading.quantity if sign > 0 else -reading.quantity
            if cell is None:
                cells[key] = [quantity, event.provider]
            else:
                cell[0] += quantity
                if cell[1] != event.provider:
                    cell[1] = one_provider(cell[1], event.provider)

    def added(self) -> Iterator[tuple[GroupTuple, list[tuple[bytes, Decimal, str]]]]:
        """What to add to the entries of groups."""
        for group, cells in self._added.items():
            yield group, [(key, quantity, provider) for key, (quantity, provider) in cells.items()]

    def set(self, rates: Rates) -> dict[GroupTuple, list[Set]]:
        """What entries of groups have now, for every window that a changed sample may have touched."""
        found: dict[GroupTuple, list[Set]] = {}
        for series, samples in self._series.values():
            meter = series.meter
            its = rates.calendar_of(meter.sku, series.unit)
            for start in windows_touched(meter, rates.default, samples, sorted(samples.times)):
                quantity = window_value(meter, rates.default, samples, start)
                provider = "" if quantity is None else samples.provider(start * _NS, its.end(start) * _NS)
                key = entry_key(start, series.region, series.resource, series.dimensions)
                found.setdefault((series.account, meter.sku, series.unit, its.month_of(start)), []).append((key, quantity, provider))
        return found

    def puts(self) -> Iterator[tuple[bytes, bytes]]:
        """Samples as they are to be stored; b"" for those that were taken back."""
        for prefix, (_, samples) in self._series.items():
            for key, value in samples.changes.items():
                yield prefix + key, value or b""

    def clear(self) -> None:
        """All of it is committed."""
        self._added = {}
        self._series = {}


class _Samples:
    """Samples of a series: those in the store with what has changed since (metering.samples.Samples)."""

    def __init__(self, store: Store, prefix: bytes) -> None:
        self._store = store
        self._prefix = prefix
        self.changes: dict[bytes, bytes | None] = {}
        self._order: list[bytes] = []
        self.times: set[int] = set()  # of all changes, nanoseconds

    def change(self, key: bytes, value: bytes | None, time_ns: int) -> None:
        """A sample is there now, or not any more."""
        if key not in self.changes:
            insort(self._order, key)
        self.changes[key] = value
        self.times.add(time_ns)

    def between(self, low_ns: int, high_ns: int) -> list[Sample]:
        """Samples with low_ns <= time < high_ns, in order."""
        low, past = time_key(low_ns), time_key(high_ns)
        cut = len(self._prefix)
        found = {key[cut:]: value for key, value in self._store.between(self._prefix + low, self._prefix + past)}
        for at in range(bisect_left(self._order, low), bisect_left(self._order, past)):
            found[self._order[at]] = self.changes[self._order[at]] or b""
        return [decode_sample(key, value) for key, value in sorted(found.items()) if value]

    def before(self, time_ns: int) -> Sample | None:
        """The last sample before a time."""
        past = time_key(time_ns)
        best: tuple[bytes, bytes] | None = None
        for at in range(bisect_left(self._order, past) - 1, -1, -1):
            value = self.changes[self._order[at]]
            if value:
                best = self._order[at], value
                break
        cut = len(self._prefix)
        for stored, value in self._store.below(self._prefix, self._prefix + past):
            key = stored[cut:]
            if value and key not in self.changes:
                best = max(best, (key, value)) if best else (key, value)
                break
        return decode_sample(*best) if best else None

    def after(self, time_ns: int) -> Sample | None:
        """The first sample at or after a time."""
        low = time_key(time_ns)
        best: tuple[bytes, bytes] | None = None
        for at in range(bisect_left(self._order, low), len(self._order)):
            value = self.changes[self._order[at]]
            if value:
                best = self._order[at], value
                break
        cut = len(self._prefix)
        step = 3_600 * _NS
        # The store reads forward in stretches, each longer than the last: the next sample is near, if there is one.
        end = self._prefix + (best[0] if best else b"\xff" * 9)
        at_ns = time_ns
        while (first := self._prefix + time_key(at_ns)) < end:
            past = min(end, self._prefix + time_key(at_ns + step)) if at_ns + step < 1 << 62 else end
            for stored, value in self._store.between(first, past):
                if value and stored[cut:] not in self.changes:
                    return decode_sample(stored[cut:], value)
            if past == end:
                break
            at_ns, step = at_ns + step, step * 8
        return decode_sample(*best) if best else None

    def provider(self, low_ns: int, high_ns: int) -> str:
        """Provider named on a window: of its samples the first in the alphabet; where it has none, of the one that is carried into it.

        A window that has samples is not computed anew when one before it changes, so that one must not be asked then.
        """
        inside = self.between(low_ns, high_ns)
        if inside:
            return min([sample.provider for sample in inside if sample.provider], default="")
        before = self.before(low_ns)
        return before.provider if before is not None else ""
