"""A worker is killed with -9 at each step of the commit protocol; another one finishes, and every number is as the oracle says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from harness.scenarios import kill_in_commit
from harness.verdict import verify
from harness.workers import bed
from ratemill.local.stack import Stack
from ratemill.streams.failpoints import POINTS

pytestmark = pytest.mark.integration

# Passed once per assignment; the others are passed by every commit.
AT_TAKEOVER = ("after_fence", "after_restore")


@pytest.mark.parametrize("point", [p for p in POINTS if p not in AT_TAKEOVER])
async def test_kill_in_a_commit(stack: Stack, tmp_path: Path, point: str) -> None:
    """kill -9 in the middle of a commit of the rate lane: the commit counts as a whole or not at all."""
    async with bed(stack, tmp_path, seed=POINTS.index(point)) as b:
        await kill_in_commit(b, point)
        await verify(b)


@pytest.mark.parametrize("point", AT_TAKEOVER)
async def test_kill_while_taking_over(stack: Stack, tmp_path: Path, point: str) -> None:
    """kill -9 of a worker that takes over from a killed one, before it has read anything itself: a third one finishes."""
    async with bed(stack, tmp_path, seed=20 + AT_TAKEOVER.index(point)) as b:
        first = b.worker("a")
        await first.ready()
        b.start_traffic(per_second=200)
        await b.rated_beyond(500)
        await first.kill()
        second = b.worker("a", failpoints=[{"point": point, "lane": "rate-", "after": 2, "action": "kill"}])
        assert await second.ended() == -signal.SIGKILL
        assert b.mid_run, f"killed at {b.published} of {len(b.traffic)} records"
        b.worker("a")
        await b.settle()
        await verify(b)


async def test_kill_in_normalize_and_index(stack: Stack, tmp_path: Path) -> None:
    """The lanes around rating hold the same protocol: killed inside a transaction, and between Elasticsearch and the commit."""
    async with bed(stack, tmp_path, seed=30, count=8_000) as b:
        kills = [("normalize-", "before_commit"), ("index-", "before_begin"), ("normalize-", "after_commit"), ("index-", "after_commit")]
        for lane, point in kills:
            worker = b.worker("a", failpoints=[{"point": point, "lane": lane, "after": 6, "action": "kill"}])
            if not b.published:
                await worker.ready()
                b.start_traffic(per_second=200)
            b.resume_traffic()
            assert await worker.ended() == -signal.SIGKILL
            assert b.mid_run, f"killed at {b.published} of {len(b.traffic)} records"
            b.hold_traffic()
        b.worker("a")
        await b.settle()
        await verify(b)
