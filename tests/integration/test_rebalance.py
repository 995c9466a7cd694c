"""Partitions move between living workers: nothing is lost or counted twice on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.traffic import PARTITIONS
from harness.verdict import verify
from harness.workers import bed
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration


async def test_workers_join_and_leave(stack: Stack, tmp_path: Path) -> None:
    """One worker, then two, then three; one leaves by SIGTERM, one by kill -9; the last one finishes alone."""
    async with bed(stack, tmp_path, seed=40, count=12_000) as b:
        first = b.worker("a")
        await first.ready()
        b.start_traffic(per_second=150)
        await b.rated_beyond(300)
        second = b.worker("b")
        await second.ready(lanes=3 * PARTITIONS // 2)
        await b.rated_beyond(await b.rated())
        third = b.worker("c")
        await third.ready(lanes=PARTITIONS // 2)
        await b.rated_beyond(await b.rated())
        assert await first.terminate() == 0
        await b.rated_beyond(await b.rated())
        await second.kill()
        assert b.mid_run, f"done after {b.published} of {len(b.traffic)} records"
        await b.settle()
        assert third.status is None
        assert await third.terminate() == 0
        await verify(b)
