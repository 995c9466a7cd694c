"""Which month bills a line item."""

from __future__ import annotations

from ..schemas.line_item import RatedLineItem
from ..schemas.times import NS, parse_time
from .statement.terms import month_between

__all__ = ["billing_month"]


def billing_month(item: RatedLineItem) -> int:
    """The month that a line item is billed in, 12 x year + month - 1. A month in Berlin begins before that of UTC, but their middles agree.

    Raises Rejection for periods that are no times.
    """
    return month_between(parse_time(item.billing_period_start) // NS, parse_time(item.billing_period_end) // NS)
