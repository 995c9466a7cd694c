"""An Elasticsearch, as far as the sink asks: bulk writes with external versions, one index a month behind write aliases, and its refusals.

Every request may fail in the ways of network.py: so a bulk request can be applied although its sender heard of an error, and later
than one that was sent after it. Besides, the cluster answers 429 or 503 to whole requests or to single items, blocks its indexes
(`read_only_allow_delete`, a 403 for each item), answers with something that is not of Elasticsearch, and loses an index.

Not modelled: refreshes, shards and their failures (an acknowledged write stays, unless its index is deleted), mappings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig, ObjectApiResponse
from elasticsearch import ApiError, BadRequestError, ConflictError, NotFoundError

from .scheduler import Process, moment
from .world import World

__all__ = ["Cluster", "SimulatedElasticsearch"]

_NODE = NodeConfig("http", "elasticsearch", 9200)
_EXCEPTIONS = {400: BadRequestError, 404: NotFoundError, 409: ConflictError}


def _meta(status: int) -> ApiResponseMeta:
    return ApiResponseMeta(status, "1.1", HttpHeaders({"x-elastic-product": "Elasticsearch"}), 0.0, _NODE)


def api_error(status: int, type_: str) -> ApiError:
    """What the client raises for a status."""
    return _EXCEPTIONS.get(status, ApiError)(type_, _meta(status), {"error": {"type": type_, "reason": f"simulated: {type_}"}, "status": status})


class Cluster:
    """What is stored, and how the cluster feels."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self.template: dict[str, Any] | None = None
        self.indices: dict[str, dict[str, tuple[int, bytes]]] = {}  # index -> _id -> (version, source)
        self.aliases: dict[str, str] = {}  # write alias -> index
        self.troubled = 0.0  # how likely a request or an item is answered with a refusal that passes
        self.blocked = False
        self.counts: dict[str, int] = {}
        self.written = 0

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def documents(self) -> dict[str, tuple[int, bytes]]:
        """All documents, as a search over all indexes sees them; an _id that stands in two indexes is a mistake."""
        found: dict[str, tuple[int, bytes]] = {}
        for index, documents in self.indices.items():
            for id_, document in documents.items():
                if id_ in found:
                    raise AssertionError(f"{id_} stands in {index} and in another index")
                found[id_] = document
        return found

    def lose_index(self) -> bool:
        """Somebody deletes an index. True when there was one without documents: others would have to be indexed again by hand."""
        for index, documents in self.indices.items():
            if not documents:
                del self.indices[index]
                self.aliases = {alias: name for alias, name in self.aliases.items() if name != index}
                self.count("index lost")
                return True
        return False

    def trouble(self) -> None:
        """Perhaps refuse a whole request."""
        if self.troubled and self._draw() < self.troubled:
            status, type_ = ((429, "es_rejected_execution_exception"), (503, "unavailable_shards_exception"))[int(self._draw() * 2)]
            self.count(f"answered {status}")
            raise api_error(status, type_)

    def create(self, index: str, aliases: dict[str, Any]) -> None:
        self.trouble()
        if index in self.indices:
            raise api_error(400, "resource_already_exists_exception")
        self.indices[index] = {}
        for name, settings in aliases.items():
            if settings.get("is_write_index"):
                self.aliases[name] = index

    def bulk(self, body: bytes) -> dict[str, Any]:
        self.trouble()
        lines = body.split(b"\n")
        if self.troubled and len(lines) > 3 and self._draw() < self.troubled / 4:
            self.count("answered 413")
            raise api_error(413, "content_too_long")
        return {"items": [{"index": self._index(orjson.loads(lines[at])["index"], lines[at + 1])} for at in range(0, len(lines) - 1, 2)]}

    def _index(self, action: dict[str, Any], source: bytes) -> dict[str, Any]:
        id_, version = action["_id"], action.get("version")
        refusal = self._refusal(action)
        if refusal is None:
            documents = self.indices[self.aliases[action["_index"]]]
            known = documents.get(id_)
            if known is None or version is None or version > known[0]:
                documents[id_] = orjson.loads(source)["x_Revision"] if version is None else version, source
                self.written += 1
                return {"_id": id_, "status": 200 if known else 201}
            self.count("answered 409")
            refusal = 409, "version_conflict_engine_exception"
        return {"_id": id_, "status": refusal[0], "error": {"type": refusal[1], "reason": "simulated"}}

    def _refusal(self, action: dict[str, Any]) -> tuple[int, str] | None:
        if action["_index"] not in self.aliases:
            self.count("answered 404")
            return 404, "index_not_found_exception"
        if self.blocked:
            self.count("answered 403 read-only")
            return 403, "cluster_block_exception"
        if self.troubled and self._draw() < self.troubled:
            self.count("items answered 429")
            return 429, "es_rejected_execution_exception"
        return None


class _Indices:
    def __init__(self, client: SimulatedElasticsearch) -> None:
        self._client = client

    async def get_index_template(self, *, name: str) -> Any:
        cluster = self._client.cluster

        def serve() -> Any:
            if cluster.template is None:
                raise api_error(404, "resource_not_found_exception")
            return {"index_templates": [{"index_template": cluster.template}]}

        return await self._client.ask("GET template", serve)

    async def put_index_template(self, *, name: str, **body: Any) -> None:
        await self._client.ask("PUT template", lambda: setattr(self._client.cluster, "template", body))

    async def create(self, *, index: str, aliases: dict[str, Any], **_: Any) -> None:
        await self._client.ask("PUT index", lambda: self._client.cluster.create(index, aliases))

    async def exists_alias(self, *, index: str, name: str) -> bool:
        return await self._client.ask("HEAD alias", lambda: self._client.cluster.aliases.get(name) == index)  # type: ignore[no-any-return]


class SimulatedElasticsearch:
    """An `AsyncElasticsearch` as the sink uses it."""

    def __init__(self) -> None:
        self._world = World.current()
        self._process: Process = asyncio.get_running_loop()  # type: ignore[assignment]
        self.cluster = self._world.cluster
        self.indices = _Indices(self)

    async def ask(self, what: str, serve: Callable[[], Any]) -> Any:
        return await self._world.elasticsearch.request(self._process, what, serve)

    async def bulk(self, *, operations: bytes, require_alias: bool, filter_path: list[str]) -> Any:
        answer = await self.ask("POST _bulk", lambda: self.cluster.bulk(operations))
        if self.cluster.troubled and self._world.scheduler.draw() < 0.1:
            self.cluster.count("answered nonsense")
            answer = {"items": answer["items"][:-1]}
        return ObjectApiResponse(answer, _meta(200))

    async def close(self) -> None:
        await moment()
