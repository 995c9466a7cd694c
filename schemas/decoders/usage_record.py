"""The public Usage Record v2 shape (elastic/kibana, workflows_execution_engine/server/metering/types.ts).

    {"id", "usage_timestamp", "creation_timestamp",
     "usage":  {"type", "sub_type", "quantity", "period_seconds", "cause", "metadata"},
     "source": {"id", "instance_group_id", "metadata": {"tier"}, "account", "product", "provider", "region"}}

`id` is deterministic by contract. creation_timestamp is the moment of sending and part of nothing: a resent record
must stay the same event. The shape has no unit; it is "1" unless usage.unit is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..limits import Limits
from ..times import parse_time
from ..usage_event import UsageEvent
from .documents import Entries, each_document
from .reading import as_object, map_text, optional_text, quantity, required_text, text_of

__all__ = ["decode_usage_record"]

Headers = Sequence[tuple[str, bytes]]


def decode_usage_record(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """Usage Records v2, one, an array, or newline-delimited. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: [_record(obj, limits)])


def _record(obj: Any, limits: Limits) -> UsageEvent:
    record = as_object(obj, "the usage record")
    usage = as_object(record.get("usage"), "usage")
    source = as_object(record.get("source"), "source")
    kind = required_text(usage, "type", limits, name="usage.type")
    sub_type = optional_text(usage, "sub_type", limits, name="usage.sub_type")
    group = optional_text(source, "instance_group_id", limits, name="source.instance_group_id")
    # The account joins the record in the usage API; before that the project that the instances belong to stands for it.
    account = optional_text(source, "account", limits, name="source.account") or group
    dimensions = {
        **as_object(usage.get("metadata") or {}, "usage.metadata"),
        **as_object(source.get("metadata") or {}, "source.metadata"),
        "product": source.get("product"),
    }
    tags = {"cause": usage.get("cause"), "period_seconds": usage.get("period_seconds")}
    return UsageEvent(
        account=account or required_text(source, "account", limits, name="source.account"),
        source=required_text(source, "id", limits, name="source.id"),
        id=required_text(record, "id", limits),
        sku=text_of(f"{kind}/{sub_type}" if sub_type else kind, "usage.type", limits),
        time=parse_time(required_text(record, "usage_timestamp", limits)),
        quantity=quantity(usage.get("quantity"), "usage.quantity", limits),
        unit=optional_text(usage, "unit", limits, name="usage.unit") or "1",
        provider=optional_text(source, "provider", limits, name="source.provider"),
        region=optional_text(source, "region", limits, name="source.region"),
        resource=group,
        dimensions=map_text(dimensions, "metadata", limits),
        tags=map_text(tags, "usage", limits, controls=True),
    )
