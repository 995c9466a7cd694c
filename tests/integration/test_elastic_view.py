"""The view in the shape of Elastic Cloud's billing API: documented requests get documented answers, and every sum is the one of /v1/costs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from decimal import Context, Decimal, localcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from harness.in_process import InProcess
from msgspec.structs import replace
from ratemill.local.stack import Stack
from ratemill.schemas.errors import Unavailable
from ratemill.streams.core.items import withdraw

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

FACTS = json.loads((Path(__file__).parents[1] / "data" / "elastic_billing" / "shapes.json").read_text(encoding="utf-8"))
BASE = "/api/v2/billing/organizations/acme"
MONTH = {"from": "2026-09-01T00:00:00Z", "to": "2026-10-01T00:00:00Z"}
DAY = {"from": "2026-09-15T00:00:00Z", "to": "2026-09-16T00:00:00Z"}

PRICES: list[dict[str, Any]] = [
    {"id": "egress", "sku": "egress", "unit": "GB", "model": "graduated", "service_name": "Transfer", "service_category": "Networking",
     "tiers": [{"up_to": "10", "unit_price": "0.12345678901"}, {"unit_price": "0.07"}]},
    {"id": "ram", "sku": "ram", "unit": "GB-h", "model": "unit", "unit_price": "0.3072", "service_category": "Databases"},
    {"id": "ram-2", "sku": "ram", "unit": "GB-h", "model": "unit", "unit_price": "0.2", "service_category": "Databases",
     "effective_from": "2026-09-15T12:00:00Z"},
    {"id": "tiny", "sku": "tiny", "unit": "B", "model": "unit", "unit_price": "0.000000000000000000000000000001"},
    {"id": "calls", "sku": "calls", "unit": "calls", "model": "unit", "unit_price": "0.00000000000000000000000001", "minimum": "3"},
]  # fmt: skip


def event(id: str, sku: str, unit: str, quantity: str, hour: int, resource: str = "es-1", account: str = "acme", day: int = 15) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": id, "source": "s", "type": "usage", "subject": account, "time": f"2026-09-{day:02d}T{hour:02d}:30:00Z",
        "data": {"sku": sku, "quantity": quantity, "unit": unit, **({"resource": resource} if resource else {})},
    }  # fmt: skip


EVENTS = [
    *(event(f"e{n}", "egress", "GB", f"{n}.{n}3", n, f"es-{n % 2}") for n in range(1, 6)),  # 16.65 GB: a tier ends in the middle of the day
    *(event(f"r{n}", "ram", "GB-h", "4", n) for n in (3, 11, 12, 20)),  # the rate changes at noon
    event("r-before", "ram", "GB-h", "4", 9, day=14),
    event("t", "tiny", "B", "1.000000000001", 2),
    event("c", "calls", "calls", "7", 1, ""),  # of no resource
    event("u", "unknown", "h", "2", 1),  # without a price
    event("foreign", "egress", "GB", "999", 1, "es-of-globex", account="globex"),
]
LATE = event("late", "egress", "GB", "8.5", 4, "es-1")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def view(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    made = InProcess(stack.elasticsearch, tmp_path_factory.mktemp("view"))
    await made.sink.start()
    await made.rate(PRICES, EVENTS)
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def own(view: InProcess) -> AsyncIterator[httpx.AsyncClient]:
    """acme's key, in the way in which clients of Elastic Cloud send theirs."""
    async with view.client(view.key("costs:read", account="acme"), "ApiKey") as client:
        yield client


async def ask(client: httpx.AsyncClient, path: str, **parameters: str) -> Any:
    answer = await client.get(path if path.startswith("/v1") else BASE + path, params=parameters or None)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal, parse_int=Decimal)


async def costs(client: httpx.AsyncClient, **parameters: str) -> Decimal:
    found = await ask(client, "/v1/costs", by="", **parameters)
    return Decimal(found["totals"][0]["billed_cost"])


def total(values: Any) -> Decimal:
    with localcontext(Context(prec=300)):
        return sum(values, Decimal(0))


# -- shapes --------------------------------------------------------------------------------------------------------------


