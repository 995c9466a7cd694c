"""State of one partition on the local disk: a RocksDB that may be lost at any time, because the changelogs hold all of it.

The write-ahead log is off. After a crash RocksDB comes back as of its last memtable flush. It also holds the changelog positions that it
was brought to, and these get there no sooner than what they stand for: with the entries, in one write batch, unless identities are still in
memory (`RecentIds`); then behind those. So restoring begins at or before the first thing missing, and taking over again what is there
already changes nothing. A store in another schema than ours is dropped, which costs the time of restoring it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteOptions

from .core.store import ENTRY, Effects
from .identities.recent import MOST, RecentIds

__all__ = ["CACHE_BYTES", "MEMTABLE_BYTES", "RocksStore"]

# Per partition. Duplicates are looked up all over the files, so a larger one would only take longer to fill; RocksDB's own is 32 MB.
CACHE_BYTES = 8 << 20
MEMTABLE_BYTES = 32 << 20  # one is filled while another is written to disk

_ID = b"d"  # identity: bucket (4 bytes) + hash -> fingerprint
_POSITION = b"p"  # changelog topic -> next offset to read
_SCHEMA = b"p\0schema"  # of this store; no topic has such a name
SCHEMA = 1  # also of a store that says nothing


class RocksStore:
    """A `Store` on disk. One process, one partition; `close` it before another opens it."""

    def __init__(self, folder: Path, *, write_buffer_bytes: int = MEMTABLE_BYTES, recent_ids: int = MOST) -> None:
        """recent_ids: how many identities are gathered in memory before they go to the disk."""
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
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._db: Any = Rdict(str(folder), options)  # its type stubs do not know lists of keys, nor that disable_wal is a property
        found = int(self._db.get(_SCHEMA) or b"1")
        self.replaced = 0 if found == SCHEMA else found  # the schema of the store that was here before, if it had to go
        if self.replaced:
            self._db.close()
            shutil.rmtree(folder)
            self._db = Rdict(str(folder), options)
        no_wal: Any = WriteOptions
        self._no_wal = no_wal()
        self._no_wal.disable_wal = True
        self._db.put(_SCHEMA, b"%d" % SCHEMA, self._no_wal)
        self._on_disk = self._find_buckets()  # buckets of which RocksDB has identities
        self._recent = RecentIds(self._db, folder, options, self._no_wal, _ID, recent_ids)
        self._positions: dict[bytes, bytes] = {}  # those that wait for identities in memory, as they will be put
        self._reclaiming: Thread | None = None
        self._scanning: Any = None  # an iterator over what was last written; making one costs more than looking a group up with it

    def _find_buckets(self) -> list[bytes]:
        buckets: list[bytes] = []
        iterator = self._db.iter()
        iterator.seek(_ID)
        while iterator.valid() and (key := iterator.key()).startswith(_ID):
            buckets.append(key[1:5])
            iterator.seek(_ID + (int.from_bytes(key[1:5], "big") + 1).to_bytes(4, "big"))
        return buckets

    def seen(self, hashes: Sequence[bytes]) -> list[bytes | None]:
        """Fingerprints of identities, newest bucket first: those in memory, then one multi-get for what is still unknown."""
        found: list[bytes | None] = [None] * len(hashes)
        hashes = hashes if type(hashes) is list else list(hashes)
        for bucket in sorted({*self._on_disk, *self._recent.buckets}, reverse=True):
            unknown = len(hashes)
            for table in self._recent.tables(bucket):
                unknown = _fill(table, hashes, found)
            if unknown and bucket in self._on_disk:
                self._look_up(_ID + bucket, hashes, found)
        return found

    def newest(self) -> tuple[list[Any], bool]:
        """Tables of identities in memory, newest first, and whether others may be on the disk.

        No table, and the disk, where the order of buckets matters: an identity that was taken back and came again is in two of them.
        """
        buckets = self._recent.buckets
        if len(set(buckets)) > 1 or (buckets and self._on_disk and self._on_disk[-1] > buckets[0]):
            return [], True
        return [table for bucket in buckets[:1] for table in self._recent.tables(bucket)], bool(self._on_disk)

    def _look_up(self, head: bytes, hashes: Sequence[bytes], found: list[bytes | None]) -> None:
        if found.count(None) == len(found):
            found[:] = self._db.get([head + h for h in hashes])
            return
        missing = [at for at, value in enumerate(found) if value is None]
        for at, value in zip(missing, self._db.get([head + hashes[at] for at in missing]), strict=True):
            found[at] = value

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
        self._settle()
        if not self._recent:
            for key, value in self._positions.items():
                put(key, value)
            self._positions = {}
        self._scanning = None  # it still shows what was there before
        self._db.write(batch, self._no_wal)
        if self._recent.many:
            self._spill()

    def _settle(self, wait: bool = False) -> None:
        leaving = self._recent.leaving
        if leaving and self._recent.settle(wait):
            self._on_disk = sorted({*self._on_disk, *leaving})

    def _spill(self) -> None:
        self._settle(wait=True)
        positions, self._positions = self._positions, {}
        self._recent.leave(positions)

    def position(self, topic: str) -> int:
        """Next offset of a changelog that this store has not seen; 0 for a new store."""
        key = _POSITION + topic.encode()
        value = self._positions.get(key) or self._recent.positions.get(key) or self._db.get(key)
        return int.from_bytes(value, "big") if value else 0

    def forget(self, oldest_bucket: int) -> None:
        """Drop the identities that arrived before a bucket, whole buckets at a time; their disk comes back a little later."""
        gone = {b for b in (*self._on_disk, *self._recent.buckets) if int.from_bytes(b, "big") < oldest_bucket}
        if not gone:
            return
        self._settle(wait=True)
        self._recent.forget(gone)
        for bucket in gone:
            self._db.delete_range(_ID + bucket, _ID + (int.from_bytes(bucket, "big") + 1).to_bytes(4, "big"))
        self._on_disk = [b for b in self._on_disk if b not in gone]
        self._wait()
        self._reclaiming = Thread(target=self._reclaim, args=(_ID + oldest_bucket.to_bytes(4, "big"),), name="reclaim")
        self._reclaiming.start()

    def _reclaim(self, end: bytes) -> None:
        # What a range tombstone covers stays on the disk until a compaction happens to come by, for several buckets' time.
        # Seldom (each half dedupe window), and a matter of seconds in which RocksDB lets other threads read and write.
        self._db.flush()
        self._db.compact_range(_ID, end)

    def _wait(self) -> None:
        if self._reclaiming is not None:
            self._reclaiming.join()

    def flush(self) -> None:
        """Bring to disk what is only in memory so far."""
        self._wait()
        if self._recent:
            self._spill()
            self._settle(wait=True)
        self._scanning = None
        self._db.flush()

    def close(self) -> None:
        """Flush to disk and release the folder; restoring then starts from here."""
        self.flush()
        self._db.close()


def _fill(table: Any, hashes: list[bytes], found: list[bytes | None]) -> int:
    """Put what a table knows where `found` has None yet; returns how many stay unknown."""
    if not isinstance(table, dict):
        unknown: int = table.fill(hashes, found)
        return unknown
    unknown = 0
    for at, hash_ in enumerate(hashes):
        if found[at] is None and (known := table.get(hash_)) is not None:
            found[at] = known
        unknown += found[at] is None
    return unknown
