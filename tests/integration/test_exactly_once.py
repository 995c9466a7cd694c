"""Restarts, a lost disk, late prices: the same numbers as without them."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from harness.traffic import PRICES
from harness.verdict import offset_mismatches, verify
from harness.workers import bed
from ratemill.local.stack import Stack
from ratemill.streams.restore import read_to_end

pytestmark = pytest.mark.integration


async def test_disk_kept_and_disk_lost(stack: Stack, tmp_path: Path) -> None:
    """A clean stop, kill -9 with the disk kept, kill -9 with the disk deleted: the state comes back each time.

    After each of them the group's committed offsets are those that the restored state names.
    """
    async with bed(stack, tmp_path, seed=60, count=8_000) as b:
        worker = b.worker("a")
        await worker.ready()
        b.start_traffic(per_second=200)
        for ending in ("terminate", "kill, keep", "kill, delete"):
            await b.rated_beyond(await b.rated() + 300)
            if ending == "terminate":
                assert await worker.terminate() == 0
                assert await b.open_transactions() == [], "a clean stop must not leave readers waiting"
            else:
                # With no commit under way; in the middle of one is what test_kill_at_each_step.py is for.
                b.hold_traffic()
                await b.idle()
                await worker.kill()
            assert b.mid_run, f"{ending}: after {b.published} of {len(b.traffic)} records"
            assert await offset_mismatches(b) == [], ending
            if ending.endswith("delete"):
                shutil.rmtree(b.data_dir("a"))
            worker = b.worker("a")
            b.resume_traffic()
        await b.settle()
        await verify(b)


async def test_price_book_published_late(stack: Stack, tmp_path: Path) -> None:
    """Usage before any price book is unpriced, not lost; a first book prices all of it, a changed one restates all of it."""
    async with bed(stack, tmp_path, seed=70, count=5_000, prices=None) as b:
        b.prices = []
        worker = b.worker("a")
        await worker.ready()
        b.start_traffic(per_second=200)
        await b.rated_beyond(300)
        b.hold_traffic()
        await b.idle()
        await verify(b)
        b.resume_traffic()
        digest = await b.publish_prices(PRICES)
        await b.priced_by(digest)
        assert b.mid_run, f"first book after {b.published} of {len(b.traffic)} records"
        changed = [dict(p) | ({"unit_price": "0.015"} if p["model"] == "unit" else {}) for p in PRICES if p["id"] != "store"]
        changed[1]["tiers"] = [{"up_to": "10", "unit_price": "0.1"}, {"unit_price": "0.05"}]
        digest = await b.publish_prices(changed)
        await b.settle()
        await b.priced_by(digest)
        await b.settle()
        await verify(b)


async def test_restoring_waits_for_a_strangers_transaction(stack: Stack, tmp_path: Path) -> None:
    """Lanes share partitions of the progress topic. A transaction that another lane left open there hides what was committed
    behind it from read_committed: restoring must wait for its end, not take the older progress for the last one."""
    async with bed(stack, tmp_path, seed=80, count=0) as b:
        at = TopicPartition(b.topic("ratemill.state.progress"), 0)
        stranger, own = (AIOKafkaProducer(bootstrap_servers=stack.kafka, transactional_id=f"{b.name}-{who}") for who in ("stranger", "own"))
        await stranger.start()
        await own.start()
        await stranger.begin_transaction()
        await stranger.send_and_wait(at.topic, b"open", b"index-0", partition=0)
        async with own.transaction():
            await own.send_and_wait(at.topic, b"last", b"rate-0", partition=0)

        async def read() -> list[bytes | None]:
            return [r.value async for _, records in read_to_end(b.config.kafka, {at: 0}) for r in records]

        reading = asyncio.ensure_future(read())
        await asyncio.wait([reading], timeout=2)
        assert not reading.done(), f"restored {reading.result()} while records were hidden"
        await stranger.abort_transaction()
        assert await asyncio.wait_for(reading, 20) == [b"last"]
        await stranger.stop()
        await own.stop()
