"""What was published of each line of a report, durable: a SQLite file. It is written before anything is sent, so a collector that dies goes on.

    reports    the version of each period that is in force, and how complete it is
    lines      each line: how many events were made of it, and the quantity that they add up to
    waiting    events that are decided on and not known to be delivered, as they are sent
    changes    what a newer version changed, line by line

A version is taken over in one transaction: its lines, its changes, and its events in `waiting`. Before it nothing has changed, after it everything
that follows is decided, whatever dies when; and what is sent twice has the same id and the same content, so it counts once.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from ...schemas.errors import BadInput, Damaged, NewerSchema, RatemillError, Unavailable
from ...schemas.quantity import ZERO, difference, parse_quantity, plain_quantity, total
from ...schemas.usage_event import UsageEvent
from .layouts import Version
from .lines import HOUR_S, Line, event_of

__all__ = ["Applied", "Change", "Report", "ReportState"]

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS reports (
  report TEXT, period TEXT, version TEXT NOT NULL, taken_at INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, rows INTEGER NOT NULL,
  without_usage INTEGER NOT NULL, lines INTEGER NOT NULL, hours TEXT NOT NULL, versions INTEGER NOT NULL, PRIMARY KEY (report, period)
);
CREATE TABLE IF NOT EXISTS lines (
  report TEXT, period TEXT, key BLOB, number INTEGER NOT NULL, quantity TEXT NOT NULL, event BLOB NOT NULL, PRIMARY KEY (report, period, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS staged (key BLOB PRIMARY KEY, quantity TEXT NOT NULL, event BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY AUTOINCREMENT, event BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS origin (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sending (one INTEGER PRIMARY KEY CHECK (one = 1), since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS changes (
  report TEXT, period TEXT, version TEXT, key BLOB, number INTEGER, before TEXT, after TEXT, at INTEGER, PRIMARY KEY (report, period, key, number)
) WITHOUT ROWID;
"""
# Lines of a version beside what stands: both sides of what is new, changed or gone. A table, for `lines` is written while it is read.
_COMPARED = """
CREATE TEMP TABLE compared AS
SELECT s.key, s.event AS staged, l.event AS known, coalesce(l.number, 0) AS number, l.quantity AS before, s.quantity AS after FROM staged s
  LEFT JOIN lines l ON l.report = :report AND l.period = :period AND l.key = s.key WHERE l.key IS NULL OR l.quantity <> s.quantity
UNION ALL
SELECT l.key, NULL, l.event, l.number, l.quantity, '0' FROM lines l
  LEFT JOIN staged s ON s.key = l.key WHERE l.report = :report AND l.period = :period AND s.key IS NULL AND l.quantity <> '0'
"""
_TAKEN = """
INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1) ON CONFLICT (report, period) DO UPDATE SET version = excluded.version,
  taken_at = excluded.taken_at, start = excluded.start, "end" = excluded."end", rows = excluded.rows, without_usage = excluded.without_usage,
  lines = excluded.lines, hours = excluded.hours, versions = versions + 1
"""
_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decode = msgspec.msgpack.Decoder(UsageEvent).decode


class Applied(NamedTuple):
    """What a version came to: lines that are new, whose quantity changed, that are gone, and that stayed."""

    new: int
    changed: int
    gone: int
    same: int


class Change(NamedTuple):
    """What a version made of a line that stood already. event: the event that was sent for it, with the difference as its quantity."""

    report: str
    period: str
    version: str
    at: int
    before: Decimal
    after: Decimal
    event: UsageEvent


class Report(NamedTuple):
    """A period of a report as it stands. hours: first seconds of those that it has rows of; versions: how many were taken so far."""

    report: str
    period: str
    version: str
    taken_at: int
    start: int
    end: int
    rows: int
    without_usage: int
    lines: int
    hours: tuple[int, ...]
    versions: int

    def expected(self, now: int) -> range:
        """First seconds of the hours of the period that are over."""
        return range(self.start - self.start % HOUR_S, min(self.end, now - now % HOUR_S), HOUR_S)

    def missing(self, now: int) -> list[tuple[int, int]]:
        """Spans of hours that are over and that no row is about, as (start, end)."""
        seen, spans = set(self.hours), list[tuple[int, int]]()
        for hour in self.expected(now):
            if hour in seen:
                continue
            if spans and spans[-1][1] == hour:
                spans[-1] = (spans[-1][0], hour + HOUR_S)
            else:
                spans.append((hour, hour + HOUR_S))
        return spans


