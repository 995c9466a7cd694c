"""Which format a record is in, from its headers and the names of its top-level members; no value is interpreted."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..errors import UNREADABLE
from .documents import json_lines

__all__ = ["detect"]

Headers = Sequence[tuple[str, bytes]]

# First match wins. Each rule: members that must all be there, and the format they mean. Names are unlike enough
# that one provider's rules do not fit another's records, so a record on the wrong provider's topic is not guessed at.
_RULES: dict[str, tuple[tuple[frozenset[str], str], ...]] = {
    provider: tuple((frozenset(members.split()), name) for members, name in rules)
    for provider, rules in {
        "aws": (
            ("detail-type", "aws-eventbridge"),
            ("detail source", "aws-eventbridge"),
            ("metric_name namespace", "aws-cloudwatch"),
            ("identity/LineItemId", "aws-cur"),
            ("identity_line_item_id", "aws-cur"),
            ("lineItem/LineItemType", "aws-cur"),
            ("line_item_line_item_type", "aws-cur"),
        ),
        "gcp": (
            ("receivedMessages", "gcp-pubsub"),
            ("message", "gcp-pubsub"),
            ("data messageId", "gcp-pubsub"),
            ("operations", "gcp-service-control"),
            ("metricValueSets", "gcp-service-control"),
            ("timeSeries", "gcp-monitoring"),
            ("metric points", "gcp-monitoring"),
            ("billing_account_id", "gcp-billing"),
        ),
        "azure": (
            ("records", "azure-event-hubs"),
            ("metricname resourceid", "azure-event-hubs"),
            ("meterid", "azure-cost"),
            ("chargetype", "azure-cost"),
            ("eventtype", "azure-event-grid"),
        ),
        "cloudevents": (),
    }.items()
}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode


def detect(topic_provider: str, value: bytes | None, headers: Headers) -> str | None:
    """The format name of a record on a provider's topic (aws, gcp, azure, cloudevents), or None.

    A header `ratemill-format` wins, then the headers of CloudEvents, then the shape. On the topic for CloudEvents
    everything is a CloudEvent, usage records aside. Never raises.
    """
    cloudevents = "azure-event-grid" if topic_provider == "azure" else "cloudevents"
    for name, text in headers:
        if name == "ratemill-format":
            return text.decode("utf-8", "replace").strip()
    for name, text in headers:
        if name.startswith("ce_") or (name.lower() == "content-type" and text.strip().lower().startswith(b"application/cloudevents")):
            return cloudevents
    members = _top_members(value)
    if "specversion" in members:
        return cloudevents
    if "usage" in members and "usage_timestamp" in members:
        return "usage-record"
    if topic_provider == "cloudevents":
        return cloudevents
    if topic_provider == "azure":
        members = {name.lower() for name in members}
    return next((format for needed, format in _RULES.get(topic_provider, ()) if needed <= members), None)


def _top_members(value: bytes | None) -> set[str]:
    """Names of the members of the record's first object; empty when there is none or it is not JSON."""
    if not value:
        return set()
    try:
        if value.lstrip()[:1] == b"[":
            elements = _elements(value)
            return set(_members(elements[0])) if elements else set()
        lines = json_lines(value)
        return set(_members(lines[0] if lines else value))
    except UNREADABLE:
        return set()
