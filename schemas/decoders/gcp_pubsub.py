"""Pub/Sub envelopes (push and pull) around usage: CloudEvents, the plain form with its account, or another GCP shape.

`data` is standard base64 and may be absent. Attributes `ce-id`, `ce-source`, `ce-subject`, `ce-time` are those of the
CloudEvents binding for Pub/Sub. messageId is unique per topic and survives redelivery: it is the id where the payload
has none. Source: cloud.google.com/pubsub/docs/push, Pub/Sub v1 PullResponse.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from ..errors import Reason, Rejection
from ..limits import Limits
from ..times import parse_time
from ..usage_event import UsageEvent
from .cloudevents import event_from_cloudevent
from .documents import Entries, each, each_document
from .gcp import monitoring, service_control
from .gcp_billing import billing_row
from .reading import as_list, as_object, optional_text, parse_json, text_of, usage_from_data

__all__ = ["decode_pubsub"]

Headers = Sequence[tuple[str, bytes]]


def decode_pubsub(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """Every usage event inside the messages of a record. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: _envelope(obj, limits))


def _envelope(obj: Any, limits: Limits) -> Entries:
    envelope = as_object(obj, "the envelope")
    if "receivedMessages" in envelope:
        received = as_list(envelope["receivedMessages"], "receivedMessages", limits)
        return each(received, limits, lambda item: _message(as_object(item, "receivedMessages[]").get("message"), limits))
    return _message(envelope.get("message", envelope), limits)


def _message(obj: Any, limits: Limits) -> Entries:
    message = as_object(obj, "message")
    data = message.get("data")
    if data is None or data == "":
        raise Rejection(Reason.NOT_SUPPORTED, "the Pub/Sub message has no data, so no usage")
    if type(data) is not str:
        raise Rejection(Reason.BAD_FIELD, "message.data must be a text in base64")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Rejection(Reason.NOT_DECODABLE, "message.data is not standard base64") from None
    try:
        found = parse_json(raw, limits)
    except Rejection as rejection:
        raise Rejection(rejection.reason, f"message.data: {rejection.detail}") from None
    if isinstance(found, list):
        if all(isinstance(item, dict) and "specversion" in item for item in found):
            return each(as_list(found, "message.data", limits), limits, lambda item: [event_from_cloudevent(item, limits)])
        raise Rejection(Reason.NOT_SUPPORTED, "message.data is an array, but not of CloudEvents")
    payload = as_object(found, "message.data")
    if "specversion" in payload:
        return [event_from_cloudevent(payload, limits)]
    if "operations" in payload or "metricValueSets" in payload:
        return service_control(payload, limits)
    if "timeSeries" in payload or "metricKind" in payload:
        return monitoring(payload, limits)
    if "billing_account_id" in payload:
        return [billing_row(payload, limits)]
    return [_plain(payload, message, limits)]


def _plain(payload: dict[str, Any], message: dict[str, Any], limits: Limits) -> UsageEvent:
    """The plain form without an envelope of its own: account, time, id and source come from the first place that has them."""
    found = message.get("attributes")
    attributes = {} if found is None else as_object(found, "message.attributes")
    if "metric" in payload and "sku" not in payload:
        payload = {**payload, "sku": payload["metric"]}
    if not any(key in payload for key in ("sku", "quantity", "unit")):
        raise Rejection(Reason.NOT_SUPPORTED, "the Pub/Sub message carries no usage; its data needs sku, quantity and unit, and an account")

    def first(what: str, *places: tuple[dict[str, Any], str]) -> str:
        for where, key in places:
            value = where.get(key)
            if value is not None and value != "":
                return text_of(value, key, limits, numbers=True)
        raise Rejection(Reason.MISSING_FIELD, f"no {what}: none of {', '.join(key for _, key in places)} is there")

    return usage_from_data(
        payload,
        limits,
        account=first("account", (attributes, "ce-subject"), (payload, "account"), (payload, "subject"), (message, "orderingKey")),
        # Not the subscription: a message that two subscriptions deliver is one message.
        source=optional_text(attributes, "ce-source", limits) or optional_text(payload, "source", limits) or "gcp:pubsub",
        id=first("id", (attributes, "ce-id"), (payload, "id"), (payload, "operationId"), (message, "messageId"), (message, "message_id")),
        time=parse_time(
            first("time", (attributes, "ce-time"), (payload, "time"), (payload, "start"), (message, "publishTime"), (message, "publish_time"))
        ),
        provider="gcp",
    )
