"""The formats by name, and which one a record is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..errors import Reason, Rejection
from ..limits import DEFAULT_LIMITS, Limits
from ..usage_event import UsageEvent
from .cloudevents import decode_cloudevents
from .reading import text_of

__all__ = ["FORMATS", "decode", "decode_record", "detect"]

Headers = Sequence[tuple[str, bytes]]
Decoder = Callable[[bytes | None, Headers, Limits], list[UsageEvent | Rejection]]

FORMATS: dict[str, Decoder] = {
    "cloudevents": decode_cloudevents,
}


def decode(value: bytes | None, headers: Headers, format: str, limits: Limits = DEFAULT_LIMITS) -> list[UsageEvent | Rejection]:
    """One entry per event contained in the record, in order; exactly one Rejection for a record that cannot be read.

    Never raises. `format` is a name in FORMATS. A header `ratemill-backfill: NAME` marks all events of the record.
    """
    decoder = FORMATS.get(format)
    if decoder is None:
        return [Rejection(Reason.NOT_SUPPORTED, f"unknown format {format[:60]!r}; known: {', '.join(sorted(FORMATS))}")]
    try:
        entries = decoder(value, headers, limits)
        name = _backfill(headers, limits) if headers else ""
    except Rejection as rejection:
        return [rejection]
    if name:
        return [msgspec.structs.replace(e, backfill=name) if isinstance(e, UsageEvent) else e for e in entries]
    return entries


def detect(topic_provider: str, value: bytes | None, headers: Headers) -> str | None:
    """The format name of a record, or None. A header `ratemill-format` wins, else the shape decides."""
    for name, text in headers:
        if name == "ratemill-format":
            return text.decode("utf-8", "replace").strip()
    return "cloudevents"


def decode_record(provider: str, value: bytes | None, headers: Headers, limits: Limits = DEFAULT_LIMITS) -> list[UsageEvent | Rejection]:
    """Size check, detect, decode: what the normalize agent does with each raw record. Never raises."""
    if value is not None and len(value) > limits.max_record_bytes:
        return [Rejection(Reason.TOO_LARGE, f"the record has {len(value)} bytes; at most {limits.max_record_bytes} are read")]
    format = detect(provider, value, headers)
    if format is None:
        return [Rejection(Reason.NOT_SUPPORTED, f"no known {provider} usage format; name it in the header ratemill-format")]
    return decode(value, headers, format, limits)


def _backfill(headers: Headers, limits: Limits) -> str:
    for name, raw in headers:
        if name == "ratemill-backfill":
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                raise Rejection(Reason.BAD_FIELD, "the header ratemill-backfill is not UTF-8") from None
            if not text:
                raise Rejection(Reason.MISSING_FIELD, "the header ratemill-backfill is empty; it names the backfill")
            return text_of(text, "the header ratemill-backfill", limits)
    return ""
