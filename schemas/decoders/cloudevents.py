"""CloudEvents 1.0 (cloudevents/spec: spec.md, json-format.md, kafka-protocol-binding.md) and the plain form in their data.

Structured (content type `application/cloudevents+json`, or a bare JSON object), JSON batch (array), and binary
(`ce_…` headers). `subject` is the account; `data` holds sku, quantity, unit and the optional fields.

The hot path is `decode_plain`: one typed parse in C, a few look-ups, and checks over the raw bytes that cover all
fields at once. On any surprise it takes the slow path, which says what is wrong; both give the same event.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from ..errors import UNREADABLE, Reason, Rejection
from ..limits import DEFAULT_LIMITS, Limits
from ..quantity import quantity_of_json
from ..times import parse_time
from ..usage_event import UsageEvent, hot
from .reading import as_list, as_object, map_text, optional_text, parse_json, required_text, text_of, usage_from_data

__all__ = ["decode_cloudevents", "decode_plain", "decode_plain_many", "event_from_cloudevent", "plain_bytes"]

Headers = Sequence[tuple[str, bytes]]
_NO_JSON = msgspec.Raw()
_MAX_DIGITS = DEFAULT_LIMITS.max_quantity_digits
_MAX_CHARS = DEFAULT_LIMITS.max_text_chars
_JSON_TYPE = re.compile(r"\s*application/(?:json|[^;\s]+\+json)\s*(?:;.*)?|\s*text/json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)


class _Data(msgspec.Struct, gc=False):
    sku: str
    quantity: msgspec.Raw
    unit: str
    provider: str = ""
    region: str = ""
    resource: str = ""
    dimensions: msgspec.Raw = _NO_JSON
    tags: msgspec.Raw = _NO_JSON


class _Plain(msgspec.Struct, gc=False):
    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: _Data
    datacontenttype: Literal["application/json", ""] = ""
    # The usual members that usage does not depend on: known here, so that an event with them keeps to the short way.
    dataschema: str = ""
    partitionkey: str = ""
    sequence: str = ""
    traceparent: str = ""
    tracestate: str = ""


class _Map(msgspec.Struct, gc=False):
    """A map of dimensions or tags seen before: canonical text, quotes in its raw form, entries."""

    text: str
    quotes: int
    entries: int


_decode_typed = msgspec.json.Decoder(_Plain).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
# Quotes of the required members: 2 for each of 10 keys and 8 texts (six of the envelope, sku and unit).
_REQUIRED_QUOTES = 36
_CACHE_SIZE = 8192
_dimension_maps: dict[bytes, _Map] = {}
_tag_maps: dict[bytes, _Map] = {}
_REFUSED = (*UNREADABLE, Rejection)
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f]")


def decode_plain(value: bytes, limits: Limits = DEFAULT_LIMITS) -> UsageEvent:
    """One structured CloudEvent in the plain form. Raises Rejection.

    Counting quotes proves that every member was known and none stood twice: a repeated or unknown member adds
    quotes that the fields found do not account for. Then, or with an escaped quote, the slow path decides.
    The same count bounds the depth: only unknown members and maps could be deep, and maps are read strictly.
    """
    if limits.max_quantity_digits != _MAX_DIGITS or limits.max_text_chars < _MAX_CHARS:  # the caches hold what the usual bounds allow
        return _decode_slow(value, limits)
    try:
        e = _decode_typed(value)
        d = e.data
        raw = bytes(d.quantity)
        amount: Decimal = quantity_of_json(raw)
        time = parse_time(e.time)
        quotes = _REQUIRED_QUOTES + (2 if raw[0] == 34 else 0)
        dimensions = tags = ""
        if d.dimensions is not _NO_JSON:
            raw = bytes(d.dimensions)
            found = _dimension_maps.get(raw) or _read_map(raw, _dimension_maps, limits)
            if found.entries > limits.max_dimensions:
                return _decode_slow(value, limits)
            dimensions = found.text
            quotes += 2 + found.quotes
        if d.tags is not _NO_JSON:
            raw = bytes(d.tags)
            found = _tag_maps.get(raw) or _read_map(raw, _tag_maps, limits)
            if found.entries > limits.max_dimensions:
                return _decode_slow(value, limits)
            tags = found.text
            quotes += 2 + found.quotes
    except _REFUSED:
        return _decode_slow(value, limits)
    account, source, event_id, sku, unit = e.subject, e.source, e.id, d.sku, d.unit
    provider, region, resource = d.provider, d.region, d.resource
    if provider:
        quotes += 4
    if region:
        quotes += 4
    if resource:
        quotes += 4
    if not (account and source and event_id and sku and unit and e.type):
        return _decode_slow(value, limits)
    if (missing := value.count(b'"') - quotes) != 0:
        for text in (e.datacontenttype, e.traceparent, e.tracestate, e.partitionkey, e.dataschema, e.sequence):
            if text:
                missing -= 4
        if missing:
            return _decode_slow(value, limits)
    # JSON allows control characters in a text only as escapes (DEL and C1 aside), so three scans clear all fields:
    # no backslash, no DEL, no byte that leads C1. (`92 in value` is eight times as fast as b"\\" in value.)
    if 92 in value or 127 in value or 0xC2 in value or len(value) > limits.max_text_chars:
        texts = (account, source, event_id, sku, unit, provider, region, resource, e.type)
        if max(map(len, texts)) > limits.max_text_chars or len(value) > limits.max_record_bytes or _FORBIDDEN.search("".join(texts)):
            return _decode_slow(value, limits)
    return UsageEvent(account, source, event_id, sku, time, amount, unit, provider, region, resource, dimensions, tags)


def plain_bytes(limits: Limits) -> int:
    """How long an event may be to be plain; none may be (-1) where the bounds are not the usual ones."""
    usual = limits.max_quantity_digits == _MAX_DIGITS and limits.max_text_chars >= _MAX_CHARS
    return min(limits.max_text_chars, limits.max_record_bytes) if usual else -1


def decode_plain_many(values: Sequence[bytes | None], limits: Limits = DEFAULT_LIMITS) -> list[UsageEvent | None]:
    """`decode_plain` for a batch, for the commonest events only: no dimensions, no tags, no extension members.

    None where an event is not so simple (or not right): `decode_plain` has the answer then. One loop with everything local
    costs two thirds of a call for each; what it accepts, `decode_plain` accepts with the same result (a test compares them).
    """
    longest = plain_bytes(limits)
    if hot is not None:
        found: list[UsageEvent | None] = hot.decode_plain_many(values, longest)
        return found
    result: list[UsageEvent | None] = []
    append = result.append
    decode, no_json, quantity, time_of = _decode_typed, _NO_JSON, quantity_of_json, parse_time
    for value in values:
        if value is None or len(value) > longest or 92 in value or 127 in value or 0xC2 in value:
            append(None)
            continue
        try:
            e = decode(value)
            d = e.data
            raw = bytes(d.quantity)
            amount, time = quantity(raw), time_of(e.time)
        except _REFUSED:
            append(None)
            continue
        account, source, event_id, sku, unit = e.subject, e.source, e.id, d.sku, d.unit
        provider, region, resource = d.provider, d.region, d.resource
        quotes = _REQUIRED_QUOTES
        if raw[0] == 34:
            quotes += 2
        if provider:
            quotes += 4
        if region:
            quotes += 4
        if resource:
            quotes += 4
        if (
            value.count(b'"') == quotes
            and account and source and event_id and sku and unit and e.type
            and d.dimensions is no_json and d.tags is no_json
        ):  # fmt: skip
            append(UsageEvent(account, source, event_id, sku, time, amount, unit, provider, region, resource))
        else:
            append(None)
    return result


def _read_map(raw: bytes, known: dict[bytes, _Map], limits: Limits) -> _Map:
    """Check a map strictly and keep it, so that the next event with the same bytes costs one look-up."""
    obj = parse_json(raw, limits)
    text = map_text(obj, "data.dimensions", limits, controls=known is _tag_maps)
    found = _Map(text, raw.count(b'"'), len(obj or ()))
    if len(raw) <= _MAX_CHARS:  # then each of its texts is within any limit that comes here
        if len(known) >= _CACHE_SIZE:
            known.clear()
        known[raw] = found
    return found


def _decode_slow(value: bytes, limits: Limits) -> UsageEvent:
    return event_from_cloudevent(parse_json(value, limits), limits)


def event_from_cloudevent(obj: Any, limits: Limits, *, provider: str = "") -> UsageEvent:
    """The usage event of a CloudEvent in its JSON format. Raises Rejection."""
    event = as_object(obj, "the event")
    version = required_text(event, "specversion", limits)
    if version != "1.0":
        raise Rejection(Reason.NOT_SUPPORTED, f"CloudEvents specversion {version[:20]!r}; send 1.0")
    event_id = required_text(event, "id", limits)
    source = required_text(event, "source", limits)
    required_text(event, "type", limits)
    data = _json_data(event, limits)
    if data is None or not any(key in data for key in ("sku", "quantity", "unit")):
        raise Rejection(Reason.NOT_SUPPORTED, "the CloudEvent carries no usage; data needs sku, quantity and unit, and subject the account")
    account = required_text(event, "subject", limits, name="subject (the account)")
    time = parse_time(required_text(event, "time", limits))
    return usage_from_data(data, limits, account=account, source=source, id=event_id, time=time, provider=provider)


def _json_data(event: dict[str, Any], limits: Limits) -> dict[str, Any] | None:
    """The payload object; None when there is none. Raises Rejection(NOT_SUPPORTED) for a payload that is not JSON."""
    content_type = optional_text(event, "datacontenttype", limits)
    if content_type and _JSON_TYPE.fullmatch(content_type) is None:
        raise Rejection(Reason.NOT_SUPPORTED, f"data of type {content_type[:60]!r}; usage is read from application/json")
    encoded = event.get("data_base64")
    if encoded is None:
        data = event.get("data")
        return None if data is None else as_object(data, "data")
    if event.get("data") is not None:
        raise Rejection(Reason.BAD_FIELD, "the event has both data and data_base64; send one")
    if type(encoded) is not str:
        raise Rejection(Reason.BAD_FIELD, "data_base64 must be a text")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Rejection(Reason.NOT_DECODABLE, "data_base64 is not standard base64") from None
    return as_object(parse_json(raw, limits), "data_base64")


def decode_cloudevents(value: bytes | None, headers: Headers, limits: Limits) -> list[UsageEvent | Rejection]:
    """Every event of a record, in order. Raises Rejection for a record that cannot be read as a whole."""
    kind = ""
    binary = False
    for name, text in headers:
        if name.lower() == "content-type":
            kind = text.decode("utf-8", "replace").strip().lower()
        elif name.startswith("ce_"):
            binary = True
    if kind.startswith("application/cloudevents"):  # the binding: this prefix decides, whatever other headers say
        form = kind.split(";")[0].strip()
        if form not in ("application/cloudevents", "application/cloudevents+json", "application/cloudevents-batch+json"):
            raise Rejection(Reason.NOT_SUPPORTED, f"content type {form[:60]!r}; send application/cloudevents+json")
    elif binary:
        return [_decode_binary(value, headers, kind, limits)]
    if not value:
        parse_json(value, limits)  # raises, with the text for a tombstone
        return []
    return _decode_batch(value, limits) if value.lstrip()[:1] == b"[" else [decode_plain(value, limits)]


def _decode_batch(value: bytes, limits: Limits) -> list[UsageEvent | Rejection]:
    elements: list[Any]
    decode_one: Any
    try:
        elements = [bytes(raw) for raw in as_list(_split(value), "the batch", limits)]
        decode_one, plain = decode_plain, decode_plain_many(elements, limits)
    except UNREADABLE:
        # Not JSON, or NaN in one element: the tolerant reader either says where, or saves the siblings.
        elements = as_list(parse_json(value, limits), "the batch", limits)
        decode_one, plain = event_from_cloudevent, [None] * len(elements)
    events: list[UsageEvent | Rejection] = []
    for element, event in zip(elements, plain, strict=True):
        try:
            events.append(event or decode_one(element, limits))
        except Rejection as rejection:
            events.append(rejection)
    if not events:
        raise Rejection(Reason.NOT_SUPPORTED, "the batch is empty")
    return events


def _decode_binary(value: bytes | None, headers: Headers, kind: str, limits: Limits) -> UsageEvent:
    event: dict[str, Any] = {}
    for name, raw in headers:
        if not name.startswith("ce_"):
            continue
        key = name[3:]
        if key in event:
            raise Rejection(Reason.BAD_FIELD, f"the header {name[:60]!r} stands twice")
        try:
            event[key] = raw.decode()
        except UnicodeDecodeError as e:
            raise Rejection(Reason.NOT_DECODABLE, f"the header {name[:60]!r} is not UTF-8 at byte {e.start}") from None
    for key in ("data", "data_base64"):
        event.pop(key, None)  # not attributes; the payload is the record's value
    if kind and _JSON_TYPE.fullmatch(kind) is None:
        raise Rejection(Reason.NOT_SUPPORTED, f"data of type {text_of(kind, 'content-type', limits)[:60]!r}; usage is read from application/json")
    event.pop("datacontenttype", None)
    event["data"] = parse_json(value, limits)
    return event_from_cloudevent(event, limits)
