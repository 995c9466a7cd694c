"""What an invoice job remembers, in one SQLite file: line items in their highest revision, closes, how far it has read, what was handed over.

Every change is one local transaction, and what was read goes in together with the place behind it. So a job that is killed goes on
as if nothing had happened:

    take       records of the topic, and the offset behind them             conclude   the invoices of what is final, frozen
    closed     closes of partitions, and the offset behind them             delivered  that one of them has arrived

One process at a time: the file is locked for as long as it is open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..pricing.months import billing_month
from ..schemas.control import month_number, month_text
from ..schemas.errors import UNREADABLE, BadInput, Damaged, RatemillError, Rejection, Unavailable
from ..schemas.line_item import RatedLineItem, decode_line_item
from ..schemas.times import format_time
from .invoice import AccountInvoice, account_invoice

__all__ = ["Close", "Handover", "Position", "Store"]

SCHEMA = 1
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL, PRIMARY KEY (topic, partition));
CREATE TABLE line_items (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, month INTEGER NOT NULL, partition INTEGER NOT NULL, revision INTEGER NOT NULL, value BLOB NOT NULL
);
CREATE INDEX of_month ON line_items (month, account);
CREATE TABLE closes (
    partition INTEGER, month INTEGER, revision INTEGER NOT NULL, at_ns INTEGER NOT NULL, concluded INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (partition, month)
);
CREATE TABLE handovers (
    month INTEGER, account TEXT, version INTEGER, invoice BLOB NOT NULL, delivered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (month, account, version)
);
"""

Position = tuple[str, int, int]  # topic, partition, next offset


class Close(NamedTuple):
    """That a partition has closed a month, as `month_number`, and all before it: at which of its revisions, and when."""

    partition: int
    month: int
    revision: int
    at_ns: int


class Handover(NamedTuple):
    """A final invoice that is to be handed over. Whoever gets the same (account, period, version) again gets the same bytes."""

    account: str
    period: str
    version: int
    body: bytes  # `AccountInvoice` as JSON

    @property
    def invoice(self) -> AccountInvoice:
        """The body, decoded."""
        return _decode(self.body)


_decode = msgspec.json.Decoder(AccountInvoice).decode


