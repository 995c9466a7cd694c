"""Closing months, amending events, backfills, re-rating, late prices: through the commands, on real workers.

What must stand is what `ratemill rate` makes of the same events and requests (harness/control.py), byte for byte, and the amounts
worked out by hand below.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from harness.control import (
    BECAUSE,
    Month,
    Operator,
    control_records,
    cost,
    differing,
    event,
    line_items,
    mistakes,
    publish,
    rated,
    standing,
    worth,
)
from harness.traffic import DIRECT, HOPPED
from harness.workers import Bed, bed
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

STORE: dict[str, Any] = {"id": "store", "sku": "store", "unit": "GB", "model": "unit", "unit_price": "0.10"}
PRICES: list[dict[str, Any]] = [
    STORE,
    {"id": "calls", "sku": "calls", "unit": "Calls", "model": "unit", "unit_price": "1", "minimum": "20", "minimum_due": "period_end"},
    {"id": "net", "sku": "net", "unit": "GB", "model": "graduated", "tiers": [{"up_to": "20", "unit_price": "0.09"}, {"unit_price": "0.05"}]},
    {"id": "msgs", "sku": "msgs", "unit": "Messages", "model": "volume", "tiers": [{"up_to": "50", "unit_price": "0.4"}, {"unit_price": "0.35"}]},
]
LAST, THIS, NEXT = Month(-1), Month(), Month(1)
Items = dict[str, dict[str, Any]]


@asynccontextmanager
async def ratemill(stack: Stack, folder: Path, prices: list[dict[str, Any]] = PRICES, **options: Any) -> AsyncIterator[tuple[Bed, Operator]]:
    """A Ratemill with one worker that is ready, and somebody at a terminal."""
    async with bed(stack, folder, seed=1, count=0, prices=prices) as b:
        await b.worker("a", **options).ready()
        yield b, Operator(b)


async def verify(b: Bed, wanted: dict[str, bytes]) -> Items:
    """Assert that everything is as it must be; the line items."""
    await b.settle()
    found = await mistakes(b, wanted)
    assert not found, "\n".join(found)
    return await line_items(b)


def of_month(items: Items, month: Month) -> Items:
    """Line items that are billed in a month."""
    return {id: item for id, item in items.items() if item["BillingPeriodStart"].startswith(str(month))}


def usage_of(month: Month) -> list[dict[str, Any]]:
    """Usage of some accounts in every partition; that of acct-1 is worked out in the tests."""
    others = [event(f"acct-{n}", f"e{n}", month.at(n), str(n), region="eu") for n in range(2, 14)]
    return [
        event("acct-1", "store-1", month.at(3), "100"),
        event("acct-1", "calls-1", month.at(4), "5", "calls", "Calls"),
        event("acct-1", "net-1", month.at(30), "15", "net"),
        event("acct-1", "msgs-1", month.at(5), "40", "msgs", "Messages"),
        event("acct-2", "calls-2", month.at(6), "30", "calls", "Calls"),
        *others,
    ]


async def test_a_closed_month_stays_and_late_usage_corrects_it(stack: Stack, tmp_path: Path) -> None:
    early = usage_of(LAST)
    late = [
        event("acct-1", "store-2", LAST.at(40), "20"),  # 20 x 0.10
        event("acct-1", "calls-3", LAST.at(4, 10), "3", "calls", "Calls"),  # within the minimum: the top-up shrinks by as much
        event("acct-1", "net-2", LAST.at(10), "10", "net"),  # before the 15: (20 x 0.09 + 5 x 0.05) - 15 x 0.09
        event("acct-1", "msgs-2", LAST.at(5), "20", "msgs", "Messages"),  # 60 x 0.35 - 40 x 0.4
        event("acct-99", "calls-4", LAST.at(7), "4", "calls", "Calls"),  # a new account: 4 and a top-up of 16
        event("acct-3", "now-1", THIS.first(), "7"),
    ]
    async with ratemill(stack, tmp_path) as (b, operator):
        await publish(b, early)
        await b.settle()
        before = (await line_items(b)).values()
        assert cost(before, SkuId="calls", BillingAccountId="acct-1") == 5, "the minimum is not due yet"
        status, out, err = await operator.type("close", str(LAST), *BECAUSE)
        assert (status, f"all 4 partitions: closed through {LAST} (1 line item)" in out) == (0, True), out + err
        (close,), _ = await control_records(b)
        closed = await verify(b, rated(PRICES, early, close))
        (top_up,) = [item for item in closed.values() if item["x_Component"] == "minimum"]
        assert (top_up["BilledCost"], top_up["x_Cause"]) == ("15", f"control:{close.id}")
        assert not any(item["ChargeClass"] for item in closed.values())

        written = len(await b.read("usage.rated"))
        await publish(b, late)
        items = await verify(b, rated(PRICES, early, close, late))
        assert of_month(items, LAST) == closed, "revisions included: they were not even written again"
        corrections = [item for item in items.values() if item["ChargeClass"] == "Correction"]
        assert len(await b.read("usage.rated")) - written >= len(corrections) > 0
        assert {item["x_CorrectedPeriod"] for item in corrections} == {str(LAST)}
        assert {item["BillingPeriodStart"][:7] for item in corrections} == {str(THIS)}
        assert cost(corrections, BillingAccountId="acct-1", SkuId="store") == 2
        calls = sorted(item["BilledCost"] for item in corrections if (item["BillingAccountId"], item["SkuId"]) == ("acct-1", "calls"))
        assert calls == ["-15", "12", "3"]
        assert cost(corrections, BillingAccountId="acct-1", SkuId="net") == Fraction("0.70")
        assert cost(corrections, BillingAccountId="acct-1", SkuId="msgs") == 5
        assert cost(corrections, BillingAccountId="acct-99", SkuId="calls") == 20
        assert cost(items.values(), BillingAccountId="acct-3", ChargeClass=None, BillingPeriodStart=THIS.first()) == Fraction("0.7")

        status, out, _ = await operator.type("close", str(LAST), *BECAUSE)
        assert (status, out.startswith(f"{LAST} is closed: Ada closed {LAST} and before on ")) == (0, True)


async def test_a_month_closed_after_another_settles_the_corrections_it_carries(stack: Stack, tmp_path: Path) -> None:
    async with ratemill(stack, tmp_path) as (b, operator):
        await publish(b, [event("acct-1", "a", LAST.at(3), "100"), event("acct-1", "b", THIS.first(), "30")])
        await b.settle()
        await operator.ask("close", str(LAST))
        await publish(b, [event("acct-1", "c", LAST.at(3), "20")])
        await b.settle()
        await operator.ask("close", str(THIS), "--early")
        before = await line_items(b)
        assert cost(before.values(), ChargeClass="Correction") == 2
        await publish(b, [event("acct-1", "d", LAST.at(3), "5"), event("acct-1", "e", THIS.first(), "1"), event("acct-2", "f", THIS.first(1), "2")])
        await b.settle()
        items = await line_items(b)
        assert {id: item for id, item in items.items() if id in before} == before
        new = [item for id, item in items.items() if id not in before]
        assert {item["BillingPeriodStart"][:7] for item in new} == {str(NEXT)}
        named = sorted((item["BillingAccountId"], item["x_CorrectedPeriod"], item["BilledCost"]) for item in new)
        assert named == [("acct-1", str(LAST), "0.5"), ("acct-1", str(THIS), "0.1"), ("acct-2", str(THIS), "0.2")]
        assert await mistakes(b, standing(items)) == []


def named(id: str, account: str = "acct-1") -> tuple[str, ...]:
    return "--account", account, "--source", "collector", "--id", id


async def test_events_are_amended_and_cancelled_before_and_after_they_count(stack: Stack, tmp_path: Path) -> None:
    async with bed(stack, tmp_path, seed=1, count=0, prices=PRICES) as b:
        operator = Operator(b)
        events = [event("acct-1", f"e{n}", THIS.first(n % 5), "5", region="eu") for n in range(8)]
        events.append(event("acct-1", "e8", LAST.at(5), "5", region="eu"))
        await publish(b, events, DIRECT)
        early = [
            await operator.put("amend", *named("e0"), "--quantity", "3"),
            await operator.put("cancel", *named("e1")),
            await operator.put("amend", *named("e2"), "--quantity", "2"),
            await operator.put("amend", *named("e2"), "--quantity", "1", "--region", "us"),
        ]
        await b.worker("a").ready()
        for request_id, outcome in zip(early, ("amended", "cancelled", "amended", "amended"), strict=True):
            (receipt,) = (await operator.wait(request_id))["receipts"]
            assert receipt["outcome"].startswith(f"{outcome} before it was counted"), receipt
        requests, _ = await control_records(b)
        items = await verify(b, rated(PRICES, events, *requests))
        assert cost(items.values()) == Fraction("3.4")  # 3 + 0 + 1 + 6 x 5 GB

        counted = [
            await operator.ask("amend", *named("e3"), "--quantity", "3"),
            await operator.ask("amend", *named("e3"), "--quantity", "7.5"),
            await operator.ask("cancel", *named("e3")),
            await operator.ask("amend", *named("e3"), "--quantity", "4"),
            await operator.ask("cancel", *named("e4")),
            await operator.ask("amend", *named("e5"), "--sku", "net", "--dimension", "plan=gold", "--resource", "vm-1"),
            await operator.ask("amend", *named("e6"), "--time", LAST.at(20)),
        ]
        assert {receipt["outcome"] for answer in counted for receipt in answer["receipts"]} == {"amended", "cancelled"}
        await publish(b, [events[3], events[4]], DIRECT)  # both were counted: whatever they count as, they come no second time
        requests, _ = await control_records(b)
        items = await verify(b, rated(PRICES, events, *requests))
        # store: 3 + 1 + 4 + 5 (moved into the other month) + 5 + 5, net: 5
        assert (cost(items.values(), SkuId="store"), cost(items.values(), SkuId="net")) == (Fraction("2.3"), Fraction("0.45"))
        assert (await b.progress())[f"rate-{counted[0]['receipts'][0]['partition']}"]["sources"][b.topic(DIRECT)]["duplicates"] == 2

        await operator.ask("close", str(LAST))
        requests, _ = await control_records(b)
        closed = of_month(await verify(b, rated(PRICES, events, *requests)), LAST)
        assert cost(closed.values()) == 1
        first = await operator.ask("amend", *named("e8"), "--quantity", "8")
        requests, _ = await control_records(b)
        items = await verify(b, rated(PRICES, events, *requests))
        (correction,) = [item for item in items.values() if item["ChargeClass"]]
        assert (correction["BilledCost"], correction["x_Cause"]) == ("0.3", f"control:{first['id']}")
        await operator.ask("cancel", *named("e6"))
        await operator.ask("amend", *named("e8"), "--time", THIS.first(), "--quantity", "5")  # out of the closed month, into the open one
        requests, _ = await control_records(b)
        items = await verify(b, rated(PRICES, events, *requests))
        assert of_month(items, LAST) == closed
        assert cost(items.values(), ChargeClass="Correction") == -1
        await operator.ask("amend", *named("e8"), "--time", LAST.at(5))  # as it came
        requests, _ = await control_records(b)
        items = await verify(b, rated(PRICES, events, *requests))
        assert cost(items.values(), ChargeClass="Correction") == Fraction("-0.5")


async def test_a_backfill_is_opened_published_reverted_and_published_again(stack: Stack, tmp_path: Path) -> None:
    old = Month(-8)
    live = [event(f"acct-{n}", f"e{n}", LAST.at(n), "10") for n in range(8)]
    gap = [event(f"acct-{n % 8}", f"g{n}", old.at(n % 48), str(n + 1)) for n in range(40)]
    file = tmp_path / "gap.ndjson"
    file.write_text("".join(json.dumps(each) + "\n" for each in gap))
    async with ratemill(stack, tmp_path, step=3) as (b, operator):
        await publish(b, live)
        span = ("--from", f"{old.start:%Y-%m-%d}", "--to", f"{old.end:%Y-%m-%d}")
        await operator.ask("backfill", "open", "gap", *span)
        await publish(b, gap[:20], HOPPED, backfill="gap")
        status, _, err = await operator.type("publish", str(file), "--backfill", "gap", "--topic", b.topic(DIRECT))  # all of it: the first 20 twice
        assert status == 0, err
        outside = event("acct-1", "outside", Month(-7).at(0), "1000")
        await publish(b, [outside], backfill="gap")
        await verify(b, rated(PRICES, live, gap))
        await operator.ask("amend", *named("g1"), "--quantity", "200")
        cancelled = await operator.ask("cancel", *named("g9"))
        requests, _ = await control_records(b)
        amended = rated(PRICES, live, gap, *[each for each in requests if "amend" in each.__struct_config__.tag])  # type: ignore[operator]
        await verify(b, amended)

        await operator.ask("backfill", "close", "gap")
        await publish(b, [event("acct-1", "over", old.at(0), "1000")], backfill="gap")
        await b.settle()
        reverted = await operator.ask("backfill", "revert", "gap")
        assert sum(receipt["counts"]["events"] for receipt in reverted["receipts"]) == 40
        emptied = [each | {"data": each["data"] | {"quantity": "0"}} for each in gap]  # a window that was used stays, at zero
        items = await verify(b, rated(PRICES, live, emptied))
        assert cost(items.values()) == 8
        causes = {item["x_Cause"] for item in items.values() if item["PricingQuantity"] == "0"}
        assert causes == {f"control:{request['id']}" for request in (reverted, cancelled)}

        await publish(b, [gap[0]], backfill="gap")  # its name is used up
        await operator.ask("backfill", "open", "gap-2", *span)
        await publish(b, gap, backfill="gap-2")
        await publish(b, gap[:7], backfill="gap-2")
        await verify(b, rated(PRICES, live, gap))
        reasons = Counter(dict(record.headers)["ratemill-reason"] for record in await b.read("usage.dead-letter"))
        assert reasons == {b"outside_backfill": 1, b"backfill_over": 2}


async def test_rerating_writes_again_what_is_asked_for(stack: Stack, tmp_path: Path) -> None:
    early, late = usage_of(LAST), [event("acct-1", "store-2", LAST.at(40), "20"), event("acct-1", "now", THIS.first(), "2")]
    async with ratemill(stack, tmp_path) as (b, operator):
        await publish(b, early)
        await b.settle()
        await operator.ask("close", str(LAST))
        await publish(b, late)
        await b.settle()
        (close, *_), _ = await control_records(b)
        before = await verify(b, rated(PRICES, early, close, late))
        answer = await operator.ask("rerate", "--account", "acct-1")
        assert [receipt["counts"] for receipt in answer["receipts"]] == [{"groups": 5, "line_items": 2}]
        after = await verify(b, standing(before))
        again = {id for id, item in after.items() if item != before[id]}
        assert again == {id for id, item in before.items() if (item["BillingAccountId"], item["BillingPeriodStart"][:7]) == ("acct-1", str(THIS))}
        assert {after[id]["x_Cause"] for id in again} == {f"control:{answer['id']}"}
        answer = await operator.ask("rerate")
        assert len(answer["receipts"]) == 4
        after = await verify(b, standing(before))
        assert of_month(after, LAST) == of_month(before, LAST)


async def test_a_price_in_the_past_restates_an_open_month_and_corrects_a_closed_one(stack: Stack, tmp_path: Path) -> None:
    events = [*usage_of(LAST), *(event(f"acct-{n}", f"now{n}", THIS.first(), "10") for n in range(1, 6))]
    dearer = [*PRICES, STORE | {"id": "store-2", "unit_price": "0.25", "effective_from": LAST.at(4)}]  # of acct-1 nothing in the closed month
    dearest = [*dearer, STORE | {"id": "store-3", "unit_price": "0.40", "effective_from": LAST.at(8)}]
    async with ratemill(stack, tmp_path) as (b, operator):
        await publish(b, events)
        await b.settle()
        await b.priced_by(await b.publish_prices(dearer))
        restated = await verify(b, rated(dearer, events))
        assert {item["ChargeClass"] for item in restated.values()} == {None}
        assert cost(restated.values(), SkuId="store", BillingAccountId="acct-1", BillingPeriodStart=THIS.first()) == Fraction("2.5")
        await operator.ask("close", str(LAST))
        (close,), _ = await control_records(b)
        closed = await verify(b, rated(dearer, events, close))

        digest = await b.publish_prices(dearest)
        await b.priced_by(digest)
        await b.settle()
        items = await line_items(b)
        assert await mistakes(b, standing(items)) == []
        assert of_month(items, LAST) == of_month(closed, LAST)
        truth = [json.loads(item) for item in rated(dearest, events, close).values()]
        assert worth(items.values()) == worth(truth)
        corrections = [item for item in items.values() if item["ChargeClass"]]
        assert {item["x_Cause"] for item in corrections} == {f"price_book:{digest[:12]}"}
        assert {item["SkuId"] for item in corrections} == {"store"}
        assert cost(corrections, BillingAccountId="acct-9") == Fraction("1.35")  # 9 x (0.40 - 0.25)
        assert cost(corrections, BillingAccountId="acct-1") == 0

        await b.priced_by(await b.publish_prices(dearer))  # the old one comes back: the corrections go
        await verify(b, rated(dearer, events, close))


def test_the_comparison_can_fail() -> None:
    events = usage_of(LAST)
    right, wrong = rated(PRICES, events), rated(PRICES, events[1:])
    assert differing("here", right, right) == []
    assert differing("here", right, wrong)[0].startswith("here: 1 line items differ")
