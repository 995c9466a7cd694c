"""How collectors hand events over: to the raw topic for CloudEvents, acknowledged by all replicas."""

from __future__ import annotations

from collections.abc import Sequence

from ..collectors.files import Piece
from ..collectors.publishing import account_of, headers_of, publish
from ..collectors.reports.run import Deliver
from ..schemas.errors import RatemillError, Unavailable
from ..schemas.packed import as_cloudevent
from ..schemas.usage_event import UsageEvent
from ..streams.config import Config
from ..streams.reach import client_settings, not_allowed
from ..streams.topics import Topics, ensure_topics
from .publish import raw_topic

__all__ = ["to_kafka"]


async def to_kafka(config: Config, topic: str | None) -> Deliver:
    """Delivery into Kafka; makes the topic where it is missing. Raises BadInput, Unavailable, AccessDenied."""
    name = raw_topic(Topics.of(config.kafka), "cloudevents", topic)
    await ensure_topics(config, {name})

    async def deliver(events: Sequence[UsageEvent], backfill: str) -> None:
        pieces = [Piece("", 0, as_cloudevent(event)) for event in events]
        try:
            done = await publish(
                client_settings(config.kafka), name, pieces, headers_of("cloudevents", backfill), lambda value: account_of(value, "cloudevents")
            )
        except Unavailable as error:
            raise not_allowed(config.kafka, error.__cause__) or error from error
        if done.too_large or done.records != len(events):
            raise RatemillError(f"{len(events) - done.records:,} events are too large for {name}; none of this batch is taken for delivered")

    return deliver
