"""Usage to try prices on: the exact usage of every window, from the live changelog or from a file of events."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from aiokafka import TopicPartition
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..collectors.files import read_pieces
from ..metering.tariff import make_tariff
from ..pricing.book import PriceBook
from ..schemas.control import month_text
from ..schemas.errors import BadInput
from ..streams.config import Config
from ..streams.core.store import ENTRY, Effects, MemoryStore, Store
from ..streams.restore import bounds, read_to_end
from ..streams.rocks import RocksStore
from ..streams.topics import Topics, ensure_topics
from .offline import OfflineRating, Rejected
from .rate import byte_progress, printable

__all__ = ["Usage", "file_usage", "live_usage", "month_of_key", "require_some"]

_IN_MEMORY = 200_000  # windows; more of them go to a temporary RocksDB
_MANY = 20_000  # records from which a progress bar is worth it
_TOLD = 20  # rejected events that are named


class Usage(NamedTuple):
    """The windows of one month, as a store that a PartitionState can rate."""

    store: Store
    windows: int
    other_months: tuple[str, ...]  # what else there is usage of, ascending
    source: str  # where from, in a sentence


def month_of_key(key: bytes) -> int | None:
    """The month of a window's key in the changelog, as `month_number`; None when it is a key of something else."""
    parts = key.split(b"\0", 3)
    if not key.startswith(ENTRY) or len(parts) < 4 or len(parts[3]) < 4:
        return None
    return int.from_bytes(parts[3][:4], "big")


class _Keeper:
    """Takes changelog records, keeps the windows of one month, and goes to the disk when there are many."""

    def __init__(self, month: int, folder: Path) -> None:
        self.month = month
        self.months: set[int] = set()
        self._folder = folder
        self._kept: dict[bytes, bytes | None] = {}
        self._rocks: RocksStore | None = None

    def take(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Records in the order of the log: the last value of a key counts, none means that the window is gone."""
        for key, value in records:
            month = None if key is None else month_of_key(key)
            if key is None or month is None:
                continue
            if month != self.month:
                self.months.add(month)
            else:
                self._kept[key] = value
        if len(self._kept) > _IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if self._rocks is None:
            self._rocks = RocksStore(self._folder / "windows")
        self._rocks.apply(Effects((), list(self._kept.items()), {}, 0, []))
        self._kept = {}

    def usage(self, source: str) -> Usage:
        """What was kept."""
        others = tuple(month_text(month) for month in sorted(self.months))
        if self._rocks is None:
            store = MemoryStore()
            store.apply(Effects((), list(self._kept.items()), {}, 0, []))
            return Usage(store, sum(value is not None for value in self._kept.values()), others, source)
        self._spill()
        return Usage(self._rocks, sum(1 for _ in self._rocks.prefixes(b"")), others, source)

    def close(self) -> None:
        """Release the disk."""
        if self._rocks is not None:
            self._rocks.close()


@contextmanager
def live_usage(config: Config, month: int) -> Iterator[Usage]:
    """The usage of a month as the running workers have it: the changelog of windows, read to its end as of now.

    Raises Unavailable when Kafka does not answer, Unsettled when it does not deliver.
    """
    topic = Topics.of(config.kafka).windows
    with tempfile.TemporaryDirectory(prefix="ratemill-") as folder:
        keeper = _Keeper(month, Path(folder))
        try:
            asyncio.run(_read(config, topic, keeper))
            yield keeper.usage(f"topic {topic}")
        finally:
            keeper.close()


async def _read(config: Config, topic: str, keeper: _Keeper) -> None:
    counts = await ensure_topics(config)
    starts = {TopicPartition(topic, number): 0 for number in range(counts[topic])}
    begins, ends = await bounds(config.kafka, list(starts))
    with _record_progress(sum(ends[tp] - begins[tp] for tp in starts), topic) as told:
        done = dict(begins)
        async for tp, records in read_to_end(config.kafka, starts):
            keeper.take((record.key, record.value) for record in records)
            done[tp] = records[-1].offset + 1
            told(sum(done[tp] - begins[tp] for tp in starts))


@contextmanager
def _record_progress(total: int, topic: str) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal or total < _MANY:
        yield lambda position: None
        return
    columns = (TextColumn(f"reading {topic}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda position: bar.update(task, completed=position)


@contextmanager
def file_usage(files: Iterable[str], format: str, book: PriceBook, window_s: int, month: int) -> Iterator[Usage]:
    """The usage of a month from files of events, decoded and counted as `ratemill rate` does; what is rejected is named on stderr."""
    rejected = 0

    def tell(event: Rejected) -> None:
        nonlocal rejected
        rejected += 1
        if rejected <= _TOLD:
            click.echo(printable(f"{event.piece.file}:{event.piece.line}: {event.rejection.reason}: {event.rejection.detail}"), err=True)

    rating = OfflineRating(make_tariff(book), window_s, tell)
    for path in files:
        with byte_progress(path) as progress:
            rating.add(read_pieces(path, format, progress), format)
    if rejected > _TOLD:
        print(f"and {rejected - _TOLD:,} more rejected; `ratemill rate` writes all of them to a file", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="ratemill-") as folder:
        keeper = _Keeper(month, Path(folder))
        try:
            keeper.take(_stored(rating.usage()))
            yield keeper.usage(", ".join(files))
        finally:
            keeper.close()


def _stored(store: Store) -> Iterator[tuple[bytes, bytes | None]]:
    for key in store.prefixes(ENTRY):
        yield key, store.get(key)


def require_some(usage: Usage, month: int) -> None:
    """Raise BadInput when there is nothing to compare, and say what there is."""
    if not usage.windows:
        last = usage.other_months[-12:]
        there = f"; there is usage of {', '.join(last)}: name one by --period" if last else "; there is none of any month"
        raise BadInput(f"{usage.source}: no usage of {month_text(month)}{there}")
