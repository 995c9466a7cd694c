"""Delivery over HTTP, to a server that answers as it is told to; tests/integration/test_collector.py does it with the real API."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ratemill.collectors.sdk import BadInput, HttpTarget
from ratemill.collectors.sdk.http_target import HttpSender
from ratemill.collectors.sdk.spool import Row
from ratemill.schemas.errors import Unavailable


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]
    lines: list[str]


class Server:
    """answer: (status, body, headers) for a request."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer: Callable[[Asked], tuple[int, Any, dict[str, str]]] = lambda asked: accepted(asked)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                packed = self.headers.get("content-encoding") == "gzip"
                asked = Asked(self.path, dict(self.headers), (gzip.decompress(body) if packed else body).decode().split("\n"))
                outer.asked.append(asked)
                status, said, headers = outer.answer(asked)
                text = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in {"content-type": "application/json", "content-length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def accepted(asked: Asked, *rejected: str) -> tuple[int, Any, dict[str, str]]:
    told = {"status": "rejected", "reason": "bad_time", "detail": "why"}
    results = [{"pointer": f"/{n}", **(told if line in rejected else {"status": "accepted"})} for n, line in enumerate(asked.lines)]
    return (422 if len(rejected) == len(asked.lines) else 202), {"results": results}, {}


def problem(status: int, kind: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    said = {"type": f"urn:ratemill:problem:{kind}", "detail": "what to do"}
    return status, said, {"content-type": "application/problem+json", **{name.replace("_", "-"): value for name, value in headers.items()}}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def sender(server: Server) -> Iterator[HttpSender]:
    made = HttpTarget(server.url, key="canary-key", body_bytes=200, request_timeout_s=10).connect()
    yield made
    made.close()


def rows(*bodies: str, backfill: str = "") -> list[Row]:
    return [Row(n, f"a{n}", backfill, body.count("\n") + 1, body.encode()) for n, body in enumerate(bodies, 1)]


def test_rows_of_several_accounts_share_a_request(server: Server, sender: HttpSender) -> None:
    sent = rows("1\n2", "3")
    assert sender.deliver(sent) == (sent, [], "", 0)
    (asked,) = server.asked
    assert (asked.path, asked.lines) == ("/v1/events", ["1", "2", "3"])
    assert {n.lower(): v for n, v in asked.headers.items()} | {
        "authorization": "Bearer canary-key", "content-type": "application/x-ndjson", "content-encoding": "gzip",
    } == {n.lower(): v for n, v in asked.headers.items()}  # fmt: skip


def test_requests_are_bounded_and_backfills_go_apart(server: Server, sender: HttpSender) -> None:
    sent = [*rows("x" * 150, "y" * 150, "z"), *rows("old", backfill="one off")]
    assert len(sender.deliver(sent).done) == 4
    assert [(asked.path, len(asked.lines)) for asked in server.asked] == [("/v1/events", 1), ("/v1/events", 2), ("/v1/events?backfill=one%20off", 1)]


def test_an_event_that_is_refused_is_told_by_itself(server: Server, sender: HttpSender) -> None:
    server.answer = lambda asked: accepted(asked, "2")
    sent = rows("1\n2", "3")
    outcome = sender.deliver(sent)
    assert (outcome.done, outcome.failure) == (sent, "")
    assert [(each.account, each.reason, each.detail, each.body) for each in outcome.refused] == [("a1", "bad_time", "why", b"2")]


def test_when_all_are_refused_all_are_told(server: Server, sender: HttpSender) -> None:
    server.answer = lambda asked: accepted(asked, "1", "2")
    outcome = sender.deliver(rows("1\n2"))
    assert ([each.body for each in outcome.refused], len(outcome.done)) == ([b"1", b"2"], 1)


@pytest.mark.parametrize(("answer", "wait_s"), [
    (problem(429, "overloaded", retry_after="7"), 7), (problem(503, "not-stored", retry_after="1"), 1), (problem(401, "bad-token"), 0),
    (problem(403, "not-allowed"), 0), (problem(500, "internal"), 0), ((404, b"<html>", {"content-type": "text/html"}), 0),
    ((202, b"{", {}), 0), ((202, {"results": [{"pointer": "/7", "status": "accepted"}]}, {}), 0), ((202, {}, {}), 0),
    ((302, b"", {"location": "http://elsewhere/"}), 0), ((400, b"<html>plain HTTP to an HTTPS port", {"content-type": "text/html"}), 0),
    ((415, b"", {}), 0),
])  # fmt: skip
def test_what_may_go_over_is_tried_again(server: Server, sender: HttpSender, answer: Any, wait_s: float) -> None:
    server.answer = lambda asked: answer
    outcome = sender.deliver(rows("1\n2", "3"))
    assert (outcome.done, outcome.refused, outcome.wait_s) == ([], [], wait_s)
    assert outcome.failure.startswith(server.url)
    assert "canary" not in outcome.failure
    server.answer = accepted
    assert len(sender.deliver(rows("1\n2", "3")).done) == 2


def test_nothing_behind_a_failure_is_sent(server: Server, sender: HttpSender) -> None:
    server.answer = lambda asked: accepted(asked) if len(server.asked) == 1 else problem(503, "unavailable")
    sent = rows("x" * 150, "y" * 150, "z" * 150)
    assert sender.deliver(sent).done == sent[:1]
    assert len(server.asked) == 2


@pytest.mark.parametrize(("kind", "status"), [("too-large", 413), ("too-many-events", 413), ("not-decodable", 400)])
def test_a_request_that_is_too_much_is_halved_down_to_the_event(server: Server, sender: HttpSender, kind: str, status: int) -> None:
    server.answer = lambda asked: problem(status, kind) if "bad" in asked.lines else accepted(asked)
    sent = rows("1\n2\nbad\n4", "5", "6\n7")
    outcome = sender.deliver(sent)
    assert (sorted(row.seq for row in outcome.done), outcome.failure) == ([1, 2, 3], "")
    assert [(each.reason, each.body) for each in outcome.refused] == [(kind, b"bad")]
    taken = [line for asked in server.asked if "bad" not in asked.lines for line in asked.lines]
    assert sorted(taken) == ["1", "2", "4", "5", "6", "7"]


def test_a_half_that_fails_leaves_the_row_waiting(server: Server, sender: HttpSender) -> None:
    answers = {("1", "2"): problem(413, "too-large"), ("2",): problem(503, "unavailable")}
    server.answer = lambda asked: answers.get(tuple(asked.lines)) or accepted(asked)
    outcome = sender.deliver(rows("1\n2"))
    assert (outcome.done, outcome.refused) == ([], [])
    assert outcome.failure


def test_a_heartbeat_says_that_a_source_lives(server: Server) -> None:
    target = HttpTarget(server.url, key="canary")
    server.answer = lambda asked: (204, b"", {})
    target.heartbeat("collector-7")
    (asked,) = server.asked
    assert (asked.path, asked.lines, asked.headers["content-type"]) == ("/v1/heartbeats", ['{"source":"collector-7"}'], "application/json")
    assert asked.headers["authorization"] == "Bearer canary"
    for answer in (problem(403, "not-allowed"), (200, b"<html>", {"content-type": "text/html"}), (202, {"results": []}, {})):
        server.answer = lambda asked, answer=answer: answer  # type: ignore[misc]
        with pytest.raises(Unavailable, match="the heartbeat of collector-7 was answered") as raised:
            target.heartbeat("collector-7")
        assert "canary" not in str(raised.value)
    with pytest.raises(Unavailable, match="was not taken"):
        HttpTarget("http://127.0.0.1:9", key="canary").heartbeat("collector-7")


def test_nobody_there(sender: HttpSender, server: Server) -> None:
    server.stop()
    assert "Error" in sender.deliver(rows("1")).failure
    server.stop = lambda: None  # type: ignore[method-assign]


def test_a_key_that_is_changed_is_used_from_the_next_refusal_on(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("canary-old\n")
    sender = HttpTarget(server.url, key_file=str(file)).connect()
    server.answer = lambda asked: accepted(asked) if asked.headers["authorization"].endswith("new") else problem(401, "bad-token")
    assert sender.deliver(rows("1")).failure
    file.write_text("canary-new\n")
    assert sender.deliver(rows("1")).done
    sender.close()


@pytest.mark.parametrize(("target", "said"), [
    (HttpTarget("ftp://x:1", key="k"), "http:// or https://"), (HttpTarget("https://u:canary@x:1", key="k"), "must not hold a user name"),
    (HttpTarget("http://example.com:80", key="k"), "in the clear"), (HttpTarget("http://127.0.0.1:1"), "key"),
    (HttpTarget("http://127.0.0.1:1", key="a", key_file="b"), "key"), (HttpTarget("http://127.0.0.1:1", key_file="/nowhere"), "/nowhere"),
    (HttpTarget("https://127.0.0.1:1", key="k", ca_file="/nowhere"), "ca_file"),
])  # fmt: skip
def test_settings_that_cannot_work_are_said_at_once(target: HttpTarget, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        target.connect()
    assert "canary" not in str(caught.value)


def test_a_key_is_not_in_the_repr() -> None:
    assert "canary" not in repr(HttpTarget("http://127.0.0.1:1", key="canary-key"))
