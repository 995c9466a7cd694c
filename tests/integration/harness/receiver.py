"""A receiver of webhooks: a real HTTP server that checks signatures by itself, from the Standard Webhooks specification.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: what is signed is `id.timestamp.body`, by HMAC-SHA256 with
the key whose base64 stands behind `whsec_`; the header has one signature or several, `v1,BASE64`, with blanks between; a timestamp that is more
than five minutes off is refused.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

__all__ = ["Got", "Receiver"]

TOLERANCE_S = 300


@dataclass(frozen=True)
class Got:
    """A request whose signature was right: the answer it got, and which of the known secrets had signed."""

    path: str
    id: str
    timestamp: int
    body: dict[str, Any]
    answered: int
    signed_by: tuple[str, ...]


@dataclass
class Receiver:
    """secrets: path -> those that may sign. plans: path -> what is answered first (a status, or seconds of silence as a float), then 200."""

    secrets: dict[str, list[str]] = field(default_factory=dict)
    plans: dict[str, list[int | float]] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status = receiver._take(self.path, self.headers, self.rfile.read(int(self.headers["content-length"])))
                self.send_response(status)
                if status == 302:
                    self.send_header("location", f"{receiver.url}/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, path: str) -> list[Got]:
        """What came to one path."""
        with self._lock:
            return [each for each in self.got if each.path == path]

    def _take(self, path: str, headers: Any, body: bytes) -> int:
        id, timestamp = headers["webhook-id"], int(headers["webhook-timestamp"])
        signatures = [each.removeprefix("v1,") for each in headers["webhook-signature"].split(" ")]
        right = tuple(
            secret
            for secret in self.secrets.get(path, ())
            for wanted in [hmac.new(base64.b64decode(secret[6:]), f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()]
            if any(hmac.compare_digest(wanted, base64.b64decode(each)) for each in signatures)
        )
        if not right or abs(time.time() - timestamp) > TOLERANCE_S:
            with self._lock:
                self.refused.append(path)
            return 401
        with self._lock:
            plan = self.plans.get(path)
            step = plan.pop(0) if plan else 200
            self.got.append(Got(path, id, timestamp, json.loads(body), step if isinstance(step, int) else 0, right))
        if isinstance(step, float):
            time.sleep(step)
            return 200
        return step
