"""What the peer programs in Python share: settings and prices. The standard library alone, for it runs in their environments.

The job of each: read CloudEvents from a topic keyed by account, drop those whose (account, source, id) was there before, add up the quantity of
each (account, SKU, hour), and write a record per window and change: key `account sku hour`, value `{"quantity": …, "cost": …}`, decimals as strings.
The newest record of a key counts. A window costs what the units that it added to its account's SKU cost in the month, in the order in which they
were counted, so the windows of an account's SKU cost together what its total quantity costs under the graduated price.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["WRITE_EVERY_S", "ZERO", "Settings", "Tariff", "ready", "settings", "tariffs"]

ZERO = Decimal(0)
WRITE_EVERY_S = 10.0  # of the programs that choose themselves when to write: as often as Ratemill commits while it is behind


class Settings(NamedTuple):
    """What a program is told, as JSON in the file that its first argument names."""

    bootstrap: str
    topic: str
    out: str
    application: str  # name of the consumer group, of state and internal topics; new for each run
    folder: str  # for local state
    guarantee: str
    partitions: int
    prices: dict[str, list[tuple[str | None, str]]]  # by SKU: (upper bound or None, unit price) of each tier


def settings() -> Settings:
    """The settings of this process."""
    read: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    return Settings(**read)


def ready() -> None:
    """Say that partitions are owned: what was used up to here is start-up."""
    print("ready", file=sys.stderr, flush=True)


class Tariff:
    """A graduated price: each unit of a month costs what the tier says that it falls in."""

    def __init__(self, tiers: Sequence[tuple[str | None, str]]) -> None:
        self._tiers = [(None if bound is None else Decimal(bound), Decimal(price)) for bound, price in tiers]

    def cost(self, before: Decimal, after: Decimal) -> Decimal:
        """Cost of the units between two cumulative quantities."""
        total = ZERO
        for bound, price in self._tiers:
            if bound is None or after <= bound:
                return total + (after - before) * price
            if before < bound:
                total += (bound - before) * price
                before = bound
        return total


def tariffs(prices: Mapping[str, Sequence[tuple[str | None, str]]]) -> dict[str, Tariff]:
    """The price of each SKU."""
    return {sku: Tariff(tiers) for sku, tiers in prices.items()}
