"""A steady producer in a process of its own: `python -m ratemill.bench.steady BOOTSTRAP TOPIC RATE SECONDS`.

What it sends keeps the state of a worker constant once the dedupe window is full: few accounts and SKUs, event times of now. A tenth is up to
a minute late, and 2% are exact duplicates of what was sent in the last minute. Prints one line of JSON at the end; SIGTERM ends it early.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections import deque

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from .apart import Apart
from .shape import PARTITIONS, PRICES, tail_event

__all__ = ["DELAY_S", "Producing"]

ACCOUNTS, SKUS = 50, 4  # each commit restates most of these windows, and Elasticsearch takes them all
TICK_S = 0.1
DELAY_S = 60  # nothing is later, and no duplicate comes later
AGAIN_S = DELAY_S - 10  # also where the machine is busy, and ticks come late: what is older than the worker remembers would be a dead letter
LATE, DUPLICATES = 0.1, 0.02


async def _produce(bootstrap: str, topic: str, rate: int, seconds: float) -> dict[str, float]:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, max_batch_size=1 << 20)
    await producer.start()
    rng = random.Random(11)
    numbers = list(range(PARTITIONS))
    accounts = [f"account-{n:04d}" for n in range(ACCOUNTS)]
    home = {account: DefaultPartitioner()(account.encode(), numbers, numbers) for account in accounts}
    sent: deque[tuple[float, str, bytes]] = deque(maxlen=rate * AGAIN_S)
    number, late, tick, begin = 0, 0.0, 0, time.monotonic()
    try:
        while not stopped.is_set() and tick * TICK_S < seconds:
            due = begin + tick * TICK_S
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            late = max(late, time.monotonic() - due)
            tick += 1
            batches = [producer.create_batch() for _ in numbers]
            while sent and sent[0][0] < time.monotonic() - AGAIN_S:
                sent.popleft()
            for _ in range(round(rate * TICK_S)):
                if sent and rng.random() < DUPLICATES:
                    _, account, value = sent[rng.randrange(len(sent))]
                else:
                    account, sku, thousandths = rng.choice(accounts), PRICES[rng.randrange(SKUS)], rng.randrange(1, 100_000)
                    age_ms = rng.randrange(DELAY_S * 1_000) if rng.random() < LATE else 0
                    quantity = f"{thousandths // 1_000}.{thousandths % 1_000:03d}"
                    value = tail_event(account, sku, number, time.time_ns() // 1_000_000 - age_ms, quantity)
                    sent.append((time.monotonic(), account, value))
                number += 1
                batches[home[account]].append(key=account.encode(), value=value, timestamp=None)
            for partition, batch in enumerate(batches):
                if batch.record_count():
                    await producer.send_batch(batch, topic, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()
    return {"events": number, "seconds": round(time.monotonic() - begin, 1), "latest_tick_s": round(late, 3)}


class Producing(Apart):
    """This program, started from another one; `end` ends it early."""

    def __init__(self, bootstrap: str, topic: str, rate: int, seconds: float) -> None:
        super().__init__("steady", bootstrap, topic, rate, seconds)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_produce(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))))
