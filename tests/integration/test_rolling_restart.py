"""Workers are restarted one after the other while usage flows: nothing is rated twice, and no line item is written again unchanged."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest
from harness.verdict import unchanged, verify
from harness.workers import Bed, Worker, bed
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

NAMES = ("a", "b", "c")


async def shared(workers: dict[str, Worker], within_s: float = 60) -> dict[str, list[str]]:
    """Wait until each lane is owned by one worker; the lanes of each."""
    deadline = time.monotonic() + within_s
    while True:
        lanes = {name: said[-1]["lanes"] if (said := worker.said("assigned")) else [] for name, worker in workers.items()}
        every = [lane for each in lanes.values() for lane in each]
        if len(every) == len(set(every)) == 12 and all(_owned(worker, lanes[name]) for name, worker in workers.items()):
            return lanes
        assert time.monotonic() < deadline, f"not shared: {lanes}"
        assert [worker.status for worker in workers.values()] == [None] * len(workers)
        await asyncio.sleep(0.1)


def _owned(worker: Worker, lanes: list[str]) -> bool:
    """Whether it has restored all of them since it was given them last."""
    given = [entry["timestamp"] for entry in worker.said("assigned")]
    return bool(given) and {entry["lane"] for entry in worker.said("partition_owned") if entry["timestamp"] > given[-1]} >= set(lanes)


async def rolling_restart(b: Bed, breaks: list[str]) -> None:
    """Three workers, each restarted in turn; prints how long each partition paused at most."""
    workers = {name: b.worker(name, breaks=breaks) for name in NAMES}
    at_first = await shared(workers)
    b.start_traffic(per_second=60)  # slow: six rebalances on a busy machine fall into it
    await b.rated_beyond(100)
    for name in NAMES:
        assert await workers[name].terminate() == 0
        await b.rated_beyond(await b.rated() + 100)  # the others go on alone
        workers[name] = b.worker(name, breaks=breaks)
        assert await shared(workers) == at_first, "a worker did not get its partitions back"
        await b.rated_beyond(await b.rated() + 100)
        assert b.mid_run, f"done after {b.published} of {len(b.traffic)} records"
    b.hold_traffic()
    await b.idle()
    print("longest pauses:", await pauses(b))
    await b.settle()


async def pauses(b: Bed) -> dict[str, float]:
    """Longest time in seconds between two commits of each rate lane, while usage flowed."""
    times: dict[str, list[int]] = {}
    for record in await b.read("ratemill.state.progress"):
        if (record.key or b"").startswith(b"rate-"):
            times.setdefault((record.key or b"").decode(), []).append(record.timestamp)
    return {lane: max(later - earlier for earlier, later in pairwise(at)) / 1_000 for lane, at in sorted(times.items())}


async def test_nothing_is_restated_but_by_new_usage(stack: Stack, tmp_path: Path) -> None:
    """Each revision says something else than the one before, each event was taken once, and all is as the oracle says."""
    async with bed(stack, tmp_path, seed=150, count=14_000) as b:
        await rolling_restart(b, [])
        records = await b.read("usage.rated")
        assert unchanged(records) == []
        print(f"{len(records)} revisions of {len({r.key for r in records})} line items")
        await verify(b)  # duplicates and events received too


async def test_a_worker_that_rates_again_what_it_takes_over(stack: Stack, tmp_path: Path) -> None:
    """The control of the test above: the line items are right, and stand there once more for nothing."""
    async with bed(stack, tmp_path, seed=150, count=14_000) as b:
        await rolling_restart(b, ["rates_again"])
        await verify(b)
        found = unchanged(await b.read("usage.rated"))
        print(found)
        assert found
