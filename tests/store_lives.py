"""Processes that use one store after each other and all die, without closing it.

    python store_lives.py FOLDER SEED [positions-at-once | at-any-step]

Prints how many identities a store did not know although its position said that it had read them, how many records were read again, and how
many stores were found to be damaged. at-any-step: they die at one of the steps that change files, not only between commits. Each life is
forked from here, where RocksDB was never used: its threads would not come along.
"""

from __future__ import annotations

import itertools
import os
import random
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ratemill.streams.core.store import ENTRY, Effects, ids_of, pack_ids
from ratemill.streams.identities.in_runs import InRuns
from ratemill.streams.rocks import RocksStore

AT_ONCE = 300
LIVES = 25


def some(rng: random.Random, number: int) -> dict[bytes, bytes]:
    """Identities."""
    return {rng.randbytes(16): rng.randbytes(8) for _ in range(number)}


def oldest(number: int) -> int:
    """The oldest bucket that is remembered when a record has been written."""
    return bucket_of(number) - 1


def bucket_of(number: int) -> int:
    """Of a record."""
    return 7 + number // 40


class Log:
    """What the changelog of a partition holds: record by record, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def record(self, number: int) -> tuple[dict[bytes, bytes], int]:
        """Identities and their bucket; numbers begin with 1."""
        rng = random.Random(f"{self._seed} {number}")
        return some(rng, rng.randrange(0, 120)), bucket_of(number)

    def write(self, store: RocksStore, number: int) -> None:
        """Take a record over, as a commit or a restore does."""
        ids, bucket = self.record(number)
        puts = [(ENTRY + b"%d" % number, b"1")]
        store.write(Effects((), puts, ids_of(pack_ids(ids)), bucket, []), {"dedupe": number, "windows": number})
        store.forget(oldest(number))

    def missing(self, store: RocksStore, until: int, written: int) -> int:
        """Identities of the records up to one that a store should know, and does not know as they are.

        written: the last record that was written, even if only by somebody who died at it: he may have dropped buckets.
        """
        records = [self.record(number) for number in range(1, until + 1)]
        ids = {hash_: print_ for its, bucket in records if bucket >= oldest(written) for hash_, print_ in its.items()}
        return sum(found != print_ for found, print_ in zip(store.seen(list(ids)), ids.values(), strict=True))


class Hasty(RocksStore):
    """Broken: the position goes to the disk with the entries, while identities are in memory still."""

    def write(self, effects: Effects, positions: dict[str, int]) -> None:
        super().write(effects, positions)
        for topic, offset in positions.items():
            self._db.put(b"p" + topic.encode(), offset.to_bytes(8, "big"), self._no_wal)
        self._db.flush()


def die_at(step: int) -> None:
    """End this process at the so-many-th step that changes files, before it is taken."""
    left = itertools.count(step, -1)

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def until_then(*arguments: Any, **named: Any) -> Any:
            if next(left) == 0:
                os._exit(9)
            return function(*arguments, **named)

        return until_then

    for of, name in ((Path, "rename"), (Path, "unlink"), (os, "fsync"), (InRuns, "_note")):
        setattr(of, name, dying(getattr(of, name)))


def live(folder: Path, log: Log, known: int, rng: random.Random, kind: type[RocksStore]) -> Iterator[tuple[int, int, int, int]]:
    """Restore, commit a few times.

    Yields what is to be said if it dies from here on: how many identities were missing, from where it was read again, how far the log is now,
    and whether the store was damaged.
    """
    yield 0, known, known, 0
    store = kind(folder, recent_ids=AT_ONCE)
    reached, damaged = store.position("dedupe"), int(bool(store.replaced))
    missing = log.missing(store, reached, known)
    yield missing, reached, known, damaged
    for number in range(reached + 1, known + 1):
        log.write(store, number)
    if kind is RocksStore and log.missing(store, known, known):
        raise RuntimeError("reading it again does not make it whole")
    for number in range(known + 1, known + rng.randrange(0, 12) + 1):
        yield missing, reached, number, damaged
        log.write(store, number)
        if rng.random() < 0.3:
            store._recent.settle(wait=True)
        if rng.random() < 0.1:
            store._db.flush()  # a full memtable


def main(folder: Path, seed: int, kind: type[RocksStore], at_any_step: bool) -> None:
    """Lives after each other."""
    log, known, missing, again, damaged = Log(seed), 0, 0, 0, 0
    for life in range(LIVES):
        theirs, ours = os.pipe()
        rng = random.Random(f"{seed} {life}")
        if not (pid := os.fork()):
            if at_any_step:
                die_at(rng.randrange(1, 25))
            for said in live(folder, log, known, rng, kind):
                os.write(ours, struct.pack("4q", *said))
            os._exit(9)
        os.close(ours)
        with os.fdopen(theirs, "rb") as pipe:
            lost, reached, until, broken = struct.unpack("4q", pipe.read()[-32:])
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 9:
            raise RuntimeError("a life ended in another way")
        missing, again, known, damaged = missing + lost, again + known - reached, until, damaged + broken
    print(missing, again, damaged)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Hasty if sys.argv[3:] == ["positions-at-once"] else RocksStore, sys.argv[3:] == ["at-any-step"])
