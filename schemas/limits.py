"""Bounds on what a record may hold. Beyond a bound there is a `Rejection`, never a guess and never unbounded work."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the decoders and of acceptance by time, with its unit in the name."""

    max_record_bytes: int = 1 << 20  # Kafka's own default for message.max.bytes
    max_depth: int = 32  # brackets open at once in a JSON document
    max_text_chars: int = 1024  # per text field, and per composed id
    max_members: int = 2_000  # keys of one JSON object
    max_dimensions: int = 64  # entries of `dimensions`, and of `tags`
    max_map_chars: int = 1 << 16  # of `dimensions`, and of `tags`, in their canonical text
    max_quantity_digits: int = 60  # significant digits, and the largest power of ten either way
    max_events_per_record: int = 10_000
    max_event_chars_per_record: int = 16 << 20  # in the texts of all its events: a small record can say much by saying it once for many
    max_header_bytes: int = 1 << 16  # names and values of the Kafka headers of a record
    max_clock_skew_s: int = 300  # live: how far ahead of our clock an event may be
    max_event_age_s: int = 35 * 86_400  # live: the dedupe window must be at least as long
    max_offline_ahead_s: int = 366 * 86_400  # offline rating may look into a planned year
    earliest_year: int = 2000  # inclusive
    latest_year: int = 2100  # exclusive


DEFAULT_LIMITS = Limits()
