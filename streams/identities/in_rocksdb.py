"""Identities of old in RocksDB, where Python looks them up soonest: as one sorted file for all that come at once (it calls that ingesting)."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from rocksdict import IngestExternalFileOptions, Options, SstFileWriter

__all__ = ["InRocksDB"]

_HEAD = b"d"  # of a key: bucket (4 bytes) + hash -> fingerprint
# The thread that writes a file must not keep the interpreter: the event loop would get it for a moment every 5 ms only, for as long as that takes.
_AT_A_TIME, _PAUSE_S = 1_000, 0.001


class InRocksDB:
    """Of one store, among the other keys that it has."""

    def __init__(self, db: Any, folder: Path, options: Options) -> None:
        """db: the RocksDB in `folder`."""
        self._db, self._folder, self._options = db, folder, options
        self.buckets = self._find_buckets()
        self._reclaiming: Thread | None = None

    def _find_buckets(self) -> list[bytes]:
        buckets: list[bytes] = []
        iterator = self._db.iter()
        iterator.seek(_HEAD)
        while iterator.valid() and (key := iterator.key()).startswith(_HEAD):
            buckets.append(key[1:5])
            iterator.seek(_HEAD + (int.from_bytes(key[1:5], "big") + 1).to_bytes(4, "big"))
        return buckets

    def write(self, tables: Mapping[bytes, Mapping[bytes, bytes]], hurried: Any) -> None:
        """Take over identities by bucket: on the disk when it returns. For a thread of its own; hurried(): whether somebody waits for it."""
        if not tables:  # positions alone: RocksDB makes no file without keys
            return
        path = str(self._folder / "incoming.sst")  # what a dead process left there is written over
        writer = SstFileWriter(self._options)
        writer.open(path)
        for bucket in sorted(tables):
            head, table = _HEAD + bucket, tables[bucket]
            for number, hash_ in enumerate(sorted(table)):
                writer[head + hash_] = table[hash_]
                if number % _AT_A_TIME == 0 and not hurried():
                    time.sleep(_PAUSE_S)
        writer.finish()
        options = IngestExternalFileOptions()
        options.set_move_files(True)
        self._db.ingest_external_file([path], options)

    def taken(self, buckets: Collection[bytes]) -> None:
        """Those of these buckets have been written."""
        self.buckets = sorted({*self.buckets, *buckets})

    def look_up(self, bucket: bytes, hashes: Sequence[bytes], found: list[bytes | None]) -> None:
        """Put what is known where `found` has None."""
        head = _HEAD + bucket
        if found.count(None) == len(found):
            found[:] = self._db.get([head + h for h in hashes])
            return
        missing = [at for at, value in enumerate(found) if value is None]
        for at, value in zip(missing, self._db.get([head + hashes[at] for at in missing]), strict=True):
            found[at] = value

    def forget(self, gone: Collection[bytes], oldest: int) -> None:
        """Drop buckets, all that are older than `oldest`; their disk comes back a little later."""
        for bucket in gone:
            self._db.delete_range(_HEAD + bucket, _HEAD + (int.from_bytes(bucket, "big") + 1).to_bytes(4, "big"))
        self.buckets = [b for b in self.buckets if b not in gone]
        self.settle()
        self._reclaiming = Thread(target=self._reclaim, args=(_HEAD + oldest.to_bytes(4, "big"),), name="reclaim")
        self._reclaiming.start()

    def _reclaim(self, end: bytes) -> None:
        # What a range tombstone covers stays on the disk until a compaction happens to come by, for several buckets' time.
        # Seldom (each half dedupe window), and a matter of seconds in which RocksDB lets other threads read and write.
        self._db.flush()
        self._db.compact_range(_HEAD, end)

    def settle(self) -> None:
        """Wait for what goes on in the background."""
        if self._reclaiming is not None:
            self._reclaiming.join()

    def close(self) -> None:
        """Leave the RocksDB to be closed."""
        self.settle()