class Store:
    """The file at `path`, made where there is none.

    topic: the one that it is filled from; a file that was filled from another one is refused. Raises BadInput, Unavailable.
    """

    def __init__(self, path: Path | str, topic: str = "usage.rated") -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = FULL")
            with self._transaction("BEGIN EXCLUSIVE"):
                self._prepare(topic)
        except sqlite3.Error as error:
            self._db.close()
            raise self._unusable(error) from error
        except BaseException:
            self._db.close()
            raise

    def _unusable(self, error: sqlite3.Error) -> RatemillError:
        if "locked" in str(error):
            return Unavailable(f"{self._path}: another invoice job has it open; wait for its end")
        return BadInput(f"{self._path}: it cannot be used to keep line items in: {error}; make room, or name another file")

    def close(self) -> None:
        """Let others open the file."""
        self._db.close()

    def _prepare(self, topic: str) -> None:
        # Statement by statement: `executescript` would commit first.
        if not self._db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
            self._db.executemany("INSERT INTO facts VALUES (?, ?)", [("schema", str(SCHEMA)), ("topic", topic)])
        found = dict(self._db.execute("SELECT name, value FROM facts"))
        if found.get("schema") != str(SCHEMA):
            raise BadInput(f"{self._path}: it has schema {found.get('schema')}, known is {SCHEMA}; name a new file: all can be read again from Kafka")
        if found["topic"] != topic:
            raise BadInput(f"{self._path}: it holds line items of {found['topic']}, not of {topic}; name another file")

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        """All of what is done in it, or nothing. Raises BadInput, one line, for a full disk and the like."""
        try:
            self._db.execute(begin)
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:  # SQLite ends it by itself when the disk is full
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._unusable(error) from error
            raise

    # -- what is read ------------------------------------------------------------------------------------------------

    def position(self, topic: str, partition: int) -> int:
        """The next offset to read; 0 at first."""
        found = self._db.execute("SELECT next FROM positions WHERE (topic, partition) = (?, ?)", (topic, partition)).fetchone()
        return found[0] if found else 0

    def take(self, records: Iterable[tuple[int, bytes]], position: Position) -> None:
        """Records of a partition of the rated topic, (offset, value), in one transaction with the place behind them.

        Of each line item the highest revision is kept, in whatever order they come. Raises Damaged for a record that is no line item, and
        RatemillError for one that changes a month after it was found final, which Ratemill never writes; then nothing is taken.
        """
        topic, partition, _ = position
        final = self.final_through(partition)
        with self._transaction():
            for offset, value in records:
                where = f"{topic}/{partition}/{offset}"
                item, month = _read(value, where)
                row = (item.x_line_item_id, item.billing_account_id, month, partition, item.x_revision, value)
                changed = self._db.execute(
                    "INSERT INTO line_items VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET account = excluded.account,"
                    " month = excluded.month, partition = excluded.partition, revision = excluded.revision, value = excluded.value"
                    " WHERE excluded.revision > line_items.revision",
                    row,
                ).rowcount
                if changed and month <= final:
                    raise RatemillError(
                        f"{where}: line item {item.x_line_item_id} changes {month_text(month)} after it was closed; was the topic made "
                        f"anew? Then name a new file instead of {self._path}"
                    )
            self._move(position)

    def closed(self, closes: Iterable[Close], position: Position) -> None:
        """Closes that partitions have answered, in the order of the log, in one transaction with the place behind them."""
        with self._transaction():
            for close in closes:
                # The first that reaches a month is the one that closed it.
                self._db.execute(
                    "INSERT INTO closes (partition, month, revision, at_ns)"
                    " SELECT ?1, ?2, ?3, ?4 WHERE ?2 > (SELECT coalesce(max(month), 0) FROM closes WHERE partition = ?1)",
                    close,
                )
            self._move(position)

    def _move(self, position: Position) -> None:
        self._db.execute("INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next", position)

    # -- what is final -----------------------------------------------------------------------------------------------

    def closed_through(self) -> dict[int, int]:
        """Partition to the last month that it has closed; whether all of that month was read is another question."""
        return dict(self._db.execute("SELECT partition, max(month) FROM closes GROUP BY partition"))

    def final_through(self, partition: int) -> int:
        """The last month of which every line item of a partition was seen; 0: none."""
        found: int = self._db.execute("SELECT coalesce(max(month), 0) FROM closes WHERE partition = ? AND concluded", (partition,)).fetchone()[0]
        return found

    def conclude(self, through: Mapping[int, int]) -> None:
        """Freeze the invoices of these months and all before: partition to month. Every line item of them must have been taken: see job.py."""
        with self._transaction():
            for partition, month in through.items():
                after = self.final_through(partition)
                if month <= after:
                    continue
                self._db.execute("UPDATE closes SET concluded = 1 WHERE partition = ? AND month <= ?", (partition, month))
                accounts = self._db.execute(
                    "SELECT DISTINCT month, account FROM line_items WHERE partition = ? AND month > ? AND month <= ?", (partition, after, month)
                ).fetchall()
                for its_month, account in accounts:
                    self._freeze(account, its_month, partition)

    def _freeze(self, account: str, month: int, partition: int) -> None:
        revision, at_ns = self._db.execute(
            "SELECT revision, at_ns FROM closes WHERE partition = ? AND month >= ? ORDER BY month LIMIT 1", (partition, month)
        ).fetchone()
        invoice = account_invoice(account, month_text(month), list(self.line_items(month, account)), revision, format_time(at_ns))
        if invoice.invoices:  # else all line items were withdrawn
            body = msgspec.json.encode(invoice)
            self._db.execute("INSERT INTO handovers (month, account, version, invoice) VALUES (?, ?, ?, ?)", (month, account, revision, body))

    def due(self) -> list[Handover]:
        """Final invoices that nobody has confirmed yet, by month and account."""
        return self._handovers("NOT delivered")

    def final(self, month: int, account: str | None = None) -> list[Handover]:
        """All final invoices of a month, by account, delivered or not."""
        return self._handovers("month = ? AND account = coalesce(?, account)", month, account)

    def _handovers(self, condition: str, *values: object) -> list[Handover]:
        found = self._db.execute(f"SELECT account, month, version, invoice FROM handovers WHERE {condition} ORDER BY month, account", values)
        return [Handover(account, month_text(month), version, body) for account, month, version, body in found]

    def delivered(self, handover: Handover) -> None:
        """A final invoice has arrived where it belongs: it is due no longer."""
        with self._transaction():
            self._db.execute(
                "UPDATE handovers SET delivered = 1 WHERE (account, month, version) = (?, ?, ?)",
                (handover.account, month_number(handover.period), handover.version),
            )

    def estimates(self, month: int, account: str | None = None) -> list[AccountInvoice]:
        """Invoices as they stand, by account, of those for which the month is not final."""
        found = self._db.execute(
            "SELECT DISTINCT account, partition FROM line_items WHERE month = ? AND account = coalesce(?, account) ORDER BY account", (month, account)
        ).fetchall()
        made = [account_invoice(name, month_text(month), list(self.line_items(month, name))) for name, at in found if self.final_through(at) < month]
        return [invoice for invoice in made if invoice.invoices]

    # -- what is not needed any more ---------------------------------------------------------------------------------------

    def forget(self, month: int, partitions: int) -> int:
        """Drop the line items of this month and all before, which are final: how many. Their invoices stay. partitions: of the rated topic.

        The file gets no smaller, but what is freed is used again. Raises BadInput while a partition has not closed the month, or an invoice of
        it is due.
        """
        with self._transaction():
            if not_closed := [number for number in range(partitions) if self.final_through(number) < month]:
                raise BadInput(f"{month_text(month)} is not final in partition {not_closed[0]}: its line items are still needed")
            if due := next((each for each in self.due() if month_number(each.period) <= month), None):
                raise BadInput(f"the invoice of {due.account} for {due.period} was not delivered: its line items are still needed")
            dropped = self._db.execute("DELETE FROM line_items WHERE month <= ?", (month,)).rowcount
            through = str(max(month, self.forgotten_through()))
            self._db.execute("INSERT INTO facts VALUES ('forgotten', ?) ON CONFLICT DO UPDATE SET value = excluded.value", (through,))
        return dropped

    def forgotten_through(self) -> int:
        """The last month whose line items were dropped; 0: none."""
        found = self._db.execute("SELECT value FROM facts WHERE name = 'forgotten'").fetchone()
        return int(found[0]) if found else 0

    def line_items(self, month: int | None = None, account: str | None = None) -> Iterator[RatedLineItem]:
        """Line items as they stand, withdrawn ones too, by month, account and id; None: of all. Raises BadInput for months that were forgotten."""
        forgotten = self.forgotten_through()
        if forgotten and (month is None or month <= forgotten):
            raise BadInput(f"{self._path}: its line items through {month_text(forgotten)} were dropped; name a later month, or a new file")
        return self._line_items(month, account)

    def _line_items(self, month: int | None, account: str | None) -> Iterator[RatedLineItem]:
        found = self._db.execute(
            "SELECT value FROM line_items WHERE month = coalesce(?, month) AND account = coalesce(?, account) ORDER BY month, account, id",
            (month, account),
        )
        for value, in found:
            yield decode_line_item(value)


def _read(value: bytes, where: str) -> tuple[RatedLineItem, int]:
    try:
        item = decode_line_item(value)
        return item, billing_month(item)
    except (*UNREADABLE, Rejection) as error:
        raise Damaged(f"the line item at {where}", error) from error
