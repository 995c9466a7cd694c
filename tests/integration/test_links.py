"""Links over HTTP: who may make which, and that one reads its own account and does nothing else, on every route of the OpenAPI document."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from harness.in_process import InProcess
from ratemill.api.app import make_app
from ratemill.api.signed_links import Links
from ratemill.local.stack import Stack
from ratemill.schemas.times import NS, format_time
from ratemill.streams.config import load_config

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

PRICES = [{"id": "egress", "sku": "egress", "unit": "GB", "model": "unit", "unit_price": "0.12"}]
SKIPPED = {
    "/livez", "/readyz", "/metrics",  # they name no account
    "/v1/costs/stream",  # it does not end; test_api_costs.py reads it
}  # fmt: skip
CHOSEN = (
    {}, {"account": "globex"}, {"by": "account,resource"}, {"from": "2021-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "by": "account"},
)  # fmt: skip


def event(account: str) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": account, "source": "s", "type": "usage", "subject": account, "time": "2026-09-15T04:30:00Z",
        "data": {"sku": "egress", "quantity": "2", "unit": "GB", "resource": f"vm-of-{account}"},
    }  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def view(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcess]:
    made = InProcess(stack.elasticsearch, tmp_path_factory.mktemp("links"))
    await made.sink.start()
    await made.rate(PRICES, [event("acme"), event("globex")])
    yield made
    await made.close()


async def made(view: InProcess, key: str, status: int = 201, **body: Any) -> dict[str, Any]:
    async with view.client(key) as client:
        answer = await client.post("/v1/links", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_link_opens_the_costs_of_its_account(view: InProcess) -> None:
    for key, body in ((view.key("links:create"), {"account": "acme"}), (view.key("links:create", account="acme"), {})):
        found = await made(view, key, **body, period="2026-09")
        address = urlsplit(found["url"])
        assert (address.scheme, address.netloc, address.path, address.query) == ("https", "costs.example.com", "/", "period=2026-09")
        assert parse_qs(address.fragment) == {"link": [found["token"]]}
        async with view.client(found["token"]) as client:
            answer = await client.get("/v1/costs", params={"by": "account"})
            assert [row["group"]["account"] for row in answer.json()["rows"]] == ["acme"]


async def test_when_it_ends(view: InProcess) -> None:
    now = view.clock()
    view.clock = lambda: now
    key = view.key("links:create", account="acme")
    for given, lasts in (({}, 900), ({"expires_in_s": 60}, 60), ({"expires_in_s": 86_400}, 86_400)):
        found = await made(view, key, **given)
        assert found["expires_at"] == format_time((now + lasts) * NS)
    async with view.client((await made(view, key, expires_in_s=60))["token"]) as client:
        assert (await client.get("/v1/costs")).status_code == 200
        view.clock = lambda: now + 60
        assert (await client.get("/v1/costs")).status_code == 401
    view.clock = lambda: int(time.time())


@pytest.mark.parametrize(
    ("account", "body", "status"),
    [
        ("acme", {"account": "globex"}, 403), (None, {}, 400), (None, {"account": ""}, 400), (None, {"account": "a", "expires_in_s": 59}, 400),
        (None, {"account": "a", "expires_in_s": 86_401}, 400), (None, {"account": "a", "expires_in_s": "900"}, 400),
        (None, {"account": "a", "period": "now"}, 400), (None, {"account": "a", "scopes": ["admin"]}, 400),
    ],
)  # fmt: skip
async def test_links_that_are_not_made(view: InProcess, account: str | None, body: dict[str, Any], status: int) -> None:
    assert (await made(view, view.key("links:create", account=account), status, **body))["status"] == status


async def test_without_the_scope_no_link_is_made(view: InProcess) -> None:
    await made(view, view.key("costs:read", account="acme"), 403)
    await made(view, "", 401)


# -- what one opens ------------------------------------------------------------------------------------------------------


# A cloud that pushes has a key of its own kind: whatever else a request says of itself says nothing here.
OWN_KEYS = {"/v1/firehose/cloudwatch": 401, "/v1/pubsub": 401}


async def breaches(client: httpx.AsyncClient) -> list[str]:
    """Every route of the OpenAPI document with what this client sends: what it does but read, and what it tells of globex."""
    found = []
    for path, operations in (await client.get("/openapi.json")).json()["paths"].items():
        for name in ("globex", "acme", "vm-of-globex", "vm-of-acme"):
            filled = re.sub(r"\{[^}]*\}", name, path)
            for method in operations:
                if path in SKIPPED:
                    continue
                if method != "get":
                    status = (await client.request(method, filled, json={})).status_code
                    found += [] if status == OWN_KEYS.get(path, 403) else [f"{method} {path}: {status}"]
                    continue
                for parameters in CHOSEN:
                    answer = await client.get(filled, params=parameters)
                    found += [f"get {filled} {parameters} tells of globex"] if "globex" in answer.text else []
    return found


async def test_a_link_reads_its_account_and_does_nothing_else(view: InProcess) -> None:
    token = (await made(view, view.key("links:create"), account="acme"))["token"]
    async with view.client(token) as client:
        assert "/v1/links" in (await client.get("/openapi.json")).json()["paths"]
        assert await breaches(client) == []
        assert (await client.get("/api/v2/billing/organizations/acme/costs/items", params=CHOSEN[-1])).status_code == 200
    async with view.client(view.key("costs:read", "links:create")) as operator:  # the walk sees what there is to see
        found = await breaches(operator)
        assert {"get /v1/costs {'by': 'account,resource'} tells of globex", "post /v1/links: 400"} <= set(found)


async def let_in(view: InProcess, links: Links) -> list[str]:
    """Which links that are worth nothing an API with these `links` answers."""

    async def verify(text: str) -> Any:
        return links.verify(text)

    maker = view.key("links:create")
    token = (await made(view, maker, account="acme"))["token"]
    other = (await made(view, maker, account="globex"))["token"]
    bad = {"of two links": f"{token.partition('.')[0]}.{other.partition('.')[2]}", "another signature": token[:-3] + "AAA"}
    found = []
    app = make_app(view.parts(verify=verify))
    for what, text in bad.items():
        async with view.client(text, app=app) as client:
            answers = [await client.get(path) for path in ("/v1/costs", "/v1/line-items", "/v1/line-items/x")]
            found += [what for answer in answers if answer.status_code != 401]
    return found


async def test_a_forged_link_opens_nothing(view: InProcess) -> None:
    assert await let_in(view, view.links) == []


async def test_without_the_check_of_signatures_forged_links_are_seen(view: InProcess) -> None:
    class NoSignature(Links):
        def _signed(self, secret: bytes, said: str, signature: str) -> bool:
            return True

    found = await let_in(view, NoSignature(view.engine, view.tokens))
    assert set(found) == {"of two links", "another signature"}


async def test_a_rotated_secret_and_a_revoked_key_end_their_links(view: InProcess) -> None:
    token = (await made(view, view.key("links:create"), account="acme"))["token"]
    text, info = view.tokens.create("portal", ["links:create"], None, 3_600)
    of_key = (await made(view, text, account="acme"))["token"]
    async with view.client(token) as client, view.client(of_key) as revoked:
        view.links.rotate(at_once=False)
        view.tokens.revoke(info.id)
        assert [(await each.get("/v1/costs")).status_code for each in (client, revoked)] == [200, 401]
        view.links.rotate(at_once=True)
        assert (await client.get("/v1/costs")).status_code == 401


# -- frames --------------------------------------------------------------------------------------------------------------


async def test_who_may_show_the_page_in_a_frame(view: InProcess) -> None:
    async with view.client() as anybody:
        assert (await anybody.get("/")).headers["content-security-policy"].endswith("; frame-ancestors 'none'")
    allowed = "https://portal.example.com https://*.example.org:8443 http://localhost:3000"
    config = load_config(environment={"RATEMILL_API__FRAME_ANCESTORS": allowed})
    async with view.client(app=make_app(view.parts(frame_ancestors=config.api.frame_ancestors))) as anybody:
        assert (await anybody.get("/")).headers["content-security-policy"].endswith(f"; frame-ancestors {allowed}")
