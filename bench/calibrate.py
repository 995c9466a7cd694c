"""How fast this machine is just now: the least Python that the job could take, without Kafka and without any guarantee.

Decode, drop duplicates, add up. Its figure stands beside each run, so that runs on a busy machine can be told from slow code.
"""

from __future__ import annotations

import time
from decimal import Decimal

import orjson

from .shape import Shape, events, last_hour

__all__ = ["calibrate"]

SAMPLE = 40_000


def calibrate() -> int:
    """Events per CPU-second of the bare loop, best of three."""
    values = [value for chunk in events(Shape(SAMPLE, 1), last_hour()) for _, value in chunk]
    return round(SAMPLE / min(_once(values) for _ in range(3)))


def _once(values: list[bytes]) -> float:
    begin = time.thread_time()
    seen: set[tuple[str, str]] = set()
    sums: dict[tuple[str, str, str], Decimal] = {}
    for value in values:
        event = orjson.loads(value)
        identity = event["source"], event["id"]
        if identity not in seen:
            seen.add(identity)
            data = event["data"]
            key = event["subject"], data["sku"], event["time"][:13]
            sums[key] = sums.get(key, 0) + Decimal(data["quantity"])
    return time.thread_time() - begin
