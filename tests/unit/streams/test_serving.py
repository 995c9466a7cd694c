"""What a process tells over HTTP about itself, over real sockets."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge
from ratemill.local.ports import free_ports
from ratemill.schemas.errors import BadConfig
from ratemill.streams.serving import serve


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("some_value", "Any.", registry=made).set(7)
    return made


def test_readiness_follows_the_process_and_metrics_are_there_all_the_time() -> None:
    (port,) = free_ports(1)
    waits = ["not restored yet: rate-3"]
    serve("worker", "127.0.0.1", port, registry(), lambda: waits[0])
    assert ask(port, "/readyz") == (503, "not restored yet: rate-3\n")
    assert "some_value 7.0" in ask(port, "/metrics")[1]
    waits[0] = ""
    assert ask(port, "/readyz") == (200, "ready\n")


def test_who_says_nothing_about_readiness_has_metrics_only() -> None:
    (port,) = free_ports(1)
    serve("watch", "127.0.0.1", port, registry())
    assert "some_value 7.0" in ask(port, "/metrics")[1]


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadConfig) as refused:
            serve("worker", "127.0.0.1", port, registry())
    (text,) = str(refused.value).splitlines()
    assert f"worker.metrics_port = {port} on 127.0.0.1: " in text
    assert "in use" in text
