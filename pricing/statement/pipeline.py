"""The pipeline: an account's month, step by step in the order written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from .terms import CorrectionTotal, Statement, Terms, Usage

__all__ = ["statement"]


def statement(
    terms: Terms,
    month_start_s: int,
    month_end_s: int,
    usage: Sequence[Usage],
    corrections: Sequence[CorrectionTotal],
    opening: Mapping[str, Decimal],
    final: bool,
) -> Statement:
    """Charges of one account's month beyond its usage. Pure: equal input gives an equal answer, whatever its order.

    opening: what was left of each credit when the month began (`closing` of the month before); a credit that is not named was
    never used. final: the month is over, so what is only due then is in.
    """
    return Statement((), {})
