"""When sources were heard of, in the control database. Counts, and never amounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import xxhash
from sqlalchemy import Connection, Engine, Table, case, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from ...schemas.arrivals import HOUR_S, Arrivals
from ...schemas.event_checks import require_text
from ...store.database import transaction
from ...store.lease import Lease
from ...store.tables import read_positions, source_hours, sources
from .states import EXPECTED_S, Hour

__all__ = ["KEPT_S", "MOST_SOURCES", "OTHERS", "Sources"]

KEPT_S = 35 * 86_400
MOST_SOURCES = 1_000
OTHERS = "(others)"  # what is beyond them
_SHOWN = 200  # characters of a name


class Sources:
    """Blocking: to be called in a thread. Every method raises Unavailable; those with a lease raise LeaseLost too."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> the offset behind what is counted."""
        table = read_positions
        with transaction(self._engine) as connection:
            return {(row.topic, row.partition): row.next_offset for row in connection.execute(select(table))}

    def add(self, lease: Lease, batch: Arrivals, now: int) -> None:
        """Count a batch, and how far it came, in one transaction. Usage of hours that are not kept only counts as an arrival.

        now: seconds since 1970, UTC.
        """
        names = {source for source, _ in (*batch.usage, *batch.arrived)}
        with lease.transaction() as connection:
            if names:
                self._count(connection, batch, names, now)
            if batch.positions:
                rows = [
                    {"topic": topic, "partition": number, "next_offset": offset, "through": 0} for (topic, number), offset in batch.positions.items()
                ]  # fmt: skip
                _upsert(connection, read_positions, rows, replace=("next_offset",))
            if batch.through:
                connection.execute(read_positions.update().values(through=batch.through))

    def heartbeat(self, source: str, now: int) -> None:
        """A source lives, with or without usage. now: seconds since 1970, UTC. Raises BadInput for a name that no event has."""
        require_text("source", source)
        # It reads before it writes: SQLite would refuse that to one who had begun to read before another one wrote.
        with transaction(self._engine.execution_options(immediate=True)) as connection:
            name = self._names(connection, [source], now)[source]
            _upsert(connection, source_hours, [_row(name, now - now % HOUR_S, heartbeats=1)], add=("heartbeats",))

    def through(self) -> int:
        """Until when everything that arrived is counted (seconds since 1970, UTC); 0: nothing is."""
        with transaction(self._engine) as connection:
            return int(connection.execute(select(func.max(read_positions.c.through))).scalar_one() or 0)

    def last_seen(self, now: int) -> dict[str, int]:
        """Sources that are expected because they were heard of, and when they were last."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(sources).where(sources.c.last_seen >= now - EXPECTED_S))
            return {row.name: row.last_seen for row in rows}

    def hours(self, since: int, until: int, source: str | None) -> dict[str, dict[int, Hour]]:
        """What is known of each source and hour from EXPECTED_S before `since` up to `until`, as `states.table_of` takes it. Raises BadInput."""
        table = source_hours
        query = select(table).where(table.c.hour >= since - since % HOUR_S - EXPECTED_S, table.c.hour < until)
        if source is not None:
            require_text("source", source)
            query = query.where(table.c.source == _short(source))
        found: dict[str, dict[int, Hour]] = {}
        with transaction(self._engine) as connection:
            for row in connection.execute(query):
                found.setdefault(row.source, {})[row.hour] = Hour(row.events, row.arrivals, row.heartbeats, row.last_arrival)
        return found

    def sweep(self, lease: Lease, now: int) -> None:
        """Delete what is older than KEPT_S."""
        with lease.transaction() as connection:
            connection.execute(delete(source_hours).where(source_hours.c.hour < now - KEPT_S))
            connection.execute(delete(sources).where(sources.c.last_seen < now - KEPT_S))

    def _count(self, connection: Connection, batch: Arrivals, names: Iterable[str], now: int) -> None:
        latest: dict[str, int] = {}
        for (source, _), arrived in batch.latest.items():
            latest[source] = max(latest.get(source, 0), arrived)
        kept = self._names(connection, names, now, latest)
        rows: dict[tuple[str, int], dict[str, Any]] = {}

        def row(source: str, hour: int) -> dict[str, Any]:
            name = kept[source]
            return rows.setdefault((name, hour), _row(name, hour))

        for (source, hour), count in batch.usage.items():
            if now - KEPT_S <= hour <= now + HOUR_S:
                own = row(source, hour)
                own["events"] += count
                own["last_arrival"] = max(own["last_arrival"], batch.latest[source, hour])
        for (source, hour), count in batch.arrived.items():
            row(source, hour)["arrivals"] += count
        _upsert(connection, source_hours, list(rows.values()), add=("events", "arrivals"), latest=("last_arrival",))

    def _names(self, connection: Connection, names: Iterable[str], now: int, latest: Mapping[str, int] | None = None) -> dict[str, str]:
        """Source -> the name that it is kept under, and that it was heard of. There are at most MOST_SOURCES names, and one for all others."""
        known = set(connection.execute(select(sources.c.name)).scalars())
        kept, heard = {}, dict[str, int]()
        for source in sorted(names):
            name = _short(source)
            if name not in known and len(known) >= MOST_SOURCES:
                name = OTHERS
            known.add(name)
            kept[source] = name
            heard[name] = max(heard.get(name, 0), now if latest is None else latest[source])
        rows = [{"name": name, "last_seen": at} for name, at in sorted(heard.items())]
        _upsert(connection, sources, rows, latest=("last_seen",))
        return kept


def _short(source: str) -> str:
    """A name that fits into an index: a long one is cut, and told from others by a hash."""
    return source if len(source) <= _SHOWN else f"{source[: _SHOWN - 17]}…{xxhash.xxh3_64_hexdigest(source.encode())}"


def _row(source: str, hour: int, **counts: int) -> dict[str, Any]:
    return {"source": source, "hour": hour, "events": 0, "arrivals": 0, "heartbeats": 0, "last_arrival": 0, **counts}


def _upsert(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *,
    add: Sequence[str] = (), latest: Sequence[str] = (), replace: Sequence[str] = (),
) -> None:  # fmt: skip
    """Insert rows; where one is there already, add some columns to it, keep the greater one of others, and replace the rest."""
    query: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    changes = {name: query.excluded[name] for name in replace} | {name: table.c[name] + query.excluded[name] for name in add}
    changes |= {name: case((query.excluded[name] > table.c[name], query.excluded[name]), else_=table.c[name]) for name in latest}
    keys = [column.name for column in table.primary_key]
    ordered = sorted(rows, key=lambda row: [row[name] for name in keys])  # else two writers could wait for each other
    connection.execute(query.on_conflict_do_update(index_elements=keys, set_=changes), ordered)
