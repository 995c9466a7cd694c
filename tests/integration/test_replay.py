"""Requests have their place in the log: another Ratemill that reads the same log from its beginning makes the same line items.

The second one has a group, state, results and indexes of its own. It reads the raw topics, usage.events, the price books and the
requests of the first, whose receipts say where each request took effect.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from harness.control import Month, Operator, control_records, differing, event, line_items, mistakes, publish, standing, worth
from harness.oracle import Raw, Row, expected
from harness.traffic import DIRECT, HOPPED, PRICES, make_traffic
from harness.workers import Bed, bed
from ratemill.local.stack import Stack
from ratemill.schemas.control import Amend

pytestmark = pytest.mark.integration

LAST, THIS, OLD = Month(-1), Month(), Month(-8)
AGENTS = ("rate", "index")  # usage.events is part of the log: normalize would write it once more
CHANGED = [dict(price) | ({"unit_price": "0.015"} if price["model"] == "unit" else {}) for price in PRICES]
GAP = [event(f"account-{n:03d}", f"gap-{n}", OLD.at(n % 48), "3", "cpu.hours", "Hours") for n in range(60)]
KEPT = [event(f"account-{n:03d}", f"kept-{n}", OLD.at(n % 48), "2", "disk.gb", "GB-Hours") for n in range(60)]


def plain_events(b: Bed) -> list[dict[str, Any]]:
    """Events of the traffic that count and that nobody contests, as published on the topic keyed by account."""
    found = [json.loads(m.value) for m in b.traffic if m.topic == DIRECT and m.key is not None and b"NaN" not in m.value]
    times = Counter(each["id"] for each in (json.loads(m.value) for m in b.traffic if m.key is not None))
    return [each for each in found if times[each["id"]] == 1 and "sku" in each["data"] and each["time"][:4] == THIS.at(0)[:4]]


def named(each: dict[str, Any]) -> tuple[str, ...]:
    return "--account", each["subject"], "--source", each["source"], "--id", each["id"]


async def eventful(b: Bed, operator: Operator) -> None:
    """Traffic of two months, and everything that people may ask for while it flows."""
    worker = b.worker("a", step=20)
    await worker.ready()
    targets = plain_events(b)[:4]
    b.start_traffic(per_second=40)
    await b.rated_beyond(400)
    for name, events in (("gap", GAP), ("kept", KEPT)):
        await operator.ask("backfill", "open", name, "--from", f"{OLD.start:%Y-%m-%d}", "--to", f"{OLD.end:%Y-%m-%d}")
        await publish(b, events, backfill=name)
    await operator.ask("amend", *named(targets[0]), "--quantity", "777.5")
    await operator.ask("cancel", *named(targets[1]))
    await operator.ask("amend", *named(targets[2]), "--time", LAST.at(9))
    assert b.mid_run
    await operator.ask("close", str(LAST))
    assert b.mid_run, f"closed after {b.published} of {len(b.traffic)} records"
    await operator.ask("amend", *named(targets[3]), "--time", LAST.at(9), "--quantity", "12")
    await operator.ask("amend", *named(targets[0]), "--quantity", "555")
    await worker.kill()
    b.worker("a", step=20)
    await b.publish_prices(CHANGED)
    await operator.ask("backfill", "revert", "gap")
    await operator.ask("rerate", "--sku", "cpu.hours")
    await publish(b, GAP, backfill="gap")  # its name is used up: they are dead letters
    await operator.ask("cancel", *named(targets[2]))
    assert b.mid_run, f"all was asked for after {b.published} of {len(b.traffic)} records"
    await b.settle()


async def truth(b: Bed) -> dict[tuple[str, str, str], Fraction]:
    """What each month comes to, by the oracle: of the raw topics, with what was amended, and without what was taken back."""
    requests, _ = await control_records(b)
    said = {(each.original.source, each.original.id): each.replacement for each in requests if isinstance(each, Amend)}
    read = []
    for record in await b.read(DIRECT, HOPPED):
        value = record.value or b""
        if ("ratemill-backfill", b"gap") in record.headers:
            continue
        if any(id.encode() in value for _, id in said):
            each = json.loads(value)
            name = (each.get("source"), each.get("id")) if isinstance(each, dict) else ("", "")
            if name in said:
                replacement = said[name]  # type: ignore[index]
                if replacement is None:
                    continue
                time = (THIS.start.replace(year=1970, month=1) + timedelta(seconds=replacement.time // 10**9)).isoformat()
                each |= {"time": time, "data": each["data"] | {"quantity": str(replacement.quantity)}}
                value = json.dumps(each).encode()
        # Backfills are older than live usage may be: to the oracle they came in time.
        arrived = OLD.end if ("ratemill-backfill", b"kept") in record.headers else THIS.start + timedelta(hours=3)
        read.append(Raw(record.topic, record.partition, record.offset, value, int(arrived.timestamp() * 1_000)))
    found: dict[tuple[str, str, str], Fraction] = {}
    rows: Counter[Row] = expected(read, b.prices).rows
    for row, count in rows.items():
        name = row.account, row.sku, row.start[:7]
        found[name] = found.get(name, Fraction(0)) + row.cost * count
    return {name: amount for name, amount in found.items() if amount}


async def test_a_second_ratemill_makes_the_same_line_items_from_the_same_log(stack: Stack, tmp_path: Path) -> None:
    async with bed(stack, tmp_path, seed=90, count=0, rating="dedupe_window_s = 10000000") as b:
        b.traffic = make_traffic(b.seed, 4_000, (THIS.start + timedelta(hours=2)).timestamp())
        operator = Operator(b)
        await eventful(b, operator)
        first = await line_items(b)
        wanted = standing(first)
        assert await mistakes(b, wanted) == []
        assert worth(first.values()) == await truth(b)
        corrected = [item for item in first.values() if item["ChargeClass"] == "Correction"]
        assert len(corrected) > 100
        for worker in b.workers:
            await worker.terminate()

        second = b.second("again")
        failpoint = {"point": "after_commit", "lane": "rate-", "after": 9, "action": "kill"}
        dying = second.worker("a", agents=AGENTS, failpoints=[failpoint], breaks=["small_hold"])
        assert await dying.ended() == -signal.SIGKILL
        assert dying.logged("partition_starts_again") > 0, "what was read ahead did not fit, and was read again"
        worker = second.worker("b", agents=AGENTS)
        await second.settle(agents=AGENTS)
        assert worker.logged("partition_starts_again") == 0
        found = await mistakes(second, wanted, lives=2)
        assert not found, "\n".join(found)
        again = await line_items(second)
        asked = {id: item["x_Cause"] for id, item in first.items() if item.get("x_Cause", "").startswith("control:")}
        assert asked == {id: item["x_Cause"] for id, item in again.items() if item.get("x_Cause", "").startswith("control:")}
        assert await worker.terminate() == 0

        # Negative control: where a request took effect is not looked up.
        blind = b.second("blind")
        blind.worker("a", agents=AGENTS, breaks=["no_receipts"])
        await blind.settle(agents=AGENTS)
        (line, *_) = differing("usage.rated", wanted, standing(await line_items(blind)))
        print(line)
