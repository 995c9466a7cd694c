"""How the outbox stands: read without a lease, for the command, for the metrics, and for whoever looks while no reporter runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, func, select

from ...pricing.money import ZERO, money
from ...store.database import transaction
from ...store.tables import marketplace_records as records
from ...store.tables import marketplace_targets as targets
from .records import HOUR_S, UNSETTLED, State, Target
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
    """A target, and what is carried into its next hour. closes_at: when that is too late to be frozen; behind: hours past the alarm that
    are not even frozen, because nobody reports or the topic cannot be read."""

    id: str
    listing: str
    account: str
    dimension: str
    next_hour: int
    carry: Decimal
    closes_at: int = 0
    behind: int = 0


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

    @property
    def behind(self) -> list[TargetStanding]:
        """Those to tell of although nothing of them waits: there is no record yet of hours past the alarm."""
        return [each for each in self.targets if each.behind]


def standing(engine: Engine, now: int, rules: Mapping[str, Rules], declared: Iterable[Target] = ()) -> Standing:
    """How all records and targets stand. now: seconds since 1970, UTC. rules: by listing; without them nothing is known of a deadline.
    declared: those of the file, of which the database may not know yet.

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
    known = {each.id for each in found.targets}
    found.targets += [TargetStanding(t.id, t.listing, t.account, t.dimension, t.since, ZERO) for t in declared if t.id not in known]
    found.targets = [_looked_at(each, now, rules.get(each.listing)) for each in found.targets]
    return found


def _looked_at(target: TargetStanding, now: int, rules: Rules | None) -> TargetStanding:
    """With its deadline. A listing that is not in the file any more has none: nothing is counted for it."""
    if rules is None:
        return target
    behind = max(0, (now - rules.alarm_s - target.next_hour) // HOUR_S + 1)
    return replace(target, closes_at=rules.freeze_until(target.next_hour), behind=behind)


def _waiting(row: Any, now: int, rules: Rules | None) -> Waiting:
    closes_at = rules.send_until(row.hour) if rules else 0
    stuck = row.state not in (State.PENDING, State.DOUBTFUL)
    overdue = stuck or rules is None or now >= row.hour + rules.alarm_s
    return Waiting(
        row.id, row.listing, row.account, row.dimension, row.hour, row.quantity, row.state, row.detail, closes_at, overdue, row.accepted
    )  # fmt: skip
