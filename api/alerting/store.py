"""Alert rules in the control database: made, read, changed and deleted, each within one account or, for an operator, in all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, delete, func, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from ...schemas.errors import BadInput
from ...schemas.event_checks import require_text
from ...store.database import transaction
from ...store.tables import alert_deliveries as deliveries
from ...store.tables import alert_rules as table
from ..tokens import new_token
from .rules import Definition, Rule, check_definition, check_name, check_url
from .signing import new_secret

__all__ = ["MOST_RULES", "OVERLAP_S", "Alerts", "Delivery", "TooMany", "read_rule", "signing_keys"]

MOST_RULES = 100  # of an account
OVERLAP_S = 86_400  # for which the former secret signs too
_SHOWN = 100  # deliveries


class TooMany(BadInput):
    """The account has all the rules that it may have, or one of this name."""


@dataclass(frozen=True)
class Delivery:
    """One firing, and what came of telling it. Times are whole seconds since 1970, UTC; due_at: of the next try, None when there is none."""

    id: str
    revision: int
    period: str
    threshold: str
    status: str
    attempts: int
    fired_at: int
    attempted_at: int | None
    due_at: int | None
    last_error: str


class Alerts:
    """account: the only one that a call may see or change; None: an operator's. Raises Unavailable when the database does not answer.

    allow_private: whether rules may have http URLs, and such of our own networks. now: whole seconds since 1970, UTC.
    """

    def __init__(self, engine: Engine, allow_private: bool = False, now: Callable[[], int] = lambda: int(time.time())) -> None:
        self._engine, self._allow_private, self._now = engine, allow_private, now

    def create(self, account: str, name: str, definition: Definition, url: str) -> tuple[str, Rule]:
        """Make a rule: (its secret, the rule). The secret cannot be had again. Raises BadInput, TooMany."""
        definition = self._checked(name, definition, url)
        require_text("account", account)
        (id, _), secret, now = new_token(), new_secret(), self._now()
        row = {
            "id": id, "account": account, "name": name, "definition": _encoded(definition), "revision": 1, "url": url, "secret": secret,
            "created_at": now, "changed_at": now,
        }  # fmt: skip
        try:
            with transaction(self._engine) as connection:
                connection.execute(insert(table).values(row))
                count = connection.execute(select(func.count()).where(table.c.account == account)).scalar_one()
                if count > MOST_RULES:
                    raise TooMany(f"the account has {MOST_RULES} rules, and may not have more; delete one")
        except IntegrityError:
            raise _named_twice() from None
        return secret, Rule(id, account, name, definition, 1, url, now, now)

    def get(self, id: str, account: str | None) -> Rule | None:
        """One rule."""
        with transaction(self._engine) as connection:
            return self._get(connection, id, account)

    def change(self, id: str, account: str | None, name: str, definition: Definition, url: str) -> Rule | None:
        """Replace what a rule says, and enable it if it was disabled. With another definition all its thresholds may fire again.

        None: there is no such rule. Raises BadInput, TooMany.
        """
        definition = self._checked(name, definition, url)
        text = _encoded(definition)
        try:
            with transaction(self._engine.execution_options(immediate=True)) as connection:
                before = connection.execute(select(table).where(table.c.id == id, _own(account)).with_for_update()).mappings().one_or_none()
                if before is None:
                    return None
                revision = before["revision"] + (before["definition"] != text)
                values = {"name": name, "definition": text, "revision": revision, "url": url, "changed_at": self._now(), "disabled_at": None}
                connection.execute(update(table).where(table.c.id == id).values(values))
                return self._get(connection, id, account)
        except IntegrityError:
            raise _named_twice() from None

    def delete(self, id: str, account: str | None) -> bool:
        """Delete a rule, and what is still to be delivered of it. False: there is none."""
        with transaction(self._engine) as connection:
            return connection.execute(delete(table).where(table.c.id == id, _own(account))).rowcount > 0

    def rotate(self, id: str, account: str | None) -> str | None:
        """A new secret for a rule; the one before signs too for a day. None: there is no such rule."""
        secret = new_secret()
        values = {"secret": secret, "former_secret": table.c.secret, "former_until": self._now() + OVERLAP_S}
        with transaction(self._engine) as connection:
            changed = connection.execute(update(table).where(table.c.id == id, _own(account)).values(values)).rowcount
        return secret if changed else None

    def keys(self, id: str) -> tuple[str, ...]:
        """The secrets that sign for a rule now; none if there is no such rule."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(table).where(table.c.id == id)).mappings().one_or_none()
        return () if row is None else signing_keys(row, self._now())

    def deliveries(self, id: str) -> list[Delivery]:
        """The latest firings of a rule, the newest first."""
        query = select(deliveries).where(deliveries.c.rule_id == id).order_by(deliveries.c.fired_at.desc(), deliveries.c.id).limit(_SHOWN)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Delivery(
                row["id"], row["revision"], row["period"], row["threshold"], row["status"], row["attempts"], row["fired_at"], row["attempted_at"],
                row["due_at"] if row["status"] == "pending" else None, row["last_error"],
            )
            for row in rows
        ]  # fmt: skip

    def _checked(self, name: str, definition: Definition, url: str) -> Definition:
        check_name(name)
        check_url(url, self._allow_private)
        return check_definition(definition)

    def _get(self, connection: Connection, id: str, account: str | None) -> Rule | None:
        row = connection.execute(select(table).where(table.c.id == id, _own(account))).mappings().one_or_none()
        return None if row is None else read_rule(row)

    def list(self, account: str | None, after: str, most: int) -> list[Rule]:  # the last method: below it, `list` is this one
        """At most so many rules with an id behind `after`, ordered by id. Raises BadInput."""
        if account is not None:
            require_text("account", account)
        query = select(table).where(_own(account), table.c.id > after).order_by(table.c.id).limit(most)
        with transaction(self._engine) as connection:
            return [read_rule(row) for row in connection.execute(query).mappings()]


def read_rule(row: RowMapping) -> Rule:
    """The rule of a row, without its secret."""
    definition = msgspec.json.decode(row["definition"], type=Definition)
    return Rule(
        row["id"], row["account"], row["name"], definition, row["revision"], row["url"], row["created_at"], row["changed_at"], row["disabled_at"]
    )  # fmt: skip


def signing_keys(row: RowMapping, now: int) -> tuple[str, ...]:
    """The secrets of a rule's row that sign at a time: the newest, and the one before it while both are in use."""
    former = row["former_secret"] if row["former_secret"] and now < row["former_until"] else None
    return (row["secret"],) if former is None else (row["secret"], former)


def _own(account: str | None) -> ColumnElement[bool]:
    return true() if account is None else table.c.account == account


def _encoded(definition: Definition) -> str:
    return msgspec.json.encode(definition).decode()


def _named_twice() -> TooMany:
    return TooMany("the account has a rule of this name; change that one, or give another name")
