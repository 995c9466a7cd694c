"""Comparing the outbox with itself, and with what a marketplace says that it has.

The books: for each target, usage counted = frozen quantities + what waits in open hours + carry, to the last digit. The marketplace: its sums by
customer, dimension and day (Azure tells them; of the others a report is read from a file) against those that the outbox has as accepted.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

from sqlalchemy import Engine, select

from ...pricing.money import EXACT, ZERO, money
from ...schemas.errors import BadInput, Rejection, Unavailable
from ...schemas.times import NS, format_time, parse_naive_utc
from ...store.database import transaction
from ...store.tables import marketplace_items as items
from ...store.tables import marketplace_records as records
from ...store.tables import marketplace_targets as targets
from ...store.tables import marketplace_usage as usage
from .azure import API, VERSION
from .http import Answer, Request, json_of
from .listings import KEYS, Listing
from .records import State

__all__ = ["Book", "Difference", "Key", "accepted_by_day", "azure_days", "azure_request", "books", "compare", "read_report"]

Key = tuple[str, str, str]  # customer, dimension, day (YYYY-MM-DD, UTC)


@dataclass(frozen=True, slots=True)
class Book:
    """A target. counted: exact usage of its line items; recorded: in records that were not carried on; open: in hours that are not frozen."""

    target: str
    counted: Decimal
    recorded: Decimal
    open: Decimal
    carry: Decimal

    @property
    def difference(self) -> Decimal:
        """Zero, unless something is wrong."""
        with localcontext(EXACT):
            return self.counted - self.recorded - self.open - self.carry


@dataclass(frozen=True, slots=True)
class Difference:
    """A sum that is not the same: ours as accepted, and the marketplace's."""

    key: Key
    ours: Decimal
    theirs: Decimal


def books(engine: Engine) -> list[Book]:
    """Every target, added up. Raises Unavailable."""
    with transaction(engine) as connection, localcontext(EXACT):
        counted, waiting, recorded = dict[str, Decimal](), dict[str, Decimal](), dict[str, Decimal]()
        for row in connection.execute(select(items.c.target, items.c.quantity)):
            counted[row.target] = counted.get(row.target, ZERO) + money(row.quantity)
        for its in connection.execute(select(usage.c.target, usage.c.quantity)):
            waiting[its.target] = waiting.get(its.target, ZERO) + money(its.quantity)
        for one in connection.execute(select(records.c.target, records.c.quantity, records.c.state, records.c.accepted)):
            if one.state not in (State.EXPIRED, State.LATE):
                number = money(one.accepted) if one.state == State.SETTLED else one.quantity
                recorded[one.target] = recorded.get(one.target, ZERO) + number
        rows = connection.execute(select(targets.c.id, targets.c.carry).order_by(targets.c.id)).all()
    return [
        Book(row.id, counted.get(row.id, ZERO), recorded.get(row.id, ZERO), waiting.get(row.id, ZERO), money(row.carry)) for row in rows
    ]  # fmt: skip


def accepted_by_day(engine: Engine, listing: Listing, since: int, until: int) -> dict[Key, Decimal]:
    """What the outbox has as accepted, hours from `since` up to `until` (seconds since 1970, UTC). Raises Unavailable."""
    joined = records.join(targets, records.c.target == targets.c.id)
    query = (
        select(records.c.hour, records.c.wire, records.c.accepted, targets.c.dimension)
        .select_from(joined)
        .where(targets.c.listing == listing.name, records.c.state.in_((State.ACCEPTED, State.SETTLED, State.MISMATCH)))
        .where(records.c.hour >= since, records.c.hour < until, records.c.accepted != "")
    )
    found: dict[Key, Decimal] = {}
    with transaction(engine) as connection, localcontext(EXACT):
        for row in connection.execute(query):
            names = json.loads(row.wire)
            customer = next(names[name] for name in KEYS[listing.marketplace] if name in names)
            key = (customer, row.dimension, format_time(row.hour * NS)[:10])
            found[key] = found.get(key, ZERO) + money(row.accepted)
    return found


def compare(ours: dict[Key, Decimal], theirs: dict[Key, Decimal], marketplace: str) -> list[Difference]:
    """Sums that differ, and those that only one of the two has."""
    if marketplace == "azure":  # ids of its resources are GUIDs, whatever the case in which somebody wrote them down
        ours, theirs = _lower(ours), _lower(theirs)
    return [Difference(key, a, b) for key in sorted({*ours, *theirs}) if (a := ours.get(key, ZERO)) != (b := theirs.get(key, ZERO))]


def _lower(sums: dict[Key, Decimal]) -> dict[Key, Decimal]:
    found: dict[Key, Decimal] = {}
    with localcontext(EXACT):
        for (customer, dimension, day), quantity in sums.items():
            key = (customer.lower(), dimension, day)
            found[key] = found.get(key, ZERO) + quantity
    return found


def azure_request(listing: Listing, since: int) -> Request:
    """usageEvents of the metered billing API: what was processed, by day."""
    url = f"{listing.settings.get('url', API).rstrip('/')}/api/usageEvents?api-version={VERSION}&usageStartDate={format_time(since * NS)}"
    return Request("GET", url, {})


def azure_days(answer: Answer) -> dict[Key, Decimal]:
    """Quantities of an answer: as they were processed, of what is yet to be processed (`Submitted`) as they were submitted. Raises Unavailable."""
    try:
        rows = json_of(Answer(answer.status, b'{"rows":%b}' % answer.body))["rows"] if answer.status == 200 else None
    except KeyError:
        rows = None
    if not isinstance(rows, list):
        raise Unavailable(f"Azure does not tell what it has: {answer.detail or f'answered {answer.status}'}; try again later")
    try:
        return _sums(
            (str(row["usageResourceId"]), str(row["dimension"]), str(row["usageDate"]),
             str(row["submittedQuantity" if row.get("reconStatus") == "Submitted" else "processedQuantity"]))
            for row in rows
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError, ValueError, Rejection) as error:
        raise Unavailable(f"Azure tells what it has in a form that is not known here: {error!r}; compare with its report (--file)") from error


def read_report(data: bytes, name: str) -> dict[Key, Decimal]:
    """Sums of a CSV file with the columns customer, dimension, time and quantity. Raises BadInput."""
    try:
        text = data.decode("utf-8-sig")  # spreadsheets put a mark in front
    except UnicodeDecodeError as error:
        raise BadInput(f"{name}: it is not UTF-8 (byte {error.start + 1}); save it as CSV in UTF-8") from error
    reader: Any = csv.DictReader(io.StringIO(text))
    wanted = ("customer", "dimension", "time", "quantity")
    if missing := [column for column in wanted if column not in (reader.fieldnames or ())]:
        raise BadInput(f"{name}:1: no column {', '.join(missing)}; the first line must name {', '.join(wanted)}")
    try:
        return _sums(tuple(str(row[column]) for column in wanted) for row in reader)
    except (ValueError, Rejection) as error:
        raise BadInput(f"{name}:{reader.line_num}: {error}") from error


def _sums(rows: Iterable[tuple[str, ...]]) -> dict[Key, Decimal]:
    found: dict[Key, Decimal] = {}
    with localcontext(EXACT):
        for customer, dimension, moment, quantity in rows:
            day = format_time(parse_naive_utc(moment if "T" in moment else f"{moment}T00:00:00"))[:10]
            found[customer, dimension, day] = found.get((customer, dimension, day), ZERO) + money(quantity)
    return found
