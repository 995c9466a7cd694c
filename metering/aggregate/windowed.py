"""Aggregations that look at the samples inside a window and at nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from ...pricing.money import EXACT, ZERO, money
from ..samples import Sample

__all__ = ["of"]


def _sum(samples: Sequence[Sample]) -> Decimal:
    total = ZERO
    for sample in samples:
        total = EXACT.add(total, sample.quantity)
    return total


_FUNCTIONS: dict[str, Callable[[Sequence[Sample]], Decimal]] = {
    "sum": _sum,
    "count": lambda samples: money(len(samples)),
    "min": lambda samples: min(sample.quantity for sample in samples),
    "max": lambda samples: max(sample.quantity for sample in samples),
    "latest": lambda samples: samples[-1].quantity,  # the order is (time, source, id): ties are broken by what events say
    "unique": lambda samples: money(len({sample.text for sample in samples})),
}


def of(aggregation: str, samples: Sequence[Sample]) -> Decimal | None:
    """Value over samples in order; None when there is none."""
    return _FUNCTIONS[aggregation](samples) if samples else None
