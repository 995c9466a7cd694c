"""From exact usage to whole numbers. Pure: the clock is passed in.

For a target, U(h) is the exact usage of all hours up to h as it is known now, and R the sum of what was frozen for it. The quantity of the
next hour is floor(U(h) - R), never below zero. What is left, U - R, is the carry: the fraction, corrections of hours that were
frozen already (below zero, too: it is used up before anything is reported again), and usage that came too late for its own hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal, localcontext

from ...pricing.money import EXACT, ZERO
from .records import HOUR_S
from .rules import Rules

__all__ = ["Frozen", "Standing", "freeze"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a target is frozen. next_hour: first hour that is not (seconds since 1970, UTC). carry: U - R of all hours before it."""

    next_hour: int
    carry: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Frozen:
    """One hour. usage: of the hour itself; carried: from before it. usage + carried = quantity + the next carry. late: not to be sent."""

    hour: int
    quantity: int
    usage: Decimal
    carried: Decimal
    late: bool = False


def freeze(rules: Rules, standing: Standing, usage: Mapping[int, Decimal], due_until: int, now: int, until: int = 0) -> tuple[list[Frozen], Standing]:
    """Freeze every hour that begins before `due_until`; how the target stands then.

    usage: first second of an hour -> exact usage, of hours that are not frozen. now: seconds since 1970, UTC. until: end of the
    target, 0: none; a carry of one or more is reported after it, too, but no zeros are.
    """
    found: list[Frozen] = []
    with localcontext(EXACT):
        # Hours that are too late have no record to be made, so those without usage need no look.
        open_from = standing.next_hour
        while open_from < due_until and rules.freeze_until(open_from) <= now:
            open_from += HOUR_S
        late = sorted(hour for hour in usage if hour < min(open_from, due_until))
        for hour in late:
            if usage[hour]:
                found.append(Frozen(hour, 0, usage[hour], standing.carry, late=True))
            standing = replace(standing, carry=standing.carry + usage[hour])
        standing = replace(standing, next_hour=max(standing.next_hour, min(open_from, due_until)))
        for hour in range(standing.next_hour, due_until, HOUR_S):
            own = usage.get(hour, ZERO)
            total = standing.carry + own
            quantity = max(0, min(int(total.to_integral_value(ROUND_FLOOR)), rules.largest))
            if quantity or (rules.zeros and not (until and hour >= until)):
                found.append(Frozen(hour, quantity, own, standing.carry))
            standing = Standing(hour + HOUR_S, total - quantity)
    return found, standing
