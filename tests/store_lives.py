"""Processes that use one store after each other and all die, without closing it: python store_lives.py FOLDER SEED [positions-at-once]

Prints how many identities a store did not know although its position said that it had read them, and how many records were read again.
Each life is forked from here, where RocksDB was never used: its threads would not come along.
"""

from __future__ import annotations

import os
import random
import struct
import sys
from pathlib import Path

from ratemill.streams.core.store import ENTRY, Effects, ids_of, pack_ids
from ratemill.streams.rocks import RocksStore

AT_ONCE = 300
LIVES = 20


def some(rng: random.Random, number: int) -> dict[bytes, bytes]:
    """Identities."""
    return {rng.randbytes(16): rng.randbytes(8) for _ in range(number)}


class Log:
    """What the changelog of a partition holds: record by record, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def record(self, number: int) -> tuple[dict[bytes, bytes], int]:
        """Identities and their bucket; numbers begin with 1."""
        rng = random.Random(f"{self._seed} {number}")
        return some(rng, rng.randrange(0, 120)), 7 + number // 20

    def write(self, store: RocksStore, number: int) -> None:
        """Take a record over, as a commit or a restore does."""
        ids, bucket = self.record(number)
        puts = [(ENTRY + b"%d" % number, b"1")]
        store.write(Effects((), puts, ids_of(pack_ids(ids)), bucket, []), {"dedupe": number, "windows": number})

    def missing(self, store: RocksStore, until: int) -> int:
        """Identities of the records up to one that a store does not know as they are."""
        ids = {hash_: print_ for number in range(1, until + 1) for hash_, print_ in self.record(number)[0].items()}
        return sum(found != print_ for found, print_ in zip(store.seen(list(ids)), ids.values(), strict=True))


class Hasty(RocksStore):
    """Broken: the position goes to the disk with the entries, while identities are in memory still."""

    def write(self, effects: Effects, positions: dict[str, int]) -> None:
        super().write(effects, positions)
        for topic, offset in positions.items():
            self._db.put(b"p" + topic.encode(), offset.to_bytes(8, "big"), self._no_wal)
        self._db.flush()


def live(folder: Path, log: Log, known: int, rng: random.Random, kind: type[RocksStore]) -> tuple[int, int, int]:
    """Restore, commit a few times; returns how many identities were missing, from where it was read again, and how far the log is now."""
    store = kind(folder, recent_ids=AT_ONCE)
    reached = store.position("dedupe")
    missing = log.missing(store, reached)
    for number in range(reached + 1, known + 1):
        log.write(store, number)
    if kind is RocksStore and log.missing(store, known):
        raise RuntimeError("reading it again does not make it whole")
    until = known + rng.randrange(0, 12)
    for number in range(known + 1, until + 1):
        log.write(store, number)
        if rng.random() < 0.3:
            store._settle(wait=True)
        if rng.random() < 0.1:
            store._db.flush()  # a full memtable
    return missing, reached, until


def main(folder: Path, seed: int, kind: type[RocksStore]) -> None:
    """Lives after each other."""
    log, known, missing, again = Log(seed), 0, 0, 0
    for life in range(LIVES):
        theirs, ours = os.pipe()
        if not (pid := os.fork()):
            os.write(ours, struct.pack("3q", *live(folder, log, known, random.Random(f"{seed} {life}"), kind)))
            os._exit(9)
        os.close(ours)
        lost, reached, until = struct.unpack("3q", os.read(theirs, 24))
        os.close(theirs)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 9:
            raise RuntimeError("a life ended in another way")
        missing, again, known = missing + lost, again + known - reached, until
    print(missing, again)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Hasty if sys.argv[3:] == ["positions-at-once"] else RocksStore)
