"""From the bytes of one Kafka record to usage events: every accepted input format, and nothing else (no clock, no I/O)."""

from __future__ import annotations

from .cloudevents import decode_plain
from .registry import FORMATS, decode, decode_record
from .rows import annotate_rows
from .shapes import detect

__all__ = ["FORMATS", "annotate_rows", "decode", "decode_plain", "decode_record", "detect"]
