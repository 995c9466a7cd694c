"""Simulations in a process of their own: the line items of `ratemill rate`, and an end to those that have none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from ratemill.api.problems import Problem
from ratemill.cli.serving.rating import Task, simulate
from ratemill.cli.serving.simulating import run_apart
from ratemill.pricing.money import use_exact_arithmetic
from ratemill.schemas.limits import DEFAULT_LIMITS

BOOK = 'currency: USD\nprices:\n  - {id: net, sku: net, unit: GB, model: unit, unit_price: "0.3"}\n'
# A sample holds for 1,500 windows: some events ask for much.
METER = f"""{BOOK}meters:
  - {{id: ram, event: ram, sku: ram, aggregation: time_weighted, quantity: quantity, unit: GB-h, digits: 9, window: minute, gap_limit: 25h}}
"""


def event(id: int, account: str = "acme", quantity: str = "1.50", sku: str = "net", day: int = 1) -> bytes:
    data = {"sku": sku, "quantity": quantity, "unit": "GB"}
    time = f"20{10 + day // 336:02d}-{day // 28 % 12 + 1:02d}-{day % 28 + 1:02d}T00:00:00Z"
    return json.dumps({"specversion": "1.0", "id": str(id), "source": "s", "type": "usage", "subject": account, "time": time, "data": data}).encode()


def task(events: list[bytes], prices: str = BOOK, account: str | None = None, **more: Any) -> Task:
    return Task(prices, "prices", "", "", True, events, account, 3_600, DEFAULT_LIMITS, **more)


def found(task: Task) -> Any:
    use_exact_arithmetic()
    return json.loads(simulate(task).answer)


def test_events_of_other_accounts_are_rejected() -> None:
    events = [event(1), event(2, "globex"), event(3, quantity="x"), event(1)]
    mine = found(task(events, account="acme"))
    assert mine["events"] == {"received": 4, "counted": 1, "duplicates": 1, "rejected": 2}
    assert [(each["pointer"], each["reason"]) for each in mine["rejections"]] == [("/events/1", "forbidden_account"), ("/events/2", "bad_quantity")]
    assert mine["line_items"] == found(task([event(1)]))["line_items"]
    assert (mine["totals"], mine["open_periods"]) == ([{"currency": "USD", "billed_cost": "0.45", "line_items": 1, "unpriced": 0}], ["2010-01"])
    every = found(task(events))
    assert every["events"]["counted"] == 2
    assert {item["BillingAccountId"] for item in every["line_items"]} == {"acme", "globex"}


def test_mistakes_of_a_draft_are_told_by_line() -> None:
    assert simulate(task([], "currency: USD\nprices: 1\n")).mistakes[0].startswith("prices:2: ")
    late = BOOK.replace("}", ", effective_from: 2026-01-01T00:30:00Z}")
    assert "begins" in simulate(task([], late)).mistakes[0], "as `ratemill rate` refuses it"
    published = msgspec.structs.replace(task([], late), draft=False)
    assert simulate(published).mistakes == [], "workers rate by it"


async def test_a_process_of_its_own_gives_the_same() -> None:
    events = [event(n, day=n) for n in range(50)]
    use_exact_arithmetic()
    assert await run_apart(task(events)) == simulate(task(events))


@pytest.mark.parametrize("limit", [{"cpu_s": 2}, {"memory": 300 << 20}])
async def test_what_takes_too_much_is_ended(limit: dict[str, int]) -> None:
    with pytest.raises(Problem) as ended:
        await run_apart(task([event(n, sku="ram", day=n) for n in range(5_000)], METER, **limit))
    assert (ended.value.status, ended.value.kind) == (422, "too-costly")
    few = await run_apart(task([event(n, sku="ram", day=n) for n in range(2)], METER, **limit))
    assert len(json.loads(few.answer)["line_items"]) > 1_500, "the same, of fewer events"
