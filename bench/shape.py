"""The bench's usage and prices: one million small events of known shape, the same for the same seed.

Plain data, shared by what fills the topic and by the oracle; nothing of Ratemill is imported here.

    5,000 accounts x 20 SKUs · event times over 6 hours, up to 5 minutes out of order · 2% exact duplicates of one of the
    100,000 events before · keyed by account
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["ACCOUNTS", "DRAFT", "PARTITIONS", "PRICES", "Shape", "Sku", "events", "price_book", "tail_event"]

ACCOUNTS = 5_000
PARTITIONS = 4  # unless a program asks for others
SPAN_S = 6 * 3_600
DISORDER_MS = 300_000
DUPLICATES = 0.02
DUPLICATE_REACH = 100_000
REGIONS = ("eu-west-1", "eu-central-1", "us-east-1", "us-west-2", "ap-southeast-1")
CHUNK = 50_000


class Sku(NamedTuple):
    """Price of one SKU: (upper bound or None, unit price) per tier. One tier is a unit price."""

    name: str
    unit: str
    tiers: tuple[tuple[str | None, str], ...]


def _skus() -> tuple[Sku, ...]:
    # An account uses about 490 of each SKU in the whole bench: some cross the bounds, others do not.
    units = ("GB-Hours", "Requests", "vCPU-Hours", "GB")
    found = []
    for n in range(20):
        base = f"0.0{n + 11}"
        tiers: tuple[tuple[str | None, str], ...] = ((None, base),)
        if n % 4 == 1:
            tiers = (("600", base), (None, f"0.0{n + 10}5"))
        elif n % 4 == 3:
            tiers = (("300", base), ("700", f"0.0{n + 10}5"), (None, f"0.0{n + 10}"))
        found.append(Sku(f"acme.product-{n:02d}", units[n % 4], tiers))
    return tuple(found)


PRICES = _skus()
# A draft that runs beside: every price is a little dearer, and some tiers end sooner.
DRAFT = tuple(
    sku._replace(tiers=tuple((bound and str(int(bound) - 50), f"{price}1") for bound, price in sku.tiers)) for sku in PRICES
)  # fmt: skip


def price_book(prices: Sequence[Sku] = PRICES) -> str:
    """A price book as YAML."""
    lines = ["currency: USD", "provider_name: Acme", "prices:"]
    for sku in prices:
        graduated = len(sku.tiers) > 1
        lines += [f"  - id: {sku.name}-2020", f"    sku: {sku.name}", f"    unit: {sku.unit}", "    effective_from: 2020-01-01T00:00:00Z"]
        if not graduated:
            lines += ["    model: unit", f'    unit_price: "{sku.tiers[0][1]}"']
            continue
        lines += ["    model: graduated", "    tiers:"]
        for bound, price in sku.tiers:
            lines.append("      - {" + (f'up_to: "{bound}", ' if bound else "") + f'unit_price: "{price}"}}')
    return "\n".join(lines) + "\n"


class Shape(NamedTuple):
    """What makes one filled topic different from another."""

    events: int = 1_000_000
    seed: int = 7
    partitions: int = PARTITIONS
    per_record: int = 1  # more than one: a JSON array of so many events of a partition, the last record of each with what is left

    @property
    def name(self) -> str:
        """For the topic's name: a topic of this name with this many records is taken as filled."""
        return f"seed-{self.seed}-events-{self.events}-by-{self.per_record}-in-{self.partitions}"

    def filled(self, records: int) -> bool:
        """Whether a topic with so many records can hold all events."""
        fewest = -(-self.events // self.per_record)
        return fewest <= records <= (fewest if self.per_record == 1 else fewest + self.partitions)


def last_hour(now_s: float | None = None) -> int:
    """When the last event happens: a full hour, so that every fill has the same number of windows per account."""
    return int(time.time() if now_s is None else now_s) // 3_600 * 3_600


def tail_event(account: str, sku: Sku, number: int, at_ms: int, quantity: str) -> bytes:
    """One event in the plain form."""
    return _event(f"{number:08x}", account, sku, _second(at_ms // 1_000), at_ms % 1_000, quantity, number % 20)


def _second(at_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))


def _event(id_: str, account: str, sku: Sku, second: str, ms: int, quantity: str, collector: int) -> bytes:
    # An account lives in one region, so a window is an (account, SKU, hour).
    region = REGIONS[ord(account[-1]) % 5]
    return (
        f'{{"specversion":"1.0","type":"usage","source":"collector-{collector:02d}","id":"{id_}","subject":"{account}",'
        f'"time":"{second}.{ms:03d}Z","data":{{"sku":"{sku.name}","quantity":"{quantity}","unit":"{sku.unit}","region":"{region}"}}}}'
    ).encode()


def events(shape: Shape, end_s: int) -> Iterator[list[tuple[str, bytes]]]:
    """Chunks of (account, CloudEvent), in the order in which they are produced."""
    rng = np.random.default_rng(shape.seed)
    begin_ms = (end_s - SPAN_S) * 1_000
    seconds: dict[int, str] = {}
    made: list[tuple[str, bytes]] = []  # for duplicates; the oldest are cut off now and then
    cut = 0
    for first in range(0, shape.events, CHUNK):
        count = min(CHUNK, shape.events - first)
        accounts = rng.integers(0, ACCOUNTS, count).tolist()
        skus = rng.integers(0, len(PRICES), count).tolist()
        quantities = rng.integers(1, 100_000, count).tolist()
        disorder = rng.integers(0, DISORDER_MS + 1, count).tolist()
        duplicate = (rng.random(count) < DUPLICATES).tolist()
        reach = rng.integers(1, DUPLICATE_REACH + 1, count).tolist()
        at = len(made)
        for i in range(count):
            number = first + i
            if duplicate[i] and number:
                made.append(made[number - min(reach[i], number) - cut])
                continue
            at_s, ms = divmod(begin_ms + number * SPAN_S * 1_000 // shape.events - disorder[i], 1_000)
            second = seconds.get(at_s)
            if second is None:
                second = seconds[at_s] = _second(at_s)
            account = f"account-{accounts[i]:04d}"
            q = quantities[i]
            made.append((account, _event(f"{number:08x}", account, PRICES[skus[i]], second, ms, f"{q // 1_000}.{q % 1_000:03d}", skus[i])))
        yield made[at:]
        if len(made) > 2 * DUPLICATE_REACH:
            drop = len(made) - DUPLICATE_REACH - 1
            del made[:drop]
            cut += drop
