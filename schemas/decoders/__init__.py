"""From the bytes of one Kafka record to usage events: every accepted input format, and nothing else (no clock, no I/O)."""

from __future__ import annotations

from .cloudevents import decode_plain
from .registry import FORMATS, decode, decode_record, detect

__all__ = ["FORMATS", "decode", "decode_plain", "decode_record", "detect"]