def mistakes(value: Any, shape: Any, where: str = "") -> list[str]:
    """Where a decoded answer differs from what is documented."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where}: no array"]
        return [m for n, each in enumerate(value) for m in mistakes(each, shape[0], f"{where}[{n}]")]
    if isinstance(shape, str) and shape in FACTS["parts"]:
        return mistakes(value, FACTS["parts"][shape], where)
    if isinstance(shape, dict):
        if not isinstance(value, dict) or value.keys() != shape.keys():
            return [f"{where}: {sorted(value) if isinstance(value, dict) else value}, not {sorted(shape)}"]
        return [m for name, its in shape.items() for m in mistakes(value[name], its, f"{where}.{name}")]
    if value is None:
        return [] if shape.endswith("?") else [f"{where}: null"]
    right = {
        "text": lambda: isinstance(value, str), "number": lambda: isinstance(value, Decimal),
        "integer": lambda: isinstance(value, Decimal) and value == value.to_integral_value(),
        "time": lambda: isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value) is not None,
    }[shape.rstrip("?")]()  # fmt: skip
    return [] if right else [f"{where}: {value!r} is no {shape}"]


@pytest.mark.parametrize("recorded", FACTS["requests"], ids=lambda each: f"{each['by']}: {each['path'].partition('?')[0]}")
async def test_a_documented_request_gets_the_documented_answer(own: httpx.AsyncClient, recorded: dict[str, str]) -> None:
    found = await ask(own, recorded["path"].format(instance_id="es-1"))
    assert mistakes(found, FACTS["answers"][recorded["answer"]]) == []
    assert any(found.get(name) for name in ("instances", "products", "data"))


@pytest.mark.parametrize(
    ("path", "breaks", "wrong"),
    [
        (("total_ecu",), "1.5", ".total_ecu: '1.5' is no number"),
        (("instances", 0, "id"), None, ".instances[0].id: null"),
        (("instances", 0, "product_line_items", 0, "quantities", 0, "from"), "2026-09-15T00:00:00+00:00", "is no time"),
        (("instances", 0, "product_line_items", 0, "quantities", 0, "tiers", 0, "min"), Decimal("1.5"), "is no integer"),
    ],
)
async def test_another_shape_is_found(own: httpx.AsyncClient, path: tuple[Any, ...], breaks: Any, wrong: str) -> None:
    found = await ask(own, "/costs/instances", **MONTH)
    inner = found
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = breaks
    assert [m for m in mistakes(found, FACTS["answers"]["instances"]) if wrong in m]
    del inner[path[-1]]
    assert mistakes(found, FACTS["answers"]["instances"])


# -- sums ----------------------------------------------------------------------------------------------------------------


async def test_every_total_is_that_of_v1_costs(own: httpx.AsyncClient) -> None:
    wanted = await costs(own, period="2026-09")
    by_instance, by_item = await ask(own, "/costs/instances", **MONTH), await ask(own, "/costs/items", **MONTH)
    assert wanted == by_instance["total_ecu"] == by_item["total_ecu"] > 9
    assert str(wanted).endswith("000001000000000001")  # 43 digits: ess_billing maps them to a float of 24 bits
    for groups in (by_instance["instances"], by_item["products"]):
        assert total(group["total_ecu"] for group in groups) == wanted
        for group in groups:
            assert total(line["total_ecu"] for line in group["product_line_items"]) == group["total_ecu"]
            for line in group["product_line_items"]:
                assert not line["quantities"] or total(segment["total_ecu"] for segment in line["quantities"]) == line["total_ecu"]
                assert all(total(t["total_ecu"] for t in s["tiers"]) == s["total_ecu"] for s in line["quantities"] if s["tiers"])
    for name in ("es-1", "es-0", "organization"):
        items = await ask(own, f"/costs/instances/{name}/items", **MONTH)
        assert items["total_ecu"] == next(each["total_ecu"] for each in by_instance["instances"] if each["id"] == name)
    charts = [await ask(own, "/charts", **MONTH, bucketing_strategy=each) for each in ("daily", "monthly")]
    assert [total(v["value"] for item in chart["data"] for v in item["values"]) for chart in charts] == [wanted, wanted]
    assert [len(chart["data"]) for chart in charts] == [3, 1]  # the minimum is charged from the first on


async def test_numbers_are_written_digit_by_digit(own: httpx.AsyncClient) -> None:
    text = (await own.get(f"{BASE}/costs/instances/organization/items", params=MONTH)).text
    assert '"value":0.00000000000000000000000001' in text  # no float, no exponent
    assert '"total_ecu":2.99999999999999999999999993' in text  # the minimum less what was used


async def test_windows_that_meet_share_nothing_and_lose_nothing(own: httpx.AsyncClient) -> None:
    whole = (await ask(own, "/costs/instances", **DAY))["total_ecu"]
    for cut in ("2026-09-15T12:00:00Z", "2026-09-15T04:00:00.5Z", "2026-09-15T13:30:00+09:30"):
        halves = [await ask(own, "/costs/instances", **{**DAY, "to": cut}), await ask(own, "/costs/instances", **{**DAY, "from": cut})]
        assert whole == total(half["total_ecu"] for half in halves)
        assert all(half["total_ecu"] > 0 for half in halves)
    days = ["2026-09-01", "2026-09-02", "2026-09-14", "2026-09-15", "2026-09-16", "2026-10-01"]
    each = [(await ask(own, "/costs/items", **{"from": a + "T00:00:00Z", "to": b + "T00:00:00Z"}))["total_ecu"] for a, b in pairwise(days)]
    assert total(each) == (await ask(own, "/costs/items", **MONTH))["total_ecu"]


async def lines_of(client: httpx.AsyncClient, sku: str, **window: str) -> list[dict[str, Any]]:
    found = await ask(client, "/costs/items", **window)
    return [line for product in found["products"] for line in product["product_line_items"] if line["sku"] == sku]


async def test_a_new_rate_is_a_segment_of_its_own(own: httpx.AsyncClient) -> None:
    (line,) = await lines_of(own, "ram", **DAY)
    assert [(s["from"], s["to"], s["rate"]["value"], s["quantity"]["value"], s["total_ecu"], s["tiers"]) for s in line["quantities"]] == [
        ("2026-09-15T03:00:00Z", "2026-09-15T12:00:00Z", Decimal("0.3072"), 8, Decimal("2.4576"), []),
        ("2026-09-15T12:00:00Z", "2026-09-15T21:00:00Z", Decimal("0.2"), 8, Decimal("1.6"), []),
    ]
    assert (line["total_ecu"], line["quantity"]) == (Decimal("4.0576"), {"value": 16, "formatted_value": "16 GB-h"})
    (line,) = await lines_of(own, "ram", **{**DAY, "to": "2026-09-15T12:00:00Z"})
    assert (line["rate"], line["quantities"]) == ({"value": Decimal("0.3072"), "formatted_value": "0.3072 per GB-h"}, [])


async def test_a_tier_that_ends_in_the_window_splits_its_segment(own: httpx.AsyncClient) -> None:
    (line,) = await lines_of(own, "egress", **DAY)
    (segment,) = line["quantities"]
    assert [(tier["quantity"]["value"], tier["rate"]["value"]) for tier in segment["tiers"]] == [
        (10, Decimal("0.12345678901")), (Decimal("6.65"), Decimal("0.07")),
    ]  # fmt: skip
    assert (line["kind"], line["type"], line["name"], line["unit"]) == ("Transfer", "Networking", "Transfer, egress", "GB")
    assert segment["total_ecu"] == line["total_ecu"] == Decimal("1.7000678901")


# -- a restated day ------------------------------------------------------------------------------------------------------


def collected(answer: Any, with_total: bool) -> dict[str, Decimal]:
    """What ess_billing makes of a day: documents by id. with_total: the id as it is, of which elastic/integrations #19549 tells."""
    found: dict[str, Decimal] = {}
    for instance in answer["instances"]:
        assert set(FACTS["read_by_ess_billing"]["instance"]) <= instance.keys()
        for line in instance["product_line_items"]:
            assert set(FACTS["read_by_ess_billing"]["line"]) <= line.keys()
            key = (instance["id"], *DAY.values(), line["sku"], *([str(line["total_ecu"])] if with_total else []))
            found[hashlib.sha256("|".join(key).encode()).hexdigest()] = line["total_ecu"]
    return found


