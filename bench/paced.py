"""A steady producer in a process of its own: `python -m ratemill.bench.paced BOOTSTRAP TOPIC RATE SECONDS FIRST`.

Its events have the numbers from FIRST on. One event of each tick is a marker: its account says when it was produced, and no other event has
that account. Prints one line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import numpy as np
from aiokafka import AIOKafkaProducer

from .apart import Apart
from .shape import ACCOUNTS, PRICES, tail_event

__all__ = ["TICKS_PER_S", "Pacing", "marker_prefix"]

TICKS_PER_S = 50


def marker_prefix(first: int) -> str:
    """What the accounts of the markers of one run begin with; behind it stand the tick in six digits, a hyphen, and when it was produced (ns)."""
    return f"marker-{first:010d}-"


async def _produce(bootstrap: str, topic: str, rate: int, seconds: int, first: int) -> dict[str, float]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, acks="all")
    await producer.start()
    rng = np.random.default_rng(11 + first)
    per_tick, number, latest, marker = rate // TICKS_PER_S, first, 0.0, marker_prefix(first)
    begin = time.monotonic()
    try:
        for tick in range(seconds * TICKS_PER_S):
            due = begin + tick / TICKS_PER_S
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            latest = max(latest, time.monotonic() - due)
            accounts = rng.integers(0, ACCOUNTS, per_tick).tolist()
            skus = rng.integers(0, len(PRICES), per_tick).tolist()
            quantities = rng.integers(1, 100_000, per_tick).tolist()
            for i in range(per_tick):
                now_ns = time.time_ns()
                account = f"account-{accounts[i]:04d}" if i else f"{marker}{tick:06d}-{now_ns}"
                quantity = f"{quantities[i] // 1_000}.{quantities[i] % 1_000:03d}"
                value = tail_event(account, PRICES[skus[i]], number, now_ns // 1_000_000, quantity)
                await producer.send(topic, value, account.encode())
                number += 1
        await producer.flush()
    finally:
        await producer.stop()
    return {"events": number - first, "seconds": time.monotonic() - begin, "latest_tick_s": latest}


class Pacing(Apart):
    """This program, started from another one."""

    def __init__(self, bootstrap: str, topic: str, rate: int, seconds: int, first: int = 0) -> None:
        super().__init__("paced", bootstrap, topic, rate, seconds, first)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_produce(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))))
