"""AWS: EventBridge envelopes and CloudWatch metric streams (JSON format).

Sources: awsdocs/amazon-eventbridge-user-guide doc_source/eb-events.md; awsdocs/amazon-cloudwatch-user-guide
doc_source/CloudWatch-metric-streams-formats-json.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import Reason, Rejection
from ..limits import Limits
from ..times import format_time, parse_epoch_ms, parse_time
from ..usage_event import UsageEvent
from .documents import Entries, each_document
from .reading import JsonNumber, as_object, composed_id, map_text, optional_text, quantity, required_text, text_of, usage_from_data

__all__ = ["decode_cloudwatch", "decode_eventbridge"]

Headers = Sequence[tuple[str, bytes]]


def decode_eventbridge(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """EventBridge events whose `detail` is in the plain form. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: [_eventbridge(obj, limits)])


def _eventbridge(obj: Any, limits: Limits) -> UsageEvent:
    event = as_object(obj, "the event")
    detail = as_object(event.get("detail"), "detail")
    if not any(key in detail for key in ("sku", "quantity", "unit")):
        raise Rejection(Reason.NOT_SUPPORTED, "the EventBridge event carries no usage; its detail needs sku, quantity and unit")
    # An application that meters its customers on its own bus names them in the detail; else the AWS account is charged.
    account = optional_text(detail, "account", limits, name="detail.account") or required_text(event, "account", limits)
    resources = event.get("resources")
    resource = text_of(resources[0], "resources[0]", limits) if isinstance(resources, list) and resources else ""
    return usage_from_data(
        detail,
        limits,
        account=account,
        source=required_text(event, "source", limits),
        id=required_text(event, "id", limits),
        time=parse_time(required_text(event, "time", limits)),
        provider="aws",
        region=optional_text(event, "region", limits),
        resource=resource,
    )


def decode_cloudwatch(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """Data points of a CloudWatch metric stream, one or newline-delimited. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: [_cloudwatch(obj, limits)])


def _cloudwatch(obj: Any, limits: Limits) -> UsageEvent:
    point = as_object(obj, "the data point")
    account = required_text(point, "account_id", limits, numbers=True)
    region = required_text(point, "region", limits)
    namespace = required_text(point, "namespace", limits)
    metric = required_text(point, "metric_name", limits)
    stamp = point.get("timestamp")
    if stamp is None:
        raise Rejection(Reason.MISSING_FIELD, "timestamp is absent")
    if type(stamp) is not JsonNumber:
        raise Rejection(Reason.BAD_TIME, "timestamp must be a number of milliseconds since 1970")
    time = parse_epoch_ms(stamp)
    dimensions = map_text(point.get("dimensions"), "dimensions", limits)
    return UsageEvent(
        account=account,
        # The stream's name is no part of the identity: two streams that carry one metric must not count it twice.
        source="aws:cloudwatch",
        id=composed_id("cloudwatch", [region, namespace, metric, dimensions, format_time(time)]),
        sku=text_of(f"{namespace}/{metric}", "namespace/metric_name", limits),
        time=time,
        quantity=quantity(as_object(point.get("value"), "value").get("sum"), "value.sum", limits),
        unit=required_text(point, "unit", limits),
        provider="aws",
        region=region,
        dimensions=dimensions,
    )
