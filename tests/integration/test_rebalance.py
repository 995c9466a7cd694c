"""Partitions move between living workers: nothing is lost or counted twice on the way."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from harness.traffic import PARTITIONS
from harness.verdict import verify
from harness.workers import Worker, bed, until
from ratemill.local.ports import free_ports
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


def readiness(port: int) -> tuple[int, str]:
    """What a worker says at /readyz; (0, "") when nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def lost(worker: Worker) -> set[str]:
    return {entry["lane"] for entry in worker.said("lost_state_deleted")}


async def test_state_of_lost_partitions_is_deleted_and_read_again_when_they_come_back(stack: Stack, tmp_path: Path) -> None:
    """And a worker is ready when it holds its partitions, restored: not before, which a lane that cannot begin shows."""
    async with bed(stack, tmp_path, seed=41, count=3_000) as b:
        (port,) = free_ports(1)
        settings = {"RATEMILL_WORKER__KEEP_LOST_STATE_S": "0", "RATEMILL_WORKER__METRICS_PORT": str(port)}
        first = b.worker("a", settings=settings)
        await until(lambda: readiness(port)[0] == 503, 60, "never said that it is not ready")
        await until(lambda: readiness(port) == (200, "ready\n"), 60, "not ready")
        assert first.logged("partition_owned") == 3 * PARTITIONS
        b.start_traffic(per_second=400)
        await b.rated_beyond(300)
        second = b.worker("b")
        await second.ready(lanes=3 * PARTITIONS // 2)
        has = {f"rate-{number}" for number in range(PARTITIONS)} & set(second.said("assigned")[-1]["lanes"])
        assert len(has) == PARTITIONS // 2
        await until(lambda: lost(first) == has, 60, f"{has} were not deleted")
        assert {path.name for path in (b.data_dir("a") / "state").iterdir()} == {f"rate-{number}" for number in range(PARTITIONS)} - has
        assert await second.terminate() == 0
        await b.settle()
        # What is settled may be the other one's work: a lane with nothing left to do can still be restoring.
        await until(lambda: readiness(port) == (200, "ready\n"), 60, "not ready again")
        assert {path.name for path in (b.data_dir("a") / "state").iterdir()} == {f"rate-{number}" for number in range(PARTITIONS)}
        await verify(b)
