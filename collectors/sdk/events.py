"""A usage event as a collector makes it: checked where it is made, and with an id that is the same each time it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

import msgspec

from ...schemas.errors import BadInput, Rejection
from ...schemas.limits import DEFAULT_LIMITS
from ...schemas.quantity import parse_quantity
from ...schemas.texts import CONTROLS, MAX_TEXT, check_characters
from ...schemas.times import NS, format_time, parse_time, year_start

__all__ = ["Event", "Time", "event_id", "usage"]

Time = datetime | str | int  # with a zone; RFC 3339; nanoseconds since 1970

_text = lru_cache(4_096)(format_time)  # many resources have the same window
_encode = msgspec.json.Encoder(order="sorted").encode
_REQUIRED = ("account", "source", "id", "sku", "unit")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _END = year_start(1678), year_start(2262)  # what a text of a time may be


class Event(msgspec.Struct, frozen=True, gc=False):
    """What a publisher takes. body: one CloudEvent of this account in JSON, on one line; backfill: name of a declared backfill, "" for live usage."""

    account: str
    body: bytes
    backfill: str = ""


def event_id(source: str, resource: str, start: Time, end: Time, *what: str) -> str:
    """The id of the usage of a resource within a window: the same whenever, wherever and how often it is computed.

    what: whatever else tells two events of one resource and window apart, such as the SKU. Never put an amount or the present time in: a reading that
    is repeated or corrected would then count beside the first one. Raises BadInput.
    """
    parts = [source, resource, _text(_time("start", start)), _text(_time("end", end)), *what]
    if not all([isinstance(part, str) for part in parts]):  # noqa: C419 - a generator takes longer
        raise BadInput(f"an id is made of texts; these are {parts!r:.200}")
    try:
        return hashlib.blake2b(_encode(parts), digest_size=20).hexdigest()
    except UnicodeEncodeError as error:
        raise BadInput(f"what an id is made of holds half a surrogate pair: {error.reason}; give whole characters") from None


def usage(
    *, account: str, source: str, sku: str, quantity: Decimal | int | str, unit: str,
    id: str = "", time: Time | None = None, start: Time | None = None, end: Time | None = None,
    provider: str = "", region: str = "", resource: str = "",
    dimensions: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None, backfill: str = "",
) -> Event:  # fmt: skip
    """A usage event in the plain form (docs/inputs.md).

    Either `id` and `time`, or the window of the usage as `start` (included) and `end` (excluded): then the time is `start`, and the id is
    `event_id` of source, resource, window, sku, unit, provider, region and dimensions. quantity: exact, in `unit`; no float.
    Raises BadInput for whatever Ratemill would not take.
    """
    if start is not None and end is not None and not id and time is None:
        checked = _map("dimensions", dimensions or {})
        time, end = _time("start", start), _time("end", end)
        if end <= time:
            raise BadInput(f"the window ends at {_text(end)}, and begins at {_text(time)}: its end, which is excluded, comes after its start")
        id = event_id(source, resource, time, end, sku, unit, provider, region, _encode(checked).decode() if checked else "")
    elif not id or time is None or start is not None or end is not None:
        raise BadInput("a usage event has either an id and a time, or the start and the end of its window; give one of the two pairs")
    _check_all(account=account, source=source, id=id, sku=sku, unit=unit, provider=provider, region=region, resource=resource, backfill=backfill)
    data: dict[str, object] = {"sku": sku, "quantity": _quantity(quantity), "unit": unit}
    for name, text in (("provider", provider), ("region", region), ("resource", resource)):
        if text:
            data[name] = text
    for name, pairs in (("dimensions", dimensions), ("tags", tags)):
        if pairs:
            data[name] = _map(name, pairs)
    body = msgspec.json.encode({
        "specversion": "1.0", "type": "ratemill.usage", "source": source, "id": id, "subject": account,
        "time": _text(_time("time", time)), "data": data,
    })  # fmt: skip
    return Event(account, body, backfill)


def _check_all(**texts: str) -> None:
    """All texts of an event at once; which one is at fault is looked for only when one is."""
    try:
        joined = "".join(texts.values())
        usual = len(joined) <= MAX_TEXT and CONTROLS.search(joined) is None and all(map(texts.__getitem__, _REQUIRED))
    except TypeError:
        usual = False
    if not usual:
        for name, text in texts.items():
            _check(name, text, name in _REQUIRED)


def _check(name: str, text: str, required: bool) -> None:
    if not isinstance(text, str):
        raise BadInput(f"the {name} is {type(text).__name__} {text!r:.60}; it must be a text")
    if required and not text:
        raise BadInput(f"the {name} is empty; every usage event has one")
    try:
        check_characters(name, text)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _map(name: str, pairs: Mapping[str, str]) -> dict[str, str]:
    if len(pairs) > DEFAULT_LIMITS.max_dimensions:
        raise BadInput(f"the {name} have {len(pairs)} entries; at most {DEFAULT_LIMITS.max_dimensions} are kept")
    for key, value in pairs.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise BadInput(f"the {name} hold {key!r:.60}: {value!r:.60}; keys and values must be texts")
        _check(f"key of {name}", key, True)
        if name == "dimensions":
            _check(f"dimension {key}", value, False)
        elif len(value) > MAX_TEXT:
            raise BadInput(f"the tag {key} has {len(value)} characters; at most {MAX_TEXT} are kept")
    try:
        size = len(_encode(pairs).decode())
    except UnicodeEncodeError as error:
        raise BadInput(f"the {name} hold half a surrogate pair: {error.reason}; send whole characters") from None
    if size > DEFAULT_LIMITS.max_map_chars:
        raise BadInput(f"the {name} have {size} characters in all; at most {DEFAULT_LIMITS.max_map_chars} are kept")
    return dict(pairs)


def _quantity(quantity: Decimal | int | str) -> str:
    if isinstance(quantity, bool) or not isinstance(quantity, Decimal | int | str):
        raise BadInput(f"the quantity {quantity!r:.60} is a {type(quantity).__name__}, which is not exact; give a text, an int or a Decimal")
    try:
        return f"{parse_quantity(str(quantity)):f}"
    except Rejection as rejection:
        raise BadInput(rejection.detail) from None


def _time(name: str, time: Time) -> int:
    """In nanoseconds since 1970."""
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise BadInput(f"the {name} {time.isoformat()} has no zone; make it with datetime.now(UTC), or astimezone(UTC)")
        since = time - _EPOCH
        time = (since.days * 86_400 + since.seconds) * NS + since.microseconds * 1_000
    if isinstance(time, str):
        try:
            return parse_time(time)
        except Rejection as rejection:
            raise BadInput(f"the {name}: {rejection.detail}") from None
    if not isinstance(time, int) or isinstance(time, bool):
        raise BadInput(f"the {name} is {time!r:.60}; give a datetime with a zone, an RFC 3339 text, or nanoseconds since 1970 as an int")
    if not _FIRST <= time < _END:
        raise BadInput(f"the {name} {time} is outside the years 1678 to 2261; is it in nanoseconds since 1970?")
    return time
