"""What providers push: acknowledged when Kafka has it and not before, refused in the form that the provider knows, and never lost for its content.

Requests are made as the providers document them: Amazon Data Firehose, "HTTP endpoint delivery request and response specifications"; Google Cloud,
"Authentication for push subscriptions".
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from elasticsearch import AsyncElasticsearch
from prometheus_client import CollectorRegistry
from ratemill.api.alerting.store import Alerts
from ratemill.api.app import make_app
from ratemill.api.google_tokens import GoogleTokens
from ratemill.api.intake import Record
from ratemill.api.outbox import Outbox
from ratemill.api.parts import Parts
from ratemill.api.ports import Ports
from ratemill.api.problems import Problem
from ratemill.api.signed_links import Links
from ratemill.api.sources.store import Sources
from ratemill.api.tokens import Principal
from ratemill.schemas.decoders.registry import decode
from ratemill.schemas.errors import Rejection, Unavailable
from ratemill.schemas.limits import DEFAULT_LIMITS
from ratemill.schemas.usage_event import UsageEvent

EVENTS = Path(__file__).parents[2] / "data" / "provider_events"
NOW = int(time.time())
KEYS = {
    "writer": Principal("1", None, frozenset({"events:write"})), "reader": Principal("2", None, frozenset({"costs:read"})),
    "acme": Principal("3", "acme", frozenset({"events:write"})),
}  # fmt: skip
AUDIENCE, EMAIL = "https://usage.example.com/v1/pubsub", "pusher@project.iam.gserviceaccount.com"


class Kafka:
    """An outbox without a Kafka: what was sent, when it is let go on."""

    def __init__(self) -> None:
        self.sent: list[tuple[Record, list[tuple[str, bytes]]]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.down = False

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        yield lambda size: None

    async def send(self, records: Sequence[Record], headers: list[tuple[str, bytes]]) -> None:
        await self.go_on.wait()
        if self.down:
            raise Problem(503, "not-stored", "Kafka has not taken all of it", headers={"retry-after": "2"})
        self.sent += [(record, headers) for record in records]

    def entries(self) -> list[UsageEvent | Rejection]:
        """What a worker makes of it."""
        return [
            entry for record, headers in self.sent
            for entry in decode(record.value, headers, dict(headers).get("ratemill-format", b"cloudevents").decode())
        ]  # fmt: skip

    def events(self) -> list[UsageEvent]:
        return [entry for entry in self.entries() if isinstance(entry, UsageEvent)]


class Google:
    """Signs tokens, publishes the keys, and can be out of reach."""

    def __init__(self) -> None:
        self.keys = {kid: rsa.generate_private_key(65_537, 2_048) for kid in ("one", "two", "stranger")}
        self.published = ["one"]
        self.down = False
        self.asked = 0
        self.clock = 0.0

    async def read(self) -> dict[str, Any]:
        self.asked += 1
        if self.down:
            raise Unavailable("the keys of Google")
        algorithm = jwt.algorithms.RSAAlgorithm
        return {"keys": [{**algorithm.to_jwk(self.keys[kid].public_key(), as_dict=True), "kid": kid, "alg": "RS256"} for kid in self.published]}

    def token(self, kid: str = "one", key: str = "", algorithm: str = "RS256", **claims: Any) -> str:
        said = {
            "aud": AUDIENCE, "email": EMAIL, "email_verified": True, "iss": "https://accounts.google.com", "iat": NOW, "exp": NOW + 3_600, "sub": "1",
        } | claims  # fmt: skip
        secret: Any = "a secret of thirty-two characters." if algorithm == "HS256" else self.keys[key or kid]
        return jwt.encode({name: claim for name, claim in said.items() if claim is not None}, secret, algorithm, headers={"kid": kid})


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture(scope="module")
def google() -> Google:
    return Google()


@pytest.fixture
async def client(kafka: Kafka, google: Google) -> AsyncIterator[httpx.AsyncClient]:
    google.published, google.down, google.asked = ["one"], False, 0

    async def verify(text: str) -> Principal | None:
        return KEYS.get(text)

    async def nothing() -> Any:
        return None

    parts = Parts(
        outbox=cast(Outbox, kafka), elasticsearch=cast(AsyncElasticsearch, None), index_prefix="x", verify=verify, check_database=nothing,
        limits=DEFAULT_LIMITS, max_body_bytes=1 << 16, max_events=500, now_ns=time.time_ns, pipeline=nothing, registry=CollectorRegistry(),
        links=cast(Links, None), public_url="", frame_ancestors="'none'", ports=cast(Ports, None), alerts=cast(Alerts, None),
        sources=cast(Sources, None), google=GoogleTokens(AUDIENCE, EMAIL, google.read, lambda: google.clock),
    )  # fmt: skip
    transport = httpx.ASGITransport(make_app(parts), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://ratemill.test") as made:
        made.google = parts.google  # type: ignore[attr-defined]
        yield made


# -- Firehose ------------------------------------------------------------------------------------------------------------


def metric(account: str = "acme", name: str = "NetworkOut", **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EVENTS / "aws_cloudwatch_metric_stream.json").read_text())
    return found | {"account_id": account, "metric_name": name, "timestamp": NOW * 1_000} | more


def delivery(*records: list[Any], request_id: str = "ed4acda5") -> dict[str, Any]:
    lines = [b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in record) for record in records]
    return {"requestId": request_id, "timestamp": NOW * 1_000, "records": [{"data": base64.b64encode(line).decode()} for line in lines]}


def headers(key: str = "writer", **more: str) -> dict[str, str]:
    return {
        "x-amz-firehose-protocol-version": "1.0", "x-amz-firehose-request-id": "ed4acda5", "content-type": "application/json",
        "x-amz-firehose-source-arn": "arn:aws:firehose:us-east-1:1:deliverystream/all", "x-amz-firehose-access-key": key, **more,
    }  # fmt: skip


async def push(client: httpx.AsyncClient, body: Any, **how: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post("/v1/firehose/cloudwatch", content=content, headers=headers(**how))


async def test_firehose_is_answered_when_kafka_has_it_and_not_before(client: httpx.AsyncClient, kafka: Kafka) -> None:
    kafka.go_on.clear()
    body = delivery([metric(), metric(name="NetworkIn")], [metric("globex")])
    asked = asyncio.create_task(push(client, gzip.compress(json.dumps(body).encode()), **{"content-encoding": "gzip"}))
    done, _ = await asyncio.wait([asked], timeout=0.2)
    assert not done
    kafka.go_on.set()
    answer = await asked
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["requestId"] == "ed4acda5"
    assert isinstance(answer.json()["timestamp"], int)
    assert "errorMessage" not in answer.json()
    assert sorted((e.account, e.sku) for e in kafka.events()) == [
        ("acme", "AWS/EC2/NetworkIn"), ("acme", "AWS/EC2/NetworkOut"), ("globex", "AWS/EC2/NetworkOut"),
    ]  # fmt: skip
    assert all(record.key is not None and record.key.decode() in ("acme", "globex") for record, _ in kafka.sent)


async def test_a_delivery_that_comes_again_has_the_same_ids(client: httpx.AsyncClient, kafka: Kafka) -> None:
    body = delivery([metric(), metric(name="NetworkIn")])
    for _ in range(2):
        assert (await push(client, body)).status_code == 200
    assert len(kafka.events()) == 4
    assert len({(e.account, e.source, e.id) for e in kafka.events()}) == 2
    assert (await push(client, delivery([metric(timestamp=NOW * 1_000 - 60_000)]))).status_code == 200
    assert len({(e.account, e.source, e.id) for e in kafka.events()}) == 3, "another minute is another event"


async def test_metrics_that_cannot_be_counted_go_on_as_they_came(client: httpx.AsyncClient, kafka: Kafka) -> None:
    old = metric(timestamp=(NOW - 80 * 86_400) * 1_000)
    answer = await push(client, delivery([metric(), b'{"cut of', metric(value={"count": 1})], [old, metric(unit="")]))
    assert answer.status_code == 200, "sending it again would mend nothing"
    rejected = [entry.reason for entry in kafka.entries() if isinstance(entry, Rejection)]
    assert len(kafka.events()) == 2
    assert any(e.time < (NOW - 70 * 86_400) * 10**9 for e in kafka.events()), "workers say by their clock that it is too old"
    assert len(rejected) == 3


FORMS: dict[str, tuple[int, Any, dict[str, str]]] = {
    "no key": (401, delivery([metric()]), {"key": ""}),
    "an unknown key": (401, delivery([metric()]), {"key": "rm_unknown"}),
    "a key that may not write": (403, delivery([metric()]), {"key": "reader"}),
    "a key of another account": (403, delivery([metric(), metric("globex")]), {"key": "acme"}),
    "no JSON": (400, b"{", {}),
    "no delivery": (400, b"[]", {}),
    "a record without data": (400, {"requestId": "ed4acda5", "timestamp": 1, "records": [{}]}, {}),
    "no base64": (400, {"requestId": "ed4acda5", "timestamp": 1, "records": [{"data": "%%%"}]}, {}),
    "another id in the body": (400, delivery([metric()], request_id="other"), {}),
    "too large": (413, delivery([b"x" * 70_000]), {}),
    "too many": (413, delivery([metric()] + [b"{}"] * 600), {}),
    "an unknown encoding": (415, delivery([metric()]), {"content-encoding": "br"}),
    "no gzip": (400, delivery([metric()]), {"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("form", FORMS)
async def test_what_firehose_must_not_send_is_refused_in_its_form(client: httpx.AsyncClient, kafka: Kafka, form: str) -> None:
    status, body, how = FORMS[form]
    answer = await push(client, body, **how)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    assert answer.json()["requestId"] == "ed4acda5"
    assert 0 < len(answer.json()["errorMessage"]) <= 8_192
    assert kafka.sent == []


async def test_firehose_is_told_when_kafka_is_away_and_when_there_is_nothing(client: httpx.AsyncClient, kafka: Kafka) -> None:
    assert (await push(client, delivery())).status_code == 200, "a delivery without records is a success"
    kafka.down = True
    answer = await push(client, delivery([metric()]))
    assert (answer.status_code, answer.json()["requestId"]) == (503, "ed4acda5")
    assert "Kafka" in answer.json()["errorMessage"]


# -- Pub/Sub -------------------------------------------------------------------------------------------------------------


def message(data: Any, **more: Any) -> dict[str, Any]:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW))
    return {"message": {"data": base64.b64encode(raw).decode(), "messageId": "42", "publishTime": stamp, **more}, "subscription": "s"}


CALLS = {"account": "acme", "sku": "api.calls", "quantity": "3", "unit": "calls"}


async def pushed(client: httpx.AsyncClient, token: str, body: Any, scheme: str = "Bearer") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body, indent=2).encode()
    return await client.post("/v1/pubsub", content=content, headers={"authorization": f"{scheme} {token}"})


async def test_pubsub_is_acknowledged_when_kafka_has_it(client: httpx.AsyncClient, kafka: Kafka, google: Google) -> None:
    for _ in range(2):
        answer = await pushed(client, google.token(), message(CALLS))
        assert (answer.status_code, answer.content) == (204, b"")
    assert [(e.account, e.id, e.source) for e in kafka.events()] == [("acme", "42", "gcp:pubsub")] * 2
    assert google.asked == 1, "the keys are kept"
    kafka.down = True
    assert (await pushed(client, google.token(), message(CALLS))).status_code == 503


async def test_a_message_that_is_no_usage_is_acknowledged_and_goes_on_as_it_came(client: httpx.AsyncClient, kafka: Kafka, google: Google) -> None:
    for number, data in enumerate((b"hello", {**CALLS, "quantity": "much"}, [CALLS, {"no": "usage"}])):
        assert (await pushed(client, google.token(), message(data, messageId=str(number)))).status_code == 204
    assert sum(isinstance(entry, Rejection) for entry in kafka.entries()) == 3
    assert (await pushed(client, google.token(), b"no envelope")).status_code == 400


BAD: dict[str, Callable[[Google], str]] = {
    "no token at all": lambda google: "",
    "no JWT": lambda google: "rm_writer",
    "for another audience": lambda google: google.token(aud="https://other.example.com"),
    "of another account": lambda google: google.token(email="else@project.iam.gserviceaccount.com"),
    "of an account that is not verified": lambda google: google.token(email_verified=False),
    "without an account": lambda google: google.token(email=None),
    "of another issuer": lambda google: google.token(iss="https://accounts.example.com"),
    "expired": lambda google: google.token(exp=NOW - 120),
    "without an end": lambda google: google.token(exp=None),
    "signed by a stranger": lambda google: google.token(key="stranger"),
    "with a key that Google does not have": lambda google: google.token("stranger"),
    "signed with a shared secret": lambda google: google.token(algorithm="HS256"),
    "not signed": lambda google: ".".join([*jwt.encode({"aud": AUDIENCE}, None, "none", headers={"kid": "one"}).split(".")[:2], ""]),
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_token_that_is_not_googles_for_us_is_refused(client: httpx.AsyncClient, kafka: Kafka, google: Google, bad: str) -> None:
    answer = await pushed(client, BAD[bad](google), message(CALLS))
    assert answer.status_code == 401, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert kafka.sent == []


async def test_keys_that_are_none_are_no_reason_to_call_a_token_invalid(client: httpx.AsyncClient, google: Google, monkeypatch: Any) -> None:
    for said in ({}, {"keys": []}, [], {"keys": [{"kty": "none"}]}):

        async def read(said: Any = said) -> Any:
            return said

        monkeypatch.setattr(client.google, "_read", read)  # type: ignore[attr-defined]
        answer = await pushed(client, google.token(), message(CALLS))
        assert answer.status_code == 503, answer.text


async def test_new_keys_are_found_and_strangers_do_not_make_us_ask(client: httpx.AsyncClient, google: Google) -> None:
    google.down = True
    assert (await pushed(client, google.token(), message(CALLS))).status_code == 503, "nobody can say whose it is: it is sent again"
    google.down = False
    assert (await pushed(client, google.token(), message(CALLS))).status_code == 204
    google.published = ["one", "two"]
    assert (await pushed(client, google.token("two"), message(CALLS))).status_code == 401
    asked = google.asked
    google.clock += 31
    assert (await pushed(client, google.token("two"), message(CALLS))).status_code == 204
    for _ in range(5):
        assert (await pushed(client, google.token("stranger"), message(CALLS))).status_code == 401
    assert google.asked == asked + 1
