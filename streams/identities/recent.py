"""Identities that are not on the disk yet: in memory by arrival bucket, and written to it many at a time.

Putting them into RocksDB one by one costs more than all else that counting an event takes: each finds its place among all that the memtable
holds. Here they go into a table that finds them faster too, and to the disk as sorted files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from threading import Thread
from typing import Any, Protocol

from ...schemas.usage_event import hot
from ..core.store import new_ids

__all__ = ["BYTES", "MOST", "OldIds", "RecentIds"]

# How many are gathered in a partition before they go to the disk, and what a table of them takes with those of one more commit; as much again while
# they are written. A dict of `bytes` takes eight times as much for each as the compiled table, and files of few cost RocksDB more than runs.
MOST, BYTES = (131_072, 8 << 20) if hot is not None else (52_428, 12 << 20)

Table = Any  # hot.Identities or dict[bytes, bytes]


class OldIds(Protocol):
    """Where those on the disk are: `InRuns`, or `InRocksDB` where the loops are not compiled."""

    def write(self, tables: Mapping[bytes, Table], hurried: Callable[[], bool]) -> None:
        """Take over identities by bucket: on the disk when it returns. For a thread of its own; hurried: whether somebody waits for it."""
        ...

    def taken(self, buckets: Collection[bytes]) -> None:
        """Those of these buckets have been written."""
        ...


class RecentIds:
    """Of one store. One thread uses it; another one writes them."""

    def __init__(self, old: OldIds, put: Callable[[bytes, bytes], None], most: int = MOST) -> None:
        """old: where they go; put: what brings a changelog position to the disk."""
        self._old, self._put, self._most = old, put, most
        self._tables: dict[bytes, Table] = {}
        self._leaving: dict[bytes, Table] = {}  # those that are being written; nothing changes them any more
        self.positions: Mapping[bytes, bytes] = {}  # those that go with them
        self._writing: Thread | None = None
        self._hurried = False  # somebody waits for it
        self._failed: BaseException | None = None

    def __bool__(self) -> bool:
        return bool(self._tables or self._leaving)

    @property
    def buckets(self) -> list[bytes]:
        """Buckets of which some are here."""
        return [*self._tables, *self._leaving]

    def tables(self, bucket: bytes) -> Iterator[Table]:
        """Where the identities of a bucket may stand, newest first."""
        if bucket in self._tables:
            yield self._tables[bucket]
        if bucket in self._leaving:
            yield self._leaving[bucket]

    def add(self, bucket: bytes, ids: Mapping[bytes, bytes]) -> None:
        """Remember identities and their fingerprints."""
        table = self._tables.get(bucket)
        if table is None:
            table = self._tables[bucket] = new_ids()
        table.update(ids)

    @property
    def many(self) -> bool:
        """Whether it is time to `leave`."""
        return sum(map(len, self._tables.values())) >= self._most

    def forget(self, gone: Iterable[bytes]) -> None:
        """Drop buckets, of which none is on its way."""
        for bucket in gone:
            self._tables.pop(bucket, None)

    def leave(self, positions: Mapping[bytes, bytes]) -> None:
        """Begin to bring all of them to the disk; positions: keys and values to be put there once they are on it."""
        self._leaving, self._tables, self.positions = self._tables, {}, positions
        self._writing = Thread(target=self._write, name="identities")
        self._writing.start()

    def settle(self, wait: bool = False) -> bool:
        """Whether nothing is on its way to the disk. Raises what kept it from getting there: then the store is of no use any more."""
        if self._writing is not None:
            if not wait and self._writing.is_alive():
                return False
            self._hurried = True
            self._writing.join()
            self._writing, self._hurried = None, False
            if self._failed is not None:
                raise self._failed
            buckets, self._leaving, self.positions = list(self._leaving), {}, {}
            self._old.taken(buckets)
        return True

    def _write(self) -> None:
        try:
            self._old.write(self._leaving, lambda: self._hurried)
            for key, value in self.positions.items():
                self._put(key, value)
        except BaseException as error:  # told by `settle`
            self._failed = error
