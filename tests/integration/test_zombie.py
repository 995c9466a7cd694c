"""A worker that was stopped for longer than its session wakes up as a zombie: what it then writes does not count."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from harness.scenarios import zombie
from harness.traffic import PARTITIONS
from harness.verdict import verify
from harness.workers import bed, until
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("point", ["before_begin", "before_commit"])
async def test_a_zombie_is_fenced(stack: Stack, tmp_path: Path, point: str) -> None:
    """Stopped between pricing and writing, or inside the transaction: the broker refuses it, and it ends healthy."""
    async with bed(stack, tmp_path, seed=50, count=10_000, session_timeout_s=6) as b:
        woken, _ = await zombie(b, point)
        assert woken.logged("fenced") > 0, f"the zombie was not fenced; see {woken.log}"
        await b.settle()
        assert await woken.terminate() == 0
        await verify(b)


async def test_a_stopped_worker_rejoins(stack: Stack, tmp_path: Path) -> None:
    """SIGSTOP at any moment, beyond the session timeout: another worker takes over; woken, the first one takes its share again."""
    async with bed(stack, tmp_path, seed=52, count=10_000, session_timeout_s=6) as b:
        first, second = b.worker("a"), b.worker("b")
        await first.ready(lanes=3 * PARTITIONS // 2)
        await second.ready(lanes=3 * PARTITIONS // 2)
        b.start_traffic(per_second=200)
        await b.rated_beyond(300)
        first.signal(signal.SIGSTOP)
        before = second.logged("partition_owned")
        await until(lambda: second.logged("partition_owned") >= before + 3 * PARTITIONS, 60, f"no takeover; see {second.log}")
        await b.rated_beyond(await b.rated())
        first.signal(signal.SIGCONT)
        owned = first.logged("partition_owned")
        await until(lambda: first.logged("partition_owned") >= owned + 3 * PARTITIONS // 2, 60, f"did not rejoin; see {first.log}")
        assert b.mid_run, f"woken after {b.published} of {len(b.traffic)} records"
        await b.settle()
        assert [await w.terminate() for w in (first, second)] == [0, 0]
        await verify(b)
