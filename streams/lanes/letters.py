"""Dead letters of Kafka records: the rejection, and the record it is about."""

from __future__ import annotations

from collections.abc import Sequence

from ...schemas.dead_letter import DeadLetter
from ...schemas.errors import Rejection
from ...schemas.packed import as_cloudevent
from ...schemas.usage_event import UsageEvent
from ..topics import RECORD_LIMIT

__all__ = ["DETAIL_CHARS", "dead_letter", "event_letter"]

DETAIL_CHARS = 1_000
# Of a record that was compressed more can come than any topic takes. Then the letter has this much of it, and tells where the rest is.
KEPT_BYTES = 1 << 20

Headers = Sequence[tuple[str, bytes | None]]


def dead_letter(
    rejection: Rejection, topic: str, partition: int, offset: int, index: int, value: bytes | None, key: bytes | None,
    headers: Headers, now_ns: int,
) -> DeadLetter:  # fmt: skip
    """The dead letter of event `index` of a record; the detail is cut to what a header should hold."""
    detail, cut_from = rejection.detail[:DETAIL_CHARS], 0
    others = len(key or b"") + sum(len(name) + len(raw or b"") for name, raw in headers)
    if others + len(value or b"") > RECORD_LIMIT:
        cut_from = len(value or b"")
        detail = f"{detail}; only its beginning is kept here, the whole record of {cut_from} bytes is {topic}/{partition}/{offset}"
        value = None if value is None else value[:KEPT_BYTES]
        key, headers = (key, headers) if others <= KEPT_BYTES else (None, ())
    return DeadLetter(rejection.reason, detail, topic, partition, offset, index, value, now_ns, "", key, tuple(headers), cut_from)


def event_letter(rejection: Rejection, topic: str, partition: int, offset: int, index: int, event: UsageEvent, now_ns: int) -> DeadLetter:
    """The dead letter of an event in the plain form, where its record is a hop away or too large to repeat for each of its events.

    What the headers of its record said of it comes along.
    """
    headers: Headers = [("ratemill-backfill", event.backfill.encode())] if event.backfill else []
    return dead_letter(rejection, topic, partition, offset, index, as_cloudevent(event), None, headers, now_ns)