async def test_a_day_that_is_restated_has_its_new_total_and_not_a_second_one(view: InProcess, own: httpx.AsyncClient) -> None:
    before = await ask(own, "/costs/instances", **DAY)
    await view.rate(PRICES, [*EVENTS, LATE])
    try:
        after = await ask(own, "/costs/instances", **DAY)
        other_days = Decimal("2.99999999999999999999999993") + Decimal("1.2288")  # the minimum, and the day before
        assert after["total_ecu"] == total([await costs(own, period="2026-09"), -other_days])
        assert after["total_ecu"] != before["total_ecu"]
        shape = [[(i["id"], line["sku"]) for i in answer["instances"] for line in i["product_line_items"]] for answer in (before, after)]
        assert shape[0] == shape[1]  # the same line items, with new amounts
        assert total((collected(before, False) | collected(after, False)).values()) == after["total_ecu"]
        # With the total in the id both amounts of a restated line item stay: more than there is.
        assert total((collected(before, True) | collected(after, True)).values()) > after["total_ecu"]
    finally:
        await view.rate(PRICES, EVENTS)
    assert await ask(own, "/costs/instances", **DAY) == before


# -- who, and what cannot be asked ---------------------------------------------------------------------------------------

PATHS = ("/costs/instances", "/costs/items", "/costs/instances/es-1/items", "/charts", "/instances/es-1/charts")


