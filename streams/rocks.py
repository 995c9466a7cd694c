"""State of one partition on the local disk: a RocksDB that may be lost at any time, because the changelogs hold all of it.

The write-ahead log is off. After a crash RocksDB comes back as of its last memtable flush. It also holds the changelog positions that it
was brought to, and these get there no sooner than what they stand for: with the entries, in one write batch, unless identities are still in
memory (identities/recent.py); then behind those. So restoring begins at or before the first thing missing, and taking over again what is there
already changes nothing. A store in another schema than ours, or one that is damaged, is dropped, which costs the time of restoring it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteOptions

from ..schemas.errors import Damaged
from ..schemas.usage_event import hot
from .core.store import ENTRY, Effects
from .identities.in_rocksdb import InRocksDB
from .identities.in_runs import InRuns
from .identities.recent import MOST, RecentIds

__all__ = ["CACHE_BYTES", "MEMTABLE_BYTES", "RocksStore"]

# Per partition. Duplicates are looked up all over the files, so a larger one would only take longer to fill; RocksDB's own is 32 MB.
CACHE_BYTES = 8 << 20
MEMTABLE_BYTES = 8 << 20  # one is filled while another is written to disk

# "d" is the first byte of identities, where they are in RocksDB (identities/in_rocksdb.py).
_POSITION = b"p"  # changelog topic -> next offset to read
_SCHEMA = b"p\0schema"  # of this store; no topic has such a name
FIRST_SCHEMA = 1  # also of a store that says nothing: identities are in RocksDB
RUNS_SCHEMA = 2  # they are in runs


def _options(write_buffer_bytes: int) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(write_buffer_bytes)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(4 << 20)  # without it, the log of what RocksDB does grows for as long as the worker lives
    options.set_max_open_files(256)
    options.set_allow_concurrent_memtable_write(False)  # there is one writer
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(0.1)
    # Most identities were never seen: a bloom filter per file answers for the files, one on the memtable for the rest.
    table = BlockBasedOptions()
    table.set_bloom_filter(10, False)
    table.set_block_cache(Cache(CACHE_BYTES))
    options.set_block_based_table_factory(table)
    return options


class RocksStore:
    """A `Store` on disk. One process, one partition; `close` it before another opens it."""

    def __init__(self, folder: Path, *, write_buffer_bytes: int = MEMTABLE_BYTES, recent_ids: int = MOST) -> None:
        """recent_ids: how many identities are gathered in memory before they go to the disk."""
        self._folder, self._options = folder, _options(write_buffer_bytes)
        no_wal: Any = WriteOptions
        self._no_wal = no_wal()
        self._no_wal.disable_wal = True
        self.replaced = self._open()  # what was wrong with the store that was here before, if it had to go
        self._recent = RecentIds(self._old, lambda key, value: self._db.put(key, value, self._no_wal), recent_ids)
        self._positions: dict[bytes, bytes] = {}  # those that wait for identities in memory, as they will be put
        self._scanning: Any = None  # an iterator over what was last written; making one costs more than looking a group up with it

    def _open(self) -> str:
        """Open what is there, or begin anew when it is of no use: returns why, in a few words."""
        ours = FIRST_SCHEMA if hot is None else RUNS_SCHEMA
        known = (self._folder / "CURRENT").exists()
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._db: Any = Rdict(str(self._folder), self._options)  # its type stubs do not know lists of keys, nor that disable_wal is a property
        found = int(self._db.get(_SCHEMA) or b"%d" % FIRST_SCHEMA) if known else ours
        wrong = "" if found == ours else f"it is in schema {found}, not {ours}"
        if not wrong:
            try:
                self._old = self._open_old()
            except Damaged as damaged:
                wrong = str(damaged)
        if wrong:
            self._db.close()
            shutil.rmtree(self._folder)
            self._db = Rdict(str(self._folder), self._options)
            self._old = self._open_old()
        if wrong or not known:
            self._db.put(_SCHEMA, b"%d" % ours, self._no_wal)
            self._db.flush()  # or a store that is killed before its first flush would have runs, and say nothing
        return wrong

    def _open_old(self) -> InRuns | InRocksDB:
        return InRocksDB(self._db, self._folder, self._options) if hot is None else InRuns(self._db, self._folder, self._no_wal)

    def _buckets(self) -> list[bytes]:
        """All of them, newest first."""
        return sorted({*self._old.buckets, *self._recent.buckets}, reverse=True)

    def seen(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        """Fingerprints of identities, those of the newest bucket if several have one."""
        found: list[bytes | None] = [None] * len(hashes)
        hashes = hashes if type(hashes) is list else list(hashes)
        if isinstance(self._old, InRuns):
            hot.fill(self.newest()[0], hashes, found)
            return found
        for bucket in self._buckets():
            unknown = len(hashes)
            for table in self._recent.tables(bucket):
                unknown = _fill(table, hashes, found)
            if unknown and bucket in self._old.buckets:
                self._old.look_up(bucket, hashes, found)
        return found

    def newest(self) -> tuple[list[Any], bool]:
        """Where the compiled loops look identities up, in this order, and whether others may be in the store."""
        if not isinstance(self._old, InRuns):
            return [], True
        return [place for bucket in self._buckets() for place in (*self._recent.tables(bucket), *self._old.places(bucket))], False

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Entries under a prefix, in order."""
        result: list[tuple[bytes, bytes]] = []
        iterator = self._scanning
        if iterator is None:
            iterator = self._scanning = self._db.iter()
        iterator.seek(prefix)
        cut = len(prefix)
        while iterator.valid() and (key := iterator.key()).startswith(prefix):
            result.append((key[cut:], iterator.value()))
            iterator.next()
        return result

    def prefixes(self, after: bytes) -> Iterator[bytes]:
        """Entry keys behind `after`, in order, as of this call."""
        iterator = self._db.iter()
        iterator.seek(max(after, ENTRY))
        while iterator.valid() and (key := iterator.key()).startswith(ENTRY):
            yield key
            iterator.next()

    def get(self, key: bytes) -> bytes | None:
        """One value."""
        value: bytes | None = self._db.get(key)
        return value

    def between(self, low: bytes, past: bytes) -> list[tuple[bytes, bytes]]:
        """Keys and values with low <= key < past, in order."""
        result: list[tuple[bytes, bytes]] = []
        iterator = self._db.iter()
        iterator.seek(low)
        while iterator.valid() and (key := iterator.key()) < past:
            result.append((key, iterator.value()))
            iterator.next()
        return result

    def below(self, low: bytes, past: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with low <= key < past, the last one first, as of this call."""
        iterator = self._db.iter()
        iterator.seek_for_prev(past)
        if iterator.valid() and iterator.key() == past:
            iterator.prev()
        while iterator.valid() and (key := iterator.key()) >= low:
            yield key, iterator.value()
            iterator.prev()

    def apply(self, effects: Effects) -> None:
        """Take over a commit, without a changelog position (it is then replayed after a restart, which changes nothing)."""
        self.write(effects, {})

    def write(self, effects: Effects, positions: dict[str, int]) -> None:
        """Take over a commit and the changelog positions (topic -> next offset) that it brings the store to."""
        batch = WriteBatch(raw_mode=True)
        put = batch.put
        for key, value in effects.puts:
            if value is None:
                batch.delete(key)
            else:
                put(key, value)
        if effects.ids:
            self._recent.add(effects.bucket.to_bytes(4, "big"), effects.ids)
        for topic, offset in positions.items():
            self._positions[_POSITION + topic.encode()] = offset.to_bytes(8, "big")
        self._recent.settle()
        if not self._recent:
            for key, value in self._positions.items():
                put(key, value)
            self._positions = {}
        self._scanning = None  # it still shows what was there before
        self._db.write(batch, self._no_wal)
        if self._recent.many:
            self._spill()

    def _spill(self) -> None:
        self._recent.settle(wait=True)
        positions, self._positions = self._positions, {}
        self._recent.leave(positions)

    def position(self, topic: str) -> int:
        """Next offset of a changelog that this store has not seen; 0 for a new store."""
        key = _POSITION + topic.encode()
        value = self._positions.get(key) or self._recent.positions.get(key) or self._db.get(key)
        return int.from_bytes(value, "big") if value else 0

    def forget(self, oldest_bucket: int) -> None:
        """Drop the identities that arrived before a bucket, whole buckets at a time; their disk comes back a little later."""
        gone = {bucket for bucket in self._buckets() if int.from_bytes(bucket, "big") < oldest_bucket}
        if gone:
            self._recent.settle(wait=True)
            self._recent.forget(gone)
            self._old.forget(gone, oldest_bucket)

    def flush(self) -> None:
        """Bring to disk what is only in memory so far."""
        self._old.settle()
        self._save()

    def _save(self) -> None:
        if self._recent:
            self._spill()
            self._recent.settle(wait=True)
        self._scanning = None
        self._db.flush()

    def close(self) -> None:
        """Flush to disk and release the folder; restoring then starts from here."""
        with ExitStack() as stack:
            stack.callback(self._db.close)
            stack.callback(self._old.close)
            self._save()


def _fill(table: dict[bytes, bytes], hashes: list[bytes], found: list[bytes | None]) -> int:
    """Put what a table knows where `found` has None yet; returns how many stay unknown."""
    unknown = 0
    for at, hash_ in enumerate(hashes):
        if found[at] is None and (known := table.get(hash_)) is not None:
            found[at] = known
        unknown += found[at] is None
    return unknown
