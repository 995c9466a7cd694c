"""Identities of old in files of their own (native/_runs.pxi), which the compiled loops look up several times sooner than RocksDB.

A file is written once and never changed: a run of sorted identities of one bucket. Its name says which of the bucket's commits to the disk it
holds, `{bucket}.{first}-{last}`. Four runs of about the same age become one, so there are few of them however many identities there are. Each
step leaves the folder right for a process that dies at it:

1. A run gets its name when it is on the disk as a whole. What has another name is left over, and goes.
2. RocksDB then notes up to which commit there are runs, before any changelog position that needs them. A run that is noted and
   missing, or not as it was written, means that the whole store is of no use: it is restored from the changelogs.
3. Runs that were merged go when the one that has them all is there. If they are still there, they go when the store is opened.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from ...schemas.errors import Damaged
from ...schemas.usage_event import hot

__all__ = ["InRuns"]

_NOTED = b"p\0runs"  # key in RocksDB -> bucket, first and last commit of each bucket, 4 bytes each
_NAME = re.compile(r"([0-9a-f]{8})\.(\d{8,})-(\d{8,})\.run")
_AT_ONCE = 4  # runs that become one


class _Run(NamedTuple):
    first: int  # commits of its bucket to the disk
    last: int
    identities: Any  # hot.Run

    @property
    def age(self) -> int:
        """How many times over it was merged: 0 for one commit, 1 for 4 to 15 of them, …"""
        age, commits = 0, self.last - self.first + 1
        while commits >= _AT_ONCE:
            age, commits = age + 1, commits // _AT_ONCE
        return age


class InRuns:
    """Of one store: `db` is its RocksDB, in `folder`; the runs are in a folder in that."""

    def __init__(self, db: Any, folder: Path, no_wal: Any) -> None:
        """Raises Damaged, and OSError when files are not to be had now (too many are open)."""
        self._db, self._folder, self._no_wal = db, folder / "identities", no_wal
        self._runs: dict[bytes, list[_Run]] = {}  # by bucket, oldest first
        self._new: dict[bytes, _Run] = {}
        self._merging: _Merging | None = None
        self._folder.mkdir(exist_ok=True)
        try:
            self._open()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise Damaged(f"the identities in {self._folder}", error) from error

    def _open(self) -> None:
        found: dict[bytes, list[tuple[int, int]]] = {}
        for path in self._folder.iterdir():
            if name := _NAME.fullmatch(path.name):
                found.setdefault(bytes.fromhex(name[1]), []).append((int(name[2]), int(name[3])))
            else:
                path.unlink()
        for bucket, its in found.items():
            whole: list[tuple[int, int]] = []
            for first, last in sorted(its, key=lambda each: (each[0], -each[1])):
                if whole and last <= whole[-1][1]:
                    self._path(bucket, first, last).unlink()  # it was merged
                else:
                    whole.append((first, last))
            self._runs[bucket] = [_Run(first, last, hot.Run(str(self._path(bucket, first, last)))) for first, last in whole]
        self._check()

    def _check(self) -> None:
        """Raises Damaged when a run is missing that was noted."""
        noted = self._db.get(_NOTED) or b""
        for at in range(0, len(noted), 12):
            bucket, (first, last) = noted[at : at + 4], (int.from_bytes(noted[at + n : at + n + 4], "big") for n in (4, 8))
            for run in self._runs.get(bucket, []):
                if run.first <= first <= run.last:
                    first = run.last + 1
            if first <= last:
                raise Damaged(f"the identities in {self._folder}", f"commit {first} of bucket {bucket.hex()} is missing")

    def _path(self, bucket: bytes, first: int, last: int) -> Path:
        return self._folder / f"{bucket.hex()}.{first:08d}-{last:08d}.run"

    def _note(self, more: Mapping[bytes, _Run]) -> None:
        spans = {bucket: (runs[0].first, runs[-1].last) for bucket, runs in self._runs.items()}
        for bucket, run in more.items():
            spans[bucket] = spans.get(bucket, run)[0], run.last
        noted = b"".join(bucket + first.to_bytes(4, "big") + last.to_bytes(4, "big") for bucket, (first, last) in sorted(spans.items()))
        self._db.put(_NOTED, noted, self._no_wal)

    @property
    def buckets(self) -> list[bytes]:
        """Those of which some are here, oldest first."""
        return sorted(self._runs)

    def write(self, tables: Mapping[bytes, Any], hurried: Any) -> None:
        """Take over hot.Identities by bucket: on the disk when it returns. For a thread of its own. Raises OSError."""
        new: dict[bytes, _Run] = {}
        for bucket, table in tables.items():
            runs = self._runs.get(bucket)
            number = runs[-1].last + 1 if runs else 0
            new[bucket] = _Run(number, number, _made(self._path(bucket, number, number), lambda path, ids=table: hot.write_run(path, ids)))
        self._note(new)
        self._new = new

    def taken(self, buckets: Collection[bytes]) -> None:
        """Those of these buckets have been written. Raises OSError of a merge that failed."""
        new, self._new = self._new, {}
        for bucket, run in new.items():
            self._runs.setdefault(bucket, []).append(run)
        self._merge()

    def _merge(self) -> None:
        """Take over a merge that has ended, and begin the next one."""
        if self._merging is not None and self._merging.is_alive():
            return
        self._merged()
        for bucket, runs in self._runs.items():
            chosen = _to_merge(runs, bucket == max(self._runs))
            if chosen:
                self._merging = _Merging(bucket, chosen, self._path(bucket, chosen[0].first, chosen[-1].last))
                self._merging.start()
                return

    def _merged(self) -> None:
        """Wait for a merge, and take it over."""
        merging, self._merging = self._merging, None
        if merging is not None:
            merging.join()
            runs, made = merging.runs, merging.made()
            at = self._runs[merging.bucket].index(runs[0])
            self._runs[merging.bucket][at : at + len(runs)] = [made]
            for run in runs:
                Path(run.identities.path).unlink()

    def places(self, bucket: bytes) -> Iterator[Any]:
        """Where the identities of a bucket may be, newest first."""
        for run in reversed(self._runs.get(bucket, [])):
            yield run.identities

    def forget(self, gone: Collection[bytes], oldest: int) -> None:
        """Drop buckets, all that are older than `oldest`. Raises OSError."""
        if self._merging is not None and self._merging.bucket in gone:
            self.settle()
        paths = [Path(run.identities.path) for bucket in gone for run in self._runs.pop(bucket, [])]
        self._note({})
        self._db.flush()  # before they go, or a process that dies now would miss them
        for path in paths:
            path.unlink()

    def settle(self) -> None:
        """Wait for what goes on in the background. Raises OSError."""
        self._merged()

    def close(self) -> None:
        """Let go of the files, without waiting for a merge. One that is not as it was written goes, so that whoever opens this next sees that."""
        if self._merging is not None:
            self._merging.give_up()
            self._merging = None
        for runs in self._runs.values():
            for run in runs:
                if run.identities.damaged:
                    Path(run.identities.path).unlink(missing_ok=True)
        self._runs = {}


class _Merging(Thread):
    """Makes one run of several."""

    def __init__(self, bucket: bytes, runs: list[_Run], path: Path) -> None:
        super().__init__(name="merge")
        self.bucket, self.runs, self._path = bucket, runs, path
        self._made: Any = None
        self._until = hot.Stop()

    def run(self) -> None:
        try:
            self._made = _made(self._path, lambda path: hot.merge_runs(path, [run.identities for run in self.runs], self._until))
        except BaseException as error:  # told by `made`
            self._made = error

    def give_up(self) -> None:
        """End it. A run that it has made already stays, and the ones that it was made of too: whoever opens them next chooses."""
        self._until.ask()
        self.join()
        _new(self._path).unlink(missing_ok=True)

    def made(self) -> _Run:
        """The run. Raises what kept it from being made."""
        if isinstance(self._made, BaseException):
            raise self._made
        return _Run(self.runs[0].first, self.runs[-1].last, self._made)


def _made(path: Path, make: Any) -> Any:
    """What `make` wrote, under its name once it is on the disk."""
    new = _new(path)
    run = make(str(new))
    new.rename(path)
    run.renamed(str(path))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return run


def _new(path: Path) -> Path:
    return path.with_suffix(".new")


def _to_merge(runs: list[_Run], newest: bool) -> list[_Run]:
    """The runs of a bucket that should become one now: the youngest that follow each other, four or more of the same age.

    All of them when nothing comes to their bucket any more.
    """
    if not newest:
        return runs[:] if len(runs) > 1 else []
    ages = [run.age for run in runs]
    for age in sorted(set(ages)):
        end = len(ages) - ages[::-1].index(age)
        first = end
        while first and ages[first - 1] == age:
            first -= 1
        if end - first >= _AT_ONCE:
            return runs[first:end]
    return []
