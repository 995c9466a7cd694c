"""Topics that tests make for themselves."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from ratemill.streams.topics import look

__all__ = ["make_topic"]


async def make_topic(kafka: str, name: str, partitions: int = 1, replicas: int = 1, settings: dict[str, str] | None = None) -> None:
    """Make a topic. It is back when the broker tells of it, which may be a little later than its controller made it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, replicas, topic_configs=settings)])
        async with asyncio.timeout(60):
            while not (await look(admin, [name])).get(name):
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
