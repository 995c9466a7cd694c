"""A transaction that hangs for good: the way out that docs/operations.md describes, and what becomes of leaving a step of it out."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from harness.traffic import PARTITIONS
from harness.verdict import mismatches, verify
from harness.workers import Bed, Worker, bed, until
from ratemill.local.stack import Stack
from ratemill.streams.hanging import HANGS_AFTER_S, OpenTransaction, abort, obstacle, open_transactions

pytestmark = pytest.mark.integration

LANES = 3 * PARTITIONS
HUNG = "rate-0"
OFFSETS = "__consumer_offsets"


@asynccontextmanager
async def trusting(stack: Stack) -> AsyncIterator[None]:
    """Let the brokers take a transaction's records without asking its coordinator, as they did before Kafka 3.6."""

    async def change(settings: dict[str, str]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka)
        await admin.start()
        try:
            brokers = [str(broker["node_id"]) for broker in (await admin.describe_cluster())["brokers"]]
            for answer in await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, name, settings) for name in brokers]):
                assert all(code == 0 for code, *_ in answer.resources), answer
        finally:
            await admin.close()

    await change({"transaction.partition.verification.enable": "false"})
    try:
        yield
    finally:
        await change({})


@asynccontextmanager
async def hanging(stack: Stack, folder: Path, seed: int) -> AsyncIterator[tuple[Bed, OpenTransaction]]:
    """A Ratemill whose worker has ended in good order, after commits of rate-0 that Kafka never ends."""
    async with bed(stack, folder, seed=seed, count=3_000, session_timeout_s=3) as b:
        async with trusting(stack):
            worker = b.worker("a", breaks=["loses_markers"])
            await worker.ready()
            b.start_traffic(per_second=400)
            await until(lambda: worker.logged("lost_markers") >= 3 or worker.status is not None, 60, f"nothing hangs; see {worker.log}")
            b.hold_traffic()
            assert b.mid_run, f"it hangs after {b.published} of {len(b.traffic)} records"
            assert await worker.terminate() == 0
        (found,) = await open_transactions(b.config)
        yield b, found


async def stalled(worker: Worker) -> None:
    """Wait until this worker has everything but the partition that hangs, and says so."""
    told = lambda: "restoring stalled" in worker.log.read_text(errors="replace")  # noqa: E731
    await until(told, 60, f"nothing stalls; see {worker.log}")
    assert worker.logged("partition_owned") < LANES
    assert HUNG not in [line.get("lane") for line in worker.said("partition_owned")]


def command(b: Bed, *arguments: str, after_s: int | None = 0) -> subprocess.CompletedProcess[str]:
    """Run a command, to which a transaction is old after some seconds; None: after those that it waits in earnest."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")}
    tampered = "" if after_s is None else f"import ratemill.streams.hanging as hanging; hanging.HANGS_AFTER_S = {after_s}; "
    program = [sys.executable, "-c", f"{tampered}from ratemill.cli.main import main; main()"]
    return subprocess.run(
        [*program, *arguments, "--config", str(b.folder / "ratemill.toml")], env=clean, capture_output=True, text=True, timeout=120, check=False
    )


async def restarted(b: Bed, *, disk: bool) -> None:
    """Let a worker do all that is left, with the disk of the first one or without."""
    if not disk:
        shutil.rmtree(b.data_dir("a"))
    worker = b.worker("a", breaks=["impatient"])
    await worker.ready()
    await b.settle()
    assert await worker.terminate() == 0


def named(b: Bed, *topics: str) -> set[str]:
    return {topic if topic == OFFSETS else b.topic(topic) for topic in topics}


async def test_the_way_out(stack: Stack, tmp_path: Path) -> None:
    """As docs/operations.md has it: find it, stop the workers, abort it, delete the disks, start the workers."""
    async with hanging(stack, tmp_path, seed=61) as (b, found):
        assert {part.topic for part in found.parts} >= named(b, "usage.rated", "ratemill.state.windows", "ratemill.state.progress", OFFSETS)
        assert found.name == f"{b.config.kafka.group_id}-{HUNG}"

        # Kafka might end a transaction that is younger than its timeout, but it does not end this one.
        young = await asyncio.to_thread(command, b, "transactions", "abort", "--all", "--yes", after_s=None)
        assert (young.returncode, len(young.stderr.splitlines())) == (1, 1)
        assert "Kafka ends one of a dead worker by itself; ask again in " in young.stderr
        worker = b.worker("b", breaks=["impatient"])
        doctor, listed = await asyncio.gather(asyncio.to_thread(command, b, "doctor"), asyncio.to_thread(command, b, "transactions", "list"))
        assert "warning  transactions: " in doctor.stdout
        assert "`ratemill transactions list`" in doctor.stdout
        assert listed.stdout.startswith(f"hangs  transaction of {found.name} (producer {found.producer_id}, epoch ")
        assert {f"       {part.topic} {part.partition} {part.offset}" for part in found.parts} <= set(listed.stdout.splitlines())
        await stalled(worker)

        # Not while a worker runs; then by any of its places.
        refused = await asyncio.to_thread(command, b, "transactions", "abort", "--all", "--yes")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
        assert "stop all workers" in refused.stderr
        assert await worker.terminate() == 0
        part = found.parts[0]
        done = await asyncio.to_thread(command, b, "transactions", "abort", part.topic, str(part.partition), str(part.offset), "--yes")
        assert done.returncode == 0, done.stderr
        assert "aborted 1 transaction. Now delete the data folders of all workers" in done.stdout
        assert await open_transactions(b.config) == []
        await restarted(b, disk=False)
        await verify(b)


async def test_keeping_the_disk_is_noticed(stack: Stack, tmp_path: Path) -> None:
    """Negative control: a disk that holds what was undone takes the same usage for duplicates, and its line items are never written."""
    async with hanging(stack, tmp_path, seed=62) as (b, found):
        # A part of the way: what is left still hangs, and is no longer to be aborted without a thought.
        last = [part for part in found.parts if part.topic == b.topic("ratemill.state.windows")]
        await abort(b.config, set(found.parts) - set(last))
        (left,) = await open_transactions(b.config)
        assert list(left.parts) == last
        assert "it has ended in " in obstacle(b.config, left, left.last_ms + 1_000 * HANGS_AFTER_S)
        await abort(b.config, last)

        await restarted(b, disk=True)
        wrong = await mismatches(b)
        assert any(line.startswith("usage.rated: ") and "expected rows are missing" in line for line in wrong), wrong
        assert any(line.startswith("rate duplicates: ") for line in wrong), wrong


async def test_leaving_the_line_items_open_is_noticed(stack: Stack, tmp_path: Path) -> None:
    """Negative control: nothing hangs any more, but the next commit of the lane ends what is open as committed: line items of another past count."""
    async with hanging(stack, tmp_path, seed=63) as (b, found):
        await abort(b.config, [part for part in found.parts if part.topic != b.topic("usage.rated")])
        await restarted(b, disk=False)
        assert await open_transactions(b.config) == []
        wrong = await mismatches(b)
        assert any("revision did not grow" in line for line in wrong), wrong
