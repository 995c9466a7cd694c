"""A fake marketplace as a real HTTP server, with the places where tokens come from."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs

from ratemill.sinks.marketplace.http import Request

from .fake import Fake

__all__ = ["SECRET", "TOKEN", "Server"]

SECRET = "canary-4Qz"
TOKEN = "token-7f3a9"


class Server:
    """answers: statuses given instead of asking the fake, first to last; "taken" in front of a status: the fake takes it first."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake
        self.answers: list[int | tuple[str, int]] = []
        self.seen: list[Request] = []
        self.tokens_given = 0

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, said = server._answer(Request(self.command, f"http://here{self.path}", dict(self.headers.items()), body))
                self.send_response(status)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: Request) -> tuple[int, bytes]:
        with self._lock:
            if "/oauth2/v2.0/token" in request.url:
                given = parse_qs(request.body.decode())
                return self._token(given.get("client_secret") == [SECRET] and given.get("grant_type") == ["client_credentials"])
            if request.url.endswith("/computeMetadata/v1/instance/service-accounts/default/token"):
                return self._token({name.lower(): value for name, value in request.headers.items()}.get("metadata-flavor") == "Google")
            self.seen.append(request)
            planned = self.answers.pop(0) if self.answers else None
            if isinstance(planned, int):
                return planned, b"{}"
            said = self.fake.handle(request)
            return (planned[1], b"{}") if planned else (said.status, said.body)

    def _token(self, right: bool) -> tuple[int, bytes]:
        if not right:
            return 401, json.dumps({"error": "invalid_client", "error_description": SECRET}).encode()
        self.tokens_given += 1
        return 200, json.dumps({"access_token": TOKEN, "expires_in": 3_599, "token_type": "Bearer"}).encode()
