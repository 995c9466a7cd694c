"""The one door for money: exact decimals in, exact decimals out, no float.

Sums and products are exact: the context has room for far more digits than any accepted input can produce, and an
operation that would lose a digit raises instead of rounding. Rounding happens only where a price asks for it, by name.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Context, Decimal, Inexact, InvalidOperation, Overflow, Underflow, setcontext

__all__ = ["DIGITS", "EXACT", "ROUNDING_MODES", "ZERO", "money", "plain", "quotient", "round_to", "use_exact_arithmetic"]

# Prices, bounds and limits have at most this many digits before the point, and as many after it.
DIGITS = 30

# Factors have few digits: a quantity at most 121 (60 before the point, 60 after it), a price, a markup, an exchange rate and a
# percentage 60 each. 600 hold a sum of 10^18 products of one of each and more without loss; digits that are not there cost nothing.
_PRECISION = 600
EXACT = Context(prec=_PRECISION, Emax=999_999, Emin=-999_999, traps=[Inexact, InvalidOperation, Overflow, Underflow])

ZERO = Decimal(0)

ROUNDING_MODES = {"half_even": ROUND_HALF_EVEN, "half_up": ROUND_HALF_UP, "up": ROUND_UP, "down": ROUND_DOWN}


def use_exact_arithmetic() -> None:
    """Make the exact context the current one of this thread or task; call once where a process starts computing money."""
    setcontext(EXACT.copy())


def money(text: str | int) -> Decimal:
    """Exact decimal from digits. Raises ValueError for anything else, floats, NaN and infinities included."""
    if isinstance(text, bool) or not isinstance(text, (str, int)):
        raise ValueError(f"{text!r} is not a decimal written in digits")
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a decimal number") from error
    if not value.is_finite():
        raise ValueError(f"{text!r} is not a finite number")
    return value


def plain(value: Decimal) -> str:
    """The one text of an amount: no exponent, no trailing zeros, no negative zero ("1.50" -> "1.5", "1E+2" -> "100")."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def round_to(value: Decimal, digits: int, mode: str) -> Decimal:
    """`value` rounded to `digits` after the point, by a named mode of ROUNDING_MODES."""
    return value.quantize(Decimal(1).scaleb(-digits), rounding=ROUNDING_MODES[mode], context=Context(prec=_PRECISION))


def quotient(part: Decimal, whole: Decimal) -> Decimal:
    """part / whole, to show and never to calculate with: rounded half to even to DIGITS after the point; 0 when whole is 0."""
    return round_to(Context(prec=_PRECISION).divide(part, whole), DIGITS, "half_even") if whole else ZERO
