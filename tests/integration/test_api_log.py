"""What the HTTP interface has of Kafka and of the rating core: the same as the commands say, and of nobody but the account of a key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from harness.api import Api
from harness.control import Month, Operator, control_records, event, line_items, publish
from harness.traffic import HOPPED
from harness.workers import Bed, bed
from ratemill.local.stack import Stack
from ratemill.schemas.control import Close
from ratemill.streams.prices_topic import publish_book

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

LAST, THIS = Month(-1), Month()
TARIFF = """
currency: USD
prices:
  - {id: store, sku: store, unit: GB, model: unit, unit_price: "0.10"}
  - {id: store-acme, sku: store, unit: GB, model: unit, unit_price: "0.09", accounts: [acme, globex]}
  - {id: net, sku: net, unit: GB, model: graduated, tiers: [{up_to: "10", unit_price: "0.123456789"}, {unit_price: "0.07"}]}
  - {id: net-globex, sku: net, unit: GB, model: unit, unit_price: "0.01", accounts: [globex]}
  - {id: later, sku: later, unit: h, model: unit, unit_price: "3", effective_from: 2090-01-01T00:00:00Z}
accounts:
  - {account: globex, credits: [{id: of-globex, amount: "5", effective_from: 2020-01-01T00:00:00Z, expires: 2100-01-01T00:00:00Z}]}
adjustments:
  - {id: support, type: uplift, percent: "10", of: all}
  - {id: credits, type: credits}
