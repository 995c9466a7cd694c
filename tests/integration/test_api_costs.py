"""Costs over HTTP: the same as everywhere, to the last digit, and of nobody but the account that a key is for."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness.api import Api, post
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

BOOK = """
currency: USD
prices:
  - {id: egress, sku: egress, unit: GB, model: graduated, tiers: [{up_to: "10", unit_price: "0.12345678901"}, {unit_price: "0.07"}]}
  - {id: calls, sku: calls, unit: calls, model: unit, unit_price: "0.000001"}
  - {id: globex-only, sku: special, unit: h, model: unit, unit_price: "1", accounts: [globex]}
"""
ACCOUNTS = ("acme", "globex", "initech")
SKUS = {"egress": "GB", "calls": "calls", "unknown": "h"}


def usage() -> list[dict[str, Any]]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [
        {"specversion": "1.0", "id": f"{account}-{sku}-{n}", "source": "s", "type": "usage", "subject": account, "time": now,
         "data": {"sku": sku, "quantity": f"{n}.{n}3", "unit": unit, "region": f"r{n % 2}", "resource": f"vm-of-{account}"}}
        for account in ACCOUNTS for sku, unit in SKUS.items() for n in range(1, 6)
    ]  # fmt: skip


def wanted(account: str | None = None) -> Fraction:
    """What all this costs, by hand."""
    quantity = sum((Fraction(f"{n}.{n}3") for n in range(1, 6)), Fraction(0))  # 16.65
    each = 10 * Fraction("0.12345678901") + (quantity - 10) * Fraction("0.07") + quantity * Fraction("0.000001")
    return each * (1 if account else len(ACCOUNTS))


class Job:
    """An API, a worker, and usage of three accounts that came over HTTP."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        name = f"costs{uuid.uuid4().hex[:8]}"
        self.settings = {
            "RATEMILL_KAFKA__BOOTSTRAP": stack.kafka, "RATEMILL_KAFKA__TOPIC_PREFIX": f"{name}.", "RATEMILL_KAFKA__PARTITIONS": "2",
            "RATEMILL_ELASTICSEARCH__URL": stack.elasticsearch, "RATEMILL_ELASTICSEARCH__INDEX_PREFIX": name,
            "RATEMILL_RATING__COMMIT_INTERVAL_S": "0.2", "RATEMILL_WORKER__DATA_DIR": str(folder / "worker"),
        }  # fmt: skip
        self.api = Api(folder, self.settings)
        with (folder / "worker.log").open("wb") as log:
            command = [sys.executable, "-m", "ratemill.cli.main", "worker"]
            self._worker = subprocess.Popen(command, cwd=folder, env=self.api.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        (folder / "prices.yaml").write_text(BOOK)
        said = self.api.run("prices", "publish", "prices.yaml", "--author", "me", "--reason", "test")
        assert said.returncode == 0, said.stderr
        with self.api.client(self.api.token("events:write")) as client:
            assert post(client, usage()).json()["rejected"] == 0
        self.reader = self.api.client(self.api.token("costs:read"))
        self.own = self.api.client(self.api.token("costs:read", "events:write", "prices:read", account="acme"))
        # Every window of a SKU that has a price, and of one that has none, in each of two regions.
        self.until(lambda: sum(row["line_items"] for row in self.costs(by="account")["rows"]) >= len(ACCOUNTS) * (2 + 2 + 2) and self.right())

    def right(self) -> bool:
        return Fraction(self.costs(by="")["totals"][0]["billed_cost"]) == wanted()

    def costs(self, **parameters: str) -> dict[str, Any]:
        answer = self.reader.get("/v1/costs", params=parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until(self, what: Callable[[], Any], within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < deadline, f"not in time: {self.costs(by='account,sku')}"
            time.sleep(0.5)

    def close(self) -> None:
        self.reader.close()
        self.own.close()
        self._worker.send_signal(signal.SIGTERM)
        assert self.api.stop() == 0
        assert self._worker.wait(30) == 0


@pytest.fixture(scope="module")
def job(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    made = Job(stack, tmp_path_factory.mktemp("costs"))
    yield made
    made.close()


def test_usage_that_came_over_http_costs_what_it_must(job: Job) -> None:
    found = job.costs(by="account,sku")
    assert Fraction(found["totals"][0]["billed_cost"]) == wanted()
    assert {row["group"]["account"] for row in found["rows"]} == set(ACCOUNTS)
    assert found["totals"][0]["unpriced"] == 2 * len(ACCOUNTS)  # of the SKU that the book does not know
    assert [period["status"] for period in found["periods"]] == ["estimate"]
    assert Fraction(job.costs(account="acme", by="sku")["totals"][0]["billed_cost"]) == wanted("acme")


@pytest.mark.parametrize("by", ["", "account,sku", "region", "period", "unit,sku", "day", "currency,sku,sku"])
def test_the_terminal_says_the_same(job: Job, by: str) -> None:
    for account in (None, "globex"):
        said = job.api.run("costs", "--json", "--by", by, *(["--account", account] if account else []))
        assert json.loads(said.stdout) == job.costs(by=by, **({"account": account} if account else {}))


def test_what_cannot_be_asked(job: Job) -> None:
    for parameters in ({"by": "colour"}, {"period": "2026-13"}, {"period": "now"}, {"by": "sku" * 100}):
        answer = job.reader.get("/v1/costs", params=parameters)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    with job.api.client(job.api.token("events:write")) as client:
        assert client.get("/v1/costs").status_code == 403


# -- line items ----------------------------------------------------------------------------------------------------------


def items(client: httpx.Client, **parameters: Any) -> list[dict[str, Any]]:
    """All line items, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        answer = client.get("/v1/line-items", params={"cursor": cursor, **parameters})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["line_items"]) <= int(parameters.get("limit", 100))
        found += page["line_items"]
        cursor = page["next"]
    return found


def test_pages_hold_every_line_item_once(job: Job) -> None:
    found = items(job.reader, limit=4)
    rows = job.costs(by="")["totals"][0]
    assert len({item["x_LineItemId"] for item in found}) == len(found) == rows["line_items"] > 8
    assert sum((Fraction(item["BilledCost"]) for item in found), Fraction(0)) == Fraction(rows["billed_cost"])
    assert [(i["ChargePeriodStart"], i["x_LineItemId"]) for i in found] == sorted((i["ChargePeriodStart"], i["x_LineItemId"]) for i in found)
    assert found == items(job.reader, limit=1_000)
    some = items(job.reader, limit=3, account="acme", sku="egress", region="r1")
    assert some == [i for i in found if (i["BillingAccountId"], i["SkuId"], i["RegionId"]) == ("acme", "egress", "r1")]
    assert some


def test_streams_hold_the_same(job: Job) -> None:
    found = items(job.reader)
    lines = job.reader.get("/v1/line-items", params={"format": "ndjson"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == found
    table = list(csv.DictReader(io.StringIO(job.reader.get("/v1/line-items", params={"format": "csv"}).text)))
    assert [row["x_LineItemId"] for row in table] == [item["x_LineItemId"] for item in found]
    assert [row["BilledCost"] for row in table] == [item["BilledCost"] for item in found]
    assert set(found[0]) <= set(table[0])


def test_one_line_item_is_its_accounts_alone(job: Job) -> None:
    found = items(job.reader)
    mine = next(item for item in found if item["BillingAccountId"] == "acme")
    other = next(item for item in found if item["BillingAccountId"] == "globex")
    assert job.own.get(f"/v1/line-items/{mine['x_LineItemId']}").json() == mine
    assert job.own.get(f"/v1/line-items/{other['x_LineItemId']}").status_code == 404
    assert job.reader.get(f"/v1/line-items/{other['x_LineItemId']}").json() == other
    assert job.reader.get("/v1/line-items/no-such").status_code == 404


def test_line_items_that_cannot_be_asked_for(job: Job) -> None:
    for parameters in ({"cursor": "x"}, {"cursor": "WyJ4IiwxXQ"}, {"day": "2026-02-30"}, {"day": "today"}, {"limit": 0}, {"format": "xml"}):
        for format in ({}, {"format": "csv"}) if "format" not in parameters else ({},):
            answer = job.reader.get("/v1/line-items", params={**parameters, **format})
            assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json"), parameters


# -- tenants -------------------------------------------------------------------------------------------------------------

OPEN = {"/livez", "/readyz", "/metrics"}  # they name no account


def leaks(api: Api, own: httpx.Client, reader: httpx.Client) -> list[str]:
    """Every route of the OpenAPI document, with the key of acme and with none: what it tells of others."""
    found = []
    with api.client() as nobody:
        paths = nobody.get("/openapi.json").json()["paths"]
        assert {"/v1/events", "/v1/costs", "/v1/line-items", "/v1/line-items/{id}", "/v1/prices", "/v1/prices:simulate"} <= paths.keys()
        foreign = next(item["x_LineItemId"] for item in items(reader, account="globex"))
        bodies = {"/v1/events": usage()[5:], "/v1/prices:simulate": {"events": usage()[5:]}, "/v1/periods/2026-01:close": {"reason": "test"}}
        for path, operations in ((path.replace("{id}", foreign).replace("{period}", "2026-01"), its) for path, its in paths.items()):
            for method in operations:
                if path not in OPEN and nobody.request(method, path).status_code != 401:
                    found.append(f"{method} {path} answers without a key")
                for parameters in ({}, {"account": "globex"}, {"by": "account,resource"}, {"by": "account", "account": "globex"}):
                    answer = own.request(method, path, params=parameters, json=bodies[path] if method == "post" else None)
                    results = answer.json().get("results", []) if path == "/v1/events" else []
                    told = json.dumps([r for r in results if r["status"] != "rejected"]) if results else answer.text
                    found += [f"{method} {path} {parameters} tells of {other}" for other in ACCOUNTS[1:] if other in told]
    return found


def test_a_key_tells_of_its_own_account_alone(job: Job) -> None:
    own = job.own.get("/v1/costs", params={"by": "account"}).json()
    assert {row["group"]["account"] for row in own["rows"]} == {"acme"}
    assert Fraction(own["totals"][0]["billed_cost"]) == wanted("acme")
    assert job.own.get("/v1/costs", params={"account": "globex"}).status_code == 403
    assert leaks(job.api, job.own, job.reader) == []


def test_an_api_without_the_filter_is_caught(job: Job, tmp_path: Path) -> None:
    broken = Api(tmp_path, job.settings, "no_tenants")
    try:
        with broken.client(broken.token("costs:read", "events:write", "prices:read", account="acme")) as own:
            found = leaks(broken, own, job.reader)
            for what in (
                "get /v1/costs {'by': 'account,resource'} tells of globex", "get /v1/line-items {} tells of globex",
                "post /v1/prices:simulate {} tells of globex", "get /v1/prices {} tells of globex",
            ):  # fmt: skip
                assert what in found
            assert any("/explanation {} tells of globex" in each for each in found)
    finally:
        broken.stop()
