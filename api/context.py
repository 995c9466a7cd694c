"""Around every request: its id, how long it took, and headers that every answer has."""

from __future__ import annotations

import re
import time
import uuid

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["RequestContext"]

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ALWAYS = ((b"x-content-type-options", b"nosniff"),)
_DEFAULTS = ((b"cache-control", b"no-store"),)  # unless an answer says otherwise: the files of the page are nobody's secret


class RequestContext:
    """Outermost: also answers to errors that nobody expected have the id by which the log tells more."""

    def __init__(self, app: ASGIApp, requests: Counter, seconds: Histogram) -> None:
        self.app, self._requests, self._seconds = app, requests, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex.encode()
        scope["request_id"] = request_id.decode()
        status, began = "none", time.monotonic()

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                said = [*message.get("headers", ())]
                names = {name for name, _ in said}
                message["headers"] = [*said, (b"x-request-id", request_id), *_ALWAYS, *(one for one in _DEFAULTS if one[0] not in names)]
            await send(message)

        try:
            await self.app(scope, receive, named)
        finally:
            # The pattern of the route, never the path: that is the caller's to choose.
            route = getattr(scope.get("route"), "path", "other")
            self._requests.labels(route, status).inc()
            self._seconds.labels(route).observe(time.monotonic() - began)
