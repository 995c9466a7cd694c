"""The loop of a plan: window after window, none left out and none read twice.

What a window came to is decided in one transaction: its events, what its counters ended with, and where the next one begins. Then its events are put.
A window that was read twice could come to something else, with samples that came late: its second word would be a conflict, and the next window
would go on from it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Protocol

from ...schemas.errors import BadInput, NewerSchema, RatemillError, Unavailable
from ...schemas.quantity import parse_quantity, plain_quantity
from ..sdk.events import Event
from .meters import Meter, Plan, Reading, Series, event_of, readings

__all__ = ["Collected", "PrometheusCollector", "PrometheusState", "Window"]

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS meters (name TEXT PRIMARY KEY, next INTEGER NOT NULL, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS counters (meter TEXT, series TEXT, value TEXT NOT NULL, PRIMARY KEY (meter, series)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows (
  meter TEXT, start INTEGER, series INTEGER NOT NULL, samples INTEGER NOT NULL, expected INTEGER NOT NULL, resets INTEGER NOT NULL,
  PRIMARY KEY (meter, start)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (number INTEGER PRIMARY KEY, account TEXT NOT NULL, body BLOB NOT NULL, backfill TEXT NOT NULL);
"""
_KEPT_S = 400 * 86_400


class Window(NamedTuple):
    """A window of a meter as it was read: series, samples that came, samples that there would be without gaps, and resets of counters."""

    meter: str
    start: int
    series: int
    samples: int
    expected: int
    resets: int


class Collected(NamedTuple):
    """What became of a window."""

    window: Window
    events: int


class Accepts(Protocol):
    """What takes events: a Publisher of the SDK. Once it returns they are on the disk."""

    def put_many(self, events: Iterable[Event]) -> None:
        """All of them, or none."""


class Queries(Protocol):
    """A Prometheus."""

    def query_range(self, query: str, start: int, end: int, step_s: int) -> list[Series]:
        """Series with their samples."""


class PrometheusState:
    """How far each meter came, in a SQLite file. Raises BadInput, NewerSchema, Unavailable."""

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        """reading: only to tell what there is, also beside a collector that works."""
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(path, isolation_level=None, timeout=0)
            (found,) = self.db.execute("PRAGMA user_version").fetchone()
            if found > SCHEMA:
                raise NewerSchema(str(path), found, SCHEMA)
            if not reading:
                self.db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {_TABLES} PRAGMA user_version = {SCHEMA};")
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{path}: {error}; is the folder there, and the disk not full?") from error

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    def next(self, meter: str) -> int | None:
        """Start of the window that is to be read next; None for a meter that is new."""
        row = self.db.execute("SELECT next FROM meters WHERE name = ?", (meter,)).fetchone()
        return None if row is None else int(row[0])

    def last(self, meter: str) -> dict[str, Decimal]:
        """What each counter ended with."""
        return {series: parse_quantity(value) for series, value in self.db.execute("SELECT series, value FROM counters WHERE meter = ?", (meter,))}

    def done(self, window: Window, window_s: int, found: Iterable[Reading], events: Iterable[Event]) -> None:
        """A window is read, and its events are to be put."""
        try:
            self.db.execute("BEGIN IMMEDIATE")
            put = [(event.account, event.body, event.backfill) for event in events]
            self.db.executemany("INSERT INTO waiting (account, body, backfill) VALUES (?, ?, ?)", put)
            self.db.execute(
                "INSERT INTO meters VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET next = excluded.next",
                (window.meter, window.start + window_s, window.start),
            )
            values = [(window.meter, one.series.key, plain_quantity(one.last)) for one in found if one.last is not None]
            self.db.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?, ?)", values)
            self.db.execute("INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?, ?)", window)
            self.db.execute("DELETE FROM windows WHERE start < ?", (window.start - _KEPT_S,))
            self.db.execute("COMMIT")
        except sqlite3.Error as error:
            if self.db.in_transaction:  # SQLite ends it by itself when the disk is full, and not for every other reason
                self.db.rollback()
            raise Unavailable(f"{self._path}: {error}; is the disk full?") from error

    def waiting(self) -> list[Event]:
        """Events of windows that are read, and that may not have been put."""
        return [Event(*row) for row in self.db.execute("SELECT account, body, backfill FROM waiting ORDER BY number")]

    def put(self) -> None:
        """All of them were put."""
        try:
            self.db.execute("DELETE FROM waiting")
        except sqlite3.Error as error:
            raise Unavailable(f"{self._path}: {error}; is the disk full?") from error

    def meters(self) -> list[tuple[str, int, int]]:
        """(name, start of its first window, end of its last one) of every meter."""
        return [(name, since, end) for name, end, since in self.db.execute("SELECT name, next, since FROM meters ORDER BY name")]

    def windows(self, meter: str, since: int) -> list[Window]:
        """What was read of a meter, from a time on (seconds since 1970)."""
        return [Window(*row) for row in self.db.execute("SELECT * FROM windows WHERE meter = ? AND start >= ? ORDER BY start", (meter, since))]


