"""What the parts of the reporter hand each other: targets, records, contributions, and what a marketplace said of a record."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

__all__ = ["HOUR_S", "NOWHERE", "UNSETTLED", "Contribution", "Outcome", "Record", "State", "Target", "Verdict", "record_id"]

HOUR_S = 3_600
NOWHERE = ""
_NAMESPACE = uuid.UUID("6ed1a2a7-6f0c-5d0b-9c4e-7a1f6e0c2b54")


class State(StrEnum):
    """What is known of a record. What is neither `accepted` nor `expired` nor `late` needs somebody, or another try."""

    PENDING = "pending"  # to be sent, or to be sent again: the marketplace has not taken it
    DOUBTFUL = "doubtful"  # it was sent and no answer came: to be sent again, the same
    ACCEPTED = "accepted"  # the marketplace has this quantity
    MISMATCH = "mismatch"  # the marketplace has another quantity under this key
    REJECTED = "rejected"  # refused for good: customer, dimension or plan are not known there
    EXPIRED = "expired"  # its time passed before it was taken; its quantity was carried on
    UNKNOWN = "unknown"  # its time passed while it was doubtful: somebody has to look
    LATE = "late"  # its usage was known too late to be sent for its own hour, and was carried on
    SETTLED = "settled"  # somebody said what the marketplace has of it


UNSETTLED = (State.PENDING, State.DOUBTFUL, State.MISMATCH, State.REJECTED, State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Target:
    """What usage is added up for: one dimension of one customer of one marketplace.

    customer: how the marketplace knows the customer, by the names of its API. since, until: seconds since 1970, UTC, at hours; until 0: open.
    """

    id: str
    listing: str
    account: str
    dimension: str
    customer: Mapping[str, str]
    since: int
    until: int = 0

    def covers(self, hour: int) -> bool:
        """Whether usage of an hour is reported to it."""
        return self.since <= hour and (not self.until or hour < self.until)


@dataclass(frozen=True, slots=True)
class Contribution:
    """What a revision of a line item adds to a target. quantity: exact, in units of the dimension. hour: first second of it.

    target NOWHERE: nothing; what an earlier revision of it has added is taken off.
    """

    line_item: str
    revision: int
    target: str
    hour: int
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Record:
    """A frozen quantity for an hour: what is sent under this id is always the same.

    hour: first second of it, UTC. quantity: whole number. wire: names of the customer, as they were when it was frozen.
    attempts: before this one. doubts: attempts that got no answer. alone: not in a batch, since one that it was in was refused as a whole.
    """

    id: str
    target: str
    listing: str
    dimension: str
    hour: int
    quantity: int
    wire: Mapping[str, str]
    attempts: int = 0
    doubts: int = 0
    doubt_since: int = 0
    alone: bool = False


class Outcome(StrEnum):
    """What an answer means for a record."""

    ACCEPTED = "accepted"  # it has exactly this quantity, now or since before
    MISMATCH = "mismatch"  # it has another one
    REJECTED = "rejected"  # it never will
    EXPIRED = "expired"  # too late
    NOT_NOW = "not_now"  # surely not taken; the same again later
    APART = "apart"  # surely not taken, because of some record in the batch: each by itself
    DOUBT = "doubt"  # it may have been taken


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a marketplace said of one record. accepted: the quantity it has, where it says so. wait_s: least time to the next try."""

    outcome: Outcome
    detail: str = ""
    receipt: str = ""
    accepted: str = ""
    wait_s: int = field(default=0)


def record_id(target: str, hour: int) -> str:
    """The one id of a target's hour, from nothing but these: whoever freezes it again gets the same."""
    return str(uuid.uuid5(_NAMESPACE, f"{target}\n{hour}"))
