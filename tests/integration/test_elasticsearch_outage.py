"""Elasticsearch goes away for a minute: rating does not notice, and afterwards everything is visible."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from harness.verdict import verify
from harness.workers import bed
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

OUTAGE_S = 60.0
RESTART_S = 15.0  # about what Elasticsearch takes to answer again


async def test_elasticsearch_down_for_a_minute(stack: Stack, tmp_path: Path) -> None:
    """Killed mid-run: all usage is normalized and rated meanwhile; once it is back, it holds every line item once."""
    async with bed(stack, tmp_path, seed=90, count=8_000) as b:
        worker = b.worker("a")
        await worker.ready()
        b.start_traffic(per_second=250)
        await b.rated_beyond(500)
        assert b.mid_run
        stack.kill("elasticsearch")
        began = time.monotonic()
        try:
            at_outage = await b.rated()
            await b.settle(agents=("normalize", "rate"))
            assert await b.rated() > at_outage
            await verify(b, elasticsearch=False)
            await asyncio.sleep(max(0.0, OUTAGE_S - RESTART_S - (time.monotonic() - began)))
        finally:
            await asyncio.to_thread(stack.restart, "elasticsearch")
        await b.settle()
        assert worker.status is None
        await verify(b)
