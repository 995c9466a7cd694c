"""Usage to try prices on: the exact usage of every window, from the live changelog or from files of events."""

from __future__ import annotations

import asyncio
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
from ..metering.tariff import Tariff
from ..schemas.control import month_text
from ..schemas.errors import BadInput
from ..streams.config import Config
from ..streams.core.items import GroupKey
from ..streams.core.store import ENTRY, Effects, MemoryStore, Store
from ..streams.restore import bounds, read_to_end
from ..streams.rocks import RocksStore
from ..streams.topics import Topics, ensure_topics
from .offline import OfflineRating, Rejected
from .rate import byte_progress, printable

__all__ = ["Usage", "Wanted", "file_usage", "group_of_key", "live_usage", "progress_bar", "require_some"]

_IN_MEMORY = 200_000  # windows; more of them go to a temporary RocksDB
_TOLD = 20  # rejected events that are named


class Wanted(NamedTuple):
    """Which windows are kept. Each is asked about the group of a window, and is quick: there may be a hundred million windows."""

    now: Callable[[GroupKey], bool]  # what is rated
    before: Callable[[GroupKey], bool] = lambda group: False  # what credits were used for before that


class Usage(NamedTuple):
    """Windows as stores that can be rated."""

    store: Store
    before: Store
    windows: int  # in `store`
    others: tuple[str, ...]  # months that there is other usage of, ascending
    source: str  # where from, in a sentence


def group_of_key(key: bytes) -> GroupKey | None:
    """The group of a window's key in the changelog; None when it is a key of something else."""
    parts = key.split(b"\0", 3)
    if not key.startswith(ENTRY) or len(parts) < 4 or len(parts[3]) < 4:
        return None
    account, sku, unit, rest = parts
    return GroupKey(account[len(ENTRY) :].decode(), sku.decode(), unit.decode(), int.from_bytes(rest[:4], "big"))


class _Kept:
    """Windows in memory, and on the disk when there are many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[bytes, bytes | None] = {}
        self._rocks: RocksStore | None = None

    def put(self, key: bytes, value: bytes | None) -> None:
        """The last value counts; none, or an empty one, means that there is no such window any more."""
        self._held[key] = value or None
        if len(self._held) > _IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if self._rocks is None:
            self._rocks = RocksStore(self._folder)
        self._rocks.apply(Effects((), list(self._held.items()), {}, 0, []))
        self._held = {}

    def store(self) -> tuple[Store, int]:
        """All of them, and how many."""
        if self._rocks is None:
            store = MemoryStore()
            store.apply(Effects((), list(self._held.items()), {}, 0, []))
            return store, sum(value is not None for value in self._held.values())
        self._spill()
        return self._rocks, sum(1 for _ in self._rocks.prefixes(b""))

    def close(self) -> None:
        """Release the disk."""
        if self._rocks is not None:
            self._rocks.close()


class _Keeper:
    """Takes changelog records and keeps what is wanted of them."""

    def __init__(self, wanted: Wanted, folder: Path) -> None:
        self._wanted = wanted
        self._now, self._before = _Kept(folder / "now"), _Kept(folder / "before")
        self._months: set[int] = set()

    def take(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Records in the order of the log."""
        for key, value in records:
            group = None if key is None else group_of_key(key)
            if key is None or group is None:
                continue
            if self._wanted.now(group):
                self._now.put(key, value)
                continue
            self._months.add(group.month)
            if self._wanted.before(group):
                self._before.put(key, value)

    def usage(self, source: str) -> Usage:
        """What was kept."""
        store, windows = self._now.store()
        return Usage(store, self._before.store()[0], windows, tuple(month_text(month) for month in sorted(self._months)), source)

    def close(self) -> None:
        """Release the disk."""
        self._now.close()
        self._before.close()


@contextmanager
def live_usage(config: Config, wanted: Wanted) -> Iterator[Usage]:
    """Usage as the running workers have it: the changelog of windows, read to its end as of now.

    Raises Unavailable when Kafka does not answer, Unsettled when it does not deliver.
    """
    topic = Topics.of(config.kafka).windows
    with _keeper(wanted) as keeper:
        asyncio.run(_read(config, topic, keeper))
        yield keeper.usage(f"topic {topic}")


@contextmanager
def _keeper(wanted: Wanted) -> Iterator[_Keeper]:
    with tempfile.TemporaryDirectory(prefix="ratemill-") as folder:
        keeper = _Keeper(wanted, Path(folder))
        try:
            yield keeper
        finally:
            keeper.close()


async def _read(config: Config, topic: str, keeper: _Keeper) -> None:
    counts = await ensure_topics(config)
    starts = {TopicPartition(topic, number): 0 for number in range(counts[topic])}
    begins, ends = await bounds(config.kafka, list(starts))
    with progress_bar(f"reading {topic}", sum(ends[tp] - begins[tp] for tp in starts)) as told:
        done = dict(begins)
        async for tp, records in read_to_end(config.kafka, starts):
            keeper.take((record.key, record.value) for record in records)
            told(records[-1].offset + 1 - done[tp])
            done[tp] = records[-1].offset + 1


@contextmanager
def progress_bar(label: str, total: int, many: int = 20_000) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, for `many` or more; told how many more are done."""
    console = Console(stderr=True)
    if not console.is_terminal or total < many:
        yield lambda done: None
        return
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)


@contextmanager
def file_usage(files: Iterable[str], format: str, tariff: Tariff, window_s: int, wanted: Wanted) -> Iterator[Usage]:
    """Usage from files of events, decoded, metered and counted as `ratemill rate` does; what is rejected is named on stderr."""
    rejected = 0

    def tell(event: Rejected) -> None:
        nonlocal rejected
        rejected += 1
        if rejected <= _TOLD:
            click.echo(printable(f"{event.piece.file}:{event.piece.line}: {event.rejection.reason}: {event.rejection.detail}"), err=True)

    rating = OfflineRating(tariff, window_s, tell)
    for path in files:
        with byte_progress(path) as progress:
            rating.add(read_pieces(path, format, progress), format)
    if rejected > _TOLD:
        click.echo(f"and {rejected - _TOLD:,} more rejected; `ratemill rate` writes all of them to a file", err=True)
    with _keeper(wanted) as keeper:
        keeper.take(_stored(rating.usage()))
        yield keeper.usage(", ".join(files))


def _stored(store: Store) -> Iterator[tuple[bytes, bytes | None]]:
    for key in store.prefixes(ENTRY):
        yield key, store.get(key)


def require_some(usage: Usage, month: int) -> None:
    """Raise BadInput when there is nothing to compare, and say what there is."""
    if not usage.windows:
        last = usage.others[-12:]
        there = f"; there is usage of {', '.join(last)}: name one by --period" if last else "; there is none of any month"
        raise BadInput(f"{usage.source}: no usage of {month_text(month)}{there}")
