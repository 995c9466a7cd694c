"""A dead letter: one rejected event (or record) with the reason, where it came from, and its raw bytes, unchanged.

Of a record with several rejected events the bytes are kept once, in the letter of the first of them; the others name it. A record
beyond any limit that a configuration may have is kept in part: it can never count, and its letter must fit into Kafka.

On Kafka the value is the original value, byte for byte, and everything else is in headers, so a replay needs no
unpacking:

    ratemill-reason  ratemill-detail  ratemill-format  ratemill-rejected-at (nanoseconds since 1970, UTC)
    ratemill-origin-topic  ratemill-origin-partition  ratemill-origin-offset
    ratemill-origin-index             place of the event in the record, from 0; -1 when the record as a whole is meant
    ratemill-key                      the original key; absent when there was none
    ratemill-null: 1                  the original value was null, and b"" stands for it
    ratemill-original-NAME            every original header, in order
    ratemill-originals                instead, of a record with more than 100: names and values as one MessagePack array
    ratemill-held-by                  index of the letter of the same record that holds its key, value and headers; they are not here
    ratemill-cut                      bytes of the whole record, of which only the first ones of the value are here

The key is `topic/partition/offset/index`: one event has one dead letter, however often it is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from .errors import UNREADABLE, BadInput, Reason

__all__ = ["CUT_TO", "DeadLetter", "from_kafka", "held_once", "to_kafka"]

Headers = tuple[tuple[str, bytes | None], ...]

_PREFIX = "ratemill-original-"
VALUE_LIMIT = 16 << 20  # bytes: rating.max_record_bytes is at most this
REST_LIMIT = 1 << 18  # bytes of key and headers; each header grows by the prefix
CUT_TO = 1 << 20  # bytes
_NAMED = 100  # original headers that stand under their names; the prefix would make a record of many short ones ten times as large
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Headers).decode


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why, whence, and what. A header may have no value. rejected_at: nanoseconds since 1970, UTC, passed in. index: -1 for the whole record.

    held_by: index of the letter that holds the bytes of the record, None where this one does. cut: bytes of the whole record, 0: it is here.
    """

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
    headers: Headers = ()
    held_by: int | None = None
    cut: int = 0


def held_once(letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """The letters of some records, those of each record side by side, and its bytes in the first of them; what is beyond limits is cut."""
    found: list[DeadLetter] = []
    holder: DeadLetter | None = None
    for letter in sorted(letters, key=lambda each: (each.topic, each.partition, each.offset)):
        if holder is None or (letter.topic, letter.partition, letter.offset) != (holder.topic, holder.partition, holder.offset):
            holder = letter
        if letter is holder or letter.value is not holder.value:  # other bytes: not the record, but an event of it in the plain form
            found.append(_cut(letter))
        else:
            found.append(replace(letter, value=b"", key=None, headers=(), held_by=holder.index))
    return found


def _cut(letter: DeadLetter) -> DeadLetter:
    value = letter.value or b""
    rest = len(letter.key or b"") + sum([len(name.encode()) + len(text or b"") + len(_PREFIX) for name, text in letter.headers])
    if len(value) <= VALUE_LIMIT and rest <= REST_LIMIT:
        return letter
    return replace(letter, value=value[:CUT_TO], key=None, headers=(), cut=len(value) + rest)


def to_kafka(dead_letter: DeadLetter) -> tuple[bytes, bytes, list[tuple[str, bytes | None]]]:
    """Key, value and headers of the record for the dead-letter topic."""
    d = dead_letter
    headers: list[tuple[str, bytes | None]] = [
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
    if d.held_by is not None:
        headers.append(("ratemill-held-by", str(d.held_by).encode()))
    if d.cut:
        headers.append(("ratemill-cut", str(d.cut).encode()))
    if d.value is None:
        headers.append(("ratemill-null", b"1"))
    if len(d.headers) > _NAMED:
        headers.append(("ratemill-originals", _encode(d.headers)))
    else:
        headers.extend((_PREFIX + name, value) for name, value in d.headers)
    return _bytes(f"{d.topic}/{d.partition}/{d.offset}/{d.index}"), b"" if d.value is None else d.value, headers


def from_kafka(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> DeadLetter:
    """The dead letter that `to_kafka` wrote. Raises BadInput for a record that is not one; the key repeats headers and is not read."""
    found: dict[str, bytes | None] = {}
    originals: list[tuple[str, bytes | None]] = []
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
    if (packed := found.get("ratemill-originals")) is not None:
        try:
            originals += _decode(packed)
        except UNREADABLE:
            raise BadInput("not a dead letter: the header ratemill-originals holds no headers") from None
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
        held_by=_number(found, "ratemill-held-by") if "ratemill-held-by" in found else None,
        cut=_number(found, "ratemill-cut") if "ratemill-cut" in found else 0,
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _text(headers: dict[str, bytes | None], name: str) -> str:
    raw = headers.get(name)
    if raw is None:
        raise BadInput(f"not a dead letter: the header {name} is missing")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadInput(f"not a dead letter: the header {name} is not UTF-8") from None


def _number(headers: dict[str, bytes | None], name: str) -> int:
    text = _text(headers, name)
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise BadInput(f"not a dead letter: the header {name} is {text[:40]!r}, not a whole number")
    return int(text)
