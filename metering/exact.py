"""Exact arithmetic of meters: bounds of a quantity, factors that are fractions, and the one rounding, half even at named digits.

Nothing here depends on the decimal context of the caller.
"""

from __future__ import annotations

from decimal import ROUND_05UP, ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, Overflow
from fractions import Fraction

from ..pricing.money import DIGITS, EXACT, money
from ..schemas.limits import DEFAULT_LIMITS

__all__ = ["Factor", "bounded", "factor_of"]

# The bounds of schemas.quantity: at most 60 significant digits, and powers of ten from -60 to 60. Beyond them an operation of
# this context raises (a decimal.Inexact or decimal.Overflow, both ArithmeticError).
_MOST = DEFAULT_LIMITS.max_quantity_digits
_BOUNDS = Context(prec=_MOST, Emax=_MOST, Emin=-1, clamp=0, traps=[Inexact, InvalidOperation, Overflow])

# ROUND_05UP keeps apart what lies on, below and above a tie, so that rounding its result once more is rounding once.
_QUOTIENT = Context(prec=2 * EXACT.prec, Emax=EXACT.Emax, Emin=EXACT.Emin, rounding=ROUND_05UP, traps=[InvalidOperation, Overflow])
_PLACES = tuple(money(f"1e-{digits}") for digits in range(DIGITS + 1))

bounded = _BOUNDS.plus  # the value itself if a quantity may have it, without minus zero; ArithmeticError if not


class Factor:
    """Multiplication by a fraction: exactly where the fraction is a finite decimal, else rounded half even to `digits`.

    digits: after the point, 0 to 30; it must be there unless `finite`.
    """

    __slots__ = ("_divisor", "_multiplier", "_place", "digits", "finite", "fraction")

    def __init__(self, fraction: Fraction, digits: int | None = None) -> None:
        self.fraction = fraction
        rest, power = fraction.denominator, 0
        for prime in (2, 5):
            while rest % prime == 0:
                rest, power = rest // prime, power + 1
        self.finite = rest == 1
        self._divisor = money(rest)
        # 2 and 5 both divide 10 to that power, so what is left of the denominator after it has neither of them.
        self._multiplier = EXACT.scaleb(money(fraction.numerator * 10**power * rest // fraction.denominator), money(-power))
        self.digits = None if self.finite else digits
        self._place = None if self.digits is None else _PLACES[self.digits]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Factor) and (self.fraction, self.digits) == (other.fraction, other.digits)

    def __hash__(self) -> int:
        return hash(self.fraction)

    def times(self, value: Decimal) -> Decimal:
        """value x fraction."""
        product = EXACT.multiply(value, self._multiplier)
        if self._place is None:
            return product
        return _QUOTIENT.divide(product, self._divisor).quantize(self._place, rounding=ROUND_HALF_EVEN, context=_QUOTIENT)


def factor_of(numerator: Decimal | int, denominator: Decimal | int = 1, digits: int | None = None) -> Factor:
    """The factor numerator / denominator. Raises ZeroDivisionError."""
    return Factor(Fraction(numerator) / Fraction(denominator), digits)
