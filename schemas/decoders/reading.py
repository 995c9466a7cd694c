"""What every decoder shares: strict JSON that keeps the digits of numbers, checked fields, maps and composed identities.

Numbers come out as `JsonNumber` (their text), so that no quantity passes through a float. Everything here raises
`Rejection` and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import xxhash

from ..errors import Reason, Rejection
from ..limits import DEFAULT_LIMITS, Limits
from ..quantity import parse_quantity
from ..texts import CONTROLS
from ..usage_event import UsageEvent, canonical_map

__all__ = [
    "JsonNumber",
    "TwiceKeyed",
    "as_list",
    "as_object",
    "canonical_json",
    "composed_id",
    "map_text",
    "optional_text",
    "parse_json",
    "quantity",
    "required_text",
    "text_of",
    "usage_from_data",
]


class JsonNumber(str):
    """The text of a JSON number exactly as sent (also NaN and Infinity, which quantities then refuse by name)."""

    __slots__ = ()


class TwiceKeyed(dict[str, Any]):
    """An object in which a key stands twice: which value was meant is unknown, so reading it is refused."""

    twice: str = ""


_MAX_COMPOSED = 256
_MAX_MEMBERS = DEFAULT_LIMITS.max_members  # a constant: the reader is made once, for whatever limits
_SURROGATE = re.compile("[\ud800-\udfff]")
# The end of the document ends an open string: without that, each quote of a broken one would scan to the end again.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MAX_MEMBERS:
        raise Rejection(Reason.TOO_LARGE, f"an object has {len(pairs)} keys; at most {_MAX_MEMBERS} are read")
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    marked = TwiceKeyed(found)
    for key, _ in pairs:
        if key in seen:
            marked.twice = key
            break
        seen.add(key)
    return marked


_decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=JsonNumber)


def parse_json(value: bytes | None, limits: Limits) -> Any:
    """The document as dict, list, str, JsonNumber, bool or None. Raises Rejection(NOT_DECODABLE | TOO_DEEP)."""
    if not value:
        raise Rejection(Reason.NOT_DECODABLE, "the record has no value (a tombstone); raw topics carry one event or batch per record")
    check_depth(value, limits)
    try:
        text = value.decode()
    except UnicodeDecodeError as e:
        raise Rejection(Reason.NOT_DECODABLE, f"not UTF-8 at byte {e.start}") from None
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as e:
        where = len(text[: e.pos].encode())
        cut = "; the document ends too early" if not text[e.pos :].strip() else ""
        raise Rejection(Reason.NOT_DECODABLE, f"not JSON at byte {where}: {e.msg}{cut}") from None
    except RecursionError:
        raise Rejection(Reason.TOO_DEEP, "nested deeper than the JSON reader can follow") from None


def check_depth(value: bytes, limits: Limits) -> None:
    """Raise Rejection(TOO_DEEP) when more than max_depth brackets are open at once, brackets inside strings aside.

    Runs before the parse and in a few passes of C code: with strings and all but brackets removed, taking out
    every `[]` lowers the depth of what remains by exactly one.
    """
    if value.count(b"[") + value.count(b"{") <= limits.max_depth:
        return
    rest = _STRING.sub(b"", value).translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(limits.max_depth):
        shorter = rest.replace(b"[]", b"")
        if len(shorter) == len(rest):
            break
        rest = shorter
    if b"[]" in rest or rest.count(b"[") > limits.max_depth:
        raise Rejection(Reason.TOO_DEEP, f"JSON nested deeper than {limits.max_depth} levels")


def as_object(value: Any, name: str) -> dict[str, Any]:
    """The JSON object, or Rejection(BAD_FIELD), also when a key stands in it twice."""
    if type(value) is dict:
        return value
    if type(value) is TwiceKeyed:
        raise Rejection(Reason.BAD_FIELD, f"{name} holds the key {value.twice[:60]!r} twice; which one counts is unknown")
    if value is None:
        raise Rejection(Reason.MISSING_FIELD, f"{name} is absent or null")
    raise Rejection(Reason.BAD_FIELD, f"{name} must be a JSON object; it is {_kind(value)}")


def as_list(value: Any, name: str, limits: Limits) -> list[Any]:
    """The JSON array, no longer than max_events_per_record, or Rejection."""
    if value is None:
        raise Rejection(Reason.MISSING_FIELD, f"{name} is absent or null")
    if not isinstance(value, list):
        raise Rejection(Reason.BAD_FIELD, f"{name} must be a JSON array; it is {_kind(value)}")
    if len(value) > limits.max_events_per_record:
        raise Rejection(Reason.TOO_LARGE, f"{name} holds {len(value)} entries; at most {limits.max_events_per_record} are read from one record")
    return value


def text_of(value: Any, name: str, limits: Limits, *, numbers: bool = False) -> str:
    """A text within the limits, without control characters; numbers=True takes a number as its JSON text."""
    if type(value) is not str and not (numbers and type(value) is JsonNumber):
        raise Rejection(Reason.BAD_FIELD, f"{name} must be a text; it is {_kind(value)}")
    if len(value) > limits.max_text_chars:
        raise Rejection(Reason.BAD_FIELD, f"{name} has {len(value)} characters; at most {limits.max_text_chars} are kept")
    if CONTROLS.search(value) is not None:
        raise Rejection(Reason.BAD_FIELD, f"{name} holds a control character or half a surrogate pair")
    return str(value)


def required_text(obj: Mapping[str, Any], key: str, limits: Limits, *, name: str = "", numbers: bool = False) -> str:
    """The non-empty text at `key`. Raises Rejection(MISSING_FIELD | BAD_FIELD)."""
    value = obj.get(key)
    if value is None or value == "":
        raise Rejection(Reason.MISSING_FIELD, f"{name or key} is {'absent' if value is None else 'empty'}")
    return text_of(value, name or key, limits, numbers=numbers)


def optional_text(obj: Mapping[str, Any], key: str, limits: Limits, *, name: str = "", numbers: bool = False) -> str:
    """The text at `key`, "" when absent or null. Raises Rejection(BAD_FIELD)."""
    value = obj.get(key)
    return "" if value is None else text_of(value, name or key, limits, numbers=numbers)


def quantity(value: Any, name: str, limits: Limits) -> Any:
    """The exact Decimal of a JSON number or decimal string. Raises Rejection(MISSING_FIELD | BAD_QUANTITY)."""
    if value is None:
        raise Rejection(Reason.MISSING_FIELD, f"{name} is absent")
    if not isinstance(value, str):
        raise Rejection(Reason.BAD_QUANTITY, f"{name} must be a number or a decimal text; it is {_kind(value)}")
    return parse_quantity(str(value), limits.max_quantity_digits)


def map_text(value: Any, name: str, limits: Limits, *, controls: bool = False) -> str:
    """The canonical text of a flat JSON object; numbers and booleans become their JSON text, nulls are left out.

    controls=True (tags: free text of people) lets control characters pass; JSON escapes them.
    """
    if value is None:
        return ""
    obj = as_object(value, name)
    if len(obj) > limits.max_dimensions:
        raise Rejection(Reason.BAD_FIELD, f"{name} has {len(obj)} entries; at most {limits.max_dimensions} are kept")
    forbidden = _SURROGATE if controls else CONTROLS
    pairs: dict[str, str] = {}
    for key, item in obj.items():
        if item is None:
            continue
        if item is True or item is False:
            item = "true" if item else "false"
        if not isinstance(item, str):
            raise Rejection(Reason.BAD_FIELD, f"{name}[{_shown(key)}] must be a text, number or boolean; it is {_kind(item)}")
        if isinstance(item, JsonNumber) and item[-1] not in "0123456789":
            raise Rejection(Reason.BAD_FIELD, f"{name}[{_shown(key)}] is {item}, which is not JSON")
        if not key or len(key) > limits.max_text_chars or len(item) > limits.max_text_chars:
            raise Rejection(Reason.BAD_FIELD, f"{name}[{_shown(key)}]: keys have 1 and values 0 to {limits.max_text_chars} characters")
        if forbidden.search(key) is not None or forbidden.search(item) is not None:
            raise Rejection(Reason.BAD_FIELD, f"{name}[{_shown(key)}] holds a control character or half a surrogate pair")
        pairs[key] = str(item)
    text = canonical_map(pairs)
    if len(text) > limits.max_map_chars:
        raise Rejection(Reason.BAD_FIELD, f"{name} has {len(text)} characters in all; at most {limits.max_map_chars} are kept")
    return text


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no blanks, characters as they are; numbers keep the digits that were sent."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def composed_id(kind: str, parts: list[Any]) -> str:
    """An id for a source that sends none: `kind:` and the canonical JSON array of the parts.

    Longer than 256 characters (a constant: no setting may change an identity), the array is replaced by its 128-bit
    XXH3 in hex: `kind#…`. Control characters in a part would be refused by identity, so they are escaped as JSON does.
    """
    text = canonical_json(parts)
    if _SURROGATE.search(text) is not None:
        raise Rejection(Reason.BAD_FIELD, f"a field of the {kind} identity holds half a surrogate pair")
    text = CONTROLS.sub(lambda m: f"\\u{ord(m[0]):04x}", text)
    if len(text) <= _MAX_COMPOSED:
        return f"{kind}:{text}"
    return f"{kind}#{xxhash.xxh3_128_hexdigest(text.encode())}"


def usage_from_data(
    data: dict[str, Any],
    limits: Limits,
    *,
    account: str,
    source: str,
    id: str,
    time: int,
    provider: str = "",
    region: str = "",
    resource: str = "",
) -> UsageEvent:
    """The event whose payload is the plain form: sku, quantity, unit and the optional fields (docs/inputs.md).

    provider, region and resource given here come from the envelope and stand in where the payload has none.
    Raises Rejection: NOT_SUPPORTED when the payload has none of sku, quantity and unit, so carries no usage at all.
    """
    if "sku" not in data and "quantity" not in data and "unit" not in data:
        raise Rejection(Reason.NOT_SUPPORTED, "the event carries no usage; its data needs sku, quantity and unit")
    return UsageEvent(
        account=account,
        source=source,
        id=id,
        sku=required_text(data, "sku", limits, name="data.sku"),
        time=time,
        quantity=quantity(data.get("quantity"), "data.quantity", limits),
        unit=required_text(data, "unit", limits, name="data.unit"),
        provider=optional_text(data, "provider", limits, name="data.provider") or provider,
        region=optional_text(data, "region", limits, name="data.region") or region,
        resource=optional_text(data, "resource", limits, name="data.resource") or resource,
        dimensions=map_text(data.get("dimensions"), "data.dimensions", limits),
        tags=map_text(data.get("tags"), "data.tags", limits, controls=True),
    )


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, JsonNumber):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "an array" if isinstance(value, list) else "an object"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
