"""Publishing price books through the command: edits in place are refused, and what a change of the past comes to is what happens."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.control import Month, Operator, event, line_items, publish
from harness.workers import Bed, bed
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

LAST, THIS = Month(-1), Month()
STORE: dict[str, Any] = {"id": "store", "sku": "store", "unit": "GB", "model": "unit", "unit_price": "0.10"}
CALLS: dict[str, Any] = {"id": "calls", "sku": "calls", "unit": "Calls", "model": "package", "package_size": "10", "package_price": "1"}


def book(folder: Path, name: str, *prices: dict[str, Any]) -> str:
    text = "currency: USD\nprices:\n" + "".join(f"  - {yaml.safe_dump(p, default_flow_style=True, width=1000)}" for p in prices)
    (folder / name).write_text(text)
    return name


async def billed(b: Bed) -> Counter[tuple[str, str]]:
    """Cost by month of usage and charge class."""
    found: Counter[tuple[str, str]] = Counter()
    for item in (await line_items(b)).values():
        month = item.get("x_CorrectedPeriod") or item["BillingPeriodStart"][:7]
        found[month, item.get("ChargeClass") or ""] += Fraction(item["BilledCost"])  # type: ignore[assignment]
    return found


async def comes_to(b: Bed, wanted: dict[tuple[str, str], Any]) -> None:
    """Wait until so much is billed: restating begins when a price book is published, and ends a little later."""
    deadline = time.monotonic() + 40
    while (after := await billed(b)) != wanted:
        assert time.monotonic() < deadline, after
        await asyncio.sleep(0.5)


async def test_a_change_of_the_past_is_refused_then_said_then_done(stack: Stack, tmp_path: Path) -> None:
    async with bed(stack, tmp_path, seed=1, count=0, prices=None) as b:
        operator = Operator(b)
        await b.worker("a", agents=("normalize", "rate")).ready(lanes=8)
        assert (await operator.type("prices", "publish", book(tmp_path, "first.yaml", STORE), "--reason", "the first one"))[0] == 0
        await publish(b, [event(f"acct-{n}", f"l{n}", LAST.at(n), "10") for n in range(5)])
        await publish(b, [event(f"acct-{n}", f"t{n}", THIS.first(), "3") for n in range(4)])
        await publish(b, [event("acct-1", "calls", THIS.first(), "25", "calls", "Calls")])
        await b.settle(agents=("normalize", "rate"))
        assert (await operator.ask("close", str(LAST)))["waiting"] == []

        # Usage without a price gets one without further ado.
        status, said, errors = await operator.type("prices", "publish", book(tmp_path, "second.yaml", STORE, CALLS), "--reason", "calls cost too")
        assert status == 0, errors
        assert f"  {THIS}  open: its line items are restated, by 3 USD in 1 account; 1 line item more with a price" in said

        # An edit in place is refused, by line, and nothing is published.
        dearer = book(tmp_path, "third.yaml", CALLS, STORE | {"unit_price": "0.12"})
        status, said, errors = await operator.type("prices", "publish", dearer, "--reason", "dearer")
        assert (status, said) == (2, "")
        assert errors.startswith("third.yaml:4: price `store` was published with another definition (tier-1 unit_price 0.1 → 0.12)")
        await comes_to(b, {(str(LAST), ""): 5, (str(THIS), ""): Fraction("1.2") + 3})

        status, said, errors = await operator.type("prices", "publish", dearer, "--restate", "--reason", "dearer")
        assert status == 0, errors
        assert f"  {LAST}  closed: corrections of 1 USD in 5 accounts, billed in the open month" in said
        assert f"  {THIS}  open: its line items are restated, by 0.24 USD in 4 accounts" in said
        wanted = {(str(LAST), ""): 5, (str(LAST), "Correction"): 1, (str(THIS), ""): Fraction("1.44") + 3}
        await comes_to(b, wanted)

        # So is what an adjustment would do to the closed month.
        support = 'adjustments: [{id: support, type: uplift, percent: "10", of: all}]\n'
        (tmp_path / "fourth.yaml").write_text((tmp_path / dearer).read_text() + support)
        status, said, errors = await operator.type("prices", "publish", "fourth.yaml", "--reason", "support")
        assert (status, said) == (2, "")
        assert errors.startswith("fourth.yaml:5: adjustment support is added, and what has no dates holds for closed months too")
        assert f"  {LAST}  closed: corrections of 0.6 USD in 5 accounts, billed in the open month" in errors
        assert (await operator.type("prices", "publish", "fourth.yaml", "--no-effect", "--reason", "support"))[0] == 2
        assert await billed(b) == wanted

        status, said, errors = await operator.type("prices", "history", "--full")
        assert status == 0, errors
        lines = said.splitlines()
        assert [line.split("  ")[1] for line in lines if line.startswith("20")] == ["in force", "replaced", "replaced"]
        assert "by Ada: dearer" in lines[0]
        assert "    changed   third.yaml:4: price store (store, GB)" in lines
        assert "              tier-1 unit_price 0.1 → 0.12" in lines