"""
EVENTS = [event(account, f"{account}-{sku}-{month}-{n}", month.at(n) if month is LAST else month.first(n), f"{n}.25", sku)
          for account in ("acme", "globex") for sku in ("store", "net") for month in (LAST, THIS) for n in (1, 2, 3)]  # fmt: skip
DRAFT = 'currency: EUR\nprices:\n  - {id: net, sku: net, unit: GB, model: unit, unit_price: "2"}\n'
NOT_UTF8 = b"\xff\xfe\x00"


class Live:
    """A worker and an API, with a key of an operator, one of acme, and somebody at a terminal."""

    def __init__(self, b: Bed, api: Api) -> None:
        self.bed, self.api, self.terminal = b, api, Operator(b)
        self.operator = api.client(api.token("admin"))
        self.own = api.client(api.token("costs:read", "prices:read", account="acme"))

    async def get(self, client: httpx.Client, path: str, **parameters: Any) -> Any:
        answer = await asyncio.to_thread(client.get, path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def live(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    folder = tmp_path_factory.mktemp("log")
    async with bed(stack, folder, seed=1, count=0, prices=[]) as b:
        await publish_book(b.config, TARIFF, "prices-of-globex.yaml", "clerk of globex", "globex has asked for it")
        await b.worker("a", lifetime_s=600).ready()
        bad = [{**event("acme", f"bad-{n}", THIS.first(), "1"), "data": {"sku": "store", "unit": "GB", "quantity": "x"}} for n in range(3)]
        await publish(b, [*EVENTS, *bad], HOPPED)
        await b.settle()
        # Usage over HTTP has one topic; the other one stays empty.
        settings = (folder / "ratemill.toml").read_text().replace('keyed_by = "account"', 'keyed_by = "account"\nprovider = "aws"')
        (folder / "api.toml").write_text(settings)
        api = Api(folder, {"RATEMILL_CONFIG": str(folder / "api.toml")})
        try:
            yield Live(b, api)
        finally:
            assert api.stop() == 0


# -- explanations --------------------------------------------------------------------------------------------------------


async def test_an_explanation_is_that_of_the_terminal(live: Live) -> None:
    items = (await line_items(live.bed)).values()
    chosen = next(item for item in items if (item["BillingAccountId"], item["SkuId"], item["x_Component"]) == ("acme", "net", "tier-1"))
    path = f"/v1/line-items/{chosen['x_LineItemId']}/explanation"
    status, out, err = await live.terminal.type("explain", chosen["x_LineItemId"], "--json", "--events", "1")
    assert status == 0, err
    every = await live.get(live.operator, path, events=1)
    assert every == json.loads(out)
    assert (every["verdict"], len(every["events"]["shown"]), every["events"]["looked_for"]) == ("equal", 1, True)
    assert "globex" in json.dumps(every), "an operator is told who published, and why: what a customer must not be told"
    mine = await live.get(live.own, path, events=1)
    assert "globex" not in json.dumps(mine)
    assert mine["arithmetic"] == every["arithmetic"]
    assert mine["audit"] == every["audit"]


async def test_an_explanation_is_its_accounts_alone(live: Live) -> None:
    items = (await line_items(live.bed)).values()
    mine = next(item["x_LineItemId"] for item in items if (item["BillingAccountId"], item["SkuId"]) == ("acme", "store"))
    other = next(item["x_LineItemId"] for item in items if (item["BillingAccountId"], item["SkuId"]) == ("globex", "store"))
    found = await live.get(live.own, f"/v1/line-items/{mine}/explanation", events=0)
    assert found["price"]["id"] == "store-acme"
    assert "globex" not in json.dumps(found), "its price is for globex too"
    for id in (other, "no-such"):
        answer = await asyncio.to_thread(live.own.get, f"/v1/line-items/{id}/explanation")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


# -- prices --------------------------------------------------------------------------------------------------------------


async def test_a_key_sees_the_general_prices_and_its_own(live: Live) -> None:
    every = await live.get(live.operator, "/v1/prices")
    assert [price["id"] for price in every["prices"]] == ["net", "store", "net-globex", "store-acme"]
    assert "globex" in json.dumps(every)
    mine = await live.get(live.own, "/v1/prices")
    assert [(price["id"], price["applies"], price["accounts"]) for price in mine["prices"]] == [
        ("net", True, []), ("store", False, []), ("store-acme", True, ["acme"]),
    ]  # fmt: skip
    assert [step["id"] for step in mine["terms"]["adjustments"]] == ["support", "credits"]
    assert "globex" not in json.dumps(mine)
    assert mine == await live.get(live.operator, "/v1/prices", account="acme", at=mine["at"])
    assert (await asyncio.to_thread(live.own.get, "/v1/prices", params={"account": "globex"})).status_code == 403


async def test_prices_of_another_time_and_in_pages(live: Live) -> None:
    then = await live.get(live.own, "/v1/prices", at="2090-01-01T00:00:00Z", sku="later")
    assert [price["tiers"][0]["unit_price"] for price in then["prices"]] == ["3"]
    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = await live.get(live.operator, "/v1/prices", limit=3, cursor=cursor)
        found += [price["id"] for price in page["prices"]]
        cursor = page["next"]
    assert found == ["net", "store", "net-globex", "store-acme"]
    for parameters in ({"at": "yesterday"}, {"cursor": "0123456789ab-3"}, {"cursor": "x"}):
        assert (await asyncio.to_thread(live.own.get, "/v1/prices", params=parameters)).status_code == 400


async def test_a_new_book_is_seen_at_once_and_a_draft_never(live: Live) -> None:
    before = await live.get(live.operator, "/v1/prices")
    await publish_book(live.bed.config, DRAFT, "draft.yaml", "me", "a draft", draft=True)
    assert await live.get(live.operator, "/v1/prices", at=before["at"]) == before
    await publish_book(live.bed.config, TARIFF, "prices-of-globex.yaml", "clerk of globex", "once more")
    after = await live.get(live.operator, "/v1/prices")
    assert (after["digest"], after["published_at"] > before["published_at"]) == (before["digest"], True)


# -- simulations ---------------------------------------------------------------------------------------------------------


async def rated(live: Live, prices: str, events: list[Any]) -> list[bytes]:
    """What `ratemill rate` makes of them, line by line."""
    folder: Path = live.api.folder
    (folder / "book.yaml").write_text(prices)
    (folder / "events.ndjson").write_text("".join(json.dumps(each) + "\n" for each in events))
    said = await live.terminal.type("rate", "--prices", "book.yaml", "--events", "events.ndjson", "--output", "items.ndjson")
    assert said[0] == 0, said
    return (folder / "items.ndjson").read_bytes().splitlines()


async def simulated(client: httpx.Client, **body: Any) -> httpx.Response:
    return await asyncio.to_thread(client.post, "/v1/prices:simulate", json=body)


@pytest.mark.parametrize("draft", [None, DRAFT])
async def test_a_simulation_is_what_rate_makes_of_the_same_events(live: Live, draft: str | None) -> None:
    events = [*EVENTS, EVENTS[0], {**EVENTS[1], "time": "2031-02-03T04:05:06.789Z", "id": "other"}, {"no": "event"}]
    answer = await simulated(live.operator, events=events, prices=draft)
    assert answer.status_code == 200, answer.text
    wanted = await rated(live, draft or TARIFF, events)
    assert b'"line_items":[' + b",".join(wanted) + b"]" in answer.content, "byte for byte"
    found = answer.json()
    assert len(found["line_items"]) == len(wanted) > 5
    assert found["events"] == {"received": len(events), "counted": len(events) - 3, "duplicates": 1, "rejected": 2}
    assert [rejection["pointer"] for rejection in found["rejections"]] == [f"/events/{len(events) - 2}", f"/events/{len(events) - 1}"]
    assert [total["currency"] for total in found["totals"]] == ["EUR" if draft else "USD"]


async def test_a_key_simulates_its_own_usage_alone(live: Live) -> None:
    mine = [event for event in EVENTS if event["subject"] == "acme"]
    answer = await simulated(live.own, events=EVENTS)
    found = answer.json()
    assert b'"line_items":[' + b",".join(await rated(live, TARIFF, mine)) + b"]" in answer.content
    assert {rejection["reason"] for rejection in found["rejections"]} == {"forbidden_account"}
    assert len(found["rejections"]) == found["events"]["rejected"] == len(EVENTS) - len(mine)
    assert "globex" not in answer.text


async def test_simulations_that_cannot_be(live: Live) -> None:
    for body in ({}, {"events": 1}, {"events": [], "x": 1}, {"events": EVENTS, "prices": "currency: USD\nprices: 3\n"}):
        answer = await simulated(live.own, **body)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), answer.text
    assert answer.json()["mistakes"][0].startswith("prices:2: ")


# -- dead letters --------------------------------------------------------------------------------------------------------


async def test_dead_letters_are_those_of_the_terminal(live: Live) -> None:
    await publish_raw(live.bed, NOT_UTF8)
    _, out, _ = await live.terminal.type("dead-letters", "list", "--json")
    wanted = json.loads(out)["letters"][::-1]
    found: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        page = await live.get(live.operator, "/v1/dead-letters", limit=2, cursor=cursor)
        assert page["by_reason"] == {"bad_quantity": 3, "not_decodable": 1}
        found += page["dead_letters"]
        cursor = page["next"]
    assert [{name: letter[name] for name in wanted[0]} for letter in found] == wanted
    assert (found[0]["raw_base64"], found[0]["raw_text"], found[0]["raw_is_whole"]) == ("//4A", None, True)
    assert json.loads(found[1]["raw_text"])["data"]["quantity"] == "x"
    some = await live.get(live.operator, "/v1/dead-letters", reason="not_decodable", topic=live.bed.topic(HOPPED))
    assert some["dead_letters"] == found[:1]
    assert (await asyncio.to_thread(live.own.get, "/v1/dead-letters")).status_code == 403
    for parameters in ({"reason": "x"}, {"cursor": "x"}, {"cursor": "WzEsMl0"}, {"limit": 0}):
        assert (await asyncio.to_thread(live.operator.get, "/v1/dead-letters", params=parameters)).status_code == 400


async def publish_raw(b: Bed, value: bytes) -> None:
    """A record, and wait until it is a dead letter."""
    producer = AIOKafkaProducer(bootstrap_servers=b.stack.kafka)
    await producer.start()
    await producer.send_and_wait(b.topic(HOPPED), value)
    await producer.stop()
    async with asyncio.timeout(60):
        while not any(record.value == value for record in await b.read("usage.dead-letter")):
            await asyncio.sleep(0.2)


# -- closes: last, because a month is closed here ------------------------------------------------------------------------


async def test_a_close_is_the_request_of_the_command(live: Live) -> None:
    before = await live.get(live.own, "/v1/periods")
    assert [(each["period"], each["status"]) for each in before["periods"]] == [(str(LAST), "estimate"), (str(THIS), "estimate")]

    def close(client: httpx.Client, period: object, **body: Any) -> httpx.Response:
        return client.post(f"/v1/periods/{period}:close", json=body)

    for status, client, period, body in (
        (403, live.own, LAST, {"reason": "r"}), (400, live.operator, THIS, {"reason": "r"}), (400, live.operator, LAST, {}),
        (400, live.operator, Month(1), {"reason": "r", "early": True}), (400, live.operator, LAST, {"reason": " "}),
        (400, live.operator, "2026-13", {"reason": "r"}), (400, live.operator, LAST, {"reason": "r", "late": True}),
    ):  # fmt: skip
        assert (await asyncio.to_thread(close, client, period, **body)).status_code == status, (period, body)
    assert await control_records(live.bed) == ([], [])

    answers = await asyncio.gather(*(asyncio.to_thread(close, live.operator, LAST, reason=f"run {n}") for n in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 202], "of two at once one is told of the other"
    asked = next(answer for answer in answers if answer.status_code == 202)
    id = asked.json()["id"]
    assert (asked.headers["location"], asked.json()["author"], asked.json()["period"]) == (f"/v1/control/{id}", "test", str(LAST))
    assert {answer.json()["id"] for answer in answers} == {id}
    async with asyncio.timeout(60):
        while (found := await live.get(live.operator, asked.headers["location"]))["waiting"]:
            await asyncio.sleep(0.2)
    assert [receipt["applied"] for receipt in found["receipts"]] == [True] * 4
    status, out, _ = await live.terminal.type("control", "show", id, "--json")
    assert (status, json.loads(out)) == (0, found)
    requests, _ = await control_records(live.bed)
    assert [(type(request), request.reason) for request in requests] == [(Close, asked.json()["reason"])]

    again = await asyncio.to_thread(close, live.operator, LAST, reason="again")
    assert (again.status_code, again.json()) == (200, found)
    async with asyncio.timeout(60):
        while (after := await live.get(live.own, "/v1/periods"))["closed_through"] != str(LAST):
            await asyncio.sleep(0.2)
    assert [each["status"] for each in after["periods"]] == ["final", "estimate"]
    assert after["closed_at"]
    assert (await asyncio.to_thread(live.operator.get, f"/v1/control/{'0' * 32}")).status_code == 404
    assert (await asyncio.to_thread(live.own.get, f"/v1/control/{id}")).status_code == 403
