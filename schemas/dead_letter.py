"""A dead letter: what could not be counted, why, where it came from, and its raw bytes, ready to be published again.

On Kafka the value is the raw bytes exactly; everything else is a header, so that nothing has to be decoded to replay it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .errors import BadInput, Rejection

__all__ = ["DeadLetter", "from_kafka", "to_kafka"]

Headers = Sequence[tuple[str, bytes]]
_ORIGINAL = "ratemill-original-"


class DeadLetter(NamedTuple):
    """One rejected event or record. `index` is the event's place within its record, from 0; times are nanoseconds since 1970."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    index: int
    raw: bytes | None  # None: the record had no value
    rejected_at: int
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(
        cls, rejection: Rejection, topic: str, partition: int, offset: int, index: int, raw: bytes | None, key: bytes | None, headers: Headers, now: int
    ) -> DeadLetter:
        """The dead letter of a rejection."""
        return cls(rejection.reason.value, rejection.detail, topic, partition, offset, index, raw, now, key, tuple(headers))

    @property
    def origin(self) -> str:
        """`topic/partition/offset#index`: names the event for a person, and is the record's key."""
        return f"{self.topic}/{self.partition}/{self.offset}#{self.index}"


def to_kafka(letter: DeadLetter) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of the record on `usage.dead-letter`."""
    headers = [
        ("ratemill-reason", letter.reason.encode()),
        ("ratemill-detail", letter.detail.encode("utf-8", "replace")),
        ("ratemill-origin-topic", letter.topic.encode()),
        ("ratemill-origin-partition", str(letter.partition).encode()),
        ("ratemill-origin-offset", str(letter.offset).encode()),
        ("ratemill-origin-index", str(letter.index).encode()),
        ("ratemill-rejected-at", str(letter.rejected_at).encode()),
    ]
    if letter.raw is None:
        headers.append(("ratemill-null", b"1"))
    if letter.key is not None:
        headers.append(("ratemill-original-key", letter.key))
    headers += [(f"{_ORIGINAL}header-{name}", value) for name, value in letter.headers]
    return letter.origin.encode(), letter.raw or b"", headers


def from_kafka(value: bytes | None, headers: Headers) -> DeadLetter:
    """Inverse of `to_kafka`. Raises BadInput for a record that is no dead letter."""
    found = dict(headers)
    try:
        return DeadLetter(
            found["ratemill-reason"].decode(),
            found["ratemill-detail"].decode(),
            found["ratemill-origin-topic"].decode(),
            int(found["ratemill-origin-partition"]),
            int(found["ratemill-origin-offset"]),
            int(found["ratemill-origin-index"]),
            None if "ratemill-null" in found else value or b"",
            int(found["ratemill-rejected-at"]),
            found.get("ratemill-original-key"),
            tuple((name[len(_ORIGINAL) + 7 :], text) for name, text in headers if name.startswith(_ORIGINAL + "header-")),
        )
    except (KeyError, ValueError) as error:
        raise BadInput(f"not a dead letter of Ratemill: {error!r}; was the record written to usage.dead-letter by something else?") from error
