"""What the proxy before Elasticsearch answers is what the sink takes for what it is: everything arrives once, whatever it says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from elasticsearch import ApiError, AsyncElasticsearch, TransportError
from ratemill.sinks.elasticsearch import connect

from chaos.http_proxy import ElasticsearchProxy

BULK = b"".join(b'{"index":{"_index":"i","_id":"%d"}}\n{"n":%d}\n' % (n, n) for n in range(40))


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[ElasticsearchProxy, AsyncElasticsearch, list[str]]]:
    """A server that takes bulk requests and remembers the ids; a client that reaches it through the proxy."""
    taken: list[str] = []

    async def bulk(request: web.Request) -> web.Response:
        lines = (await request.read()).splitlines()
        ids = [json.loads(line)["index"]["_id"] for line in lines[::2]]
        taken.extend(ids)
        answer = {"errors": False, "items": [{"index": {"_id": id, "status": 201}} for id in ids]}
        headers = {"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/vnd.elasticsearch+json"}
        return web.Response(body=json.dumps(answer).encode(), headers=headers)

    app = web.Application()
    app.router.add_post("/_bulk", bulk)
    app.router.add_put("/_bulk", bulk)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    proxy = ElasticsearchProxy(f"http://127.0.0.1:{runner.addresses[0][1]}", seed=1)
    await proxy.start()
    client = connect(proxy.url)
    try:
        yield proxy, client, taken
    finally:
        await client.close()
        await proxy.stop()
        await runner.cleanup()


async def test_a_request_passes() -> None:
    async with proxied() as (_, client, taken):
        answer = await client.bulk(operations=BULK)  # type: ignore[arg-type]
        assert [item["index"]["status"] for item in answer["items"]] == [201] * 40
        assert len(taken) == 40


async def test_a_request_is_refused_whole() -> None:
    async with proxied() as (proxy, client, taken):
        proxy.treat("429")
        with pytest.raises(ApiError) as refused:
            await client.bulk(operations=BULK)  # type: ignore[arg-type]
        assert refused.value.status_code == 429
        assert taken == []


async def test_a_request_is_taken_in_part_and_each_answer_stands_at_its_place() -> None:
    async with proxied() as (proxy, client, taken):
        proxy.treat("partial")
        answer = await client.bulk(operations=BULK)  # type: ignore[arg-type]
        results = [item["index"] for item in answer["items"]]
        assert [result["_id"] for result in results] == [str(n) for n in range(40)]
        refused = [result["_id"] for result in results if result["status"] == 429]
        assert refused
        assert sorted(taken + refused, key=int) == [str(n) for n in range(40)]


async def test_a_request_is_carried_out_and_not_answered() -> None:
    async with proxied() as (proxy, client, taken):
        proxy.treat("drop-answers")
        with pytest.raises(TransportError):
            await client.bulk(operations=BULK)  # type: ignore[arg-type]
        assert set(taken) == {str(n) for n in range(40)}  # the HTTP client may have sent it a second time
