"""Workers die, stop and move while they work on requests: each request takes effect once, as if nothing had happened."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from harness.control import Month, Operator, control_records, event, mistakes, publish, rated
from harness.traffic import PARTITIONS
from harness.workers import Bed, bed, until
from ratemill.local.stack import Stack
from ratemill.schemas.control import Amend, BackfillRevert, Close
from ratemill.streams.topics import partition_of

pytestmark = pytest.mark.integration

PRICES: list[dict[str, Any]] = [
    {"id": "store", "sku": "store", "unit": "GB", "model": "graduated", "tiers": [{"up_to": "30", "unit_price": "0.10"}, {"unit_price": "0.05"}]},
    {"id": "calls", "sku": "calls", "unit": "Calls", "model": "unit", "unit_price": "1", "minimum": "20", "minimum_due": "period_end"},
]
LAST, THIS, OLD = Month(-1), Month(), Month(-8)
STEP = 3  # groups or events in a commit; each partition has about ten accounts with two or three groups each
ACCOUNTS = [f"acct-{n}" for n in range(40)]
LIVE = [event(account, f"s{at}", LAST.at(at), str(at + 1)) for at, account in enumerate(ACCOUNTS)]
LIVE += [event(account, f"c{at}", LAST.at(at), "7", "calls", "Calls") for at, account in enumerate(ACCOUNTS)]
GAP = [event(account, f"g{at}", OLD.at(at), "9") for at, account in enumerate(ACCOUNTS)]
LATE = [event(account, f"l{at}", LAST.at(47 - at), "5") for at, account in enumerate(ACCOUNTS)]
LATE += [event(account, f"n{at}", THIS.first(at % 5), "2") for at, account in enumerate(ACCOUNTS)]


def wanted(requests: Sequence[Any]) -> dict[str, bytes]:
    """What stands in the end: GAP is reverted, so its windows are at zero; requests apply behind LIVE, LATE comes behind them."""
    emptied = [each | {"data": each["data"] | {"quantity": "0"}} for each in GAP]
    changes = [request for request in requests if isinstance(request, Amend)]
    closes = [request for request in requests if isinstance(request, Close)]
    return rated(PRICES, LIVE, emptied, *changes, *closes, LATE)


async def ask_everything(b: Bed, operator: Operator) -> list[str]:
    """Every kind of request that changes something, and nobody waits for them."""
    for_lane_2 = next(at for at, account in enumerate(ACCOUNTS) if partition_of(account, PARTITIONS) == 2)
    named = "--account", ACCOUNTS[for_lane_2], "--source", "collector", "--id", f"s{for_lane_2}"
    return [
        await operator.put("amend", *named, "--quantity", "900"),
        await operator.put("backfill", "revert", "gap"),
        await operator.put("close", str(LAST)),
        await operator.put("rerate"),
    ]


async def prepared(b: Bed, operator: Operator) -> None:
    """Usage and a backfill that was published, all counted by a worker that is gone."""
    worker = b.worker("a")
    await worker.ready()
    await publish(b, LIVE)
    await operator.ask("backfill", "open", "gap", "--from", f"{OLD.start:%Y-%m-%d}", "--to", f"{OLD.end:%Y-%m-%d}")
    await publish(b, GAP, backfill="gap")
    await b.settle()
    assert await worker.terminate() == 0


def at(point: str, request: str, after: int, lane: str = "rate-2", action: str = "kill", **more: Any) -> dict[str, Any]:
    """A failpoint in a lane's work on a kind of request."""
    return {"point": point, "lane": lane, "after": after, "action": action, "request": request, **more}


# Each worker finishes what the one before it died in, and dies in the next request. Commits of STEP groups or events.
KILLS = [
    at("after_line_items", "amend", 1),
    at("before_commit", "backfill_revert", 2),
    at("before_commit", "close", 3),
    at("after_commit", "rerate", 4),
]
KILLS_AFTER = [
    at("after_commit", "amend", 1),
    at("after_swap", "backfill_revert", 1),
    at("after_commit", "close", 2),
    at("after_changelog", "rerate", 5),
]


