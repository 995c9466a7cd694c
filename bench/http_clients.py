"""Clients of `ratemill api`, in a process of their own: `python -m ratemill.bench.http_clients collector|readers URL NAME ...`.

The key comes from the environment, so that it stands in no list of processes. Prints one line of JSON at the end.

A collector sends batch after batch, and each again until it is acknowledged. Readers ask for the costs of one account each, over and over.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from typing import Any

import aiohttp

from .shape import ACCOUNTS, PRICES, tail_event

__all__ = ["KEY"]

KEY = "RATEMILL_BENCH_KEY"
_PATIENCE = aiohttp.ClientTimeout(total=30)


def _batch(name: str, first: int, size: int, rng: random.Random) -> bytes:
    now_ms = time.time_ns() // 1_000_000
    events = []
    for number in range(first, first + size):
        thousandths = rng.randrange(1, 100_000)
        account = f"{name}-{rng.randrange(ACCOUNTS):04d}"  # of its own: two collectors must not make the same event
        quantity = f"{thousandths // 1_000}.{thousandths % 1_000:03d}"
        events.append(tail_event(account, PRICES[rng.randrange(len(PRICES))], number, now_ms, quantity))
    return b"[" + b",".join(events) + b"]"


async def _collect(session: aiohttp.ClientSession, name: str, size: int, seconds: float) -> dict[str, Any]:
    rng, begin = random.Random(name), time.monotonic()
    took: list[float] = []
    acknowledged = again = 0
    while time.monotonic() - begin < seconds:
        body = _batch(name, acknowledged, size, rng)
        while True:
            asked = time.monotonic()
            try:
                async with session.post("/v1/events", data=body, headers={"content-type": "application/json"}) as answer:
                    status, said = answer.status, await answer.json()
            except (aiohttp.ClientError, TimeoutError):
                status, said = 0, {}
            if status == 202 and said["accepted"] == size:
                took.append(time.monotonic() - asked)
                acknowledged += size
                break
            if status not in (0, 202, 429, 503):
                raise SystemExit(f"answered {status}: {said}")
            again += 1
            await asyncio.sleep(0.1)
    return {"acknowledged": acknowledged, "requests": len(took), "again": again, "seconds": time.monotonic() - begin, "took_s": took}


async def _read(session: aiohttp.ClientSession, account: str, pause: float, end: float, took: list[float], failed: list[int]) -> None:
    await asyncio.sleep(random.random() * pause)
    while time.monotonic() < end:
        asked = time.monotonic()
        try:
            async with session.get("/v1/costs", params={"account": account, "by": "sku"}) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        if status == 200:
            took.append(time.monotonic() - asked)
        else:
            failed.append(status)
        await asyncio.sleep(max(0.0, pause - (time.monotonic() - asked)))


async def _readers(session: aiohttp.ClientSession, name: str, number: int, pause: float, seconds: float) -> dict[str, Any]:
    took: list[float] = []
    failed: list[int] = []
    end = time.monotonic() + seconds
    await asyncio.gather(*(_read(session, f"{name}-{n:04d}", pause, end, took, failed) for n in range(number)))
    return {"requests": len(took), "again": len(failed), "statuses": dict(Counter(map(str, failed))), "seconds": seconds, "took_s": took}


async def _main(what: str, url: str, name: str, *numbers: str) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {os.environ[KEY]}"}
    async with aiohttp.ClientSession(url, headers=headers, timeout=_PATIENCE) as session:
        if what == "collector":
            return await _collect(session, name, int(numbers[0]), float(numbers[1]))
        return await _readers(session, name, int(numbers[0]), float(numbers[1]), float(numbers[2]))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_main(*sys.argv[1:]))))
