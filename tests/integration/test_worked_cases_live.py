"""The vendors' worked examples, all at once, through a real Kafka: one price book, an account and a SKU for each case.

Sequences are published step by step, and what each step adds is the difference of what stands before and after it: so line items
are restated, to less where the usage falls or a volume tier is cheaper. The last thing is the close, which brings the minimum that
is due at the end.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from harness.cases import CASES, SEQUENCES, fields_of, parts
from harness.control import Month, Operator, control_records, event, line_items, mistakes, publish, rated
from harness.workers import Bed, bed
from ratemill.local.stack import Stack
from ratemill.pricing.money import money, plain

pytestmark = pytest.mark.integration

LAST = Month(-1)
PRICES = [fields_of(case) | {"sku": case["id"]} for case in CASES]
STEPS = max(len(case["sequence"]) for case in SEQUENCES)


def usage(case: dict[str, Any], step: int) -> list[dict[str, Any]]:
    """What is published of a case in a step, from 0: in several events and windows; a step of a sequence may add less than nothing."""
    if "sequence" not in case:
        quantities = parts(case["quantity"]) if step == 0 else []
    elif step < len(case["sequence"]):
        used = [money("0"), *(money(phase["cumulative"]) for phase in case["sequence"])]
        quantities = [plain(used[step + 1] - used[step])]
    else:
        quantities = []
    return [
        event(f"account-{case['id']}", f"{step}-{n}", LAST.at(7 * n + step), quantity, case["id"], "Units") for n, quantity in enumerate(quantities)
    ]


async def totals(b: Bed) -> dict[str, Fraction]:
    """What each case costs now."""
    found = {case["id"]: Fraction(0) for case in CASES}
    for item in (await line_items(b)).values():
        assert not item.get("x_Unpriced")
        found[item["SkuId"]] += Fraction(item["BilledCost"])
    return found


async def test_every_worked_case_comes_out_on_a_real_kafka(stack: Stack, tmp_path: Path) -> None:
    async with bed(stack, tmp_path, seed=1, count=0, prices=PRICES) as b:
        operator = Operator(b)
        await b.worker("a").ready()
        published: list[dict[str, Any]] = []
        before = {case["id"]: Fraction(0) for case in CASES}
        deltas: dict[str, list[Fraction]] = {case["id"]: [] for case in SEQUENCES}
        for step in range(STEPS):
            events = [each for case in CASES for each in usage(case, step)]
            published += events
            await publish(b, events)
            await b.settle()
            now = await totals(b)
            for case in SEQUENCES:
                if step < len(case["sequence"]):
                    deltas[case["id"]].append(now[case["id"]] - before[case["id"]])
            before = now
        await operator.ask("close", str(LAST))
        await b.settle()
        now = await totals(b)
        due = {id: now[id] - before[id] for id in now if now[id] != before[id]}
        for id, amount in due.items():
            deltas[id][-1] += amount  # the last step of a period is its end
        assert due == {"c085": 50}
        assert now == {case["id"]: Fraction(case["expected"]) for case in CASES}
        assert deltas == {case["id"]: [Fraction(phase["expected_delta"]) for phase in case["sequence"]] for case in SEQUENCES}
        falling = {id: step for id, steps in deltas.items() for step in steps if step < 0}
        # usage that falls, back over a tier's bound, to nothing; usage that grows into a cheaper volume tier
        assert falling == {"c076": -6, "c083": -40, "c086": -20, "c093": -15, "c097": -30, "c098": -50}
        requests, _ = await control_records(b)
        assert await mistakes(b, rated(PRICES, published, *requests)) == []