@pytest.mark.parametrize(("kills", "disk"), [(KILLS, "kept"), (KILLS_AFTER, "lost")], ids=["before", "after"])
async def test_kill_while_requests_take_effect(stack: Stack, tmp_path: Path, kills: list[dict[str, Any]], disk: str) -> None:
    """kill -9 within an amendment, a revert, a close and a re-rating of several commits: the same line items as without, and one receipt each."""
    async with bed(stack, tmp_path, seed=1, count=0, prices=PRICES) as b:
        operator = Operator(b)
        await prepared(b, operator)
        asked = await ask_everything(b, operator)
        for number, kill in enumerate(kills):
            worker = b.worker("a" if disk == "kept" else f"a{number}", failpoints=[kill], step=STEP)
            assert await worker.ended() == -signal.SIGKILL
        b.worker("last", step=STEP)
        for request_id in asked:
            assert all(receipt["applied"] for receipt in (await operator.wait(request_id))["receipts"])
        await publish(b, LATE)
        await b.settle()
        requests, receipts = await control_records(b)
        found = await mistakes(b, wanted(requests))
        assert not found, "\n".join(found)
        revert = next(request.id for request in requests if isinstance(request, BackfillRevert))
        assert sum(receipt.counts["events"] for receipt in receipts if receipt.control_id == revert) == len(GAP)


async def test_workers_come_and_go_while_requests_wait(stack: Stack, tmp_path: Path) -> None:
    """Requests wait while partitions move; a sweep that has begun in one worker ends in another."""
    async with bed(stack, tmp_path, seed=2, count=0, prices=PRICES) as b:
        operator = Operator(b)
        await prepared(b, operator)
        first = b.worker("a", step=STEP, failpoints=[at("after_swap", "close", 2, action="wait", seconds=6)])
        await first.ready()
        asked = await ask_everything(b, operator)
        await until(lambda: first.logged("failpoint") == 1, 60, "the close was not reached")
        second = b.worker("b", step=STEP)
        await second.ready(lanes=3 * PARTITIONS // 2)
        third = b.worker("c", step=STEP)
        await third.ready(lanes=PARTITIONS // 2)
        assert await first.terminate() == 0
        await second.kill()
        for request_id in asked:
            assert all(receipt["applied"] for receipt in (await operator.wait(request_id))["receipts"])
        await publish(b, LATE)
        await b.settle()
        requests, _ = await control_records(b)
        found = await mistakes(b, wanted(requests))
        assert not found, "\n".join(found)


async def test_a_worker_that_is_stopped_in_a_sweep_leaves_no_transaction_open(stack: Stack, tmp_path: Path) -> None:
    """SIGTERM while a close is being written: the commit under way ends, readers need not wait for a timeout, and the rest follows."""
    async with bed(stack, tmp_path, seed=3, count=0, prices=PRICES) as b:
        operator = Operator(b)
        await prepared(b, operator)
        worker = b.worker("a", step=STEP, failpoints=[at("before_commit", "close", 2, action="wait", seconds=2)])
        await worker.ready()
        asked = await ask_everything(b, operator)
        await until(lambda: worker.logged("failpoint") == 1, 60, "the close was not reached")
        assert await worker.terminate() == 0
        assert await b.open_transactions() == []
        b.worker("a", step=STEP)
        for request_id in asked:
            await operator.wait(request_id)
        await publish(b, LATE)
        await b.settle()
        requests, _ = await control_records(b)
        found = await mistakes(b, wanted(requests))
        assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("taken_away", "point", "reported"),
    [
        ("receipt_apart", "after_commit", ["receipts: 1 are missing, 0 are not expected"]),
        ("offsets_first", "before_begin", ["usage.rated: ", "receipts: 1 are missing, 0 are not expected"]),
        ("forgets_requests", "after_commit", ["usage.rated: 1 line items differ", "receipts: 0 are missing, 1 are not expected"]),
    ],
)
async def test_the_comparison_reports_a_request_that_was_lost_or_applied_twice(
    stack: Stack, tmp_path: Path, taken_away: str, point: str, reported: list[str]
) -> None:
    """Negative controls: a receipt outside the transaction, progress outside of it, and none that says that the request was done."""
    async with bed(stack, tmp_path, seed=4, count=0, prices=PRICES) as b:
        operator = Operator(b)
        worker = b.worker("a", failpoints=[at(point, "amend", 1)], breaks=[taken_away])
        await worker.ready()
        await publish(b, LIVE)
        await b.settle()
        for_lane_2 = next(at for at, account in enumerate(ACCOUNTS) if partition_of(account, PARTITIONS) == 2)
        named = "--account", ACCOUNTS[for_lane_2], "--source", "collector", "--id", f"s{for_lane_2}"
        request_id = await operator.put("amend", *named, "--quantity", "900")
        assert await worker.ended() == -signal.SIGKILL
        await b.worker("a").ready()
        await publish(b, LATE[:8])
        await b.settle()
        await asyncio.sleep(1)
        requests, _ = await control_records(b)
        assert [request.id for request in requests] == [request_id]
        found = await mistakes(b, rated(PRICES, LIVE, *requests, LATE[:8]))
        print("\n".join(found))
        for text in reported:
            assert any(line.startswith(text) for line in found), f"not caught: {text}; found: {found}"
