"""Azure: Event Grid (as CloudEvents) and Azure Monitor metrics through Event Hubs.

Sources: MicrosoftDocs/azure-docs articles/event-grid/cloud-event-schema.md;
open-telemetry/opentelemetry-collector-contrib receiver/azureeventhubreceiver.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import Reason, Rejection
from ..limits import Limits
from ..times import format_time, parse_naive_utc
from ..usage_event import UsageEvent
from .cloudevents import decode_cloudevents, event_from_cloudevent
from .documents import Entries, each, each_document
from .reading import as_list, as_object, composed_id, map_text, optional_text, quantity, required_text, text_of

__all__ = ["decode_event_grid", "decode_event_hubs"]

Headers = Sequence[tuple[str, bytes]]
_SUBSCRIPTION = re.compile(r"/subscriptions/([^/]+)")


def decode_event_grid(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """CloudEvents as Event Grid delivers them; the provider is azure where data names none. Raises Rejection."""
    entries = decode_cloudevents(value, headers, limits)
    return [
        msgspec.structs.replace(entry, provider="azure") if isinstance(entry, UsageEvent) and not entry.provider else _explained(entry)
        for entry in entries
    ]


def _explained(entry: UsageEvent | Rejection) -> UsageEvent | Rejection:
    if isinstance(entry, Rejection) and entry.reason is Reason.MISSING_FIELD and entry.detail.startswith("specversion"):
        return Rejection(Reason.NOT_SUPPORTED, "not a CloudEvent; let the Event Grid subscription deliver the CloudEvents 1.0 schema")
    return entry


def decode_event_hubs(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """`{"records": […]}` as Azure Monitor writes it, fanned out. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: _message(obj, limits))


def _message(obj: Any, limits: Limits) -> Entries:
    message = as_object(obj, "the message")
    if "records" not in message:
        return [_record(message, limits)]
    return each(as_list(message["records"], "records", limits), limits, lambda record: [_record(record, limits)])


def _record(obj: Any, limits: Limits) -> UsageEvent:
    record = as_object(obj, "the record")
    if "specversion" in record:
        return event_from_cloudevent(record, limits, provider="azure")
    if "metricName" not in record:
        raise Rejection(Reason.NOT_SUPPORTED, "the Azure Monitor record is not a metric (it has no metricName), so carries no usage")
    metric = required_text(record, "metricName", limits)
    # Resource ids ignore case, and Azure Monitor shouts them: one case, or one resource has two identities.
    resource = required_text(record, "resourceId", limits).lower()
    subscription = _SUBSCRIPTION.search(resource)
    if subscription is None:
        raise Rejection(Reason.BAD_FIELD, "resourceId names no subscription (/subscriptions/…), which is the account")
    time = parse_naive_utc(required_text(record, "time", limits))
    if record.get("total") is None:
        raise Rejection(Reason.MISSING_FIELD, f"the metric {metric[:80]} has no total; export the Total aggregation")
    dimensions = map_text(record.get("dimensions"), "dimensions", limits)
    identity = [resource, metric, format_time(time), optional_text(record, "timeGrain", limits)]
    return UsageEvent(
        account=subscription[1],
        source="azure:monitor",
        id=composed_id("metric", [*identity, dimensions] if dimensions else identity),
        sku=text_of(f"{_resource_type(resource)}/{metric}", "the sku", limits),
        time=time,
        quantity=quantity(record["total"], "total", limits),
        unit=optional_text(record, "unit", limits) or "1",
        provider="azure",
        region=optional_text(record, "location", limits).lower(),
        resource=resource,
        dimensions=dimensions,
    )


def _resource_type(resource: str) -> str:
    """`…/providers/microsoft.sql/servers/s1/databases/d1` is of the type microsoft.sql/servers/databases."""
    _, found, rest = resource.rpartition("/providers/")
    parts = rest.split("/") if found else []
    return "/".join(parts[:1] + parts[1::2]) if parts and parts[0] else "subscription"
