"""Costs over HTTP: the same as everywhere, to the last digit, and of nobody but the account that a key is for."""

from __future__ import annotations

import csv
import io
import json
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness.api import Api, post
from ratemill.api.tokens import ACCOUNT_SCOPES
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

BOOK = """
currency: USD
prices:
  - {id: egress, sku: egress, unit: GB, model: graduated, tiers: [{up_to: "10", unit_price: "0.12345678901"}, {unit_price: "0.07"}]}
  - {id: calls, sku: calls, unit: calls, model: unit, unit_price: "0.000001000000000000000000000007"}
  - {id: globex-only, sku: special, unit: h, model: unit, unit_price: "1", accounts: [globex]}
adjustments:
  - {id: commit, type: commitment}
  - {id: pay, type: credits}
accounts:
  - account: umbrella
    recurring: [{id: platform, sku: platform, amount: "300.5", prorate: none, effective_from: SINCE}]
    commitments: [{id: c/1, amount: "100", per: month, prepaid: true, prorate: none, effective_from: SINCE}]
    credits:
      - {id: gift, amount: "40.25", effective_from: SINCE, expires: 2100-01-01T00:00:00Z}
      - {id: g%1, amount: "1000", discount: "10", prepaid: true, effective_from: SINCE}
"""
SINCE = datetime.now(UTC).strftime("%Y-%m-01T00:00:00Z")
ACCOUNTS = ("acme", "globex", "initech")
OF_TERMS = "umbrella"  # a fee, a commitment, and credits that pay for it: what it owes is the credit that it bought
SKUS = {"egress": "GB", "calls": "calls", "unknown": "h"}


def event(account: str, sku: str, n: int) -> dict[str, Any]:
    data = {"sku": sku, "quantity": f"{n}.{n}3", "unit": SKUS[sku], "region": f"r{n % 2}", "resource": f"vm-of-{account}"}
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"specversion": "1.0", "id": f"{account}-{sku}-{n}", "source": "s", "type": "usage", "subject": account, "time": time, "data": data}


def usage(accounts: Sequence[str] = ACCOUNTS) -> list[dict[str, Any]]:
    """Five events of each SKU of each account: together they cost more digits than Python's decimals have unless told otherwise."""
    return [event(account, sku, n) for account in accounts for sku in SKUS for n in range(1, 6)]


SENT = [*usage(), event(OF_TERMS, "calls", 1)]