class ReportState:
    """One process at a time. Every method may raise Unavailable (the disk is full, or the file is not to be had) and Damaged."""

    def __init__(self, folder: Path, *, reading: bool = False) -> None:
        """reading: only to tell what there is, also beside a collector that works. Raises BadInput, NewerSchema."""
        self._folder = folder
        self._lock: IO[str] | None = None
        if reading:
            if not (folder / "reports.db").is_file():
                raise BadInput(f"{folder}: no collector has worked here; give the --state that it has")
        else:
            self._lock_folder()
        with self._told():
            self._db = sqlite3.connect(folder / "reports.db", isolation_level=None)
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if found > SCHEMA:
                raise NewerSchema(f"{folder}/reports.db", found, SCHEMA)
            if not reading:
                self._db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {_TABLES} PRAGMA user_version = {SCHEMA};")

    def _lock_folder(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{self._folder}: another collector works with this state; give each its own --state") from None
        except OSError as error:
            raise Unavailable(f"{self._folder}: {error.strerror}; the state of the collector must be on a disk that can be written") from error

    def belongs_to(self, origin: str, *, new: bool, keep: bool = True) -> None:
        """Check what this state is about. new: it is about nothing yet, and if `keep` is about `origin` from now on. Raises BadInput otherwise.

        A state that was lost must not be taken for one that never was: what was published would be published once more. And with the state of
        another report its lines would be taken back.
        """
        with self._told():
            # As long as nothing was taken, the place or the report may have been a slip.
            found = self._db.execute(f"SELECT origin FROM origin{' WHERE EXISTS (SELECT 1 FROM reports)' if new else ''}").fetchone()
            if found is None and new and keep:
                self._db.execute("INSERT OR REPLACE INTO origin VALUES (1, ?)", (origin,))
        if found is None and not new:
            raise BadInput(f"{self._folder}: nothing is known of {origin}; say --new if it was never collected, or bring the state back if it was")
        if found is not None and new:
            raise BadInput(f"{self._folder}: there is a state already; leave --new out")
        if found is not None and found[0] != origin:
            raise BadInput(f"{self._folder}: the state of {found[0]}, not of {origin}; give each report its own --state")

    def close(self) -> None:
        """Let another one have it."""
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise Unavailable(f"{self._folder}/reports.db: {error}; is the disk full?") from error
            raise Damaged(f"{self._folder}/reports.db", error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite ends it by itself when the disk is full
                    self._db.execute("ROLLBACK")
                raise

    # -- a version ---------------------------------------------------------------------------------------------------

    def standing(self, report: str, period: str) -> str:
        """Id of the version that is in force; "" where none is."""
        with self._told():
            found = self._db.execute("SELECT version FROM reports WHERE report = ? AND period = ?", (report, period)).fetchone()
        return found[0] if found else ""

    def begin(self) -> None:
        """Forget what was staged: of a version that was not read to its end."""
        with self._transaction():
            self._db.execute("DELETE FROM staged")

    def stage(self, lines: Mapping[bytes, Line]) -> None:
        """Put lines of the version that is being read beside those that are there; the quantities of one line are added up."""
        with self._transaction():
            for key, line in lines.items():
                found = self._db.execute("SELECT quantity FROM staged WHERE key = ?", (key,)).fetchone()
                if found is None:
                    self._db.execute("INSERT INTO staged VALUES (?, ?, ?)", (key, plain_quantity(line.quantity), _encode(line.event)))
                else:
                    quantity = plain_quantity(total(parse_quantity(found[0]), line.quantity))
                    self._db.execute("UPDATE staged SET quantity = ? WHERE key = ?", (quantity, key))

    def staged(self) -> int:
        """How many lines are staged."""
        with self._told():
            return int(self._db.execute("SELECT count(*) FROM staged").fetchone()[0])

    def count_lines(self, report: str, period: str) -> int:
        """How many lines of a period have usage."""
        with self._told():
            count = "SELECT count(*) FROM lines WHERE report = ? AND period = ? AND quantity <> '0'"
            return int(self._db.execute(count, (report, period)).fetchone()[0])

    def apply(
        self, version: Version, rows: int, without_usage: int, hours: Iterable[int], now: int, *, dry: bool = False,
        tell: Callable[[Change], None] = lambda _: None,
    ) -> Applied:  # fmt: skip
        """Let the staged version stand instead of the one before, and decide on the events for it. now: seconds since 1970.

        tell: called with each change of a line that stood. dry: say what would come of it, and change nothing.
        """
        counts = {"new": 0, "changed": 0, "gone": 0}
        lines = 0
        try:
            with self._transaction():
                self._db.execute(_COMPARED, {"report": version.report, "period": version.period})
                for key, staged, known, number, before, after in self._db.execute("SELECT * FROM compared ORDER BY key"):
                    counts["new" if known is None else "gone" if staged is None else "changed"] += 1
                    change = self._replace(version, key, staged or known, number, before, after, now)
                    if known is not None:
                        tell(change)
                self._db.execute("DROP TABLE compared")
                (lines,) = self._db.execute("SELECT count(*) FROM staged").fetchone()
                its = (version.report, version.period, version.id, now, version.start, version.end)
                self._db.execute(_TAKEN, (*its, rows, without_usage, lines, json.dumps(sorted(hours))))
                self._db.execute("DELETE FROM staged")
                if dry:
                    raise _NotMeant
        except _NotMeant:
            pass
        return Applied(**counts, same=lines - counts["new"] - counts["changed"])

    def _replace(self, version: Version, key: bytes, event: bytes, number: int, before: str | None, after: str, now: int) -> Change:
        was, becomes = ZERO if before is None else parse_quantity(before), parse_quantity(after)
        change = parse_quantity(plain_quantity(difference(becomes, was)))  # what has too many digits is refused here, and not by the pipeline
        sent = event_of(_decode(event), key, number + 1, change)
        where = (version.report, version.period)
        self._db.execute("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?, ?, ?)", (*where, key, number + 1, after, event))
        self._db.execute("INSERT INTO waiting (event) VALUES (?)", (_encode(sent),))
        if before is not None:
            self._db.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*where, version.id, key, number + 1, before, after, now))
        return Change(*where, version.id, now, was, becomes, sent)

    # -- what is to be sent ------------------------------------------------------------------------------------------

    def waiting(self, limit: int) -> list[tuple[int, UsageEvent]]:
        """(number, event) of the oldest events that are not known to be delivered."""
        with self._told():
            found = self._db.execute("SELECT number, event FROM waiting ORDER BY number LIMIT ?", (limit,)).fetchall()
        return [(number, _decode(event)) for number, event in found]

    def count_waiting(self) -> int:
        """How many there are."""
        with self._told():
            return int(self._db.execute("SELECT count(*) FROM waiting").fetchone()[0])

    def sending(self, now: int) -> int:
        """Note that the oldest are being sent; since when they have been, in seconds since 1970."""
        with self._transaction():
            self._db.execute("INSERT INTO sending VALUES (1, ?) ON CONFLICT DO NOTHING", (now,))
            return int(self._db.execute("SELECT since FROM sending").fetchone()[0])

    def sent(self, numbers: Sequence[int]) -> None:
        """These are delivered."""
        with self._transaction():
            self._db.executemany("DELETE FROM waiting WHERE number = ?", [(number,) for number in numbers])
            self._db.execute("DELETE FROM sending")

    # -- what to tell ------------------------------------------------------------------------------------------------

    def reports(self) -> list[Report]:
        """Every period of every report."""
        with self._told():
            rows = self._db.execute("SELECT * FROM reports ORDER BY report, period").fetchall()
        return [Report._make((*row[:9], tuple(json.loads(row[9])), row[10])) for row in rows]

    def changes(self, report: str = "", period: str = "", version: str = "", event: str = "") -> Iterator[Change]:
        """What newer versions changed, in the order in which it happened: of a report, a period, a version, or the line of an event; "" for all."""
        key = number = None
        if event:
            _, _, rest = event.partition("line:")
            text, _, count = rest.partition(":")
            try:
                key, number = bytes.fromhex(text), int(count)
            except ValueError:
                raise BadInput(f"{event[:80]!r} is no id of an event of this collector; they look like line:0123…:2") from None
        rows = self._db.execute(
            "SELECT c.report, c.period, c.version, c.at, c.before, c.after, c.key, c.number, l.event FROM changes c "
            "JOIN lines l ON l.report = c.report AND l.period = c.period AND l.key = c.key "
            "WHERE (?1 = '' OR c.report = ?1) AND (?2 = '' OR c.period = ?2) AND (?3 = '' OR c.version LIKE ?3 || '%') "
            "AND (?4 IS NULL OR c.key = ?4) AND (?5 IS NULL OR c.number <= ?5) ORDER BY c.at, c.report, c.period, c.key, c.number",
            (report, period, version, key, number),
        )
        with self._told():
            for its_report, its_period, its_version, at, before, after, its_key, its_number, line in rows:
                was, becomes = parse_quantity(before), parse_quantity(after)
                sent = event_of(_decode(line), its_key, its_number, difference(becomes, was))
                yield Change(its_report, its_period, its_version, at, was, becomes, sent)


class _NotMeant(RatemillError):
    """Ends the transaction of a dry run."""
