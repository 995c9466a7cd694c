"""Work beside the event loop: it has an end, and errors of Kafka are one line."""

from __future__ import annotations

import asyncio
import decimal
import threading
from collections.abc import Iterator

import pytest
from aiokafka.errors import KafkaConnectionError
from ratemill.api.problems import Problem
from ratemill.cli.serving.jobs import Jobs
from ratemill.pricing.money import EXACT
from ratemill.schemas.errors import Unavailable
from ratemill.streams.config import Config


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs(Config())
    yield made
    made.close()


async def test_work_has_a_thread_and_exact_arithmetic(jobs: Jobs) -> None:
    async def work() -> tuple[int, int]:
        return threading.get_ident(), decimal.getcontext().prec

    thread, precision = await jobs.run(work, 5)
    assert (thread != threading.get_ident(), precision) == (True, EXACT.prec)
    assert await jobs.compute(lambda: decimal.getcontext().prec) == EXACT.prec


async def test_work_without_an_end_is_ended(jobs: Jobs) -> None:
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(Problem) as late:
        await jobs.run(work, 0.01)
    assert (late.value.status, ended.is_set()) == (504, True)


async def test_closing_ends_what_is_under_way(jobs: Jobs) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        await asyncio.Event().wait()

    running = asyncio.ensure_future(jobs.run(work, 3_600))
    await begun.wait()
    await asyncio.to_thread(jobs.close)
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_kafka_that_is_not_there_is_unavailable(jobs: Jobs) -> None:
    async def work() -> None:
        raise KafkaConnectionError("no broker")

    with pytest.raises(Unavailable):
        await jobs.run(work, 30)