class PrometheusCollector:
    """now: the wall clock, seconds since 1970. since: where a meter begins that is new; None: at the last window that is over.

    live_s: windows that began longer ago are sent as the backfill `prometheus`.
    """

    def __init__(
        self, plan: Plan, queries: Queries, state: PrometheusState, publisher: Accepts, now: Callable[[], int], since: int | None = None,
        live_s: int = 30 * 86_400,
    ) -> None:  # fmt: skip
        self._plan, self._queries, self._state, self._publisher, self._now = plan, queries, state, publisher, now
        self._since, self._live_s = since, live_s

    def run(self, tell: Callable[[Collected], None] = lambda _: None, step: Callable[[str], None] = lambda _: None) -> int:
        """Read every window that is over; how many.

        Raises RatemillError, the first that went wrong, in the end: what was read stays read, and one meter does not hold up the others.
        """
        count = 0
        wrong: RatemillError | None = None
        plan = self._plan
        self._put()
        for meter in plan.meters:
            over = (self._now() - plan.delay_s) // plan.window_s * plan.window_s
            known = self._state.next(meter.name)
            try:
                start = known if known is not None else self._beginning(over)
                while start + plan.window_s <= over:
                    tell(self._window(meter, start, known is None, step))
                    known = start = start + plan.window_s
                    count += 1
            except RatemillError as error:
                wrong = wrong or error
        if wrong is not None:
            raise wrong
        return count

    def _beginning(self, over: int) -> int:
        plan = self._plan
        if self._since is None:
            return over - plan.window_s
        if self._since > over:
            raise BadInput("--since is in the future, or within the window that is not over yet")
        return self._since - self._since % plan.window_s

    def _window(self, meter: Meter, start: int, first_ever: bool, step: Callable[[str], None]) -> Collected:
        plan = self._plan
        end = start + plan.window_s
        series = self._queries.query_range(meter.query, start, end, plan.step_s)
        found = readings(meter, series, start, end, plan.step_s, self._state.last(meter.name), first_ever)
        backfill = "" if start >= self._now() - self._live_s else "prometheus"
        events = [event for reading in found if (event := event_of(plan, meter, reading, start, end, backfill)) is not None]
        step("read")
        steps = plan.window_s // plan.step_s
        # A counter closes its window with the sample at its end; of a gauge that one is the next window's first.
        first = start if meter.kind == "gauge" else start + 1
        inside = sum(1 for one in series for point in one.points if 0 <= point.time - first < plan.window_s)
        window = Window(meter.name, start, len(series), inside, steps * len(series), sum(reading.resets for reading in found))
        self._state.done(window, plan.window_s, found, events)
        step("done")
        self._put()
        step("put")
        return Collected(window, len(events))

    def _put(self) -> None:
        """Put what is decided on. What was put already has the same ids and the same content, and counts once."""
        if events := self._state.waiting():
            self._publisher.put_many(events)
            self._state.put()
