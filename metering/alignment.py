"""Whether prices change where windows begin.

A window is rated by one price, so a price takes effect with the first window that begins under it. A price that changed within
a window would be late by up to a window; whoever writes a book is told so, instead of finding it in a bill.
"""

from __future__ import annotations

from ..pricing.price import SINCE_ALWAYS, Price
from ..schemas.times import NS, format_time
from .calendar import Calendar, calendar
from .tariff import Tariff

__all__ = ["misaligned"]


def misaligned(tariff: Tariff, window_s: int) -> list[str]:
    """Prices that begin or end within a window of their SKU, one line each. window_s: windows of usage without a meter, in seconds."""
    default = calendar(window_s)
    found = []
    for price in tariff.book.prices:
        its = tariff.meters.calendar_of(price.sku, price.unit, default)
        for name, at in (("begins", price.effective_from), ("ends", price.effective_to)):
            if at is not None and at != SINCE_ALWAYS and its.start(at // NS) * NS != at:
                found.append(_told(price, name, at, its))
    return list(dict.fromkeys(found))


def _told(price: Price, what: str, at: int, its: Calendar) -> str:
    start = its.start(at // NS)
    length = its.window if isinstance(its.window, str) else f"{its.window} s"
    near = f"{format_time(start * NS)} or {format_time(its.end(start) * NS)}"
    return (
        f"price `{price.id}` {what} at {format_time(at)}, within a window of its usage (one {length}, {its.timezone}), "
        f"and windows have one price; choose {near}, or give its usage a meter with shorter windows"
    )
