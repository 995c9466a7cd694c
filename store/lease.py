"""Which of several watchers works: a row of the control database that its holder renews.

No clock is compared with another one. A holder adds one to the row's `beat` again and again; whoever sees the same beat for the whole
length of the lease, by its own clock, may take the row over. A holder that could not renew for so long, by its own clock, stops first:
its time counts from before it wrote, the other's from after it read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Connection, Engine, Update, insert, select, update
from sqlalchemy.exc import IntegrityError

from ..schemas.errors import Unavailable
from .database import transaction
from .tables import leases as table

__all__ = ["Lease", "LeaseLost"]


class LeaseLost(Unavailable):
    """Another one holds the lease, or may hold it."""


class Lease:
    """One process's claim to the row `name`. holder: a name that no other process has. Blocking: call it in a thread."""

    def __init__(self, engine: Engine, name: str, holder: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine, self._name, self._holder, self.seconds, self._clock = engine, name, holder, seconds, clock
        self._until = float("-inf")
        self._seen: tuple[int, float] = (-1, 0.0)  # the beat of another holder, and since when it is the same

    def left(self) -> float:
        """Seconds for which nobody else can hold it; zero or less: it is not ours, or may not be."""
        return self._until - self._clock()

    def take(self) -> bool:
        """Take it if nobody holds it, or its holder is silent for the length of the lease. Raises Unavailable."""
        began = self._clock()
        with transaction(self._engine) as connection:
            row = connection.execute(select(table).where(table.c.name == self._name)).mappings().one_or_none()
        if row is not None and row["holder"] not in ("", self._holder):
            if row["beat"] != self._seen[0]:
                self._seen = (row["beat"], self._clock())
            if self._clock() - self._seen[1] < self.seconds:
                return False
        taken = self._insert() if row is None else self._update(table.c.beat == row["beat"], holder=self._holder)
        if taken:
            self._until = began + self.seconds
        return taken

    def renew(self) -> None:
        """Hold it for its length from now on. Raises LeaseLost, Unavailable."""
        began = self._clock()
        if not self._update(table.c.holder == self._holder):
            raise self._lost()
        self._until = began + self.seconds

    def release(self) -> None:
        """Let another one have it at once. Raises Unavailable."""
        self._until = float("-inf")
        self._update(table.c.holder == self._holder, holder="")

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction that only the holder can commit: the row is locked in it. Raises LeaseLost, Unavailable."""
        with transaction(self._engine) as connection:
            if not connection.execute(self._query(table.c.holder == self._holder)).rowcount:
                raise self._lost()
            yield connection

    def _lost(self) -> LeaseLost:
        self._until = float("-inf")
        return LeaseLost(f"another process holds the lease {self._name}; this one waits for it")

    def _insert(self) -> bool:
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(table).values(name=self._name, holder=self._holder, beat=0))
        except IntegrityError:  # another one was faster
            return False
        return True

    def _update(self, condition: ColumnElement[bool], **values: str) -> bool:
        with transaction(self._engine) as connection:
            return connection.execute(self._query(condition, **values)).rowcount > 0

    def _query(self, condition: ColumnElement[bool], **values: str) -> Update:
        return update(table).where(table.c.name == self._name, condition).values(beat=table.c.beat + 1, **values)
