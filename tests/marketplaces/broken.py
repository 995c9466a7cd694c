"""Reporters that are wrong on purpose, each in one way: the simulation has to find every one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

from ratemill.pricing.money import money, plain
from ratemill.sinks.marketplace.listings import Listing
from ratemill.sinks.marketplace.outbox import Outbox
from ratemill.sinks.marketplace.records import Contribution, Outcome, Record, Verdict
from ratemill.sinks.marketplace.reporter import Reporter
from ratemill.sinks.marketplace.rules import Rules
from ratemill.store.database import transaction
from ratemill.store.tables import marketplace_records, marketplace_targets, marketplace_usage
from sqlalchemy import Connection, select, update

from .world import Broken

__all__ = ["CONTROLS"]


class _FreezesAfterSending(Outbox):
    """The quantity of a record that is not answered yet follows the usage: it is fixed by the answer, not before the request."""

    def due(self, listing: str, now: int, most: int) -> list[Record]:
        found = super().due(listing, now, most)
        return [replace(each, quantity=self._as_of_now(each)) for each in found]

    def _as_of_now(self, record: Record) -> int:
        """What it would be if it were frozen now: with all that has come since."""
        with transaction(self._engine) as connection:
            carry = money(connection.execute(select(marketplace_targets.c.carry).where(marketplace_targets.c.id == record.target)).scalar_one())
        return max(0, record.quantity + int(carry // 1))

    def mark(self, batch: Sequence[Record], now: int) -> None:
        super().mark(batch, now)
        self._sent = {each.id: each.quantity for each in batch}

    def settle(self, verdicts: Mapping[str, Verdict], now: int) -> None:
        with self._lease.transaction() as connection:
            for id, verdict in verdicts.items():
                row = connection.execute(select(marketplace_records).where(marketplace_records.c.id == id)).one()
                if verdict.outcome == Outcome.ACCEPTED and row.quantity != self._sent[id]:
                    self._carry(connection, row.target, row.quantity - self._sent[id])
                    connection.execute(update(marketplace_records).where(marketplace_records.c.id == id).values(quantity=self._sent[id]))
        super().settle(verdicts, now)


class _RecomputesOnRetry(_FreezesAfterSending):
    """Only a retry has another quantity."""

    def _as_of_now(self, record: Record) -> int:
        return super()._as_of_now(record) if record.attempts else record.quantity


class _TakesEveryDuplicate(Reporter):
    """A duplicate is delivered, whatever its quantity."""

    async def _try(self, listing: Listing, batch: Sequence[Record]) -> dict[str, Verdict]:
        found = await super()._try(listing, batch)
        return {id: replace(each, outcome=Outcome.ACCEPTED) if each.outcome == Outcome.MISMATCH else each for id, each in found.items()}


class _KeepsTheCarryInMemory(Outbox):
    """What is carried over is written down with the next step, and a crash in between loses it."""

    def freeze(self, rules: Mapping[str, Rules], complete_until: int, now: int, *names_at: Any) -> int:
        self._write_down()
        made = super().freeze(rules, complete_until, now, *names_at)
        with self._lease.transaction() as connection:
            for row in connection.execute(select(marketplace_targets)).all() if made else ():
                self._memory[row.id] = money(row.carry)
                self._set_carry(connection, row.id, money("0"))
        return made

    def due(self, listing: str, now: int, most: int) -> list[Record]:
        self._write_down()
        return super().due(listing, now, most)

    @property
    def _memory(self) -> dict[str, Decimal]:
        return cast("dict[str, Decimal]", self.__dict__.setdefault("memory", {}))

    def _write_down(self) -> None:
        with self._lease.transaction() as connection:
            for target, carry in self._memory.items():
                self._set_carry(connection, target, carry)
        self._memory.clear()


class _ForgetsItsDoubts(Outbox):
    """A refusal of now says all: that an earlier try may have been taken does not matter."""

    def settle(self, verdicts: Mapping[str, Verdict], now: int) -> None:
        with self._lease.transaction() as connection:
            connection.execute(update(marketplace_records).where(marketplace_records.c.id.in_(list(verdicts))).values(doubts=1))
        super().settle(verdicts, now)


class _PositionsFirst(Outbox):
    """How far the topic is read is written before what was read is counted."""

    def count(self, contributions: Iterable[Contribution], positions: Mapping[tuple[str, int], int]) -> int:
        super().count([], positions)
        return super().count(contributions, {})


class _AddsWhatItReadAgain(Outbox):
    """A line item that is read again is added again."""

    def _counted(self, connection: Connection, ids: Sequence[str]) -> dict[str, Contribution]:
        return {id: replace(each, revision=-1, quantity=money("0")) for id, each in super()._counted(connection, ids).items()}


class _RoundsToTheHour(Outbox):
    """The fraction of an hour is dropped."""

    def freeze(self, rules: Mapping[str, Rules], complete_until: int, now: int, *names_at: Any) -> int:
        with self._lease.transaction() as connection:
            for row in connection.execute(select(marketplace_usage)).all():
                whole = plain(money(row.quantity) // 1)
                key = (marketplace_usage.c.target == row.target, marketplace_usage.c.hour == row.hour)
                connection.execute(update(marketplace_usage).where(*key).values(quantity=whole))
        return super().freeze(rules, complete_until, now, *names_at)


CONTROLS = {
    "frozen only after sending": Broken(outbox=_FreezesAfterSending),
    "a retry with a quantity computed anew": Broken(outbox=_RecomputesOnRetry),
    "a duplicate is delivered, whatever its quantity": Broken(reporter=_TakesEveryDuplicate),
    "the carry only in memory": Broken(outbox=_KeepsTheCarryInMemory),
    "no doubt about what had no answer": Broken(outbox=_ForgetsItsDoubts),
    "positions before line items": Broken(outbox=_PositionsFirst),
    "a line item read again is added again": Broken(outbox=_AddsWhatItReadAgain),
    "fractions dropped": Broken(outbox=_RoundsToTheHour),
}
