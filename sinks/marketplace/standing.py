"""How the outbox stands: read without a lease, for the command, for the metrics, and for whoever looks while no reporter runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, func, select

from ...pricing.money import money
from ...store.database import transaction
from ...store.tables import marketplace_records as records
from ...store.tables import marketplace_targets as targets
from .records import UNSETTLED, State
from .rules import Rules

__all__ = ["Standing", "TargetStanding", "Waiting", "standing"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that is not accepted. closes_at: when the marketplace takes it no more (seconds since 1970, UTC); overdue: past the alarm."""

    id: str
    listing: str
    account: str
    dimension: str
    hour: int
    quantity: int
    state: str
    detail: str
    closes_at: int
    overdue: bool
    accepted: str


@dataclass(frozen=True, slots=True)
class TargetStanding:
    """A target, and what is carried into its next hour."""

    id: str
    listing: str
    account: str
    dimension: str
    next_hour: int
    carry: Decimal


@dataclass
class Standing:
    """counts: records by (listing, state). waiting: those that need another try or somebody, the oldest first."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    waiting: list[Waiting] = field(default_factory=list)
    targets: list[TargetStanding] = field(default_factory=list)

    @property
    def overdue(self) -> list[Waiting]:
        """Those to tell of: before their time passes, and those for somebody to settle."""
        return [each for each in self.waiting if each.overdue]


def standing(engine: Engine, now: int, rules: Mapping[str, Rules]) -> Standing:
    """How all records and targets stand. now: seconds since 1970, UTC. rules: by listing; without them nothing is known of a deadline.

    Raises Unavailable.
    """
    joined = records.join(targets, records.c.target == targets.c.id)
    found = Standing()
    with transaction(engine) as connection:
        for row in connection.execute(
            select(targets.c.listing, records.c.state, func.count().label("number")).select_from(joined).group_by(targets.c.listing, records.c.state)
        ):  # fmt: skip
            found.counts[row.listing, row.state] = row.number
        query = select(records, targets.c.listing, targets.c.account, targets.c.dimension).select_from(joined)
        for row in connection.execute(query.where(records.c.state.in_(UNSETTLED)).order_by(records.c.hour, records.c.id)):
            found.waiting.append(_waiting(row, now, rules.get(row.listing)))
        for row in connection.execute(select(targets).order_by(targets.c.listing, targets.c.account, targets.c.dimension)):
            found.targets.append(TargetStanding(row.id, row.listing, row.account, row.dimension, row.next_hour, money(row.carry)))
    return found


def _waiting(row: Any, now: int, rules: Rules | None) -> Waiting:
    closes_at = rules.send_until(row.hour) if rules else 0
    stuck = row.state not in (State.PENDING, State.DOUBTFUL)
    overdue = stuck or rules is None or now >= row.hour + rules.alarm_s
    return Waiting(
        row.id, row.listing, row.account, row.dimension, row.hour, row.quantity, row.state, row.detail, closes_at, overdue, row.accepted
    )  # fmt: skip
