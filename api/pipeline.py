"""`GET /v1/pipeline`: how the pipeline stands; and the same as gauges for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from ..schemas.pipeline import Freshness, PipelineHealth
from .access import needs
from .parts import Parts
from .problems import documented
from .tokens import Principal

__all__ = ["gauges", "gauges_of", "router"]

router = APIRouter(tags=["pipeline"])

_EXAMPLE: dict[str, Any] = {
    "status": "ok", "freshness_s": 0.8, "lag_s": 0.8, "lag_records": 3, "dead_letters_last_hour": 0, "dead_letters_last_day": 2, "unpriced": 0,
    "oldest_unpriced_s": None,
    "lanes": [{"lane": "rate", "topic": "usage.events", "partition": 0, "lag_records": 3, "lag_s": 0.8, "records_per_s": 41.5}],
    "conservation": {
        "balanced": True, "difference": 0, "received": 900, "counted": 890, "duplicate": 8, "dead_lettered": 2, "unbalanced": [],
    },
    "notes": [],
}  # fmt: skip
_EXAMPLES = {
    "operator": {"summary": "to the key of an operator", "value": _EXAMPLE},
    "account": {"summary": "to the key of an account", "value": {"status": "ok", "freshness_s": 0.8}},
}
_ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"examples": _EXAMPLES}}}}


@router.get("/v1/pipeline", response_model=PipelineHealth | Freshness, responses=_ANSWER | documented(401, 403, 503), operation_id="getPipeline",
            summary="How far behind what is shown is.")  # fmt: skip
async def get_pipeline(request: Request, principal: Annotated[Principal, Depends(needs("pipeline:read"))]) -> Response:
    """Looked at from outside, at most once a second for all who ask. A key of an account learns how fresh its costs are, and no more."""
    parts: Parts = request.app.state.parts
    health = await parts.pipeline()
    told = health if principal.account is None else Freshness(status=health.status, freshness_s=health.freshness_s)
    return Response(msgspec.json.encode(told), media_type="application/json")


def gauges(health: PipelineHealth) -> bytes:
    """The same in the text format of Prometheus. What is not known has no sample."""
    registry = CollectorRegistry()
    registry.register(_Gauges(health))
    return generate_latest(registry)


class _Gauges(Collector):
    def __init__(self, health: PipelineHealth) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        return gauges_of(self._health)


def gauges_of(health: PipelineHealth) -> Iterator[Metric]:
    """Every gauge, also those without a sample."""
    labels = ["lane", "topic", "partition"]
    seconds = GaugeMetricFamily("ratemill_lag_seconds", "Age of the first record that a lane has not processed.", labels=labels)
    records = GaugeMetricFamily("ratemill_waiting_records", "Records that a lane has not processed.", labels=labels)
    for row in health.lanes:
        at = [row.lane, row.topic, str(row.partition)]
        records.add_metric(at, row.lag_records)
        if row.lag_s is not None:
            seconds.add_metric(at, row.lag_s)
    yield from (seconds, records)
    kept = health.conservation
    single: tuple[tuple[str, str, float | None], ...] = (
        ("ratemill_freshness_seconds", "Age of the oldest record that has arrived and cannot be seen yet.", health.freshness_s),
        ("ratemill_dead_letters_last_hour", "Dead letters written within an hour.", health.dead_letters_last_hour),
        ("ratemill_unpriced_line_items", "Line items without a price.", health.unpriced),
        ("ratemill_unpriced_oldest_seconds", "Since the charge period of the oldest line item without a price began; 0: there is none.",
         health.oldest_unpriced_s if health.unpriced else health.unpriced),
        ("ratemill_conservation_difference_events", "By how many events lanes miss received = counted + duplicates + dead-lettered (2).",
         None if kept is None else kept.difference),
        ("ratemill_pipeline_seen", "1 when Kafka and Elasticsearch could be looked at, 0 when not.", 0 if health.notes else 1),
    )  # fmt: skip
    for name, text, value in single:
        family = GaugeMetricFamily(name, text)
        if value is not None:
            family.add_metric([], value)
        yield family
