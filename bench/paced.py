"""A steady producer in a process of its own: `python -m ratemill.bench.paced BOOTSTRAP TOPIC RATE SECONDS FIRST`.

Its events have the numbers from FIRST on. One event of each tick is a marker: its account says when it was produced, and no other event has
that account. Prints one line of JSON at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer

from ..schemas.errors import Unavailable
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


class Pacing:
    """The producer's process: `async with` starts it, and ends it at the latest with the block."""

    def __init__(self, bootstrap: str, topic: str, rate: int, seconds: int, first: int = 0) -> None:
        self._arguments = ["-m", f"{__package__}.paced", bootstrap, topic, str(rate), str(seconds), str(first)]
        self._process: Any = None

    async def __aenter__(self) -> Pacing:
        self._process = await asyncio.create_subprocess_exec(sys.executable, *self._arguments, stdout=asyncio.subprocess.PIPE)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.running:
            self._process.kill()
            await self._process.wait()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet. Raises Unavailable when it failed."""
        if self._process.returncode:
            raise Unavailable(f"the producer ended with status {self._process.returncode}")
        return self._process.returncode is None

    async def sent(self) -> dict[str, float]:
        """Wait for its end: events, seconds, and how far it was behind its schedule at most (latest_tick_s)."""
        printed, _ = await self._process.communicate()
        if self.running or not printed:
            raise Unavailable("the producer said nothing")
        found: dict[str, float] = json.loads(printed)
        return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_produce(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))))
