"""Time of day: the unit price of an entry is that of the band in which its window begins, by the clocks of a time zone.

The tiers are the bands in the order written, then all other hours, unless the bands fill the week. On a day on which clocks are
changed a band has the length it has on the clocks: 01:00 to 04:00 is two hours when an hour is left out, four when one comes twice.
"""

from __future__ import annotations

from ..price import Price
from ..selection import OTHERWISE
from . import matrix

__all__ = ["cell_of", "charge", "tier_quantities"]

tier_quantities = matrix.tier_quantities
charge = matrix.charge


def cell_of(price: Price, start_s: int, region: str, resource: str, dimensions: str) -> int | None:
    """Index of the tier in which a window belongs that begins at `start_s` (seconds since 1970)."""
    if price.schedule is None:
        return None
    band = price.schedule.band_at(start_s)
    if band != OTHERWISE:
        return band
    return len(price.tiers) - 1 if len(price.tiers) > len(price.schedule.bands) else None
