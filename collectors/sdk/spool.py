"""The spool: what was accepted and is not delivered yet, in one SQLite file that outlives the process.

SQLite in WAL mode with `synchronous = FULL`: `append` returns when the rows are on the disk (fsync), a torn end is cut off when it is opened again,
and a transaction that the disk has no room for leaves nothing behind. Rows are removed after they were acknowledged, never before; what was refused
for good moves to a table of its own in the same transaction. One process has the file at a time, by SQLite's own lock.

A disk without any room has none for removals either. What is acknowledged then is remembered here, so that all the rest still leaves; when nothing
waits any more, the file is begun anew, which needs no room. A process that dies before delivers once more, and that counts once.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

from ...schemas.errors import BadInput, Damaged, NewerSchema, RatemillError, Unavailable
from .events import Event

__all__ = ["Refused", "Row", "Spool", "SpoolFailed", "SpoolFull", "SpoolInUse"]

VERSION = 1
ROW_BYTES = 64 << 10  # events of one account that are put together are kept in rows of about so many bytes, and of
ROW_EVENTS = 2_000  # at most so many events
_FOREIGN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_TABLES = """
CREATE TABLE IF NOT EXISTS waiting (
  seq INTEGER PRIMARY KEY, account TEXT NOT NULL, backfill TEXT NOT NULL, events INTEGER NOT NULL, accepted INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS refused (
  seq INTEGER PRIMARY KEY, account TEXT NOT NULL, backfill TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, at INTEGER NOT NULL,
  body BLOB NOT NULL);
"""


_open_spools: WeakSet[Spool] = WeakSet()


def _keep_in_child() -> None:
    """A forked child must never close a connection of its parent: SQLite would remove the write-ahead log, and with it what the parent accepts next.

    The end of an interpreter takes every object apart that is not referred to, so there is one reference more than there are names.
    """
    import ctypes

    for spool in _open_spools:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(spool._db))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_in_child)


class SpoolFull(RatemillError):
    """There is no room for what was to be accepted; nothing of it was. Everything that was accepted before is still there."""


class SpoolInUse(RatemillError):
    """Another process, or another publisher of this one, has the spool."""


class SpoolFailed(Unavailable):
    """The disk failed; what was accepted before is in the spool as far as the disk kept it. Open another publisher once the disk is mended."""


class Row(NamedTuple):
    """Events of one account that were accepted together. body: one CloudEvent a line."""

    seq: int
    account: str
    backfill: str
    events: int
    body: bytes


class Refused(NamedTuple):
    """An event that was accepted here and that Ratemill will never take as it is."""

    account: str
    backfill: str
    reason: str
    detail: str
    body: bytes


class Spool:
    """A spool file, made if it is not there. Safe to use from several threads of one process.

    max_bytes: of the bodies of all events that wait or were refused; the file is a little larger. fsync: False gives up what a power cut takes, and
    keeps what the end of the process takes. Raises SpoolInUse, Damaged, NewerSchema and BadInput.
    """

    def __init__(self, path: Path | str, *, max_bytes: int = 1 << 30, fsync: bool = True) -> None:
        self.path = Path(path)
        self._max_bytes, self._fsync, self._pid = max_bytes, fsync, os.getpid()
        self._lock = threading.Lock()
        self._failed = self._closed = False
        self._settled: set[int] = set()  # rows behind `_passed` that were acknowledged and are still in the file, as are all up to it
        self._passed = 0
        self.last = self.waiting_events = self.waiting_bytes = self.refused_events = self.refused_bytes = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise BadInput(f"spool {self.path}: {error}; give the path of a file in a folder that can be written") from error
        try:
            self._open(fsync)
        except BaseException:
            self._db.close()
            raise
        _open_spools.add(self)

    def _open(self, fsync: bool) -> None:
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            (mode,) = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
            self._db.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'OFF'}")
            self._db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk there
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found > VERSION:
                raise NewerSchema(f"spool {self.path}", found, VERSION)
            if mode != "wal":
                raise BadInput(f"spool {self.path}: the file system has no write-ahead log of SQLite; put the spool on a local disk")
            self._db.execute("BEGIN IMMEDIATE")  # takes the lock, which is held until the end
            if found != VERSION:  # nothing is written otherwise: what waits must be delivered from a full disk, too
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {VERSION}")
            self._db.execute("COMMIT")
            count = "SELECT coalesce(sum(events), 0), coalesce(sum(length(body)), 0), coalesce(max(seq), 0) FROM waiting"
            self.waiting_events, self.waiting_bytes, self.last = self._db.execute(count).fetchone()
            refused = "SELECT count(*), coalesce(sum(length(body)), 0) FROM refused"
            self.refused_events, self.refused_bytes = self._db.execute(refused).fetchone()
        except sqlite3.Error as error:
            raise self._in_words(error) from error

    def append(self, events: Sequence[Event]) -> int:
        """Keep events; once this returns they are on the disk. The answer is the number of the last row.

        Raises SpoolFull (nothing was kept, and what was kept before is still there) and SpoolFailed.
        """
        rows = list(_rows(events))
        size = sum(len(body) for *_, body in rows)
        now = int(time.time())
        with self._lock:
            held = self.waiting_bytes + self.refused_bytes
            if held + size > self._max_bytes:
                raise SpoolFull(
                    f"spool {self.path}: {self.waiting_bytes:,} bytes wait in it and {self.refused_bytes:,} were refused; {size:,} more are beyond"
                    f" its limit of {self._max_bytes:,}; wait until events are delivered, or give it more"
                )
            with self._transaction():
                numbered = [(self.last + at, account, backfill, count, now, body) for at, (account, backfill, count, body) in enumerate(rows, 1)]
                self._db.executemany("INSERT INTO waiting VALUES (?, ?, ?, ?, ?, ?)", numbered)
            self.last += len(rows)
            self.waiting_events += len(events)
            self.waiting_bytes += size
            return int(self.last)

    def read(self, most_bytes: int) -> list[Row]:
        """The rows that wait longest: about so many bytes of them, at least one if there is one."""
        found: list[Row] = []
        size = 0
        with self._lock:
            self._check()
            for row in self._db.execute("SELECT seq, account, backfill, events, body FROM waiting WHERE seq > ? ORDER BY seq", (self._passed,)):
                if row[0] in self._settled:
                    continue
                found.append(Row(*row))
                size += len(row[-1])
                if size >= most_bytes:
                    break
        return found

    def settle(self, rows: Sequence[Row], refused: Sequence[Refused] = ()) -> None:
        """Forget rows that were acknowledged, and keep those of their events that were refused for good. Raises SpoolFull and SpoolFailed."""
        now = int(time.time())
        numbers = {row.seq for row in rows}
        with self._lock:
            try:
                with self._transaction():
                    self._db.execute("DELETE FROM waiting WHERE seq <= ?", (self._passed,))
                    self._db.executemany("DELETE FROM waiting WHERE seq = ?", [(seq,) for seq in numbers | self._settled])
                    kept = [(each.account, each.backfill, each.reason, each.detail, now, each.body) for each in refused]
                    self._db.executemany("INSERT INTO refused (account, backfill, reason, detail, at, body) VALUES (?, ?, ?, ?, ?, ?)", kept)
                self._settled.clear()
            except SpoolFull:
                if refused:
                    raise
                self._settled |= numbers
                while (first := self._first()) is not None and first[0] in self._settled:
                    self._passed = first[0]
                self._settled = {seq for seq in self._settled if seq > self._passed}
            self.waiting_events -= sum(row.events for row in rows)
            self.waiting_bytes -= sum(len(row.body) for row in rows)
            self.refused_events += len(refused)
            self.refused_bytes += sum(len(each.body) for each in refused)
            if self._passed and not (self.waiting_events or self.refused_events) and self._first(0) is not None:
                self._begin_anew()

    def _begin_anew(self) -> None:
        """A file without anything in it, in place of one in which nothing waits and from which nothing can be removed."""
        with self._in_other_words():
            self._db.close()
            # In this order: SQLite removes a log that lies there without its file, and a file without its log may be damaged.
            self.path.unlink()
            self.path.with_name(f"{self.path.name}-wal").unlink(missing_ok=True)
            self._db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        last, self._failed = self.last, True  # until it is open: nothing waits, so nothing is lost with it
        self._open(self._fsync)
        self.last, self._failed = last, False  # who flushes waits for a number

    @contextmanager
    def _in_other_words(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self._failed = True
            raise SpoolFailed(f"spool {self.path}: {error}; look at the disk, then open another publisher") from error

    def first(self) -> tuple[int, int] | None:
        """Number of the row that waits longest, and when it was accepted, in seconds since 1970; None when none waits."""
        with self._lock:
            self._check()
            return self._first()

    def _first(self, behind: int | None = None) -> tuple[int, int] | None:
        behind = self._passed if behind is None else behind
        found: tuple[int, int] | None
        found = self._db.execute("SELECT seq, accepted FROM waiting WHERE seq > ? ORDER BY seq LIMIT 1", (behind,)).fetchone()
        return found

    def refused(self, most: int = 100) -> list[Refused]:
        """Events that were refused for good, the oldest first."""
        with self._lock:
            self._check()
            rows = self._db.execute("SELECT account, backfill, reason, detail, body FROM refused ORDER BY seq LIMIT ?", (most,))
            return [Refused(*row) for row in rows]

    def clear_refused(self, *, again: bool) -> int:
        """Forget the events that were refused, or let them wait once more; how many they were. Raises SpoolFull and SpoolFailed."""
        with self._lock:
            with self._transaction():
                if again:
                    fields = "row_number() OVER (ORDER BY seq) + ?, account, backfill, 1, at, body"
                    self._db.execute(f"INSERT INTO waiting SELECT {fields} FROM refused", (self.last,))
                self._db.execute("DELETE FROM refused")
            events = self.refused_events
            if again:
                self.last += events
                self.waiting_events += events
                self.waiting_bytes += self.refused_bytes
            self.refused_events = self.refused_bytes = 0
            return events

    def close(self) -> None:
        """Let go of the file; what waits stays in it."""
        with self._lock:
            self._check_process()
            self._closed = True
            _open_spools.discard(self)
            self._db.close()

    def _check(self) -> None:
        if self._closed:
            raise BadInput(f"spool {self.path}: it was closed; open another publisher")
        if self._failed:
            raise SpoolFailed(f"spool {self.path}: the disk failed before; mend it, then open another publisher")
        self._check_process()

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise SpoolInUse(f"spool {self.path}: it belongs to the process that opened it; open a publisher of its own after the fork")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. After a failure of the disk nobody knows what a later fsync would say, so there is no later one."""
        self._check()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            said = self._in_words(error)
            self._failed = not isinstance(said, SpoolFull)
            try:
                self._db.rollback()
            except sqlite3.Error:
                self._failed = True
            raise said from error

    def _in_words(self, error: sqlite3.Error) -> RatemillError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest tells of details
        if code == sqlite3.SQLITE_FULL:
            return SpoolFull(f"spool {self.path}: the disk has no room; nothing of this call was accepted: make room, and call again")
        if code == sqlite3.SQLITE_BUSY:
            return SpoolInUse(f"spool {self.path}: another publisher has it; give each process a spool of its own")
        if code in _FOREIGN:
            return Damaged(f"spool {self.path}", error)
        return SpoolFailed(f"spool {self.path}: {error}; look at the disk, then open another publisher")


def _rows(events: Iterable[Event]) -> Iterator[tuple[str, str, int, bytes]]:
    """(account, backfill, events, body) of each row."""
    open_: dict[tuple[str, str], tuple[list[bytes], int]] = {}
    for event in events:
        key = (event.account, event.backfill)
        bodies, size = open_.get(key) or ([], 0)
        if bodies and (size + len(event.body) > ROW_BYTES or len(bodies) == ROW_EVENTS):
            yield *key, len(bodies), b"\n".join(bodies)
            bodies, size = [], 0
        bodies.append(event.body)
        open_[key] = (bodies, size + len(event.body) + 1)
    for key, (bodies, _) in open_.items():
        yield *key, len(bodies), b"\n".join(bodies)