def wanted(account: str | None = None) -> Fraction:
    """What all this costs, by hand."""
    quantity = sum((Fraction(f"{n}.{n}3") for n in range(1, 6)), Fraction(0))  # 16.65
    each = 10 * Fraction("0.12345678901") + (quantity - 10) * Fraction("0.07") + quantity * Fraction("0.000001000000000000000000000007")
    return each if account else each * len(ACCOUNTS) + 900


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
        self._worker = self.api.beside("worker", folder / "worker.log")
        self.folder = folder

    def fill(self) -> None:
        """Prices, usage and readers; returns once all of it is rated."""
        (self.folder / "prices.yaml").write_text(BOOK.replace("SINCE", SINCE))
        said = self.api.run("prices", "publish", "prices.yaml", "--author", "me", "--reason", "test")
        assert said.returncode == 0, said.stderr
        with self.api.client(self.api.token("events:write")) as client:
            assert post(client, SENT).json()["rejected"] == 0
        self.reader = self.api.client(self.api.token("costs:read"))
        self.own = self.api.client(self.api.token(*ACCOUNT_SCOPES, account="acme"))
        # Every window of a SKU that has a price, and of one that has none, in each of two regions.
        self.until(lambda: self.shown() > len(ACCOUNTS) * (2 + 2 + 2) and self.right())

    def shown(self) -> int:
        answer = self.reader.get("/v1/costs", params={"by": ""})  # 503 while the shards of a new index do not answer yet
        return sum(total["line_items"] for total in answer.json().get("totals", ()))

    def right(self) -> bool:
        return Fraction(self.costs(by="")["totals"][0]["billed_cost"]) == wanted()

    def costs(self, **parameters: Any) -> dict[str, Any]:
        return self.read("/v1/costs", **parameters)

    def read(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = self.reader.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until(self, what: Callable[[], Any], within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < deadline, f"not in time: {self.reader.get('/v1/costs').text}"
            time.sleep(0.5)

    def close(self) -> None:
        self._worker.send_signal(signal.SIGTERM)
        assert self.api.stop() == 0
        assert self._worker.wait(30) == 0


@pytest.fixture(scope="module")
def job(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    made = Job(stack, tmp_path_factory.mktemp("costs"))
    try:
        made.fill()
        yield made
    finally:
        made.close()


def test_usage_that_came_over_http_costs_what_it_must(job: Job) -> None:
    found = job.costs(by="account,sku")
    assert Fraction(found["totals"][0]["billed_cost"]) == wanted()
    assert {row["group"]["account"] for row in found["rows"]} == {*ACCOUNTS, OF_TERMS}
    assert found["totals"][0]["unpriced"] == 2 * len(ACCOUNTS)  # of the SKU that the book does not know
    assert [period["status"] for period in found["periods"]] == ["estimate"]
    assert Fraction(job.costs(account="acme", by="sku")["totals"][0]["billed_cost"]) == wanted("acme")


@pytest.mark.parametrize("by", ["", "account,sku", "region", "period", "unit,sku", "day", "currency,sku,sku"])
def test_the_terminal_says_the_same(job: Job, by: str) -> None:
    for account in (None, "globex"):
        said = job.api.run("costs", "--json", "--by", by, *(["--account", account] if account else []))
        assert json.loads(said.stdout) == job.costs(by=by, **({"account": account} if account else {}))


TIMES = {"hour": ("hour", "%Y-%m-%dT%H:00:00Z"), "day": ("day", "%Y-%m-%d"), "month": ("period", "%Y-%m")}


@pytest.mark.parametrize("granularity", TIMES)
def test_costs_over_time_are_those_of_the_line_items(job: Job, granularity: str) -> None:
    dimension, form = TIMES[granularity]
    wanted: dict[tuple[str, str], Fraction] = {}
    for item in items(job.reader):
        start = datetime.fromisoformat(item["BillingPeriodStart" if granularity == "month" else "ChargePeriodStart"])
        key = start.strftime(form), item["SkuId"]
        wanted[key] = wanted.get(key, Fraction(0)) + Fraction(item["BilledCost"])
    found = job.costs(granularity=granularity, by="sku")
    assert {(row["group"][dimension], row["group"]["sku"]): Fraction(row["billed_cost"]) for row in found["rows"]} == wanted
    assert found == job.costs(by=f"{dimension},sku")
    assert found["totals"] == job.costs(by="")["totals"]


FIELDS = {
    "provider": "x_UsageProvider", "region": "RegionId", "sku": "SkuId", "resource": "ResourceId", "service": "ServiceName",
    "category": "ChargeCategory",
}  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [{"region": "r1"}, {"sku": ["egress", "unknown"]}, {"resource": ["vm-of-acme"]}, {"service": "egress", "region": ["r0", "r1"]}, {"provider": ""},
     {"category": "Usage"}, {"region": ["", "r1"]}, {"sku": "EGRESS"}, {"category": "Credit"}],
)  # fmt: skip
def test_filters_choose_the_same_line_items_everywhere(job: Job, asked: dict[str, Any]) -> None:
    def fits(item: dict[str, Any]) -> bool:
        return all((item.get(FIELDS[name]) or "") in ([values] if isinstance(values, str) else values) for name, values in asked.items())

    wanted = [item for item in items(job.reader) if fits(item)]
    assert items(job.reader, limit=2, **asked) == wanted
    totals = job.costs(by="", **asked)["totals"]
    assert sum(total["line_items"] for total in totals) == len(wanted)
    assert sum((Fraction(total["billed_cost"]) for total in totals), Fraction(0)) == sum((Fraction(i["BilledCost"]) for i in wanted), Fraction(0))
    assert sum(period["billed_cost"] == totals[0]["billed_cost"] for period in job.costs(**asked)["periods"]) == len(totals)


def test_a_time_ends_before_its_end(job: Job) -> None:
    hour = max(item["ChargePeriodStart"] for item in items(job.reader))
    after = (datetime.fromisoformat(hour) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    those = [item for item in items(job.reader) if item["ChargePeriodStart"] == hour]
    for times in ({"start": hour}, {"start": hour, "end": after}):
        assert sum(total["line_items"] for total in job.costs(by="", **times)["totals"]) == len(those) == len(items(job.reader, **times))
    before = job.costs(by="", end=hour)["totals"]
    assert sum(total["line_items"] for total in before) + len(those) == job.costs(by="")["totals"][0]["line_items"]


def test_what_cannot_be_asked(job: Job) -> None:
    now = "2026-11-01T00:00:00Z"
    for parameters in (
        {"by": "colour"}, {"period": "2026-13"}, {"period": "now"}, {"by": "sku" * 100}, {"granularity": "minute"}, {"start": "2026-11-01"},
        {"start": "2026-02-30T00:00:00Z"}, {"start": now, "end": now}, {"end": "2026-11-01T00:00:00+01:00"}, {"region": "x" * 1_025},
        {"sku": [str(n) for n in range(101)]},
    ):  # fmt: skip
        assert job.reader.get("/v1/costs/stream", params=parameters).status_code == 400
        answer = job.reader.get("/v1/costs", params=parameters)
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    with job.api.client(job.api.token("events:write")) as client:
        assert client.get("/v1/costs").status_code == 403


# -- usage, credits, invoices ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{}, {"by": "account,region"}, {"granularity": "day", "by": ""}, {"sku": "egress"}, {"account": "acme"}])
def test_usage_is_what_was_sent(job: Job, asked: dict[str, str]) -> None:
    sent: dict[tuple[str, ...], Fraction] = {}
    names = [name for name in ("account", "region", "sku") if name == "sku" or name in asked.get("by", "")]
    for each in SENT:
        group = {"account": each["subject"], "region": each["data"]["region"], "sku": each["data"]["sku"]}
        if all(group[name] == asked[name] for name in ("account", "sku") if name in asked):
            key = *(group[name] for name in names), each["data"]["unit"]
            sent[key] = sent.get(key, Fraction(0)) + Fraction(each["data"]["quantity"])
    rows = job.read("/v1/usage", **asked)["rows"]
    for kind in ("consumed", "pricing"):
        assert {(*(row["group"][name] for name in names), row[f"{kind}_unit"]): Fraction(row[f"{kind}_quantity"]) for row in rows} == sent
    assert all(("day" in row["group"]) == ("granularity" in asked) for row in rows)
    alike = {name: asked[name] for name in ("account", "sku") if name in asked}
    assert sum(row["unpriced"] for row in rows) == job.costs(by="", **alike)["totals"][0]["unpriced"]


def test_a_balance_is_what_the_terms_make_of_it(job: Job) -> None:
    month = SINCE[:7]
    found = job.read(f"/v1/accounts/{OF_TERMS}/balance")
    # Of the fee and 1.13 calls, 100 is drawn from the commitment; credits pay the rest and the commitment itself: first the one that expires.
    used, left = "260.25000113000000000000000000000791", "739.74999886999999999999999999999209"
    assert found["credits"] == [
        {"id": "g%1", "currency": "USD", "used": used, "bought": "1000", "paid": "900", "left": left,
         "months": [{"period": month, "status": "estimate", "used": used}]},
        {"id": "gift", "currency": "USD", "used": "40.25", "bought": None, "paid": None, "left": None,
         "months": [{"period": month, "status": "estimate", "used": "40.25"}]},
    ]  # fmt: skip
    amounts = {"purchased": "100", "drawn": "100", "shortfall": "0", "overage": "0"}
    months = [{"period": month, "status": "estimate", **amounts}]
    assert found["commitments"] == [{"id": "c/1", "currency": "USD", **amounts, "months": months}]
    assert job.read("/v1/accounts/acme/balance") == {"account": "acme", "credits": [], "commitments": []}
    assert job.own.get("/v1/accounts/acme/balance").json() == job.read("/v1/accounts/acme/balance")
    assert job.own.get(f"/v1/accounts/{OF_TERMS}/balance").status_code == 403


def test_an_invoice_is_that_of_the_terminal(job: Job) -> None:
    for account in ("acme", OF_TERMS):
        found = job.read("/v1/invoices/preview", account=account, period=SINCE[:7])
        assert found == json.loads(job.api.run("invoice", account, SINCE[:7], "--json").stdout)
        assert found["invoices"][0]["total"] == job.costs(account=account, by="")["totals"][0]["billed_cost"]
    assert job.own.get("/v1/invoices/preview", params={"period": SINCE[:7]}).json()["account"] == "acme"
    for asked in ({"account": "acme"}, {"period": SINCE[:7]}, {"account": "acme", "period": "2026-13"}):
        assert job.reader.get("/v1/invoices/preview", params=asked).status_code == 400


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
    assert some == [i for i in found if (i["BillingAccountId"], i["SkuId"], i.get("RegionId")) == ("acme", "egress", "r1")]
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
OF_ONE = {"/v1/usage", "/v1/accounts/{account}/balance", "/v1/invoices/preview"}
# Parameters that some route does not do without.
NEEDED = {"period": SINCE[:7], "from": "2021-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


def filled(path: str, values: dict[str, str]) -> str:
    """A path of the document, with its parameters."""
    for name, value in values.items():
        path = path.replace(name, value)
    assert "{" not in path, path
    return path


def told(own: httpx.Client, method: str, path: str, parameters: dict[str, str], body: Any) -> str:
    """What an answer tells; of a stream, its first event."""
    with own.stream(method, path, params=parameters, json=body) as answer:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return next(events(answer))["data"]
        answer.read()
        if path == "/v1/events":  # it repeats what it refuses
            return json.dumps([result for result in answer.json()["results"] if result["status"] != "rejected"])
        return answer.text


ALERT = {"name": "of globex", "what": "cost", "currency": "USD", "thresholds": ["1000000"], "url": "https://example.com/", "account": "globex"}
BODIES: dict[str, Any] = {
    "/v1/events": usage()[5:], "/v1/heartbeats": {"source": "s"}, "/v1/links": {"account": "globex"}, "/v1/prices:simulate": {"events": usage()[5:]},
    "/v1/periods/{period}:close": {"reason": "test"},
}  # fmt: skip


def foreign_rule(api: Api) -> str:
    """The id of an alert rule of globex."""
    with api.client(api.token("alerts:read", "alerts:write")) as operator:
        if operator.post("/v1/alerts", json=ALERT).status_code not in (201, 409):
            raise AssertionError("the rule cannot be made")
        found = operator.get("/v1/alerts", params={"account": "globex"}).json()["alerts"]
        assert [rule["name"] for rule in found] == [ALERT["name"]]
        return str(found[0]["id"])


def leaks(api: Api, own: httpx.Client, reader: httpx.Client) -> list[str]:
    """Every route of the OpenAPI document, with the key of acme and with none: what it tells of others."""
    found = []
    with api.client() as nobody:
        paths = nobody.get("/openapi.json").json()["paths"]
        known = {"/v1/events", "/v1/costs", "/v1/costs/stream", "/v1/line-items", "/v1/line-items/{id}", "/v1/alerts", *OF_ONE}
        assert known <= paths.keys()
        item, rule = next(item["x_LineItemId"] for item in items(reader, account="globex")), foreign_rule(api)
        foreign = {"{account}": "globex", "{organization_id}": "globex", "{instance_id}": "vm-of-globex", "{period}": "2026-01"}
        for path, operations in paths.items():
            filled_in = filled(path, foreign | {"{id}": rule if "/alerts/" in path else item})
            for method in operations:
                if path not in OPEN and nobody.request(method, filled_in).status_code != 401:
                    found.append(f"{method} {path} answers without a key")
                required = {part["name"] for part in operations[method].get("parameters", ()) if part["required"] and part["in"] == "query"}
                assert required <= NEEDED.keys(), f"{path}: say what to ask for"
                body = BODIES.get(path, ALERT) if method in ("post", "put") else None
                for asked in ({}, {"account": "globex"}, {"by": "account,resource"}, {"by": "account", "account": "globex"}):
                    parameters = asked | {name: NEEDED[name] for name in sorted(required)}
                    answer = told(own, method, filled_in, parameters, body)
                    found += [f"{method} {path} {parameters} tells of {other}" for other in ACCOUNTS[1:] if other in answer]
        if foreign_rule(api) != rule:
            found.append("the rule of globex was deleted")
    return found


def test_a_key_tells_of_its_own_account_alone(job: Job) -> None:
    own = job.own.get("/v1/costs", params={"by": "account"}).json()
    assert {row["group"]["account"] for row in own["rows"]} == {"acme"}
    assert Fraction(own["totals"][0]["billed_cost"]) == wanted("acme")
    assert job.own.get("/v1/costs", params={"account": "globex"}).status_code == 403
    assert leaks(job.api, job.own, job.reader) == []


ROUTES_OF_ALL = (
    "get /v1/line-items {} tells of globex", "get /v1/accounts/{account}/balance {} tells of globex",
    f"get /v1/invoices/preview {{'account': 'globex', 'period': '{SINCE[:7]}'}} tells of globex",
    "get /api/v2/billing/organizations/{organization_id}/costs/instances "
    "{'from': '2021-01-01T00:00:00Z', 'to': '2100-01-01T00:00:00Z'} tells of globex",
    "get /v1/alerts {} tells of globex", "the rule of globex was deleted", "post /v1/prices:simulate {} tells of globex",
    "get /v1/prices {} tells of globex",
)  # fmt: skip


def test_an_api_without_the_filter_is_caught(job: Job, tmp_path: Path) -> None:
    broken = Api(tmp_path, job.settings, "no_tenants")
    try:
        with broken.client(broken.token(*ACCOUNT_SCOPES, account="acme")) as own:
            found = leaks(broken, own, job.reader)
            grouped = "{'by': 'account,resource'} tells of globex"
            for what in (f"get /v1/costs {grouped}", f"get /v1/costs/stream {grouped}", f"get /v1/usage {grouped}", *ROUTES_OF_ALL):
                assert what in found, found
            assert any("/explanation {} tells of globex" in each for each in found)
    finally:
        broken.stop()


# -- streams: last, because usage goes on here ---------------------------------------------------------------------------


def events(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """Events of a stream, as they come; comments are left out."""
    found: dict[str, str] = {}
    for line in answer.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            found[name] = value
        elif found:
            yield found
            found = {}


@contextmanager
def streamed(client: httpx.Client, last: str = "", **parameters: Any) -> Iterator[Iterator[dict[str, str]]]:
    with client.stream("GET", "/v1/costs/stream", params=parameters, headers={"last-event-id": last} if last else {}) as answer:
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        yield events(answer)


def test_a_stream_tells_of_each_change_and_ends_in_what_the_costs_are(job: Job) -> None:
    with streamed(job.own, by="sku") as own, streamed(job.reader, by="account", granularity="day") as every:
        first = next(own)
        assert first["event"] == "costs"
        assert json.loads(first["data"]) == job.costs(account="acme", by="sku")
        next(every)
        with streamed(job.own, by="sku") as again:
            assert next(again) == first
        with streamed(job.own, last=first["id"], by="sku") as resumed:
            with job.api.client(job.api.token("events:write")) as client:
                post(client, [{**each, "id": f"{each['id']}-more"} for each in usage(["acme"])])
            second = next(resumed)
            assert second["id"] != first["id"]
            assert next(own)["id"] != first["id"]
        wanted_cost = wanted("acme") + sum(Fraction(f"{n}.{n}3") for n in range(1, 6)) * Fraction("0.070001000000000000000000000007")
        while Fraction(json.loads(second["data"])["totals"][0]["billed_cost"]) != wanted_cost:
            second = next(own)
        assert json.loads(second["data"])["rows"] == job.costs(account="acme", by="sku")["rows"]
        while Fraction(json.loads(next(every)["data"])["totals"][0]["billed_cost"]) != wanted() - wanted("acme") + wanted_cost:
            pass


def test_a_stream_ends_with_its_key(job: Job) -> None:
    token = job.api.token("costs:read")
    with job.api.client(token) as client, streamed(client) as found, streamed(job.reader) as other:
        assert next(found) == next(other)
        assert job.api.run("tokens", "revoke", token).returncode == 0
        assert list(found) == []
        assert client.get("/v1/costs").status_code == 401


def test_a_stop_ends_streams_in_good_order(job: Job, tmp_path: Path) -> None:
    api = Api(tmp_path, job.settings)
    with api.client(api.token("costs:read")) as client, streamed(client) as found:
        next(found)
        api.ask_to_stop()
        assert list(found) == []  # httpx raises when an answer is cut off
        assert api.stop() == 0
    assert "Cancel" not in api.log
