"""Checks of events that did not come through a decoder of usage: nothing that a decoder refuses may come in another way."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from .errors import UNREADABLE, BadInput, Rejection
from .limits import DEFAULT_LIMITS
from .quantity import parse_quantity
from .texts import MAX_TEXT, check_characters
from .times import year_start
from .usage_event import UsageEvent, canonical_map

__all__ = ["check_event", "check_events", "check_text", "require_text"]

_UNUSUAL = bytes([*range(32), 127, 0xC2, 0xED])  # controls, and what leads C1 and surrogates in UTF-8
_SHORT = 18  # characters of a quantity that is within every bound if it is digits, a point and a sign only
_PLAIN = re.compile("[-.0-9]*").fullmatch
_FIRST, _END = year_start(DEFAULT_LIMITS.earliest_year), year_start(DEFAULT_LIMITS.latest_year)
_REQUIRED, _OPTIONAL = ("account", "source", "id", "sku", "unit"), ("region", "resource", "provider", "backfill")
_known_maps: set[str] = set()  # short ones that were found canonical
_decode_map = msgspec.json.Decoder(dict[str, str]).decode


def check_text(name: str, value: str) -> None:
    """Raise ValueError for a text of a person that is blank, too long, or holds control characters."""
    if not value.strip():
        raise ValueError(f"the {name} is empty")
    check_characters(name, value)


def require_text(name: str, value: str) -> None:
    """The same for what a person gave: raises BadInput."""
    try:
        check_text(name, value)
    except ValueError as error:
        raise BadInput(f"{error}; give another one") from None


def check_event(event: UsageEvent) -> None:
    """Raise ValueError for an event that no decoder lets through, whenever it was. What they let through passes: a region of one blank, too."""
    for name in _REQUIRED:
        if not getattr(event, name):
            raise ValueError(f"the {name} is empty")
    for name in (*_REQUIRED, *_OPTIONAL):
        check_characters(name, getattr(event, name))
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

    For whole records of them: what is usual is seen at all of them at once, and only the others are looked at one by one.
    """
    for e in events:
        if not _FIRST <= e.time < _END:
            raise ValueError(f"the time {e.time} is not in the years that are accepted")
        if not (e.account and e.source and e.id and e.sku and e.unit):
            raise ValueError("account, source, id, sku or unit is empty")
    texts = [f"{e.account}{e.source}{e.id}{e.sku}{e.unit}{e.provider}{e.region}{e.resource}{e.backfill}" for e in events]
    quantities = [str(e.quantity) for e in events]
    raw = "".join(texts).encode("utf-8", "surrogatepass")
    usual = (
        max(map(len, texts), default=0) <= MAX_TEXT
        and len(raw.translate(None, _UNUSUAL)) == len(raw)
        and max(map(len, quantities), default=0) <= _SHORT
        and _PLAIN("".join(quantities)) is not None
        and all(map(_canonical, {text for e in events for text in (e.dimensions, e.tags)}))
    )
    if not usual:
        for e in events:
            check_event(e)


def _canonical(text: str) -> bool:
    if text in _known_maps:
        return True
    try:
        if text and canonical_map(_decode_map(text)) != text:
            return False
    except UNREADABLE:
        return False
    if len(text) <= MAX_TEXT:
        if len(_known_maps) >= 8_192:
            _known_maps.clear()
        _known_maps.add(text)
    return True
