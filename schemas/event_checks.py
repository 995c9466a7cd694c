"""Checks of events that did not come through a decoder of usage: nothing that a decoder refuses may come in another way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from .errors import UNREADABLE, Rejection
from .limits import DEFAULT_LIMITS
from .quantity import parse_quantity
from .times import year_start
from .usage_event import UsageEvent, canonical_map

__all__ = ["check_event", "check_events", "check_text"]

MAX_TEXT = DEFAULT_LIMITS.max_text_chars
_LARGEST = parse_quantity("1e61", DEFAULT_LIMITS.max_quantity_digits + 1)
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FIRST, _END = year_start(DEFAULT_LIMITS.earliest_year), year_start(DEFAULT_LIMITS.latest_year)
_REQUIRED, _OPTIONAL = ("account", "source", "id", "sku", "unit"), ("region", "resource", "provider", "backfill")
_decode_map = msgspec.json.Decoder(dict[str, str]).decode


def check_text(name: str, value: str) -> None:
    """Raise ValueError for a text of a person that is blank, too long, or holds control characters."""
    if not value.strip():
        raise ValueError(f"the {name} is empty")
    _check_characters(name, value)


def _check_characters(name: str, value: str) -> None:
    if len(value) > MAX_TEXT:
        raise ValueError(f"the {name} has {len(value)} characters, at most {MAX_TEXT} are kept")
    if _CONTROLS.search(value) is not None:
        raise ValueError(f"the {name} holds control characters; write it on one line")


def check_event(event: UsageEvent) -> None:
    """Raise ValueError for an event that no decoder lets through, whenever it was. What they let through passes: a region of one blank, too."""
    for name in _REQUIRED:
        if not getattr(event, name):
            raise ValueError(f"the {name} is empty")
    for name in (*_REQUIRED, *_OPTIONAL):
        _check_characters(name, getattr(event, name))
    try:
        parse_quantity(str(event.quantity))
    except Rejection as rejection:
        raise ValueError(rejection.detail) from None
    if not -(1 << 63) <= event.time < 1 << 63:
        raise ValueError(f"the time {event.time} is not in nanoseconds since 1970")
    for name in ("dimensions", "tags"):
        if not _canonical(getattr(event, name)):
            raise ValueError(f"the {name} are not in their canonical form")


def check_events(events: Sequence[UsageEvent]) -> None:
    """Raise ValueError if one of many events is none that a decoder lets through; what decoders let through always passes.

    For whole records of them: two thirds of a microsecond each, because a text that is printable needs no closer look.
    """
    low, high = -_LARGEST, _LARGEST
    known: set[str] = {""}
    for e in events:
        texts = "".join((e.account, e.source, e.id, e.sku, e.unit, e.provider, e.region, e.resource, e.backfill))
        if not (texts.isprintable() and len(texts) <= MAX_TEXT):
            for name in (*_REQUIRED, *_OPTIONAL):
                _check_characters(name, getattr(e, name))
        quantity = e.quantity
        # A NaN is within no bounds. Most texts of a quantity have a few digits; the others are read again.
        if not quantity.is_finite() or not low <= quantity <= high or ((len(text := str(quantity)) > 18 or "E" in text) and not _sound(text)):
            raise ValueError(f"the quantity {str(quantity)[:60]} is none that is accepted")
        if not (e.account and e.source and e.id and e.sku and e.unit):
            raise ValueError("account, source, id, sku or unit is empty")
        if not _FIRST <= e.time < _END:
            raise ValueError(f"the time {e.time} is not in the years that are accepted")
        if e.dimensions not in known or e.tags not in known:
            if not (_canonical(e.dimensions) and _canonical(e.tags)):
                raise ValueError("dimensions or tags are not in their canonical form")
            known |= {e.dimensions, e.tags}


def _sound(quantity: str) -> bool:
    try:
        parse_quantity(quantity)
    except Rejection:
        return False
    return True


@lru_cache(maxsize=8_192)
def _canonical(text: str) -> bool:
    try:
        return not text or canonical_map(_decode_map(text)) == text
    except UNREADABLE:
        return False
