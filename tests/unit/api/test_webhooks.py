"""Webhooks: signed as the specification has it, and sent to public addresses only, within bounds, whatever a receiver does."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from harness.receiver import Receiver
from prometheus_client.metrics import MetricWrapperBase
from ratemill.api.alerting import webhooks
from ratemill.api.alerting.signing import new_id, new_secret, signed_headers
from ratemill.api.alerting.webhooks import RETRY_S, Answer, Sender, is_public, next_try
from ratemill.api.watcher import WatchMetrics

PAGE = Path(__file__).parents[3] / "docs" / "alerts.md"

# Published beside the specification, and in the documentation of the service that it began with.
VECTORS = [
    ("whsec_plJ3nmyCDGBKInavdOK15jsl", "msg_loFOjxBNrRLzqYUf", 1731705121, b'{"event_type":"ping","data":{"success":true}}',
     "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="),
    ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}',
     "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
]  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def sent(url: str, keys: list[str], timeout_s: float = 5, allow_private: bool = True, now: int | None = None) -> Answer:
    async def send() -> Answer:
        async with Sender(timeout_s, allow_private) as sender:
            return await sender.send(url, "msg_1", '{"a": "ü"}', keys, int(time.time()) if now is None else now)

    return asyncio.run(send())


@pytest.mark.parametrize(("secret", "id", "timestamp", "body", "signature"), VECTORS)
def test_signatures_are_those_that_are_published(secret: str, id: str, timestamp: int, body: bytes, signature: str) -> None:
    found = signed_headers(id, timestamp, body, [secret])
    assert found == {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def verifier() -> Callable[..., bool]:
    """What docs/alerts.md tells receivers to do."""
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert source.count("\n") <= 12
    scope: dict[str, Any] = {}
    exec(source, scope)
    found: Callable[..., bool] = scope["is_ours"]
    return found


def test_the_ten_lines_of_the_documentation_verify_what_is_sent() -> None:
    is_ours, now, secret, other, body = verifier(), int(time.time()), new_secret(), new_secret(), b'{"type": "ratemill.alert"}'
    headers = signed_headers(new_id(), now, body, [secret])
    assert is_ours(secret, headers, body)
    assert is_ours(secret, signed_headers("msg_1", now, body, [other, secret]), body)  # while the secret is changed
    assert not is_ours(other, headers, body)
    assert not is_ours(secret, headers, body + b" ")
    assert not is_ours(secret, {**headers, "webhook-id": "msg_2"}, body)
    assert not is_ours(secret, signed_headers("msg_1", now - 301, body, [secret]), body)
    assert not is_ours(secret, {**headers, "webhook-timestamp": str(now + 1)}, body)


def test_ids_and_secrets_are_random() -> None:
    assert len({new_id() for _ in range(100)}) == len({new_secret() for _ in range(100)}) == 100
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", new_secret())
    assert len(new_id()) <= 40


def test_what_a_receiver_may_answer(receiver: Receiver) -> None:
    secret = new_secret()
    receiver.secrets["/a"] = [secret]
    receiver.plans["/a"] = [200, 204, 302, 410, 500, 1.0]
    url = f"{receiver.url}/a"
    assert sent(url, [secret]) == Answer(200)
    assert sent(url, [secret]) == Answer(204)
    assert sent(url, [secret]) == Answer(302, "answered 302")
    assert sent(url, [secret]).gone
    assert sent(url, [secret]) == Answer(500, "answered 500")
    assert sent(url, [secret], timeout_s=0.3) == Answer(0, "no answer within 0.3 s")
    assert {each.path for each in receiver.got} == {"/a"}  # no redirect is followed
    assert not receiver.refused
    assert sent(url, [new_secret()]).status == 401  # the receiver does look


def test_a_receiver_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert sent(f"http://127.0.0.1:{free.getsockname()[1]}/", [new_secret()]) == Answer(0, "no connection, or it was closed before an answer")


def test_an_answer_without_an_end_is_not_waited_for() -> None:
    """Its headers drip, or never end."""
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
                flooded.append(65_536)
        except OSError:
            writer.close()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.05)
        except OSError:
            writer.close()

    async def both() -> list[Answer]:
        found = []
        for answer in (flood, drip):
            async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, Sender(1, allow_private=True) as sender:
                port = server.sockets[0].getsockname()[1]
                found.append(await sender.send(f"http://127.0.0.1:{port}/", "m", "{}", [new_secret()], 0))
        return found

    flooded: list[int] = []
    first, second = asyncio.run(both())
    assert first == Answer(200)
    assert sum(flooded) < 64 << 20
    assert second.status == 0


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255",
        "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::1", "::127.0.0.1", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)
    assert ipaddress.ip_address(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "127.1", "0x7f.1", "[::ffff:127.0.0.1]", "inside.example"])
def test_nothing_is_sent_to_an_address_of_our_own(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a name leads to: what is looked at is the address that would be connected to."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.settimeout(0.05)
        real = socket.getaddrinfo

        def lookup(name: Any, *arguments: Any, **options: Any) -> Any:
            return real("127.0.0.1" if name == "inside.example" else name, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        found = sent(f"https://{host}:{port}/", [new_secret()], allow_private=False, timeout_s=2)
        assert found.error == "the address is not a public one" or host in ("2130706433", "127.1", "0x7f.1")  # forms that no client has to take
        assert found.error
        with pytest.raises(TimeoutError):
            listening.accept()


def test_without_the_guard_a_connection_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of the test above."""
    monkeypatch.setattr(webhooks, "is_public", lambda _: True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        sent(f"https://127.0.0.1:{listening.getsockname()[1]}/", [new_secret()], allow_private=False, timeout_s=1)
        listening.accept()[0].close()


def test_a_url_that_is_not_allowed_any_more_is_not_tried() -> None:
    assert sent("http://example.com/", [new_secret()], allow_private=False) == Answer(0, "the url is not allowed any more; change the rule")


def test_tries_go_on_for_a_day_and_no_two_rules_in_step() -> None:
    waits = [next_try(attempts) for attempts in range(1, len(RETRY_S) + 1)]
    assert all(wait is not None and least <= wait <= least * 1.2 for wait, least in zip(waits, RETRY_S, strict=True))
    assert 0.9 * 86_400 < sum(RETRY_S) < 1.1 * 86_400
    assert all(one < two for one, two in pairwise(RETRY_S))
    assert next_try(len(RETRY_S) + 1) is None
    assert len({next_try(5) for _ in range(20)}) > 10


def test_every_metric_of_the_watcher_is_documented() -> None:
    named = set(re.findall(r"`(ratemill_\w+)", PAGE.read_text(encoding="utf-8")))
    suffix = {"counter": "_total"}
    metrics = [value for value in vars(WatchMetrics()).values() if isinstance(value, MetricWrapperBase)]
    assert named == {metric._name + suffix.get(metric._type, "") for metric in metrics}


def test_no_secret_is_in_the_log(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    secret = new_secret()
    with caplog.at_level(logging.DEBUG):
        sent(f"{receiver.url}/canary-path", [secret])
    assert secret[6:] not in caplog.text
