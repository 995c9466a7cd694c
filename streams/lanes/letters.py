"""Dead letters of Kafka records: the rejection, and the record it is about."""

from __future__ import annotations

from collections.abc import Sequence

from ...schemas.dead_letter import DeadLetter
from ...schemas.errors import Rejection
from ...schemas.packed import as_cloudevent
from ...schemas.usage_event import UsageEvent

__all__ = ["DETAIL_CHARS", "dead_letter", "event_letter"]

DETAIL_CHARS = 1_000

Headers = Sequence[tuple[str, bytes | None]]


def dead_letter(
    rejection: Rejection, topic: str, partition: int, offset: int, index: int, value: bytes | None, key: bytes | None,
    headers: Headers, now_ns: int,
) -> DeadLetter:  # fmt: skip
    """The dead letter of event `index` of a record; the detail is cut to what a header should hold."""
    return DeadLetter(rejection.reason, rejection.detail[:DETAIL_CHARS], topic, partition, offset, index, value, now_ns, "", key, tuple(headers))


def event_letter(rejection: Rejection, topic: str, partition: int, offset: int, index: int, event: UsageEvent, now_ns: int) -> DeadLetter:
    """The dead letter of an event in the plain form, where its record is a hop away.

    What the headers of its record said of it comes along.
    """
    headers: Headers = [("ratemill-backfill", event.backfill.encode())] if event.backfill else []
    return dead_letter(rejection, topic, partition, offset, index, as_cloudevent(event), None, headers, now_ns)
