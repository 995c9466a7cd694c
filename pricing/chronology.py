"""Chronological tiers: which part of each window falls into which tier, at constant cost per change.

Within one accumulation period usage is ordered by entry key (window start, then the line item key). A window's cost under a
tiered price is price(cumulative through it) - price(cumulative before it) in that order, whatever the order of arrival, so the
split of every entry is a pure function of the set of entries. Walking all of them for each late event would be quadratic;
instead a `Mark` is kept per tier bound: the entry in which the bound lies, and the cumulative quantity before it. A change
before the mark shifts that quantity and moves the mark over a few neighbours; a change behind it moves nothing.

Marks need cumulative quantities that never fall. Entries below zero (reversals) are rare; while a segment has one, it is
walked whole (`walk`), which gives the same answer by definition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from .money import ZERO

__all__ = ["Mark", "Neighbours", "mark_of_all", "move_mark", "portions", "walk"]


class Mark(NamedTuple):
    """The first entry whose cumulative quantity exceeds a bound, and the cumulative quantity before that entry."""

    key: bytes
    before: Decimal


class Neighbours(Protocol):
    """Ordered access to the entries of one segment, as they are after the change."""

    def quantity(self, key: bytes) -> Decimal:
        """Quantity of an entry that exists."""
        ...

    def previous(self, key: bytes) -> bytes | None:
        """Key of the nearest entry before `key`."""
        ...

    def following(self, key: bytes) -> bytes | None:
        """Key of the nearest entry after `key`."""
        ...

    def last(self) -> bytes | None:
        """Key of the last entry."""
        ...


def portions(key: bytes, quantity: Decimal, bounds: Sequence[Decimal], marks: Sequence[Mark | None]) -> list[tuple[int, Decimal]]:
    """Split one entry over the tiers: [(tier index, quantity)], never empty, only tiers it touches.

    An entry of quantity zero belongs to the one tier in which it lies.
    """
    result: list[tuple[int, Decimal]] = []
    below = ZERO
    for index, mark in enumerate(marks):
        if mark is None or key < mark.key:
            # The bound lies behind this entry: what is left of it is in this tier.
            if not result or quantity != below:
                result.append((index, quantity - below))
            return result
        if key == mark.key:
            through = bounds[index] - mark.before
            if through != below:
                result.append((index, through - below))
            below = through
    if not result or quantity != below:
        result.append((len(bounds), quantity - below))
    return result


def move_mark(bound: Decimal, mark: Mark | None, shift: Decimal, total: Decimal, around: Neighbours) -> tuple[Mark | None, list[bytes]]:
    """New mark of one bound after a change, and the entries passed on the way (both ends included).

    shift: how much the quantity before `mark` changed; total: the new total of the segment. No entry may be negative.
    """
    path: list[bytes] = []
    if mark is None:
        if total <= bound:
            return None, path
        key = around.last()
        if key is None:
            raise ValueError("a segment with a total has no entries")
        before = total - around.quantity(key)
    else:
        key, before = mark.key, mark.before + shift
    path.append(key)
    while before > bound:
        earlier = around.previous(key)
        if earlier is None:
            raise ValueError("cumulative quantity does not match the entries")
        key = earlier
        before -= around.quantity(key)
        path.append(key)
    while before + (quantity := around.quantity(key)) <= bound:
        later = around.following(key)
        if later is None:
            return None, path
        before += quantity
        key = later
        path.append(key)
    return Mark(key, before), path


def mark_of_all(bounds: Sequence[Decimal], entries: Iterable[tuple[bytes, Decimal]]) -> list[Mark | None]:
    """Marks of a whole ordered list of entries, none of them negative."""
    marks: list[Mark | None] = []
    cumulative = ZERO
    for key, quantity in entries:
        through = cumulative + quantity
        while len(marks) < len(bounds) and through > bounds[len(marks)]:
            marks.append(Mark(key, cumulative))
        if len(marks) == len(bounds):
            return marks
        cumulative = through
    return marks + [None] * (len(bounds) - len(marks))


def walk(bounds: Sequence[Decimal], entries: Iterable[tuple[bytes, Decimal]]) -> dict[bytes, list[tuple[int, Decimal]]]:
    """Split every entry by the definition itself; entries may be negative, so a tier's share may be too."""
    result: dict[bytes, list[tuple[int, Decimal]]] = {}
    cumulative = ZERO
    for key, quantity in entries:
        through = cumulative + quantity
        parts = []
        lower: Decimal | None = None
        for index in range(len(bounds) + 1):
            upper = bounds[index] if index < len(bounds) else None
            share = _within(through, lower, upper) - _within(cumulative, lower, upper)
            if share != 0:
                parts.append((index, share))
            lower = upper
        if not parts:
            parts.append((sum(1 for bound in bounds if cumulative > bound), quantity))
        result[key] = parts
        cumulative = through
    return result


def _within(cumulative: Decimal, lower: Decimal | None, upper: Decimal | None) -> Decimal:
    """How much of 0..cumulative lies between two bounds (the first tier also holds what is below zero)."""
    if upper is not None and cumulative > upper:
        cumulative = upper
    if lower is None:
        return cumulative
    return cumulative - lower if cumulative > lower else ZERO
