"""A TLS front door for the embedded Elasticsearch, which has no security of its own: log-ins and privileges as Elasticsearch documents them.

It stands for the security layer only; what it lets through, the real Elasticsearch answers. A request that the table of privileges
does not know is forbidden.
"""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import json
import re
import ssl
import threading
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
import trustme
from aiohttp import web

__all__ = ["Rights", "SecureElasticsearch", "api_key", "basic"]


class Rights(NamedTuple):
    """What a role may do: privileges on the cluster, and on the indices that match a pattern."""

    cluster: frozenset[str]
    indices: Mapping[str, frozenset[str]]


def api_key(secret: str) -> str:
    """An API key as Elasticsearch gives it out: id and secret."""
    return base64.b64encode(f"key-id:{secret}".encode()).decode()


def basic(user: str, password: str) -> str:
    """What the header of a user's requests says."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# Method, path without its query, scope, privileges (any one of them is enough); from the reference of the APIs.
CLUSTER, INDEX = "cluster", "index"
NEEDED = [
    ("GET", r"/_cluster/health", CLUSTER, ("monitor",)),
    ("GET", r"/_nodes", CLUSTER, ("monitor",)),
    ("GET|PUT", r"/_index_template/[^/]+", CLUSTER, ("manage_index_templates",)),
    ("POST", r"/_pit|/_search", "", ()),  # of a point in time: its index was checked when it was opened
    ("DELETE", r"/_pit", "", ()),
    ("POST|PUT", r"/_bulk", INDEX, ("write",)),
    ("POST", r"/(?P<index>[^/_][^/]*)/(_search|_count|_pit)", INDEX, ("read",)),
    ("GET", r"/(?P<index>[^/_][^/]*)/_doc/[^/]+", INDEX, ("read",)),
    ("PUT|POST", r"/(?P<index>[^/_][^/]*)/_doc/[^/]+", INDEX, ("write",)),
    ("HEAD", r"(/(?P<index>[^/_][^/]*))?/_alias/(?P<alias>[^/]+)", INDEX, ("view_index_metadata", "manage")),
    ("GET", r"/(?P<index>[^/_][^/]*)/_mapping", INDEX, ("view_index_metadata", "manage")),
    ("PUT", r"/(?P<index>[^/_][^/]*)/_mapping", INDEX, ("manage",)),
    ("PUT", r"/(?P<index>[^/_][^/]*)/_alias/(?P<alias>[^/]+)", INDEX, ("manage",)),
    ("PUT", r"/(?P<index>[^/_][^/]*)", INDEX, ("create_index", "manage")),
]


class SecureElasticsearch:
    """The front door, in a thread of its own."""

    def __init__(self, behind: str, certificate: trustme.LeafCert, roles: Mapping[str, Rights]) -> None:
        """behind: address of the real one. roles: what a header `Authorization` may do."""
        self._behind, self._roles = behind, dict(roles)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._tls)
        self._loop = asyncio.new_event_loop()
        self._up, self._down = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), name="secure-elasticsearch")
        self.port = 0
        self.seen: set[tuple[str, str]] = set()  # scope, privilege: of what was let through

    def __enter__(self) -> SecureElasticsearch:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._down.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"https://127.0.0.1:{self.port}"

    async def _serve(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        async with aiohttp.ClientSession(auto_decompress=False) as self._client:
            self._up.set()
            await self._down.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        rights = self._roles.get(request.headers.get("Authorization", ""))
        if rights is None:
            challenge = {"WWW-Authenticate": 'Basic realm="security", charset="UTF-8"'}
            return _error(401, "unable to authenticate with provided credentials and anonymous access is not allowed for this action", challenge)
        body = await request.read()
        missing = self._missing(rights, request, body)
        if missing and request.path == "/_bulk":
            return _bulk_refused(body, missing)
        if missing:
            return _error(403, f"action is unauthorized for API key id [key-id], this action is granted by the privileges [{missing}]", {})
        headers = {name: value for name, value in request.headers.items() if name.lower() not in ("host", "authorization", "content-length")}
        async with self._client.request(request.method, self._behind + request.path_qs, data=body, headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in ("transfer-encoding", "content-length")}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    def _missing(self, rights: Rights, request: web.Request, body: bytes) -> str:
        """The privileges of which one is missing, "" if none is."""
        for methods, path, scope, privileges in NEEDED:
            found = re.fullmatch(path, request.path)
            if not found or request.method not in methods.split("|"):
                continue
            if scope == CLUSTER:
                return "" if self._granted(scope, privileges, rights.cluster) else ",".join(privileges)
            named = {value for name, value in found.groupdict().items() if value}
            if request.path == "/_bulk":
                named = {next(iter(action.values()))["_index"] for action in _actions(body)}
            elif scope == INDEX and request.method == "PUT" and request.path.count("/") == 1 and b'"aliases"' in body:
                named |= set(json.loads(body)["aliases"])
                privileges = ("manage",)  # an index is made with aliases
            for index in named if scope else ():
                has = frozenset().union(*(has for pattern, has in rights.indices.items() if fnmatch.fnmatchcase(index, pattern)))
                if not self._granted(scope, privileges, has):
                    return ",".join(privileges)
            return ""
        return "all"

    def _granted(self, scope: str, privileges: tuple[str, ...], has: frozenset[str]) -> bool:
        used = [privilege for privilege in privileges if privilege in has]
        self.seen |= {(scope, privilege) for privilege in used[:1]}
        return bool(used)


def _actions(body: bytes) -> list[dict[str, dict[str, str]]]:
    return [json.loads(line) for line in body.splitlines()[::2]]


def _error(status: int, reason: str, headers: Mapping[str, str]) -> web.Response:
    cause = {"type": "security_exception", "reason": reason}
    return web.json_response({"error": {"root_cause": [cause], **cause}, "status": status}, status=status, headers=headers)


def _bulk_refused(body: bytes, missing: str) -> web.Response:
    """Each item of a bulk request is authorized by itself."""
    error = {"type": "security_exception", "reason": f"action [indices:data/write/bulk[s]] is granted by the index privileges [{missing}]"}
    targets = [(kind, to) for action in _actions(body) for kind, to in action.items()]
    items = [{kind: {"_index": to["_index"], "_id": to["_id"], "status": 403, "error": error}} for kind, to in targets]
    return web.json_response({"took": 1, "errors": True, "items": items}, headers={"X-Elastic-Product": "Elasticsearch"})
