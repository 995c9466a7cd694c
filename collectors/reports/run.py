"""The loop of a report's collector: find its versions, read the newest of each period, compare, hand over. It may be killed anywhere."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ...schemas.errors import BadInput, RatemillError, Unavailable
from ...schemas.times import NS
from ...schemas.usage_event import UsageEvent
from .layouts import LAYOUTS, Layout, Version
from .lines import Lines, rows_of
from .state import Applied, Change, ReportState
from .stores import Changed, Store, Stored

__all__ = ["STEPS", "Collector", "Deliver", "Tell", "Told"]

# Hands events over, and returns when they are durable there: (events, name of a backfill or "").
Deliver = Callable[[Sequence[UsageEvent], str], None]
# Places where a test lets the process die, in their order.
STEPS = ("found", "read", "staged", "applied", "sending", "delivered", "sent")

_BATCH = 5_000
_STAGED_AT_ONCE = 50_000
_TRIES = 3  # to read a report that is being replaced
DAY_S = 86_400


class Told(NamedTuple):
    """What became of a version. applied: None where it stood already."""

    version: Version
    applied: Applied | None
    rows: int = 0


Tell = Callable[[str, int], None]  # what is being done, and how much of it


class Collector:
    """One report of a provider. now: the wall clock, seconds since 1970. since: periods that began before (seconds since 1970) are left alone.

    live_s: younger usage is sent as live usage, older as a backfill, which the pipeline takes at any age. remembered_s: how long the
    pipeline remembers ids; what was tried longer ago may count twice if it is sent again, and is not. empty: take also a version without any
    usage where there was some.
    """

    def __init__(
        self, store: Store, layout: str, report: str, state: ReportState, deliver: Deliver, now: Callable[[], int], *,
        since: int = 0, live_s: int = 30 * DAY_S, remembered_s: int = 30 * DAY_S, empty: bool = False,
        step: Callable[[str], None] = lambda _: None, tell: Tell = lambda what, count: None,
    ) -> None:  # fmt: skip
        self._store, self._report, self._state, self._deliver, self._now = store, report, state, deliver, now
        self._layout: Layout = LAYOUTS[layout]
        self._since, self._empty = since, empty
        self._live_s, self._remembered_s, self._step, self._tell = live_s, remembered_s, step, tell

    def run(
        self, *, dry: bool = False, change: Callable[[Change], None] = lambda _: None, done: Callable[[Told], None] = lambda _: None
    ) -> list[Told]:  # fmt: skip
        """Send what waits, then take every version that does not stand yet, oldest period first. dry: only say what would change.

        change: called with each line that a version changes; done: with each version, once it is taken. A version that cannot be read does not
        keep the others from being taken. Raises RatemillError: the first that went wrong, in the end.
        """
        if not dry:
            self.drain()
        told: list[Told] = []
        found = list(self._layout.find(self._store, self._report))
        wrong = next((one for one in found if isinstance(one, RatemillError)), None)
        versions = [one for one in found if isinstance(one, Version)]
        self._check_places(versions)
        for version in sorted(versions, key=lambda one: one.start):
            standing = self._state.standing(version.report, version.period)
            if version.start < self._since or not (version.files or (standing and wrong is None)):
                continue
            self._step("found")
            if standing == version.id:
                told.append(Told(version, None))
                done(told[-1])
                continue
            try:
                told.append(self._take(version, dry, change))
                done(told[-1])
            except Changed as error:
                wrong = wrong or Unavailable(f"{version.period} is being published anew, and is taken at the next run ({error})")
            except RatemillError as error:
                wrong = wrong or error
            if not dry:
                self.drain()
        if wrong is not None:
            raise wrong
        return told

    def _check_places(self, versions: Sequence[Version]) -> None:
        """Two reports of one name would take each other's lines back, again and again. Raises BadInput."""
        places: dict[str, str] = {}
        for version in versions:
            if (other := places.setdefault(version.period, version.manifest.name)) != version.manifest.name:
                both = f"{other} and {version.manifest.name}"
                raise BadInput(f"{self._store}: two reports have the name {self._report}: {both}; let PLACE name the folder of one of them")

    def _take(self, version: Version, dry: bool, change: Callable[[Change], None]) -> Told:
        for left in reversed(range(_TRIES)):
            try:
                lines = self._read(version)
                break
            except Changed:
                newest = {found.period: found for found in self._layout.find(self._store, self._report) if isinstance(found, Version)}
                version = newest.get(version.period, version)
                if not left:
                    raise
        self._step("read")
        if version.files and not self._empty and not self._state.staged() and (left := self._state.count_lines(version.report, version.period)):
            raise BadInput(
                f"{version.report} {version.period}: the version {version.id.partition('@')[0]} has no usage at all, and {left:,} lines of usage "
                "stand, so it is not taken: an export that went wrong looks like that; if it is right, give --allow-empty"
            )
        applied = self._state.apply(version, lines.rows, lines.without_usage, lines.hours(), self._now(), dry=dry, tell=change)
        self._step("applied")
        return Told(version, applied, lines.rows)

    def _read(self, version: Version) -> Lines:
        """All rows of a version, staged. Raises Changed where it is not the newest any more; Unreadable; Unavailable."""
        lines = Lines(self._layout.format, version.period)
        self._state.begin()
        for file in version.files:
            name = file.name
            if name.lower().endswith(".zip"):
                raise BadInput(f"{name}: ZIP is not read; let the report be delivered as GZIP or Parquet")
            with self._fetched(file) as path:
                for rows in lines.add(rows_of(path, self._layout.format, f"{self._store}/{name}")):
                    self._tell("rows read", rows)
                    if len(lines) >= _STAGED_AT_ONCE:
                        self._state.stage(lines.taken())
            self._step("staged")
        self._state.stage(lines.taken())
        lines.check(f"{version.report} {version.period}")
        # Each file was the one that was listed. If the manifest is not, they may have been listed between two versions that overwrite each other.
        self._store.open(version.manifest.name, version.manifest.etag).close()
        return lines

    @contextmanager
    def _fetched(self, file: Stored) -> Iterator[str]:
        """A file of the store as one of this machine, for as long as it is read."""
        with tempfile.TemporaryDirectory(prefix="ratemill-report-") as folder:
            path = Path(folder, file.name.rpartition("/")[2])
            try:
                with self._store.open(file.name, file.etag) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
            except OSError as error:
                raise Unavailable(f"{file.name}: {error.strerror or error}; is there room in the folder for temporary files (TMPDIR)?") from error
            yield str(path)

    def drain(self) -> int:
        """Send what is decided on and not known to be delivered; how many events that were. Raises what `deliver` raises."""
        count = 0
        while waiting := self._state.waiting(_BATCH):
            since = self._state.sending(self._now())
            if since + self._remembered_s < self._now():
                days = (self._now() - since) // DAY_S
                raise Unavailable(
                    f"events were sent {days} days ago without an answer, and the pipeline may have forgotten whether they came: sent again they "
                    "could count twice; see docs/collectors-cloud.md, After a long pause"
                )
            self._step("sending")
            oldest_live = (self._now() - self._live_s) * NS
            for backfill, events in (
                ("", [event for _, event in waiting if event.time >= oldest_live]),
                (f"report-{self._report}", [event for _, event in waiting if event.time < oldest_live]),
            ):  # fmt: skip
                if events:
                    self._deliver(events, backfill)
                    self._step("delivered")
            self._state.sent([number for number, _ in waiting])
            self._step("sent")
            count += len(waiting)
            self._tell("events sent", count)
        return count
