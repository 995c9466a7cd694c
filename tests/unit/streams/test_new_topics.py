"""A broker that tells of new topics a little later must not be taken for one whose topics have other partitions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import NodeNotReadyError
from ratemill.schemas.errors import BadInput, Unavailable
from ratemill.streams import reach, topics
from ratemill.streams.config import load_config


class _SlowBroker:
    """Stands for the admin client: it makes every topic at once, and describes it without partitions for a while."""

    silent, partitions = 0, 4

    def __init__(self, **_: Any) -> None:
        self.asked = 0

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def create_topics(self, wanted: list[Any]) -> Any:
        return SimpleNamespace(topic_errors=[(t.name, 0, None) for t in wanted])

    async def _send_request(self, request: Any) -> Any:
        """Metadata: of nothing at first, of topics without a leader for a while, then of all of them."""
        self.asked += 1
        code = 3 if self.asked == 1 else 5 if self.asked <= 1 + self.silent else 0
        shown = list(range(0 if code else self.partitions))
        found = [{"topic": name, "error_code": code, "partitions": shown} for name in request._topics]
        return SimpleNamespace(to_object=lambda: {"topics": found})


def test_a_topic_made_just_now_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "AIOKafkaAdminClient", type("Slow", (_SlowBroker,), {"silent": 2}))
    counts = asyncio.run(topics.ensure_topics(load_config(environment={})))
    assert set(counts.values()) == {4}


def test_another_count_is_still_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "AIOKafkaAdminClient", type("Other", (_SlowBroker,), {"partitions": 3}))
    with pytest.raises(BadInput, match=r"has 3 partitions, kafka\.partitions says 4"):
        asyncio.run(topics.ensure_topics(load_config(environment={})))


class _NoController(_SlowBroker):
    """It knows of no controller when it is first asked to make topics."""

    refused = 0

    async def create_topics(self, wanted: list[Any]) -> Any:
        if type(self).refused:
            type(self).refused -= 1
            raise NodeNotReadyError("Attempt to send a request to node which is not ready (node id None).")
        return await super().create_topics(wanted)


def test_a_broker_that_has_just_started_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "AIOKafkaAdminClient", type("Starting", (_NoController,), {"refused": 2}))
    counts = asyncio.run(topics.ensure_topics(load_config(environment={})))
    assert set(counts.values()) == {4}


class _Fenced(_SlowBroker):
    """Its controller counts no broker as alive when it is first asked to make topics."""

    refused = 0

    async def create_topics(self, wanted: list[Any]) -> Any:
        if not type(self).refused:
            return await super().create_topics(wanted)
        type(self).refused -= 1
        return SimpleNamespace(topic_errors=[(t.name, 38, "All brokers are currently fenced") for t in wanted])


def test_a_broker_that_is_fenced_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "AIOKafkaAdminClient", type("Fenced", (_Fenced,), {"refused": 2}))
    counts = asyncio.run(topics.ensure_topics(load_config(environment={})))
    assert set(counts.values()) == {4}


def test_but_a_factor_that_is_too_great_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "AIOKafkaAdminClient", type("Fenced", (_Fenced,), {"refused": 1_000}))
    monkeypatch.setattr(topics, "_TOLD_WITHIN_S", 0.5)
    with pytest.raises(Unavailable, match="fenced; check the replication factor"):
        asyncio.run(topics.ensure_topics(load_config(environment={})))


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "AIOKafkaAdminClient", type("Broken", (_NoController,), {"refused": 1_000}))
    monkeypatch.setattr(topics, "_TOLD_WITHIN_S", 0.5)
    with pytest.raises(Unavailable, match="try again"):
        asyncio.run(topics.ensure_topics(load_config(environment={})))
