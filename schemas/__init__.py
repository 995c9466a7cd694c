"""The names of the domain: usage events and their input formats, line items, limits, errors. No Kafka, no files, no clock."""

from __future__ import annotations

from .acceptance import check_time
from .dead_letter import DeadLetter
from .decoders import FORMATS, decode, decode_plain, decode_record, detect
from .errors import RatemillError, Reason, Rejection
from .limits import DEFAULT_LIMITS, Limits
from .quantity import parse_quantity
from .times import format_time, parse_time
from .usage_event import UsageEvent

__all__ = [
    "DEFAULT_LIMITS",
    "FORMATS",
    "DeadLetter",
    "Limits",
    "RatemillError",
    "Reason",
    "Rejection",
    "UsageEvent",
    "check_time",
    "decode",
    "decode_plain",
    "decode_record",
    "detect",
    "format_time",
    "parse_quantity",
    "parse_time",
]
