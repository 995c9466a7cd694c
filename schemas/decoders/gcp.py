"""GCP: Service Control operations (services.report) and Cloud Monitoring time series.

Sources: googleapis google/api/servicecontrol/v1 (Operation, MetricValueSet), google/monitoring/v3 (TimeSeries).
Neither message carries a unit of its own; where none is given the unit is "1", the dimensionless unit of Google's
metric descriptors. int64Value is a JSON string on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from ..errors import Reason, Rejection
from ..limits import Limits
from ..times import format_time, parse_time
from ..usage_event import UsageEvent
from .documents import Entries, Gathering, each, each_document
from .reading import as_list, as_object, composed_id, map_text, optional_text, quantity, required_text

__all__ = ["decode_monitoring", "decode_service_control", "monitoring", "service_control"]

Headers = Sequence[tuple[str, bytes]]


def decode_service_control(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """A services.report request, or one operation. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: service_control(obj, limits))


def service_control(obj: Any, limits: Limits) -> Entries:
    """The metric values of a report request or of one operation. Raises Rejection."""
    report = as_object(obj, "the report")
    if "operations" not in report:
        return _operation(report, limits)
    return each(as_list(report["operations"], "operations", limits), limits, lambda operation: _operation(operation, limits))


def _operation(obj: Any, limits: Limits) -> Entries:
    operation = as_object(obj, "the operation")
    operation_id = required_text(operation, "operationId", limits)
    account = required_text(operation, "consumerId", limits)
    labels = {**_labels(operation, "labels"), **_labels(operation, "userLabels")}
    its = _Labels(labels, map_text(labels, "labels", limits))
    gathering = Gathering(limits)
    seen: dict[str, int] = {}
    for index, value_set in enumerate(as_list(operation.get("metricValueSets", []), "metricValueSets", limits)):
        try:
            metrics = as_object(value_set, f"metricValueSets[{index}]")
            metric = required_text(metrics, "metricName", limits)
            values = as_list(metrics.get("metricValues"), "metricValues", limits)
        except Rejection as rejection:
            gathering.add(rejection)
            continue
        for item in values:
            # A retry repeats the operation as it was, so the place of a value among its metric's values identifies it.
            seen[metric] = seen.get(metric, 0) + 1
            try:
                gathering.add(_metric_value(item, operation, operation_id, account, metric, seen[metric], its, limits))
            except Rejection as rejection:
                gathering.refuse(rejection)
    if not gathering.entries:
        raise Rejection(Reason.NOT_SUPPORTED, "the operation carries no usage; it needs metricValueSets")
    return gathering.entries


class _Labels(NamedTuple):
    """Labels of an operation, and the dimensions that they are: made once, for a report can hold thousands of values under them."""

    labels: dict[str, Any]
    dimensions: str


def _metric_value(
    obj: Any, operation: dict[str, Any], operation_id: str, account: str, metric: str, place: int, its: _Labels, limits: Limits
) -> UsageEvent:
    value = as_object(obj, "the metric value")
    start = optional_text(value, "startTime", limits) or optional_text(operation, "startTime", limits)
    end = optional_text(value, "endTime", limits) or optional_text(operation, "endTime", limits)
    if not (start or end):
        raise Rejection(Reason.MISSING_FIELD, "neither the metric value nor the operation has startTime or endTime")
    if own := _labels(value, "labels"):
        labels = {**its.labels, **own}
        its = _Labels(labels, map_text(labels, "labels", limits))
    return UsageEvent(
        account=account,
        source="gcp:service-control",
        id=composed_id("operation", [operation_id, metric, place]),
        sku=metric,
        time=parse_time(start or end),
        quantity=_number(value, limits),
        unit="1",
        provider="gcp",
        region=optional_text(its.labels, "region", limits, name="the label region"),
        dimensions=its.dimensions,
    )


def decode_monitoring(value: bytes | None, headers: Headers, limits: Limits) -> Entries:
    """A list of time series, or one. Raises Rejection for a record that cannot be read."""
    return each_document(value, limits, lambda obj: monitoring(obj, limits))


def monitoring(obj: Any, limits: Limits) -> Entries:
    """The points of a timeSeries response or of one series. Raises Rejection."""
    response = as_object(obj, "the time series")
    if "timeSeries" not in response:
        return _series(response, limits)
    return each(as_list(response["timeSeries"], "timeSeries", limits), limits, lambda series: _series(series, limits))


def _series(obj: Any, limits: Limits) -> Entries:
    series = as_object(obj, "the time series")
    metric = as_object(series.get("metric"), "metric")
    resource = as_object(series.get("resource"), "resource")
    kind = required_text(series, "metricKind", limits)
    metric_type = required_text(metric, "type", limits, name="metric.type")
    labels, resource_labels = _labels(metric, "labels"), _labels(resource, "labels")
    points = as_list(series.get("points"), "points", limits)
    if not points:
        raise Rejection(Reason.NOT_SUPPORTED, f"the series {metric_type[:80]} has no points")
    if kind != "DELTA":
        detail = f"{kind[:20]} points of {metric_type[:80]} are readings, not usage; meters over readings are not there yet, so send DELTA"
        return [Rejection(Reason.NOT_SUPPORTED, detail) for _ in points]
    account = required_text(resource_labels, "project_id", limits, name="resource.labels.project_id")
    resource_type = optional_text(resource, "type", limits)
    unit = optional_text(series, "unit", limits) or "1"
    region = next((optional_text(resource_labels, key, limits) for key in ("region", "location", "zone") if resource_labels.get(key)), "")
    dimensions = map_text({**{k: v for k, v in resource_labels.items() if k != "project_id"}, **labels}, "labels", limits)
    identity = [metric_type, map_text(labels, "metric.labels", limits), resource_type, map_text(resource_labels, "resource.labels", limits)]

    def point_event(obj: Any) -> Entries:
        point = as_object(obj, "the point")
        interval = as_object(point.get("interval"), "interval")
        end = parse_time(required_text(interval, "endTime", limits, name="interval.endTime"))
        start = optional_text(interval, "startTime", limits, name="interval.startTime")
        time = parse_time(start) if start else end
        event = UsageEvent(
            account=account,
            source="gcp:monitoring",
            id=composed_id("series", [*identity, format_time(time), format_time(end)]),
            sku=metric_type,
            time=time,
            quantity=_number(as_object(point.get("value"), "value"), limits),
            unit=unit,
            provider="gcp",
            region=region,
            resource=optional_text(resource_labels, "instance_id", limits, numbers=True),
            dimensions=dimensions,
        )
        return [event]

    return each(points, limits, point_event)


def _labels(obj: dict[str, Any], key: str) -> dict[str, Any]:
    labels = obj.get(key)
    return {} if labels is None else as_object(labels, key)


def _number(value: dict[str, Any], limits: Limits) -> Decimal:
    for key in ("int64Value", "doubleValue"):
        if value.get(key) is not None:
            amount: Decimal = quantity(value[key], key, limits)
            return amount
    kinds = ", ".join(sorted(key for key in value if key.endswith("Value")))
    raise Rejection(Reason.NOT_SUPPORTED, f"the value has neither int64Value nor doubleValue{f' but {kinds[:80]!r}' if kinds else ''}")
