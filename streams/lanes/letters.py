"""Dead letters of Kafka records: the rejection, and the record it is about."""

from __future__ import annotations

from collections.abc import Sequence

from ...schemas.dead_letter import DeadLetter
from ...schemas.errors import Rejection

__all__ = ["dead_letter"]


def dead_letter(
    rejection: Rejection, topic: str, partition: int, offset: int, index: int, value: bytes | None, key: bytes | None,
    headers: Sequence[tuple[str, bytes]], now_ns: int,
) -> DeadLetter:  # fmt: skip
    """The dead letter of event `index` of a record; the detail is cut to what a header should hold."""
    kept = tuple([(name, text or b"") for name, text in headers])  # Kafka knows null, whatever the types say
    return DeadLetter(rejection.reason, rejection.detail[:1_000], topic, partition, offset, index, value, now_ns, "", key, kept)
