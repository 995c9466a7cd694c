"""Identities that are not in RocksDB yet: in memory by arrival bucket, written to it many at a time, as one sorted file.

Putting them into RocksDB one by one costs more than all else that counting an event takes: each finds its place among all that the memtable
holds. Here they go into a table that finds them faster too, and RocksDB takes over the file as it is (it calls that ingesting).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

from rocksdict import IngestExternalFileOptions, Options, SstFileWriter

from ...schemas.usage_event import hot
from ..core.store import new_ids

__all__ = ["MOST", "RecentIds"]

BYTES = 12 << 20  # in memory; as much again while they are written
_BYTES_EACH = 32 if hot is not None else 240  # hash, fingerprint, and what holds them; a dict of `bytes` takes eight times as much
MOST = BYTES // _BYTES_EACH

Table = Any  # hot.Identities or dict[bytes, bytes]
# The thread that writes a file must not keep the interpreter: the event loop would get it for a moment every 5 ms only, for as long as that takes.
_AT_A_TIME, _PAUSE_S = 1_000, 0.001


class RecentIds:
    """Of one store. One thread uses it; another one writes the files."""

    def __init__(self, db: Any, folder: Path, options: Options, no_wal: Any, head: bytes, most: int = MOST) -> None:
        """db: the RocksDB that is to have them in the end, in `folder`; head: what its keys begin with, before bucket and hash."""
        self._db, self._folder, self._options, self._no_wal, self._head, self._most = db, folder, options, no_wal, head, most
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

    @property
    def leaving(self) -> list[bytes]:
        """Buckets of which some are on their way to RocksDB."""
        return list(self._leaving)

    def forget(self, gone: Iterable[bytes]) -> None:
        """Drop buckets, of which none is on its way."""
        for bucket in gone:
            self._tables.pop(bucket, None)

    def leave(self, positions: Mapping[bytes, bytes]) -> None:
        """Begin to bring all of them into RocksDB; positions: keys and values to be put there once they are in it."""
        self._leaving, self._tables, self.positions = self._tables, {}, positions
        self._writing = Thread(target=self._write, name="identities")
        self._writing.start()

    def settle(self, wait: bool = False) -> bool:
        """Whether nothing is on its way to RocksDB. Raises what kept it from getting there: then the store is of no use any more."""
        if self._writing is not None:
            if not wait and self._writing.is_alive():
                return False
            self._hurried = True
            self._writing.join()
            self._writing, self._hurried = None, False
            if self._failed is not None:
                raise self._failed
            self._leaving, self.positions = {}, {}
        return True

    def _write(self) -> None:
        try:
            path = str(self._folder / "incoming.sst")  # what a dead process left there is written over
            writer = SstFileWriter(self._options)
            writer.open(path)
            for bucket in sorted(self._leaving):
                head, table = self._head + bucket, self._leaving[bucket]
                for number, (key, print_) in enumerate(_in_order(table, head)):
                    writer[key] = print_
                    if number % _AT_A_TIME == 0 and not self._hurried:
                        time.sleep(_PAUSE_S)
            writer.finish()
            options = IngestExternalFileOptions()
            options.set_move_files(True)
            self._db.ingest_external_file([path], options)
            for key, value in self.positions.items():
                self._db.put(key, value, self._no_wal)
        except BaseException as error:  # told by `settle`
            self._failed = error


def _in_order(table: Table, head: bytes) -> Iterator[tuple[bytes, bytes]]:
    if isinstance(table, dict):
        for hash_ in sorted(table):
            yield head + hash_, table[hash_]
    else:
        yield from table.in_order(head)