def error(answer: httpx.Response, status: int) -> tuple[str, list[str]]:
    """Code and fields of an error, in the documented form."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    body = answer.json()
    assert mistakes(body, FACTS["answers"]["errors"]) == []
    (only,) = body["errors"]
    assert answer.headers["x-cloud-error-codes"] == only["code"]
    return only["code"], only["fields"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("window", "fields"),
    [
        ({}, ["from", "to"]), ({"from": DAY["from"]}, ["to"]), ({"from": "now", "to": DAY["to"]}, ["from"]),
        ({"from": "2020-12-31T23:59:59Z", "to": DAY["to"]}, ["from"]), ({"from": DAY["to"], "to": DAY["from"]}, ["from", "to"]),
        ({"from": DAY["to"], "to": DAY["to"]}, ["from", "to"]),
    ],
)  # fmt: skip
async def test_a_window_that_is_none(own: httpx.AsyncClient, path: str, window: dict[str, str], fields: list[str]) -> None:
    assert error(await own.get(BASE + path, params=window), 400) == (FACTS["errors"]["400"], fields)


async def test_another_parameter_that_is_none(own: httpx.AsyncClient) -> None:
    answer = await own.get(f"{BASE}/charts", params={**DAY, "bucketing_strategy": "hourly"})
    assert error(answer, 400) == ("request.bad_request", ["bucketing_strategy"])


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_sees_another_organization(view: InProcess, own: httpx.AsyncClient, path: str) -> None:
    answer = await own.get(BASE.replace("acme", "globex") + path, params=DAY)
    assert error(answer, 403) == (FACTS["errors"]["403"], [])
    assert "globex" not in answer.text
    keys = "", view.key("prices:read", account="acme"), view.key("costs:read")
    async with view.client(keys[0]) as nobody, view.client(keys[1]) as other, view.client(keys[2]) as operator:
        assert error(await nobody.get(BASE + path, params=DAY), 401) == ("root.unauthenticated", [])
        assert error(await other.get(BASE + path, params=DAY), 403) == (FACTS["errors"]["403"], [])
        assert (await operator.get(BASE + path, params=DAY)).text == (await own.get(BASE + path, params=DAY)).text


async def test_what_is_not_there(view: InProcess, own: httpx.AsyncClient) -> None:
    assert error(await own.get(f"{BASE}/costs/instances/es-of-globex/items", params=DAY), 404)[0] == "billing_service.instance_not_found"
    empty = {"from": "2026-08-01T00:00:00Z", "to": "2026-08-02T00:00:00Z"}
    assert await ask(own, "/costs/instances/es-1/items", **empty) == {"total_ecu": 0, "products": []}
    async with view.client(view.key("costs:read")) as operator, view.client(view.key("costs:read", account="new")) as new:
        assert error(await operator.get(BASE.replace("acme", "nobody") + "/costs/items", params=DAY), 404)[0] == FACTS["errors"]["404"]
        assert (await new.get(BASE.replace("acme", "new") + "/costs/instances", params=DAY)).json() == {"total_ecu": 0, "instances": []}


async def test_elasticsearch_that_does_not_answer_is_an_error_that_clients_know(view: InProcess, own: httpx.AsyncClient, monkeypatch: Any) -> None:
    async def unavailable(*_: Any, **__: Any) -> None:
        raise Unavailable("10.0.0.7 does not answer")

    monkeypatch.setattr("ratemill.api.elastic_view.routes.costs", unavailable)
    answer = await own.get(f"{BASE}/costs/instances", params=DAY)
    assert error(answer, 500) == (FACTS["errors"]["500"], [])
    assert answer.headers["retry-after"] == "5"
    assert "10.0.0.7" not in answer.text


async def test_currencies_are_never_added(view: InProcess, own: httpx.AsyncClient) -> None:
    foreign = replace((await view.rate(PRICES, EVENTS))[0], x_line_item_id="in-euro", x_revision=1, billing_account_id="acme", billing_currency="EUR")
    await view.index([foreign])
    try:
        code, fields = error(await own.get(f"{BASE}/costs/instances", params=MONTH), 400)
        assert (code, fields) == (FACTS["errors"]["400"], ["from", "to"])
    finally:
        await view.index([withdraw(replace(foreign, x_revision=2))])
    assert (await own.get(f"{BASE}/costs/instances", params=MONTH)).status_code == 200
