"""The formats by name, and which one a record is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ..errors import Reason, Rejection
from ..limits import DEFAULT_LIMITS, Limits
from ..usage_event import UsageEvent
from .aws import decode_cloudwatch, decode_eventbridge
from .aws_cur import decode_aws_cur
from .azure import decode_event_grid, decode_event_hubs
from .azure_cost import decode_azure_cost
from .cloudevents import decode_cloudevents, decode_plain
from .gcp import decode_monitoring, decode_service_control
from .gcp_billing import decode_gcp_billing
from .gcp_pubsub import decode_pubsub
from .reading import parse_json, text_of
from .shapes import detect
from .usage_record import decode_usage_record

__all__ = ["FORMATS", "decode", "decode_record"]

Headers = Sequence[tuple[str, bytes]]
RawHeaders = Sequence[tuple[str, bytes | None]]  # as Kafka has them: a value may be null
Decoder = Callable[[bytes | None, Headers, Limits], list[UsageEvent | Rejection]]

FORMATS: dict[str, Decoder] = {
    "aws-cloudwatch": decode_cloudwatch,
    "aws-cur": decode_aws_cur,
    "aws-eventbridge": decode_eventbridge,
    "azure-cost": decode_azure_cost,
    "azure-event-grid": decode_event_grid,
    "azure-event-hubs": decode_event_hubs,
    "cloudevents": decode_cloudevents,
    "gcp-billing": decode_gcp_billing,
    "gcp-monitoring": decode_monitoring,
    "gcp-pubsub": decode_pubsub,
    "gcp-service-control": decode_service_control,
    "usage-record": decode_usage_record,
}


def decode(value: bytes | None, headers: RawHeaders, format: str, limits: Limits = DEFAULT_LIMITS) -> list[UsageEvent | Rejection]:
    """One entry per event contained in the record, in order; exactly one Rejection for a record that cannot be read.

    Never raises. `format` is a name in FORMATS. A header `ratemill-backfill: NAME` marks all events of the record.
    """
    decoder = FORMATS.get(format)
    if decoder is None:
        return [Rejection(Reason.NOT_SUPPORTED, f"unknown format {format[:60]!r}; known: {', '.join(sorted(FORMATS))}")]
    if (problem := _too_large(value, headers, limits)) is not None:
        return [problem]
    headers = _filled(headers)
    try:
        entries = decoder(value, headers, limits)
        name = _backfill(headers, limits) if headers else ""
    except Rejection as rejection:
        return [rejection.with_traceback(None)]
    for one in entries:
        if isinstance(one, Rejection):
            one.__traceback__ = None  # else every rejected event of a batch keeps the frames that read it
    if name:
        return [msgspec.structs.replace(e, backfill=name) if isinstance(e, UsageEvent) else e for e in entries]
    return entries


def decode_record(provider: str, value: bytes | None, headers: RawHeaders, limits: Limits = DEFAULT_LIMITS) -> list[UsageEvent | Rejection]:
    """Size check, detect, decode: what the normalize agent does with each raw record. Never raises.

    A record without headers on the topic for CloudEvents is tried as one plain event first: the usual case pays for nothing else.
    """
    if (problem := _too_large(value, headers, limits)) is not None:
        return [problem]
    headers = _filled(headers)
    if not headers and provider == "cloudevents" and value is not None and value[:1] == b"{" and b'"specversion"' in value:
        try:
            return [decode_plain(value, limits)]
        except Rejection as rejection:
            return [rejection.with_traceback(None)]
    format = detect(provider, value, headers)
    if format is None:
        try:
            parse_json(value, limits)
        except Rejection as rejection:  # not JSON at all says more than "no known format"
            return [rejection.with_traceback(None)]
        return [Rejection(Reason.NOT_SUPPORTED, f"no known {provider} usage format; name it in the header ratemill-format")]
    return decode(value, headers, format, limits)


def _too_large(value: bytes | None, headers: RawHeaders, limits: Limits) -> Rejection | None:
    """Looked at before anything is read."""
    if value is not None and len(value) > limits.max_record_bytes:
        return Rejection(Reason.TOO_LARGE, f"the record has {len(value)} bytes; at most {limits.max_record_bytes} are read")
    if headers and (size := sum([len(name) + len(raw or b"") for name, raw in headers])) > limits.max_header_bytes:
        return Rejection(Reason.TOO_LARGE, f"the headers have {size} bytes; at most {limits.max_header_bytes} are read")
    return None


def _filled(headers: RawHeaders) -> Headers:
    """A header without a value as an empty one: Kafka knows both, and no decoder has to."""
    return [(name, raw or b"") for name, raw in headers] if headers else ()


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
