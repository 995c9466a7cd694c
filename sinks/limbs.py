"""Exact amounts as integer limbs, so that a sum computed in double comes back exact.

Elasticsearch adds everything in double, `long` fields included; a double is exact for integers below 2^53 only. So an
amount is stored in digits of base 10^9, each an integer of its own, all with the sign of the amount:

    "-12.000000003400000000"  ->  {"e0": -12, "m9": -3, "m18": -400000000}

`e0` counts units, `e9` thousands of millions, `m9` nanos, `m18` digits 10 to 18 after the point, and so on. Zero limbs are
left out. A sum of n amounts has |limb sum| <= n x (10^9 - 1): exact for up to MAX_ADDENDS amounts, whatever they are.
The sums recombine to the exact total by integer arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["FRACTION_DIGITS", "LIMBS", "MAX_ADDENDS", "WHOLE_DIGITS", "BadAmount", "exact_integer", "join", "split"]

_BASE_DIGITS = 9
_BASE = 10**_BASE_DIGITS

# An accepted quantity has up to 61 digits before or 60 after the point, and a price may have dozens of its own: 126 hold
# their product. More is refused, never cut. A limb that no line item uses costs nothing in the index.
WHOLE_DIGITS = 126
FRACTION_DIGITS = 126

_WHOLE_LIMBS = tuple(f"e{exponent}" for exponent in range(0, WHOLE_DIGITS, _BASE_DIGITS))  # least significant first
_FRACTION_LIMBS = tuple(f"m{exponent}" for exponent in range(_BASE_DIGITS, FRACTION_DIGITS + 1, _BASE_DIGITS))  # most significant first

# limb name -> power of ten that one unit of it stands for, most significant first
LIMBS: dict[str, int] = {
    **{name: index * _BASE_DIGITS for index, name in reversed(list(enumerate(_WHOLE_LIMBS)))},
    **{name: -(index + 1) * _BASE_DIGITS for index, name in enumerate(_FRACTION_LIMBS)},
}

# Integers of a double are exact below 2^53; so is every partial sum of this many limbs.
MAX_ADDENDS = (2**53 - 1) // (_BASE - 1)

_AMOUNT = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?")
_PADDING = tuple(10 ** (_BASE_DIGITS - length) for length in range(_BASE_DIGITS + 1))


class BadAmount(ValueError):
    """Text that is not a plain decimal, or one with more digits than the limbs hold."""


def split(amount: str) -> dict[str, int]:
    """The non-zero limbs of a plain decimal ("-0.05"; no exponent, no plus sign). Raises BadAmount, never rounds."""
    match = _AMOUNT.fullmatch(amount)
    if match is None:
        raise BadAmount(f"{amount[:80]!r} is not a plain decimal number")
    sign, whole, fraction = match.groups()
    limbs: dict[str, int] = {}
    if len(whole) <= _BASE_DIGITS:
        if units := int(whole):
            limbs["e0"] = -units if sign else units
    else:
        _split_whole(whole, bool(sign), limbs)
    if fraction:
        if len(fraction) > FRACTION_DIGITS and len(fraction := fraction.rstrip("0")) > FRACTION_DIGITS:
            raise BadAmount(f"an amount has {len(fraction)} digits after the point; the index holds {FRACTION_DIGITS}")
        for start, name in zip(range(0, len(fraction), _BASE_DIGITS), _FRACTION_LIMBS, strict=False):
            digits = fraction[start : start + _BASE_DIGITS]
            if limb := int(digits) * _PADDING[len(digits)]:
                limbs[name] = -limb if sign else limb
    return limbs


def _split_whole(whole: str, negative: bool, limbs: dict[str, int]) -> None:
    whole = whole.lstrip("0")
    if len(whole) > WHOLE_DIGITS:
        raise BadAmount(f"an amount has {len(whole)} digits before the point; the index holds {WHOLE_DIGITS}")
    rest = int(whole or "0")
    for name in _WHOLE_LIMBS:
        rest, limb = divmod(rest, _BASE)
        if limb:
            limbs[name] = -limb if negative else limb


def exact_integer(value: float | int | None) -> int:
    """A limb sum as Elasticsearch gives it (a JSON number, perhaps `12.0`; null for no values) as the integer that it is.

    Raises BadAmount for a sum that a double may have rounded: the caller added more than MAX_ADDENDS amounts.
    """
    if value is None:
        return 0
    whole = int(value)
    if whole != value or abs(whole) >= 2**53:
        raise BadAmount(f"a limb sum of {value!r} is beyond what Elasticsearch adds exactly; ask for a narrower group or period")
    return whole


def join(sums: Mapping[str, int] | Iterable[tuple[str, int]]) -> str:
    """The exact total of limb sums (limb name -> integer of any size) as a plain decimal: join(split(a)) is a, normalised."""
    pairs = sums.items() if isinstance(sums, Mapping) else sums
    scaled = sum(value * 10 ** (LIMBS[name] + FRACTION_DIGITS) for name, value in pairs)
    digits = str(abs(scaled)).rjust(FRACTION_DIGITS + 1, "0")
    text = f"{digits[:-FRACTION_DIGITS]}.{digits[-FRACTION_DIGITS:]}".rstrip("0").rstrip(".")
    return f"-{text}" if scaled < 0 else text
