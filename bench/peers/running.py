"""One run of a peer: started, pinned, watched by its output topic from outside, compared with the oracle."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec
from aiokafka import TopicPartition

from ...local.processes import FOREIGN_JAVA_OPTIONS
from ...schemas.errors import Unavailable
from ..broker import Broker, Say, pin
from ..calibrate import calibrate
from ..fill import PREFIX
from ..kafka_io import consumer_of, create, delete
from ..oracle import Expected
from ..run import SETTLE_S, worker_and_other_cores
from ..shape import PARTITIONS, PRICES
from ..worker import Pinned, Usage
from .job import Settings
from .programs import Peer
from .results import PeerResult, Written

__all__ = ["STALLED_AFTER_S", "clear", "run_peer"]

OUT = f"{PREFIX}peer"  # topics, groups and internal topics of peers begin with it
QUIX_CHANGELOGS = f"changelog__{OUT}"
READY_WITHIN_S = 120.0
STALLED_AFTER_S = 120.0  # longer than any peer's pause between two commits


class _Process(Pinned):
    """The process of a peer; it says `ready` when it owns partitions."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str], cores: set[int] | None) -> None:
        self.ready: Usage | None = None  # what it had used by then
        super().__init__("peer", command, folder, environment, cores)

    def _said(self, line: bytes) -> None:
        if self.ready is None and line.strip() == b"ready":
            self.ready = self.usage()


class _Output:
    """Reads what a peer writes as it is committed."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.written = Written()
        self._tps = [TopicPartition(topic, p) for p in range(PARTITIONS)]
        self._consumer = consumer_of(bootstrap)

    async def __aenter__(self) -> _Output:
        await self._consumer.start()
        self._consumer.assign(self._tps)
        await self._consumer.seek_to_beginning(*self._tps)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def poll(self) -> None:
        """Take in what has come."""
        for records in (await self._consumer.getmany(timeout_ms=100, max_records=20_000)).values():
            for record in records:
                self.written.take(record.key, record.value)

    async def to_the_end(self) -> None:
        """Take in everything that is there now."""
        ends = await self._consumer.end_offsets(self._tps)
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            await self.poll()


async def clear(bootstrap: str) -> None:
    """Delete the topics of former runs."""
    for prefix in (OUT, QUIX_CHANGELOGS):
        await delete(bootstrap, prefix)


def _prepare(peer: Peer, folder: Path, bootstrap: str, topic: str, out: str) -> dict[str, str]:
    """A fresh folder with the settings of the run; returns the environment of the process."""
    shutil.rmtree(folder, ignore_errors=True)
    # Ratemill's code is seen by the peer as a folder that holds the bench alone: it is not installed where the peer is.
    code = folder / "code" / "ratemill"
    code.mkdir(parents=True)
    (code / "bench").symlink_to(Path(__file__).parents[1])
    told = Settings(
        bootstrap=bootstrap, topic=topic, out=out, application=f"{OUT}-{uuid.uuid4().hex[:12]}", folder=str(folder), guarantee=peer.guarantee,
        partitions=PARTITIONS, prices={sku.name: list(sku.tiers) for sku in PRICES},
    )  # fmt: skip
    (folder / "settings.json").write_bytes(msgspec.json.encode(told._asdict()))
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RATEMILL_", "PYTHON")) and k not in FOREIGN_JAVA_OPTIONS}
    return {**plain, "PYTHONPATH": str(code.parent), "PYTHONDONTWRITEBYTECODE": "1"}


async def _until_ready(process: _Process) -> Usage:
    """Wait until it owns partitions; returns what it had used then."""
    deadline = time.monotonic() + READY_WITHIN_S
    while process.ready is None:
        process.check()
        if time.monotonic() > deadline:
            raise Unavailable(f"the peer was not ready within {READY_WITHIN_S:.0f} s; the end of its log:\n{process.log_end()}")
        await asyncio.sleep(0.02)
    return process.ready


async def _until_complete(process: _Process, output: _Output, expected: Expected, stalled_after_s: float, say: Say) -> float:
    """Wait until all usage is in the output, or nothing more comes; returns when that was (monotonic)."""
    records, changed = 0, time.monotonic()
    while not output.written.holds(expected):
        await output.poll()
        if output.written.records != records:
            records, changed = output.written.records, time.monotonic()
        process.check()
        if time.monotonic() - changed > stalled_after_s:
            say(f"nothing more for {stalled_after_s:.0f} s, and the output is not what it should be")
            break
    return changed


async def run_peer(
    broker: Broker, folder: Path, peer: Peer, round_: int, topic: str, expected: Expected, say: Say, stalled_after_s: float = STALLED_AFTER_S
) -> PeerResult:
    """Run one peer over the whole topic, with fresh state, group and output topic.

    Raises Unavailable when it cannot be installed, does not start or ends early. A run whose output is wrong has `mismatches`.
    """
    command = peer.command(say)
    await clear(broker.bootstrap)
    out = f"{OUT}-out-{uuid.uuid4().hex[:12]}"
    await create(broker.bootstrap, out, PARTITIONS)
    environment = _prepare(peer, folder, broker.bootstrap, topic, out)
    cores = worker_and_other_cores()
    if cores is not None and broker.pid is not None:
        pin(broker.pid, cores[1])
    speed = calibrate()
    say(f"{peer.name}, round {round_}: starting")
    process = _Process([*command, str(folder / "settings.json")], folder, environment, None if cores is None else cores[0])
    try:
        async with _Output(broker.bootstrap, out) as output:
            begin = await _until_ready(process)
            end = await _until_complete(process, output, expected, stalled_after_s, say)
            await asyncio.sleep(SETTLE_S)
            after, peak = process.usage(), process.peak_bytes()
            process.stop()
            await output.to_the_end()
    finally:
        process.stop()
    written = output.written
    cpu = after.cpu_s - begin.cpu_s
    return PeerResult(
        row=peer.name, version=peer.version(), round=round_, events=expected.received, wall_s=round(end - begin.at, 2), cpu_s=round(cpu, 2),
        events_per_cpu_s=round(expected.received / cpu), calibration=speed, peak_mb=round(peak / 1e6), records=written.records,
        written_mb=round(written.bytes / 1e6, 1), windows=written.windows,
        mismatches=written.compare(expected, {sku.name: sku.tiers for sku in PRICES}),
    )  # fmt: skip
