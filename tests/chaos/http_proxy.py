"""An HTTP proxy before Elasticsearch that answers as an overloaded or half-broken cluster does.

The embedded Elasticsearch cannot be brought to these by load that is bounded; the answers are those of its documentation: 429
`es_rejected_execution_exception` for a whole request, the same for single items of a bulk request that was taken in part, and
no answer at all to a request that was carried out.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import aiohttp
from aiohttp import web

__all__ = ["MODES", "ElasticsearchProxy"]

MODES = ("pass", "429", "partial", "drop-answers")
_HOST = "127.0.0.1"
_REJECTED = {"type": "es_rejected_execution_exception", "reason": "rejected execution of coordinating operation"}
_HOP = {"transfer-encoding", "content-length", "content-encoding", "connection", "host"}


class ElasticsearchProxy:
    """Forwards requests; `treat` changes how bulk requests fare. `hits` counts what was done, and refusals of the server by a block."""

    def __init__(self, target: str, seed: int) -> None:
        self.hits: Counter[str] = Counter()
        self.url = ""
        self._target = target
        self._mode = "pass"
        self._random = random.Random(f"elasticsearch {seed}")
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Listen on a free port; `url` says where."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._session = aiohttp.ClientSession(auto_decompress=True, timeout=aiohttp.ClientTimeout(total=120))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, _HOST, 0)
        await site.start()
        self.url = f"http://{_HOST}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def treat(self, mode: str) -> None:
        """From now on treat bulk requests like this."""
        if mode not in MODES:
            raise ValueError(f"no mode {mode!r}; there are {', '.join(MODES)}")
        self._mode = mode

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        mode = self._mode if request.path.endswith("_bulk") else "pass"
        if mode == "429":
            self.hits["429"] += 1
            error = {"error": {"root_cause": [_REJECTED], **_REJECTED}, "status": 429}
            return web.json_response(error, status=429, headers={"X-Elastic-Product": "Elasticsearch"})
        body, refused = self._cut(body) if mode == "partial" else (body, {})
        if refused and not body:
            status, headers, answer = 200, {"X-Elastic-Product": "Elasticsearch"}, b'{"errors": true, "items": []}'
        else:
            status, headers, answer = await self._forward(request, body)
        if b"cluster_block_exception" in answer:
            self.hits["blocked"] += 1
        if mode == "drop-answers":
            self.hits["drop-answers"] += 1
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if refused and status == 200:
            told: dict[str, Any] = json.loads(answer)
            for at, id in refused.items():  # ascending, so that each insertion ends at its own place
                told["items"].insert(at, {"index": {"_id": id, "status": 429, "error": _REJECTED}})
            answer = json.dumps(told).encode()
            headers.setdefault("Content-Type", request.headers.get("Accept", "application/json"))
        return web.Response(status=status, headers=headers, body=answer)

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        assert self._session is not None
        sent = {name: value for name, value in request.headers.items() if name.lower() not in _HOP - {"content-encoding"}}
        try:
            async with self._session.request(request.method, f"{self._target}{request.path_qs}", data=body, headers=sent) as response:
                kept = {name: value for name, value in response.headers.items() if name.lower() not in _HOP}
                return response.status, kept, await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            # The server is away: the client must see that as it would without us.
            if request.transport is not None:
                request.transport.abort()
            return 502, {}, b""

    def _cut(self, body: bytes) -> tuple[bytes, dict[int, str]]:
        """A bulk body without a third of its operations; their positions and ids. Bodies are NDJSON of action and document."""
        lines = body.rstrip(b"\n").split(b"\n")
        kept: list[bytes] = []
        refused: dict[int, str] = {}
        for at in range(0, len(lines), 2):
            if self._random.random() < 1 / 3:
                refused[at // 2] = json.loads(lines[at])["index"]["_id"]
            else:
                kept += lines[at : at + 2]
        self.hits["partial"] += len(refused)
        return b"".join(line + b"\n" for line in kept), refused
