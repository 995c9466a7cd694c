"""A draft of the price book beside the live one, on real workers: exact to the last digit, and no line item knows of it.

What it must say is the difference of two runs of `ratemill rate` over the same events.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.control import Event, Month, Operator, differing, event, line_items, publish, rated, standing
from harness.traffic import PRICES, UNITS
from harness.workers import Bed, bed
from ratemill.local.stack import Stack
from ratemill.streams.core.store import SHADOW

pytestmark = pytest.mark.integration

LAST = Month(-1)
# The whole of last month counts, whatever the day is.
OLD_ENOUGH = "dedupe_window_s = 6048000"
DRAFT = [dict(price) for price in PRICES]
DRAFT[1] = DRAFT[1] | {"tiers": [{"up_to": "20", "unit_price": "0.09"}, {"up_to": "60.25", "unit_price": "0.085"}, {"unit_price": "0.0701"}]}
ANOTHER = [DRAFT[0] | {"unit_price": "0.0139"}, *DRAFT[1:-1]]  # and no price for seats
REHEARSED = ("--reason", "what if the second tier ended sooner?")


def usage_of(month: Month, seed: int, count: int) -> list[Event]:
    """A month of usage in no order at all: reversals, and several events in a window."""
    r = random.Random(seed)
    found = []
    for number in range(count):
        sku = r.choice(list(UNITS))
        quantity = Decimal(r.randint(-300, 4_000)).scaleb(-r.randint(0, 3))
        place = {"region": r.choice(("eu", "us"))} if r.random() < 0.4 else {}
        when = (month.start + (month.end - month.start) * r.random()).strftime("%Y-%m-%dT%H:%M:%SZ")
        found.append(event(f"account-{r.randint(1, 24):02d}", f"e-{seed}-{number}", when, str(quantity), sku, UNITS[sku], **place))
    return found


def write_book(folder: Path, name: str, prices: list[dict[str, Any]]) -> str:
    (folder / name).write_text(yaml.safe_dump({"currency": "USD", "prices": prices}, sort_keys=False))
    return name


async def ratings(operator: Operator, folder: Path, events: list[Event], *books: str) -> list[dict[tuple[str, str], Decimal]]:
    """What `ratemill rate` makes of the events under each book: cost by account and SKU."""
    (folder / "events.ndjson").write_text("".join(json.dumps(each) + "\n" for each in events))
    found = []
    for book in books:
        status, _, errors = await operator.type("rate", "--prices", book, "--events", "events.ndjson", "--output", "rated.ndjson", "--strict")
        assert status == 0, errors
        sums: dict[tuple[str, str], Decimal] = {}
        for item in map(json.loads, (folder / "rated.ndjson").read_text().splitlines()):
            key = item["BillingAccountId"], item["SkuId"]
            sums[key] = sums.get(key, Decimal(0)) + Decimal(item["BilledCost"])
        found.append(sums)
    return found


async def variance(operator: Operator, within_s: float = 60) -> dict[str, Any]:
    """The report, once every partition has gone through its usage and told of all of it."""
    deadline = time.monotonic() + within_s
    while True:
        status, said, errors = await operator.type("prices", "variance", "--period", str(LAST), "--by", "account,sku", "--json")
        assert status in (0, 1), errors
        report: dict[str, Any] = json.loads(said)
        if status == 0 and report["up_to_date"]:
            return report
        assert time.monotonic() < deadline, errors
        await asyncio.sleep(0.5)


def differences(report: dict[str, Any], live: dict[tuple[str, str], Decimal], draft: dict[tuple[str, str], Decimal]) -> list[str]:
    """Nothing when the report is the difference of the two ratings, to the last digit."""
    rows = {(row["account"], row["sku"]): row for row in report["rows"]}
    wrong = [f"{key} is missing" for key in live.keys() | draft.keys() if key not in rows]
    for key, row in rows.items():
        one, other = live.get(key, Decimal(0)), draft.get(key, Decimal(0))
        if (Decimal(row["then"]), Decimal(row["now"]), Decimal(row["difference"])) != (one, other, other - one):
            wrong.append(f"{key}: {row['then']} and {row['now']}, not {one} and {other}")
    return wrong


async def ends(b: Bed, topic: str) -> int:
    return len(await b.read(topic))


async def shadow_keys(b: Bed) -> set[bytes]:
    """Keys of the shadow that stand in the changelog."""
    latest = {record.key: record.value for record in await b.read("ratemill.state.windows")}
    return {key for key, value in latest.items() if key is not None and key.startswith(SHADOW) and value}


async def test_a_month_beside_the_live_book(stack: Stack, tmp_path: Path) -> None:
    """Usage from before the draft, while it is swept, and behind it, with kill -9 in between; the other Ratemill never hears of it."""
    events = usage_of(LAST, 7, 4_500)
    first, second, third = events[:1_500], events[1_500:3_000], events[3_000:]
    async with bed(stack, tmp_path, seed=7, count=0, rating=OLD_ENOUGH) as b:
        plain, operator = b.second("plain"), Operator(b)
        worker = b.worker("a", agents=("normalize", "rate"), step=5)
        await worker.ready(lanes=8)
        other = plain.worker("b", agents=("rate",), breaks=("no_draft",))
        await publish(b, first)
        await b.settle(agents=("normalize", "rate"))
        written = await ends(b, "usage.rated")

        live, draft = write_book(tmp_path, "live.yaml", PRICES), write_book(tmp_path, "draft.yaml", DRAFT)
        status, said, errors = await operator.type("prices", "shadow", draft, *REHEARSED)
        assert status == 0, errors
        assert "tier-2 up_to 75.5 → 60.25" in said
        report = await variance(operator)
        books = await ratings(operator, tmp_path, first, live, draft)
        assert differences(report, *books) == []
        assert await ends(b, "usage.rated") == written, "a draft writes no line item"

        # Another draft begins a sweep in small steps, and usage comes while it runs.
        again = write_book(tmp_path, "again.yaml", ANOTHER)
        assert (await operator.type("prices", "shadow", again, *REHEARSED))[0] == 0
        await publish(b, second)
        await b.rated_beyond(2_000)
        await worker.kill()
        worker = b.worker("a", agents=("normalize", "rate"), step=5)
        await publish(b, third)
        await b.settle(agents=("normalize", "rate"))
        report = await variance(operator)
        one, two = await ratings(operator, tmp_path, events, live, again)
        assert differences(report, one, two) == []
        assert sum(one.values()) != sum(two.values())
        assert differences(report, one, books[1]) != [], "the comparison can fail"
        (total,) = report["totals"]
        assert Decimal(total["difference"]) == sum(two.values()) - sum(one.values())

        # What the month would have cost says `prices diff` too, from the same usage.
        status, said, errors = await operator.type("prices", "diff", again, "--period", str(LAST), "--by", "account,sku", "--json")
        assert status == 0, errors
        assert json.loads(said)["rows"] == report["rows"]

        # Line items: those of a Ratemill that never heard of a draft, and of the offline rating, byte for byte.
        await plain.settle(agents=("rate",))
        with_shadow, without = await line_items(b), await line_items(plain)
        assert differing("beside a draft", standing(without), standing(with_shadow)) == []
        assert differing("offline", rated(PRICES, events), standing(with_shadow)) == []
        assert await shadow_keys(b)
        assert not await shadow_keys(plain)

        # When it is stopped, nothing is left.
        assert (await operator.type("prices", "shadow", "--stop", "--reason", "seen enough"))[0] == 0
        deadline = time.monotonic() + 60
        while await shadow_keys(b):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.5)
        status, _, errors = await operator.type("prices", "variance")
        assert (status, errors.startswith("error: no draft runs")) == (2, True)
        status, said, _ = await operator.type("prices", "history", "--json")
        assert [entry["state"] for entry in json.loads(said)] == ["draft ended", "draft", "draft", "in force"]
        assert await worker.terminate() == 0
        assert await other.terminate() == 0


async def test_a_shadow_that_misses_usage_is_noticed(stack: Stack, tmp_path: Path) -> None:
    """Negative control: the same comparison, with a shadow that is deaf to what comes after its sweep."""
    events = usage_of(LAST, 8, 600)
    async with bed(stack, tmp_path, seed=8, count=0, rating=OLD_ENOUGH) as b:
        operator = Operator(b)
        await b.worker("a", agents=("normalize", "rate"), breaks=("deaf_shadow",)).ready(lanes=8)
        live, draft = write_book(tmp_path, "live.yaml", PRICES), write_book(tmp_path, "draft.yaml", DRAFT)
        await publish(b, events[:300])
        await b.settle(agents=("normalize", "rate"))
        assert (await operator.type("prices", "shadow", draft, *REHEARSED))[0] == 0
        assert differences(await variance(operator), *await ratings(operator, tmp_path, events[:300], live, draft)) == []
        await publish(b, events[300:])
        await b.settle(agents=("normalize", "rate"))
        found = differences(await variance(operator), *await ratings(operator, tmp_path, events, live, draft))
        assert found
        print("\n".join(found[:3]))
