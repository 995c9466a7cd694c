"""The outbox: what is counted, frozen, sent and answered, in the control database.

Every write is in a transaction of the lease, so that a reporter that lost it can change nothing any more. Blocking: to be called in a thread.
Every method raises Unavailable; those that write raise LeaseLost too. All times are seconds since 1970, UTC.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ...pricing.money import EXACT, ZERO, money, plain
from ...store.database import transaction
from ...store.lease import Lease
from ...store.tables import marketplace_items as items
from ...store.tables import marketplace_notes as notes
from ...store.tables import marketplace_positions as positions_table
from ...store.tables import marketplace_records as records
from ...store.tables import marketplace_targets as targets
from ...store.tables import marketplace_usage as usage_table
from .freezing import Frozen, Standing, freeze
from .records import HOUR_S, NOWHERE, Contribution, Outcome, Record, State, Target, Verdict, record_id
from .rules import Rules

__all__ = ["Outbox"]

_TO_SEND = (State.PENDING, State.DOUBTFUL)
_AT_ONCE = 500  # ids of a query
_LONGEST_WAIT_S = 600
_SHOWN = 300
NamesAt = Callable[[str, int], Mapping[str, str] | None]


class Outbox:
    """What the reporter reads and writes, one method a step."""

    def __init__(self, engine: Engine, lease: Lease) -> None:
        self._engine, self._lease = engine, lease

    # -- counting ----------------------------------------------------------------------------------------------------

    def positions(self) -> dict[tuple[str, int], int]:
        """(topic, partition) -> the offset behind what is counted."""
        with transaction(self._engine) as connection:
            return {(row.topic, row.partition): row.next_offset for row in connection.execute(select(positions_table))}

    def declare(self, wanted: Sequence[Target], digest: str) -> bool:
        """Make the targets of the file known. Where the file is another than before, the topic is read from its beginning again: what was left
        out then may count now, and what is counted is not counted twice. Returns whether it is another one."""
        with self._lease.transaction() as connection:
            known = {row.id: row for row in connection.execute(select(targets))}
            for target in wanted:
                row = {
                    "listing": target.listing, "account": target.account, "dimension": target.dimension, "until": target.until,
                    "customer": _wire(target.customer),
                }  # fmt: skip
                if target.id not in known:
                    connection.execute(insert(targets).values(id=target.id, next_hour=target.since, carry="0", **row))
                elif any(getattr(known[target.id], name) != value for name, value in row.items()):
                    connection.execute(update(targets).where(targets.c.id == target.id).values(**row))
            before = connection.execute(select(notes.c.value).where(notes.c.name == "listings")).scalar_one_or_none()
            if before == digest:
                return False
            connection.execute(delete(positions_table))
            connection.execute(delete(items).where(items.c.target == NOWHERE))  # there may be a dimension for them now
            _upsert(connection, notes, [{"name": "listings", "value": digest}])
            return True

    def count(self, contributions: Iterable[Contribution], positions: Mapping[tuple[str, int], int]) -> int:
        """Count line items and how far the topic is read, in one transaction: how many were newer than what was counted."""
        newest: dict[str, Contribution] = {}
        for each in contributions:
            if each.line_item not in newest or each.revision > newest[each.line_item].revision:
                newest[each.line_item] = each
        with self._lease.transaction() as connection, localcontext(EXACT):
            counted = self._counted(connection, list(newest))
            changes: dict[tuple[str, int], Decimal] = {}
            fresh = [each for each in newest.values() if each.line_item not in counted or each.revision > counted[each.line_item].revision]
            for each in fresh:
                changes[each.target, each.hour] = changes.get((each.target, each.hour), ZERO) + each.quantity
                if before := counted.get(each.line_item):
                    changes[before.target, before.hour] = changes.get((before.target, before.hour), ZERO) - before.quantity
            self._add(connection, {where: quantity for where, quantity in changes.items() if where[0] != NOWHERE})
            _upsert(connection, items, [
                {"id": each.line_item, "revision": each.revision, "target": each.target, "hour": each.hour, "quantity": plain(each.quantity)}
                for each in fresh
            ])  # fmt: skip
            _upsert(connection, positions_table, [
                {"topic": topic, "partition": number, "next_offset": offset} for (topic, number), offset in positions.items()
            ])  # fmt: skip
        return len(fresh)

    def _counted(self, connection: Connection, ids: Sequence[str]) -> dict[str, Contribution]:
        found: dict[str, Contribution] = {}
        for begin in range(0, len(ids), _AT_ONCE):
            for row in connection.execute(select(items).where(items.c.id.in_(ids[begin : begin + _AT_ONCE]))):
                found[row.id] = Contribution(row.id, row.revision, row.target, row.hour, money(row.quantity))
        return found

    def _add(self, connection: Connection, changes: Mapping[tuple[str, int], Decimal]) -> None:
        """Add to the hours that are not frozen, and what is of earlier ones to the carry."""
        names = sorted({target for target, _ in changes})
        rows: dict[str, Any] = {}
        for begin in range(0, len(names), _AT_ONCE):
            query = select(targets.c.id, targets.c.next_hour, targets.c.carry).where(targets.c.id.in_(names[begin : begin + _AT_ONCE]))
            rows |= {row.id: row for row in connection.execute(query)}
        there = self._usage(connection, names)
        late: dict[str, Decimal] = {}
        ahead: list[dict[str, Any]] = []
        for (name, hour), quantity in changes.items():
            if hour < rows[name].next_hour:
                late[name] = late.get(name, money(rows[name].carry)) + quantity
            else:
                ahead.append({"target": name, "hour": hour, "quantity": plain(there.get(name, {}).get(hour, ZERO) + quantity)})
        for name, carry in late.items():
            self._set_carry(connection, name, carry)
        _upsert(connection, usage_table, ahead)

    def _usage(self, connection: Connection, names: Sequence[str]) -> dict[str, dict[int, Decimal]]:
        """Usage of hours that are not frozen: target -> hour -> quantity."""
        found: dict[str, dict[int, Decimal]] = {}
        for begin in range(0, len(names), _AT_ONCE):  # a query takes so many values, and no more
            for row in connection.execute(select(usage_table).where(usage_table.c.target.in_(names[begin : begin + _AT_ONCE]))):
                found.setdefault(row.target, {})[row.hour] = money(row.quantity)
        return found

    def _set_carry(self, connection: Connection, target: str, carry: Decimal) -> None:
        connection.execute(update(targets).where(targets.c.id == target).values(carry=plain(carry)))

    # -- freezing ----------------------------------------------------------------------------------------------------

    def freeze(self, rules: Mapping[str, Rules], complete_until: int, now: int, names_at: NamesAt = lambda _target, _hour: None) -> int:
        """Freeze every hour that ended before `complete_until`, of all targets in one transaction: how many records that made.

        rules: by listing. A target whose listing is not there waits. names_at: (target, hour) -> what the marketplace calls the customer
        in that hour; None: as the target was declared last.
        """
        due_until = complete_until - complete_until % HOUR_S
        query = select(targets).where(targets.c.next_hour < due_until, targets.c.listing.in_(list(rules)))
        with transaction(self._engine) as connection:  # mostly there is nothing to do, and nothing to write
            if connection.execute(query.limit(1)).one_or_none() is None:
                return 0
        made: list[dict[str, Any]] = []
        moved: list[dict[str, Any]] = []
        with self._lease.transaction() as connection:
            waiting = connection.execute(query).all()
            usage = self._usage(connection, [row.id for row in waiting])
            for row in waiting:
                standing = Standing(row.next_hour, money(row.carry))
                frozen, after = freeze(rules[row.listing], standing, usage.get(row.id, {}), due_until, now, row.until)
                made += [_row(row, each, now, names_at(row.id, each.hour)) for each in frozen]
                moved.append({"its_id": row.id, "its_hour": after.next_hour, "its_carry": plain(after.carry)})
            if moved:
                move = update(targets).where(targets.c.id == bindparam("its_id"))
                connection.execute(move.values(next_hour=bindparam("its_hour"), carry=bindparam("its_carry")), moved)
            if made:
                connection.execute(insert(records), made)
            here = select(targets.c.id).where(targets.c.listing.in_(list(rules)))
            connection.execute(delete(usage_table).where(usage_table.c.target.in_(here), usage_table.c.hour < due_until))
        return len(made)

    # -- sending -----------------------------------------------------------------------------------------------------

    def pass_deadlines(self, listing: str, rules: Rules, now: int) -> int:
        """Give up what can be sent no more: how many. What was surely not taken is carried on; the rest is for somebody to look at."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_of_listing(listing).where(records.c.state.in_(_TO_SEND))).all()
        gone = [row for row in rows if rules.send_until(row.hour) <= now or _resent_too_late(row, rules, now)]
        if gone:
            with self._lease.transaction() as connection:  # nobody else writes while this reporter has the lease
                for row in gone:
                    self._give_up(connection, row, "sent again, it could count twice" if _resent_too_late(row, rules, now) else "its time is over")
        return len(gone)

    def _give_up(self, connection: Connection, row: Any, detail: str) -> None:
        state = State.UNKNOWN if row.doubts else State.EXPIRED
        connection.execute(update(records).where(records.c.id == row.id).values(state=state, detail=detail))
        if state == State.EXPIRED and row.quantity:
            self._carry(connection, row.target, row.quantity)

    def _carry(self, connection: Connection, target: str, quantity: int) -> None:
        with localcontext(EXACT):
            carry = money(connection.execute(select(targets.c.carry).where(targets.c.id == target)).scalar_one())
            self._set_carry(connection, target, carry + quantity)

    def due(self, listing: str, now: int, most: int) -> list[Record]:
        """Records to be sent now, the oldest hours first; one that must be alone is."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_due(listing, now).limit(most)).all()
        found = [_record(row) for row in rows]
        return found[:1] if found and found[0].alone else found

    def all_due(self, listing: str, now: int, most: int) -> list[list[Record]]:
        """Everything to be sent now, in the batches in which it would be."""
        with transaction(self._engine) as connection:
            found = [_record(row) for row in connection.execute(_due(listing, now))]
        others = [each for each in found if not each.alone]
        return [*([each] for each in found if each.alone), *(others[at : at + most] for at in range(0, len(others), most))]

    def mark(self, batch: Sequence[Record], now: int) -> None:
        """Note that records go out now: until an answer is recorded it is not known what came of them."""
        ids = [each.id for each in batch]
        with self._lease.transaction() as connection:
            connection.execute(
                update(records).where(records.c.id.in_(ids))
                .values(attempts=records.c.attempts + 1, doubts=records.c.doubts + 1, state=State.DOUBTFUL)
            )  # fmt: skip
            connection.execute(update(records).where(records.c.id.in_(ids), records.c.doubt_since == 0).values(doubt_since=now))

    def settle(self, verdicts: Mapping[str, Verdict], now: int) -> None:
        """Write down what came of marked records, by id, in one transaction."""
        changed: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        with self._lease.transaction() as connection:
            for row in connection.execute(select(records).where(records.c.id.in_(list(verdicts)))).all():
                values = self._settled(connection, row, verdicts[row.id], now)
                changed.setdefault(tuple(values), []).append({**values, "its_id": row.id})
            for names, rows in changed.items():
                query = update(records).where(records.c.id == bindparam("its_id")).values({name: bindparam(name) for name in names})
                connection.execute(query, rows)

    def _settled(self, connection: Connection, row: Any, verdict: Verdict, now: int) -> dict[str, Any]:
        """What changes in a record by a verdict."""
        outcome = verdict.outcome
        doubts = row.doubts if outcome == Outcome.DOUBT else row.doubts - 1
        detail = " ".join(verdict.detail.split())[:_SHOWN]
        values: dict[str, Any] = {
            "doubts": doubts, "answered_at": now, "detail": detail, "receipt": verdict.receipt, "doubt_since": row.doubt_since if doubts else 0
        }  # fmt: skip
        if outcome == Outcome.ACCEPTED:
            values |= {"state": State.ACCEPTED, "accepted": str(row.quantity), "doubts": 0, "doubt_since": 0}
        elif outcome == Outcome.MISMATCH:
            values |= {"state": State.MISMATCH, "accepted": verdict.accepted}
        elif outcome == Outcome.REJECTED:
            values |= {"state": State.UNKNOWN if doubts else State.REJECTED}
        elif outcome == Outcome.EXPIRED:
            values |= {"state": State.UNKNOWN if doubts else State.EXPIRED}
            if not doubts:
                self._carry(connection, row.target, row.quantity)
        else:
            wait_s = 0 if outcome == Outcome.APART else max(verdict.wait_s, min(2**row.attempts, _LONGEST_WAIT_S))
            values |= {"state": State.DOUBTFUL if doubts else State.PENDING, "due_at": now + wait_s, "alone": row.alone or outcome == Outcome.APART}
        return values

    # -- what a person does --------------------------------------------------------------------------------------------

    def resolve(self, id: str, accepted: int, reason: str, now: int) -> str:
        """Say what the marketplace has of a record that is mismatched, rejected or unknown; the rest is carried on. Returns what was wrong, or ""."""
        with self._lease.transaction() as connection:
            row = connection.execute(select(records).where(records.c.id == id)).one_or_none()
            if row is None:
                return "there is no such record"
            if row.state not in (State.MISMATCH, State.REJECTED, State.UNKNOWN):
                return f"it is {row.state}, and nothing is to be said of it"
            self._carry(connection, row.target, row.quantity - accepted)
            values = {"state": State.SETTLED, "accepted": str(accepted), "answered_at": now, "detail": " ".join(reason.split())[:_SHOWN]}
            connection.execute(update(records).where(records.c.id == id).values(**values))
        return ""


def _row(target: Any, frozen: Frozen, now: int, names: Mapping[str, str] | None) -> dict[str, Any]:
    """A new record of the outbox."""
    return {
        "id": record_id(target.id, frozen.hour), "target": target.id, "hour": frozen.hour, "quantity": frozen.quantity,
        "usage": plain(frozen.usage), "carried": plain(frozen.carried), "wire": _wire(names) if names else target.customer, "frozen_at": now,
        "state": State.LATE if frozen.late else State.PENDING, "attempts": 0, "doubts": 0, "doubt_since": 0, "alone": False,
        "due_at": now, "answered_at": 0, "accepted": "", "receipt": "", "detail": "",
    }  # fmt: skip


def _wire(names: Mapping[str, str]) -> str:
    return json.dumps(dict(names), sort_keys=True)


def _resent_too_late(row: Any, rules: Rules, now: int) -> bool:
    """Whether a marketplace may have forgotten a record that it may have taken."""
    return bool(rules.resend_s and row.doubts and row.doubt_since + rules.resend_s <= now)


def _of_listing(listing: str) -> Any:
    joined = records.join(targets, records.c.target == targets.c.id)
    return select(records, targets.c.listing, targets.c.dimension).select_from(joined).where(targets.c.listing == listing)


def _due(listing: str, now: int) -> Any:
    due = _of_listing(listing).where(records.c.state.in_(_TO_SEND), records.c.due_at <= now)
    return due.order_by(records.c.alone.desc(), records.c.hour, records.c.id)


def _record(row: Any) -> Record:
    return Record(
        row.id, row.target, row.listing, row.dimension, row.hour, row.quantity, json.loads(row.wire), row.attempts, row.doubts, row.doubt_since,
        row.alone,
    )  # fmt: skip


def _upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those that have the same key."""
    if not rows:
        return
    query: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    changes = {column.name: query.excluded[column.name] for column in table.columns if column.name not in keys}
    connection.execute(query.on_conflict_do_update(index_elements=keys, set_=changes), rows)
