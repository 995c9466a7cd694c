"""What the watcher reads and writes of alerts: which thresholds have fired, what is to be delivered, and what came of it.

Every write is in a transaction of the lease: a process that lost it can change nothing any more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ...store.database import transaction
from ...store.lease import Lease
from ...store.tables import alert_deliveries as table
from ...store.tables import alert_rules as rules
from .evaluation import Fired, Firing
from .rules import Rule
from .signing import new_id
from .store import read_rule, signing_keys
from .webhooks import Answer, next_try

__all__ = ["Deliveries", "Due"]

KEPT_S = 400 * 86_400  # longer than any month is watched, so that none fires again
_SWEPT = 1_000


@dataclass(frozen=True)
class Due:
    """A delivery that is to be tried now. attempts: before this one."""

    id: str
    rule_id: str
    account: str
    body: str
    attempts: int
    url: str = field(repr=False)
    keys: Sequence[str] = field(repr=False)


class Deliveries:
    """Blocking: to be called in a thread. Every method raises Unavailable; those that write raise LeaseLost too."""

    def __init__(self, engine: Engine, lease: Lease) -> None:
        self._engine, self._lease = engine, lease

    def enabled_rules(self) -> list[Rule]:
        """All rules that are watched."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(rules).where(rules.c.disabled_at.is_(None)).order_by(rules.c.id)).mappings().all()
        return [read_rule(row) for row in rows]

    def fired(self, periods: Sequence[str]) -> set[Fired]:
        """What has fired in these months, whatever came of telling it."""
        query = select(table.c.rule_id, table.c.revision, table.c.period, table.c.threshold).where(table.c.period.in_(periods))
        with transaction(self._engine) as connection:
            return {Fired(*row) for row in connection.execute(query)}

    def record(self, firings: Sequence[Firing], now: int) -> int:
        """Write firings down, to be delivered: how many. Those of rules that were changed or deleted meanwhile are left out."""
        count = 0
        for firing in firings:
            key = firing.key
            current = select(rules.c.id).where(rules.c.id == key.rule_id, rules.c.revision == key.revision, rules.c.disabled_at.is_(None))
            row = {
                **key._asdict(), "id": new_id(), "body": firing.body, "fired_at": now, "status": "pending", "attempts": 0, "due_at": now,
                "last_error": "",
            }  # fmt: skip
            try:
                with self._lease.transaction() as connection:
                    if connection.execute(current.with_for_update()).one_or_none() is None:
                        continue
                    connection.execute(insert(table).values(row))
            except IntegrityError:  # it has fired already
                continue
            count += 1
        return count

    def due(self, now: int, most: int, busy: Collection[str] = (), full: Collection[str] = ()) -> list[Due]:
        """Deliveries to be tried now, those that wait longest first. busy: ids, and full: accounts, that are left out."""
        query = (
            select(table.c.id.label("delivery_id"), table.c.body, table.c.attempts, rules)
            .join_from(table, rules)
            .where(table.c.status == "pending", table.c.due_at <= now, table.c.id.not_in(busy), rules.c.account.not_in(full))
            .order_by(table.c.due_at, table.c.id)
            .limit(most)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Due(row["delivery_id"], row["id"], row["account"], row["body"], row["attempts"], row["url"], signing_keys(row, now)) for row in rows
        ]  # fmt: skip

    def settle(self, due: Due, answer: Answer, now: int) -> str:
        """Write down what came of a try: the new status. A receiver that is gone disables the rule, and all that waits for it."""
        attempts, wait = due.attempts + 1, next_try(due.attempts + 1)
        status = "delivered" if not answer.error else "pending" if wait is not None else "failed"
        with self._lease.transaction() as connection:
            # Only where it was sent: if the rule has another url by now, that one is tried.
            if answer.gone and connection.execute(
                update(rules).where(rules.c.id == due.rule_id, rules.c.url == due.url).values(disabled_at=now)
            ).rowcount:  # fmt: skip
                status = "disabled"
                waiting = table.c.rule_id == due.rule_id, table.c.status == "pending"
                connection.execute(update(table).where(*waiting).values(status=status, last_error="the receiver answered 410"))
            values = {
                "attempts": attempts, "attempted_at": now, "last_error": answer.error, "status": status, "due_at": now + round(wait or 0)
            }  # fmt: skip
            connection.execute(update(table).where(table.c.id == due.id).values(values))
        return status

    def oldest(self) -> int | None:
        """When what waits longest to be delivered has fired (seconds since 1970, UTC); None: nothing waits."""
        with transaction(self._engine) as connection:
            found: int | None = connection.execute(select(func.min(table.c.fired_at)).where(table.c.status == "pending")).scalar_one()
        return found

    def sweep(self, now: int) -> int:
        """Delete some of what fired long ago: how many."""
        old = select(table.c.id).where(table.c.fired_at < now - KEPT_S, table.c.status != "pending").limit(_SWEPT)
        with self._lease.transaction() as connection:
            return connection.execute(delete(table).where(table.c.id.in_(old))).rowcount
