"""A dead letter: one rejected event (or record) with the reason, where it came from, and its raw bytes, unchanged.

On Kafka the value is the original value, byte for byte, and everything else is in headers, so a replay needs no
unpacking:

    ratemill-reason  ratemill-detail  ratemill-format  ratemill-rejected-at (nanoseconds since 1970, UTC)
    ratemill-origin-topic  ratemill-origin-partition  ratemill-origin-offset
    ratemill-origin-index             place of the event in the record, from 0; -1 when the record as a whole is meant
    ratemill-key                      the original key; absent when there was none
    ratemill-null: 1                  the original value was null, and b"" stands for it
    ratemill-original-NAME            every original header, in order

The key is `topic/partition/offset/index`: one event has one dead letter, however often it is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import BadInput, Reason

__all__ = ["DeadLetter", "from_kafka", "to_kafka"]

_PREFIX = "ratemill-original-"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why, whence, and what. rejected_at: nanoseconds since 1970, UTC, passed in. index: -1 for the whole record."""

    reason: Reason
    detail: str
    topic: str
    partition: int
    offset: int
    index: int
    value: bytes | None
    rejected_at: int
    format: str = ""
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def to_kafka(dead_letter: DeadLetter) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers of the record for the dead-letter topic."""
    d = dead_letter
    headers: list[tuple[str, bytes]] = [
        ("ratemill-reason", d.reason.value.encode()),
        ("ratemill-detail", _bytes(d.detail)),
        ("ratemill-format", _bytes(d.format)),
        ("ratemill-rejected-at", str(d.rejected_at).encode()),
        ("ratemill-origin-topic", _bytes(d.topic)),
        ("ratemill-origin-partition", str(d.partition).encode()),
        ("ratemill-origin-offset", str(d.offset).encode()),
        ("ratemill-origin-index", str(d.index).encode()),
    ]
    if d.key is not None:
        headers.append(("ratemill-key", d.key))
    if d.value is None:
        headers.append(("ratemill-null", b"1"))
    headers.extend((_PREFIX + name, value) for name, value in d.headers)
    return _bytes(f"{d.topic}/{d.partition}/{d.offset}/{d.index}"), b"" if d.value is None else d.value, headers


def from_kafka(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> DeadLetter:
    """The dead letter that `to_kafka` wrote. Raises BadInput for a record that is not one; the key repeats headers and is not read."""
    found: dict[str, bytes] = {}
    originals: list[tuple[str, bytes]] = []
    for name, raw in headers:
        if name.startswith(_PREFIX):
            originals.append((name[len(_PREFIX) :], raw))
        elif name in found:
            raise BadInput(f"not a dead letter: the header {name} stands twice")
        else:
            found[name] = raw
    null = found.get("ratemill-null") == b"1"
    if null and value:
        raise BadInput("not a dead letter: it has a value and the header ratemill-null")
    reason = _text(found, "ratemill-reason")
    try:
        known = Reason(reason)
    except ValueError:
        raise BadInput(f"not a dead letter: {reason[:40]!r} is no reason this version knows") from None
    return DeadLetter(
        reason=known,
        detail=_text(found, "ratemill-detail"),
        topic=_text(found, "ratemill-origin-topic"),
        partition=_number(found, "ratemill-origin-partition"),
        offset=_number(found, "ratemill-origin-offset"),
        index=_number(found, "ratemill-origin-index"),
        value=None if null else value or b"",
        rejected_at=_number(found, "ratemill-rejected-at"),
        format=_text(found, "ratemill-format"),
        key=found.get("ratemill-key"),
        headers=tuple(originals),
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _text(headers: dict[str, bytes], name: str) -> str:
    raw = headers.get(name)
    if raw is None:
        raise BadInput(f"not a dead letter: the header {name} is missing")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadInput(f"not a dead letter: the header {name} is not UTF-8") from None


def _number(headers: dict[str, bytes], name: str) -> int:
    text = _text(headers, name)
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise BadInput(f"not a dead letter: the header {name} is {text[:40]!r}, not a whole number")
    return int(text)
