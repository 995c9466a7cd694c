"""Very many events whose truth is known without reading them back: which event a number stands for follows from the number.

1,000 accounts × 5 SKUs in one hour, quantity 1; 50 events of an account in one record, as collectors batch them. So ten million identities stand
in 5,000 windows, and what is measured is remembering them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from .oracle import Expected
from .shape import PARTITIONS, PRICES, last_hour

__all__ = ["Many"]

ACCOUNTS, SKUS = 1_000, 5
PER_RECORD = 50


class Many:
    """The events 0, 1, 2, …; `next` is the first that was never sent. hour: the one they all are in is the one before it."""

    def __init__(self, partitions: int = PARTITIONS, hour: int | None = None) -> None:
        self.next = 0
        self.hour = last_hour() if hour is None else hour
        self._partitions = partitions
        self._time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.hour - 1_800))
        names = [f"account-{n:04d}" for n in range(ACCOUNTS)]
        numbers = list(range(partitions))
        self._accounts = [(name.encode(), DefaultPartitioner()(name.encode(), numbers, numbers)) for name in names]
        self._names = names

    def _place(self, number: int) -> tuple[int, int]:
        """(account, SKU) of an event: 50 of an account one after the other, ten of each SKU."""
        return number // PER_RECORD % ACCOUNTS, number % SKUS

    def event(self, number: int) -> str:
        """One event in the plain form."""
        account, sku = self._place(number)
        return (
            f'{{"specversion":"1.0","type":"usage","source":"collector-{account % 20:02d}","id":"{number:010x}","subject":"{self._names[account]}",'
            f'"time":"{self._time}","data":{{"sku":"{PRICES[sku].name}","quantity":"1","unit":"{PRICES[sku].unit}","region":"eu-west-1"}}}}'
        )

    async def send(self, producer: AIOKafkaProducer, topic: str, numbers: Iterable[int]) -> None:
        """Publish these events, those of one account that follow each other as one record, and wait until they are acknowledged."""
        batches = [producer.create_batch() for _ in range(self._partitions)]
        under_way: list[asyncio.Future[Any]] = []

        async def put(account: int, events: list[str]) -> None:
            key, at = self._accounts[account]
            value = f"[{','.join(events)}]".encode()
            if batches[at].append(key=key, value=value, timestamp=None) is None:
                under_way.append(await producer.send_batch(batches[at], topic, partition=at))
                batches[at] = producer.create_batch()
                batches[at].append(key=key, value=value, timestamp=None)

        account, events = -1, list[str]()
        for number in numbers:
            its = number // PER_RECORD % ACCOUNTS
            if its != account or len(events) == PER_RECORD:
                if events:
                    await put(account, events)
                account, events = its, []
            events.append(self.event(number))
        if events:
            await put(account, events)
        under_way += [await producer.send_batch(batch, topic, partition=at) for at, batch in enumerate(batches) if batch.record_count()]
        await asyncio.gather(*under_way)

    def expected(self, received: int, duplicates: int) -> Expected:
        """What the events 0 to `next` come to, when so many were sent and so many of these twice."""
        quantities: dict[str, int] = {}
        turns, rest = divmod(self.next, PER_RECORD * ACCOUNTS)  # within a turn through the accounts, every event counts the same
        for number in range(min(PER_RECORD * ACCOUNTS, self.next)):
            account, sku = self._place(number)
            group = f"{self._names[account]} {PRICES[sku].name} {self._time[:7]}"
            quantities[group] = quantities.get(group, 0) + turns + (number < rest)
        return Expected(received, duplicates, {group: (Decimal(quantity), 1) for group, quantity in quantities.items()})
