"""The state of some partitions in this process, on disk as the lanes of a worker keep it, without Kafka: commits go into the stores alone."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..pricing.book import parse_price_book
from ..pricing.money import money
from ..schemas.usage_event import UsageEvent
from ..streams.config import RatingConfig
from ..streams.core.segments import Rates
from ..streams.core.state import PartitionState, Settings
from ..streams.core.store import Effects
from ..streams.rocks import RocksStore
from .probe import folder_mb
from .shape import PARTITIONS, PRICES, price_book

__all__ = ["HOURS", "Memory", "Rating", "disk_bytes", "memory", "window_event"]

HOURS = 24  # windows of a group
QUANTITY = money("1.250")
SETTLED_S, SETTLES_WITHIN_S = 2.0, 60.0


class Memory(NamedTuple):
    """What this process holds, in bytes. Pss counts a page that is shared with others in parts; 0 where the system does not tell."""

    rss: int
    pss: int


def memory() -> Memory:
    """As of now."""
    with contextlib.suppress(OSError), open("/proc/self/smaps_rollup") as file:
        found = dict(re.findall(r"^(Rss|Pss): +([0-9]+) kB$", file.read(), re.MULTILINE))
        return Memory(int(found["Rss"]) * 1_024, int(found["Pss"]) * 1_024)
    import psutil

    return Memory(int(psutil.Process(os.getpid()).memory_info().rss), 0)


def disk_bytes(folder: Path) -> int:
    """Bytes of the files in a folder, once compactions have left them alone for two seconds, or a minute has passed."""
    size, since, begin = -1, 0.0, time.monotonic()
    while True:
        now = round(folder_mb(folder) * 1e6)
        if now != size:
            size, since = now, time.monotonic()
        if time.monotonic() - since > SETTLED_S or time.monotonic() - begin > SETTLES_WITHIN_S:
            return size
        time.sleep(0.2)


def window_event(group: int, back: int, hour: int, number: int) -> tuple[int, UsageEvent]:
    """(partition, event `number`) in a window: so many hours before `hour` (seconds since 1970) of a group, which is one SKU of an account."""
    account, sku = divmod(group, len(PRICES))
    time_ns = (hour - back * 3_600) * 1_000_000_000
    event = UsageEvent(f"account-{account:07d}", "collector", f"{number:x}", PRICES[sku].name, time_ns, QUANTITY, PRICES[sku].unit)
    return account % PARTITIONS, event


class Rating:
    """As many states and stores as a worker with all partitions has, with the default settings."""

    def __init__(self, folder: Path, *, deduplicate: bool = True, partitions: int = PARTITIONS) -> None:
        rating = RatingConfig()
        settings = Settings(rating.window_s, rating.dedupe_window_s, max(1_000, rating.cached_entries // partitions), deduplicate)
        rates = Rates(parse_price_book(price_book(), "bench.yaml"), rating.window_s)
        self.stores = [RocksStore(folder / f"rate-{number}") for number in range(partitions)]
        self._states = [PartitionState(store, rates, settings) for store in self.stores]
        self._bucket_s = settings.bucket_s
        self._revision = 0

    def count(self, number: int, events: Sequence[UsageEvent]) -> int:
        """Count events in a partition and commit them. Returns how many line items that wrote. Raises ValueError when not all count."""
        state, now_s = self._states[number], int(time.time())
        if (added := state.add(events)).counted != len(events):
            raise ValueError(f"{added.counted} of {len(events)} events count")
        self._revision += 1
        effects = state.seal(now_s, self._revision)
        line_items = sum(1 for _ in effects.line_items)
        self.stores[number].write(Effects((), effects.puts, effects.ids, effects.bucket, []), {"changelog": self._revision})
        state.committed()
        return line_items

    def count_all(self, events: Iterable[tuple[int, UsageEvent]]) -> int:
        """Count (partition, event) pairs, one commit in each partition. Returns how many line items that wrote."""
        by_partition: dict[int, list[UsageEvent]] = {}
        for number, event in events:
            by_partition.setdefault(number, []).append(event)
        return sum(self.count(number, its) for number, its in by_partition.items())

    def remember(self, number: int, ids: Iterable[tuple[bytes, bytes]]) -> None:
        """Put identities into a partition's store as a commit does: 16-byte hash and 8-byte fingerprint each."""
        self._revision += 1
        effects = Effects((), [], dict(ids), int(time.time()) // self._bucket_s, [])
        self.stores[number].write(effects, {"changelog": self._revision})

    def flush(self) -> None:
        """Bring everything to disk."""
        for store in self.stores:
            store.flush()

    def close(self) -> None:
        """Flush and close the stores."""
        for store in self.stores:
            store.close()
