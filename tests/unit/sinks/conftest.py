"""A factory of line items, and an Elasticsearch made of one dict that can fail in chosen ways."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from ratemill.schemas.line_item import RatedLineItem

_JSON = "application/vnd.elasticsearch+json;compatible-with=9"


def make_line_item(number: int, revision: int = 1, billed: str = "1.5", **changes: Any) -> RatedLineItem:
    fields: dict[str, Any] = {
        "x_line_item_id": f"li-{number}",
        "x_revision": revision,
        "billing_account_id": "acct-1",
        "billing_currency": "USD",
        "billing_period_start": "2026-09-01T00:00:00Z",
        "billing_period_end": "2026-10-01T00:00:00Z",
        "charge_period_start": "2026-09-14T05:00:00Z",
        "charge_period_end": "2026-09-14T06:00:00Z",
        "sku_id": "storage",
        "billed_cost": billed,
        "effective_cost": billed,
        "list_cost": billed,
        "contracted_cost": billed,
        "charge_category": "Usage",
        "charge_class": None,
        "charge_description": None,
        "pricing_quantity": "12.5",
        "pricing_unit": "GB-Hours",
        "service_name": "Search",
        "service_category": "Databases",
        "provider_name": "Example",
        "publisher_name": "Example",
        "invoice_issuer_name": "Example",
    }
    return RatedLineItem(**{**fields, **changes})


class FakeElasticsearch:
    """External versions as Elasticsearch keeps them, and a queue of faults, one for each bulk request.

    Faults: an int is the HTTP status of the whole request; "partial" gives every second item a 429 (unapplied); "drop" closes
    the connection before applying; "drop_after" applies and then closes; "garbage" applies and answers with no JSON;
    "shuffled" applies and answers in another order; "short" applies and answers for all but one.
    """

    def __init__(self) -> None:
        self.url = ""
        self.documents: dict[str, tuple[int, dict[str, Any]]] = {}
        self.indices: set[str] = set()
        self.template: dict[str, Any] | None = None
        self.faults: deque[int | str | None] = deque()
        self.setup_faults: deque[int] = deque()
        self.max_bytes = 2**30
        self.bulk_sizes: list[int] = []
        self.judge: Callable[[str, dict[str, Any]], dict[str, Any] | None] = lambda _id, _document: None

    async def index_template(self, request: web.Request) -> web.Response:
        if self.setup_faults:
            return self._error(self.setup_faults.popleft(), "cluster_unavailable")
        if request.method == "PUT":
            self.template = await request.json(loads=orjson.loads)
            return self._json({"acknowledged": True})
        if self.template is None:
            return self._error(404, "resource_not_found_exception")
        return self._json({"index_templates": [{"name": "t", "index_template": self.template}]})

    async def create_index(self, request: web.Request) -> web.Response:
        if self.setup_faults:
            return self._error(self.setup_faults.popleft(), "cluster_unavailable")
        body = await request.json(loads=orjson.loads)
        assert body["mappings"]["dynamic"] == "strict"
        self.indices |= set(body["aliases"])
        return self._json({"acknowledged": True})

    async def bulk(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert request.query["require_alias"] == "true"
        fault = self.faults.popleft() if self.faults else None
        if len(body) > self.max_bytes:
            return web.Response(status=413, text="too large", headers=self._headers())
        if isinstance(fault, int):
            return self._error(fault, "some_exception")
        if fault == "proxy_400":
            return web.Response(status=400, text="<html>Bad Request", headers=self._headers())
        if fault == "drop":
            return self._drop(request)
        lines = body.split(b"\n")
        assert lines.pop() == b""
        self.bulk_sizes.append(len(lines) // 2)
        results = []
        for position in range(0, len(lines), 2):
            action = orjson.loads(lines[position])["index"]
            skipped = fault == "partial" and position % 4 == 0
            results.append({"index": self._rejected(action) if skipped else self._apply(action, orjson.loads(lines[position + 1]))})
        if fault == "drop_after":
            return self._drop(request)
        if fault == "garbage":
            return web.Response(body=b"<html>", content_type="application/json", headers=self._headers())
        if fault == "shuffled":
            results.reverse()
        if fault == "short":
            results.pop()
        return self._json({"errors": True, "items": results})

    def _apply(self, action: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        identity, version = action["_id"], action["version"]
        assert action["version_type"] == "external"
        if action["_index"] not in self.indices:
            return {"_id": identity, "status": 404, "error": {"type": "index_not_found_exception", "reason": "not an alias"}}
        if wrong := self.judge(identity, document):
            return {"_id": identity, **wrong}
        if identity in self.documents and self.documents[identity][0] >= version:
            return {"_id": identity, "status": 409, "error": {"type": "version_conflict_engine_exception", "reason": "stale"}}
        self.documents[identity] = (version, document)
        return {"_id": identity, "status": 201}

    def _rejected(self, action: dict[str, Any]) -> dict[str, Any]:
        return {"_id": action["_id"], "status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "queue is full"}}

    def _drop(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    def _headers(self) -> dict[str, str]:
        return {"X-Elastic-Product": "Elasticsearch"}

    def _json(self, body: Any, status: int = 200) -> web.Response:
        return web.Response(body=orjson.dumps(body), status=status, headers={**self._headers(), "Content-Type": _JSON})

    def _error(self, status: int, kind: str) -> web.Response:
        return self._json({"error": {"type": kind, "reason": "a fault of the test", "root_cause": []}, "status": status}, status)


@pytest.fixture
async def fake() -> AsyncIterator[FakeElasticsearch]:
    server = FakeElasticsearch()
    application = web.Application(client_max_size=2**30)
    application.router.add_route("*", "/_index_template/{name}", server.index_template)
    application.router.add_route("*", "/_bulk", server.bulk)
    application.router.add_put("/{index}", server.create_index)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


@pytest.fixture
def line_item() -> Callable[..., RatedLineItem]:
    return make_line_item
