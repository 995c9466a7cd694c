"""A worker is killed with -9 at each step of the commit protocol; another one finishes, and every number is as the oracle says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
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
        first = b.worker("a", failpoints=[{"point": point, "lane": "rate-", "after": 10, "action": "kill"}])
        await first.ready()
        b.start_traffic(per_second=1_000)
        assert await first.ended() == -signal.SIGKILL
        assert b.mid_run, f"killed at {b.published} of {len(b.traffic)} records"
        assert await b.rated() > 0
        last = b.worker("b")
        await b.settle()
        assert await last.terminate() == 0
        await verify(b)
