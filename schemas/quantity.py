"""Exact quantities: decimal text to `Decimal`, never through a binary float.

Accepted is the grammar of a JSON number (RFC 8259 section 6), as a number or as a string: `1`, `-2.50`, `9.052E-7`.
Refused, with `Reason.BAD_QUANTITY`: NaN, Infinity, the empty string, booleans, blanks, `+1`, `.5`, `007`, `0x10`,
`1_000`, digits of other scripts, more than 60 significant digits, powers of ten beyond 60 either way.
Minus zero becomes plain zero: a reversal of nothing is nothing, and one value must have one text.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, InvalidOperation

from .errors import Reason, Rejection
from .limits import DEFAULT_LIMITS

__all__ = ["ZERO", "difference", "multiple", "parse_quantity", "plain_quantity", "quantity_of_json", "total"]

ZERO = Decimal(0)

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,6})?")
_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?").fullmatch
_QUOTE = 34
_LONGEST_CACHED = 6  # bytes of JSON: 1, 3600, "0.5", …
_MAX_DIGITS = DEFAULT_LIMITS.max_quantity_digits
_MAX_CHARS = 400  # no number within the bounds needs more, and Decimal() is quadratic in the digits
_CACHE_SIZE = 65_536  # usage repeats itself ("1", "3600", "0.5"); a full cache is thrown away whole, which needs no bookkeeping

# Sums of so many quantities as one likes: each has at most 60 digits before the point and 60 after it. What would lose a digit raises.
_EXACT = Context(prec=600, traps=[Inexact, InvalidOperation])

_by_text: dict[str, Decimal] = {}
_by_json: dict[bytes, Decimal] = {}


def parse_quantity(text: str, max_digits: int = _MAX_DIGITS) -> Decimal:
    """The exact value of a decimal text. Raises Rejection(BAD_QUANTITY)."""
    if max_digits == _MAX_DIGITS:
        found = _by_text.get(text)
        if found is not None:
            return found
    value = _parse(text, max_digits)
    if max_digits == _MAX_DIGITS:
        if len(_by_text) >= _CACHE_SIZE:
            _by_text.clear()
        _by_text[text] = value
    return value


def total(a: Decimal, b: Decimal) -> Decimal:
    """a + b, exactly, whatever the context of the caller is."""
    return _EXACT.add(a, b)


def difference(a: Decimal, b: Decimal) -> Decimal:
    """a - b, exactly."""
    return _EXACT.subtract(a, b)


def multiple(value: Decimal, times: int) -> Decimal:
    """value x times, exactly."""
    return _EXACT.multiply(value, times)


def plain_quantity(value: Decimal) -> str:
    """The one text of a quantity: no exponent, no trailing zeros, no negative zero. Equal quantities have equal texts."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def quantity_of_json(raw: bytes) -> Decimal:
    """The exact value of a JSON number or of a JSON string that holds one, from its bytes. Raises Rejection(BAD_QUANTITY)."""
    if len(raw) > _LONGEST_CACHED:
        # Long ones rarely come again: remembering them would cost more than reading them.
        text = raw.decode("utf-8", "replace")
        if raw[0] == _QUOTE:
            text = text[1:-1]
        if len(text) <= _MAX_DIGITS and _PLAIN(text) is not None:
            return Decimal(text) or ZERO  # too short to exceed a bound, and without an exponent: nothing else can be wrong
        return parse_quantity(text)
    found = _by_json.get(raw)
    if found is not None:
        return found
    text = raw.decode("utf-8", "replace")
    value = parse_quantity(text[1:-1] if text[:1] == '"' else text)
    if len(_by_json) >= _CACHE_SIZE:
        _by_json.clear()
    _by_json[raw] = value
    return value


def _parse(text: str, max_digits: int) -> Decimal:
    shown = text if len(text) <= 60 else text[:57] + "..."
    if not text:
        raise Rejection(Reason.BAD_QUANTITY, "the quantity is empty; send a decimal number such as 1.5")
    if len(text) > _MAX_CHARS:
        raise Rejection(Reason.BAD_QUANTITY, f"the quantity {shown} has {len(text)} characters; at most {_MAX_CHARS} are read")
    if _NUMBER.fullmatch(text) is None:
        raise Rejection(Reason.BAD_QUANTITY, f"{shown!r} is not a decimal number; send plain digits such as 1.5 or 9.05E-7")
    value = Decimal(text)
    if not value:
        return ZERO
    _sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # the grammar lets no NaN or Infinity through
    trailing = next(n for n, digit in enumerate(reversed(digits)) if digit)
    # Bounds are on the value, not on its spelling: 1000 and 1E3 are accepted or refused alike.
    if len(digits) - trailing > max_digits or value.adjusted() > max_digits or exponent + trailing < -max_digits:
        raise Rejection(
            Reason.BAD_QUANTITY,
            f"the quantity {shown} cannot be kept exactly: at most {max_digits} significant digits, powers of ten from -{max_digits} to {max_digits}",
        )
    return value
