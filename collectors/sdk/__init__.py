"""The collector SDK: make usage events, hand them to a publisher, and they are counted once. docs/collectors.md

Needs msgspec alone; aiokafka for Kafka.
"""

from __future__ import annotations

from ...schemas.errors import BadInput, RatemillError
from .events import Event, event_id, usage
from .http_target import HttpTarget
from .kafka_target import KafkaTarget
from .publisher import AsyncPublisher, Metrics, Publisher
from .spool import Refused, SpoolFailed, SpoolFull, SpoolInUse
from .targets import Outcome, Sender, Target

__all__ = [
    "AsyncPublisher", "BadInput", "Event", "HttpTarget", "KafkaTarget", "Metrics", "Outcome", "Publisher", "RatemillError", "Refused", "Sender",
    "SpoolFailed", "SpoolFull", "SpoolInUse", "Target", "event_id", "usage",
]  # fmt: skip
