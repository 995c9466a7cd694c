"""A worker does not grow with every rebalance: what a lane that ended leaves behind is freed, though the cyclic collector hardly runs."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from faust.types import TP
from ratemill.streams import app
from ratemill.streams.app import RatemillWorker


class Client:
    """As those of aiokafka do, it refers to itself."""

    def __init__(self) -> None:
        self.connections = [self]


class Lane:
    def __init__(self) -> None:
        self.producer: Client | None = Client()

    async def stop(self) -> None:
        self.producer = None


@pytest.fixture(autouse=True)
def a_collector_that_hardly_runs() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(5_000_000, 50, 100)  # as in a worker
    yield
    gc.set_threshold(*before)


def left_after_a_rebalance() -> bool:
    """Whether the client of a lane outlives the lane."""
    lane = Lane()
    client = weakref.ref(lane.producer)
    worker: Any = object.__new__(RatemillWorker)
    worker._lanes = {TP("usage.events", 0): lane}
    asyncio.run(worker._stop_lanes())
    return client() is not None


def test_the_client_of_an_ended_lane_is_freed() -> None:
    assert not left_after_a_rebalance()


def test_without_clearing_up_it_would_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "clear_up", lambda: None)
    assert left_after_a_rebalance()
