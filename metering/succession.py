"""Which tariff may follow which: what was counted must not come to mean something else.

A published meter is neither edited nor removed. It may end, at a time that is still to come, and others may begin then.
"""

from __future__ import annotations

from ..pricing.book_form import quoted
from ..schemas.limits import DEFAULT_LIMITS
from ..schemas.times import NS, format_time
from .meter import Meter
from .tariff import EMPTY_TARIFF, Remark, Tariff

__all__ = ["check_succession"]


def check_succession(old: Tariff, new: Tariff, now_ns: int, ahead_s: int = DEFAULT_LIMITS.max_clock_skew_s) -> list[Remark]:
    """Why `new` must not be published after `old`; [] when it may.

    now_ns: nanoseconds since 1970. ahead_s: how far ahead of the clock events may be; what lies beyond is still to come.
    """
    coming = now_ns + ahead_s * NS
    found: list[Remark] = []
    kept = {meter.id: meter for meter in new.meters.all}
    for meter in old.meters.all:
        if meter.effective_from <= coming:  # one that has not begun may change as it likes
            found += [Remark(("meters", meter.id), why) for why in _changes(meter, kept.get(meter.id), coming)]
    if old.digest == EMPTY_TARIFF.digest:
        return found
    published = {meter.id for meter in old.meters.all if meter.effective_from <= coming}
    for meter in new.meters.all:
        if meter.id not in published:
            found += [Remark(("meters", meter.id), why) for why in _beginning(meter, old, coming)]
    return found


def _changes(old: Meter, new: Meter | None, coming: int) -> list[str]:
    name = f"meter {quoted(old.id)}"
    if new is None:
        return [f"{name} was published and is missing; leave it in, with an `effective_to` that is still to come"]
    if new._replace(effective_to=old.effective_to, version=old.version) != old:
        return [f"{name} was published with another definition; let it end, and add a meter with another id that begins then"]
    if new.effective_to == old.effective_to:
        return []
    if old.effective_to <= coming:
        return [f"{name} ended at {format_time(old.effective_to)}; what has ended does not change, add a meter with another id"]
    # A sample that was counted holds on into windows that are still to come: these were computed with the old end.
    held = coming + old.gap_limit
    if new.effective_to <= held:
        end = format_time(new.effective_to)
        return [f"{name} is to end at {end}, by when {_counted(old)}; write an `effective_to` after {format_time(held)}"]
    if old.effective_to <= held:
        end = format_time(old.effective_to)
        return [f"{name} ends at {end}, by when {_counted(old)}; leave that as it is, and add a meter with another id that begins then"]
    return []


def _counted(meter: Meter) -> str:
    return "samples may hold that were counted" if meter.gap_limit else "events may have been counted"


def _beginning(meter: Meter, old: Tariff, coming: int) -> list[str]:
    """What a meter that was not in force before must respect: events of its type may have been counted, and its SKU sold."""
    found = []
    owners = old.meters.claimed.get(meter.event)
    name = f"meter {quoted(meter.id)}"
    if owners != () and meter.effective_from <= coming:  # (): all events of the type were refused
        what = f"{name} is new, and events of type {quoted(meter.event)} may have been counted without it"
        found.append(f"{what}; write an `effective_from` after {format_time(coming)}")
    sold = meter.sku not in old.meters.claimed and (meter.sku == meter.event or old.book.units_of(meter.sku))
    if sold and meter.calendar is not None:
        what = f"{name} feeds SKU {quoted(meter.sku)} in windows of its own, and usage of it was counted in those of the worker"
        found.append(f"{what}; leave `window` and `timezone` out, or give the meter another `sku`")
    return found


