"""The SDK on a real Kafka and a real API: killed at random points while it publishes, all is counted once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from harness.collecting import api_of, kill_and_restart, missing, start_of, target_of
from harness.traffic import DIRECT, HOPPED
from harness.verdict import outcome, verify
from harness.workers import Bed, bed
from ratemill.collectors.sdk import HttpTarget, KafkaTarget, Publisher, usage
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

EVENTS, KILLS = 8_000, 8
EXAMPLE = Path(__file__).parents[2] / "examples" / "collector.py"


async def published(b: Bed, name: str, target: dict[str, str], topic: str, broken: str = "", seed: int = 1) -> tuple[list[str], int]:
    """What was wrong on the raw topic after all the kills, and how many events a kill found undelivered."""
    folder = b.folder / name
    folder.mkdir()
    killed = await asyncio.to_thread(kill_and_restart, folder, target, name, EVENTS, KILLS, seed, start_of(), broken)
    wrong, repeated = missing(await b.read(topic), name, EVENTS)
    undelivered = sum(each["waiting"] for each in killed.found[1:])
    print(f"{name}: {killed.kills} kills, {undelivered} undelivered at them, {repeated} sent again; {killed.found}")
    assert killed.kills == KILLS
    return wrong, undelivered


async def test_a_collector_killed_at_random_points_is_counted_once(stack: Stack, tmp_path: Path) -> None:
    """Over Kafka and over HTTP, from accepted to line items; and two that are broken are caught by the same comparison."""
    async with bed(stack, tmp_path, seed=300) as b:
        api = api_of(b, tmp_path / "api")
        try:
            for name, target, topic in (("kafka", target_of(b, DIRECT), DIRECT), ("http", target_of(b, HOPPED, api), HOPPED)):
                wrong, undelivered = await published(b, name, target, topic)
                assert wrong == []
                assert undelivered > 0, "no kill fell between accepted and delivered"
        finally:
            api.stop()
        worker = b.worker("a")
        await b.caught_up(90)
        assert await worker.terminate() == 0
        await verify(b)
        assert (await outcome(b, elasticsearch=False)).wanted.unique == 2 * EVENTS
        for broken in ("settle_first", "accept_first"):
            wrong, _ = await published(b, broken, target_of(b, DIRECT), DIRECT, broken)
            assert any(line.startswith("lost") for line in wrong), f"{broken} is not caught"
