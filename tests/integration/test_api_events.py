"""`POST /v1/events` of a real `ratemill api` on a real Kafka: what it acknowledges counts, once; whoever may not, cannot."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cramjam
import httpx
import jwt
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from cryptography.hazmat.primitives.asymmetric import rsa
from harness.api import Api, post
from jwt.algorithms import RSAAlgorithm
from ratemill.local.stack import Stack
from ratemill.schemas.decoders.registry import decode
from ratemill.schemas.usage_event import UsageEvent

pytestmark = pytest.mark.integration

PARTITIONS = 2


def settings_of(stack: Stack, name: str) -> dict[str, str]:
    return {
        "RATEMILL_KAFKA__BOOTSTRAP": stack.kafka, "RATEMILL_KAFKA__TOPIC_PREFIX": f"{name}.", "RATEMILL_KAFKA__PARTITIONS": str(PARTITIONS),
        "RATEMILL_ELASTICSEARCH__URL": stack.elasticsearch, "RATEMILL_ELASTICSEARCH__INDEX_PREFIX": name,
    }  # fmt: skip


AUDIENCE, PUSHER = "https://usage.example.com/v1/pubsub", "pusher@project.iam.gserviceaccount.com"


@pytest.fixture(scope="module")
def google() -> Iterator[tuple[rsa.RSAPrivateKey, str]]:
    """(a key of Google's, the address where it is published)."""
    key = rsa.generate_private_key(65_537, 2_048)
    published = json.dumps({"keys": [{**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "one", "alg": "RS256"}]}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(published)))
            self.end_headers()
            self.wfile.write(published)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield key, f"http://127.0.0.1:{server.server_port}/certs"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def api(stack: Stack, tmp_path_factory: pytest.TempPathFactory, google: tuple[rsa.RSAPrivateKey, str]) -> Iterator[Api]:
    pubsub = {"RATEMILL_API__PUBSUB_AUDIENCE": AUDIENCE, "RATEMILL_API__PUBSUB_EMAIL": PUSHER, "RATEMILL_API__PUBSUB_KEYS_URL": google[1]}
    running = Api(tmp_path_factory.mktemp("api"), settings_of(stack, f"api{uuid.uuid4().hex[:8]}") | pubsub)
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="module")
def writer(api: Api) -> Iterator[httpx.Client]:
    with api.client(api.token("events:write")) as client:
        yield client


def event(id: str, account: str = "acme", quantity: str = "1.5") -> dict[str, Any]:
    data = {"sku": "egress", "quantity": quantity, "unit": "GB"}
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"specversion": "1.0", "id": id, "source": "s", "type": "usage", "subject": account, "time": time, "data": data}


async def stored(api: Api) -> list[UsageEvent]:
    """Every event in the raw topic."""
    env = api.environment
    consumer = AIOKafkaConsumer(
        bootstrap_servers=env["RATEMILL_KAFKA__BOOTSTRAP"], enable_auto_commit=False, auto_offset_reset="earliest"
    )  # fmt: skip
    await consumer.start()
    found: list[UsageEvent] = []
    try:
        tps = [TopicPartition(f"{env['RATEMILL_KAFKA__TOPIC_PREFIX']}usage.raw.cloudevents", n) for n in range(PARTITIONS)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning(*tps)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(*tps, timeout_ms=200)).values():
                for record in records:
                    entries = decode(record.value, [(k, v) for k, v in record.headers], "cloudevents")
                    assert all(isinstance(e, UsageEvent) and e.account.encode() == record.key for e in entries)
                    found += entries  # type: ignore[arg-type]
    finally:
        await consumer.stop()
    return found


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem details of an answer, which must be of this kind."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    found: dict[str, Any] = answer.json()
    assert found["type"] == f"urn:ratemill:problem:{kind}"
    assert found["status"] == status
    assert found["instance"] == f"urn:ratemill:request:{answer.headers['x-request-id']}"
    assert "Traceback" not in answer.text
    return found


async def test_what_is_acknowledged_is_in_kafka(api: Api, writer: httpx.Client) -> None:
    run = uuid.uuid4().hex[:6]
    one, many = event(f"{run}-1"), [event(f"{run}-{n}") for n in range(2, 5)]
    assert post(writer, one).json() == {
        "accepted": 1, "duplicate": 0, "rejected": 0, "results": [{"pointer": "", "status": "accepted", "source": "s", "id": f"{run}-1"}],
    }  # fmt: skip
    kinds = {"content-type": "application/x-ndjson"}
    lines = "\n".join(map(json.dumps, [*many, many[0]])).encode()
    for body, headers in (
        (gzip.compress(lines), kinds | {"content-encoding": "gzip"}), (bytes(cramjam.zstd.compress(lines)), kinds | {"content-encoding": "zstd"}),
    ):  # fmt: skip
        answer = writer.post("/v1/events", content=body, headers=headers)
        assert answer.status_code == 202
        assert [answer.json()[name] for name in ("accepted", "duplicate", "rejected")] == [3, 1, 0]
    mixed = post(writer, [event(f"{run}-5"), event(f"{run}-6", quantity="NaN"), {"no": "event"}])
    assert mixed.status_code == 202
    assert [(r["pointer"], r["status"]) for r in mixed.json()["results"]] == [("/0", "accepted"), ("/1", "rejected"), ("/2", "rejected")]
    ids = sorted(e.id for e in await stored(api) if e.id.startswith(run))
    assert ids == sorted([f"{run}-1", *[f"{run}-{n}" for n in (2, 3, 4, 2, 3, 4)], f"{run}-5"])  # sent twice: there twice, and counted once


async def test_what_clouds_push_is_in_kafka_once_it_is_acknowledged(api: Api, google: tuple[rsa.RSAPrivateKey, str]) -> None:
    metric = json.loads((Path(__file__).parents[1] / "data" / "provider_events" / "aws_cloudwatch_metric_stream.json").read_text())
    metric |= {"account_id": "pushed", "timestamp": int(time.time()) * 1_000}
    delivery = {"requestId": "r-1", "timestamp": 1, "records": [{"data": base64.b64encode(json.dumps(metric).encode()).decode()}]}
    key = api.token("events:write")
    now = int(time.time())
    said = {"aud": AUDIENCE, "email": PUSHER, "email_verified": True, "iss": "https://accounts.google.com", "iat": now, "exp": now + 600}
    token = jwt.encode(said, google[0], "RS256", headers={"kid": "one"})
    usage = base64.b64encode(json.dumps({"account": "pushed", "sku": "calls", "quantity": "3", "unit": "calls"}).encode()).decode()
    message = {"message": {"messageId": "42", "publishTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "data": usage}}
    with api.client() as cloud:
        for _ in range(2):
            headers = {"x-amz-firehose-access-key": key, "x-amz-firehose-request-id": "r-1"}
            answer = cloud.post("/v1/firehose/cloudwatch", json=delivery, headers=headers)
            assert (answer.status_code, answer.json()["requestId"]) == (200, "r-1"), answer.text
            answer = cloud.post("/v1/pubsub", json=message, headers={"authorization": f"Bearer {token}"})
            assert answer.status_code == 204, answer.text
        assert cloud.post("/v1/pubsub", json=message, headers={"authorization": f"Bearer {key}"}).status_code == 401
    found = [(e.source, e.id) for e in await stored(api) if e.account == "pushed"]
    assert len(found) == 4
    assert len(set(found)) == 2, "what comes again counts once"


async def test_a_providers_own_format_is_taken(api: Api, writer: httpx.Client) -> None:
    record = json.loads((Path(__file__).parents[1] / "data" / "provider_events" / "aws_cloudwatch_metric_stream.json").read_text())
    answer = writer.post("/v1/events?format=aws-cloudwatch&backfill=old", content=json.dumps(record), headers={"content-type": "application/json"})
    assert answer.status_code == 202, answer.text
    found = [e for e in await stored(api) if e.backfill == "old"]
    assert len(found) == answer.json()["accepted"] > 0


def test_who_has_no_right_gets_nothing(api: Api) -> None:
    with api.client() as nobody:
        answer = post(nobody, event("x"))
        problem(answer, 401, "no-token")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    own = api.token("events:write", account="acme")
    for wrong in ("rm_nonsense", own[:-1] + ("A" if own[-1] != "A" else "B")):
        with api.client(wrong) as client:
            assert post(client, event("x")).status_code == 401
    with api.client(api.token("costs:read")) as reader:
        problem(post(reader, event("x")), 403, "not-allowed")
    with api.client(own) as client:
        found = problem(post(client, [event("x", account="globex")]), 422, "all-rejected")
        assert found["results"][0]["reason"] == "forbidden_account"
        assert api.run("tokens", "revoke", own.split("_")[1]).returncode == 0
        deadline = time.monotonic() + 10
        while (answer := post(client, event("y"))).status_code != 401:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.2)


async def test_what_a_token_may_not_send_is_not_in_kafka(api: Api) -> None:
    run = uuid.uuid4().hex[:6]
    with api.client(api.token("events:write", account="acme")) as client:
        assert post(client, [event(f"{run}-1", account="globex"), event(f"{run}-2")]).status_code == 202
    assert [e.id for e in await stored(api) if e.id.startswith(run)] == [f"{run}-2"]


def test_every_refusal_is_problem_details(api: Api, writer: httpx.Client) -> None:
    problem(writer.get("/v1/no-such-thing"), 404, "not-found")
    problem(writer.delete("/v1/events"), 405, "method-not-allowed")
    problem(writer.post("/v1/events", content=b"x", headers={"content-type": "text/plain"}), 415, "unknown-media-type")
    json_body = {"content-type": "application/json"}
    problem(writer.post("/v1/events", content=b"x", headers=json_body | {"content-encoding": "br"}), 415, "unknown-encoding")
    problem(writer.post("/v1/events", content=b"x", headers=json_body | {"content-encoding": "gzip"}), 400, "not-decodable")
    problem(writer.post("/v1/events", content=b"", headers=json_body), 400, "no-events")
    problem(writer.post("/v1/events", content=b"{oops", headers=json_body), 422, "all-rejected")
    problem(writer.post("/v1/events?format=morse", content=b"{}", headers=json_body), 400, "bad-request")
    problem(writer.post("/v1/events?backfill=" + "b" * 300, content=b"{}", headers=json_body), 400, "bad-request")
    problem(writer.post("/v1/events", content=bytes(9 << 20), headers=json_body), 413, "too-large")
    problem(writer.post("/v1/events", content=gzip.compress(bytes(9 << 20)), headers=json_body | {"content-encoding": "gzip"}), 413, "too-large")
    named = writer.get("/v1/no-such-thing", headers={"x-request-id": "my-own.id"})
    assert named.headers["x-request-id"] == "my-own.id"
    assert writer.get("/nothing", headers={"x-request-id": "bad id\\"}).headers["x-request-id"] != "bad id\\"


def test_health_and_metrics_need_no_key_and_tell_no_secrets(api: Api, writer: httpx.Client) -> None:
    assert post(writer, event(uuid.uuid4().hex)).status_code == 202
    with api.client() as client:
        assert client.get("/livez").text == "ok\n"
        assert client.get("/readyz").json() == {"ready": True, "parts": {"kafka": "ok", "elasticsearch": "ok", "database": "ok"}}
        metrics = client.get("/metrics").text
    assert 'ratemill_api_requests_total{route="/v1/events",status="202"}' in metrics
    assert "acme" not in metrics


def test_without_kafka_nothing_is_acknowledged(stack: Stack, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
        api = Api(tmp_path, settings_of(stack, "nowhere") | {"RATEMILL_KAFKA__BOOTSTRAP": nowhere})
        try:
            with api.client(api.token("events:write")) as client:
                answer = post(client, event("1"))
                problem(answer, 503, "not-stored")
                assert int(answer.headers["retry-after"]) > 0
                ready = client.get("/readyz")
                assert (ready.status_code, ready.json()["parts"]["kafka"]) == (503, "does not answer")
                assert client.get("/livez").status_code == 200
        finally:
            assert api.stop() == 0


def collect(api: Api, token: str, ids: list[str], acknowledged: list[str], over: threading.Event) -> None:
    """A collector: sends in batches, and sends again until it has its answer."""
    for at in range(0, len(ids), 20):
        body = [event(id, account=f"a{at % 7}") for id in ids[at : at + 20]]
        while not over.is_set():
            try:
                with api.client(token) as client:
                    answer = post(client, body)
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if answer.status_code == 202:
                acknowledged += ids[at : at + 20]
                break
            time.sleep(0.05)


def killed_while_collectors_send(stack: Stack, folder: Path, breaks: str = "") -> tuple[Api, list[str]]:
    """Two collectors; the API is killed with -9 three times among their requests. Returns what was acknowledged to them."""
    api = Api(folder, settings_of(stack, f"kill{uuid.uuid4().hex[:8]}"), breaks)
    token, over = api.token("events:write"), threading.Event()
    acknowledged: list[list[str]] = [[], []]
    ids = [[f"{who}-{n}" for n in range(1_200)] for who in range(2)]
    collectors = [threading.Thread(target=collect, args=(api, token, ids[who], acknowledged[who], over)) for who in range(2)]
    for collector in collectors:
        collector.start()
    try:
        for kill in range(3):
            target = 200 * (kill + 1)
            deadline = time.monotonic() + 60
            while min(map(len, acknowledged)) < target:
                assert time.monotonic() < deadline, f"{list(map(len, acknowledged))} acknowledged; {api.log}"
                time.sleep(0.01)
            assert all(collector.is_alive() for collector in collectors)
            api.kill()
            api.start()
        for collector in collectors:
            collector.join(timeout=60)
        time.sleep(1)
    finally:
        over.set()
        api.stop()
    return api, [id for part in acknowledged for id in part]


async def test_killed_in_mid_request_it_loses_nothing_that_it_acknowledged(stack: Stack, tmp_path: Path) -> None:
    api, acknowledged = killed_while_collectors_send(stack, tmp_path)
    assert len(acknowledged) == 2_400
    assert {e.id for e in await stored(api)} == set(acknowledged)


async def test_one_that_answers_before_kafka_does_is_caught(stack: Stack, tmp_path: Path) -> None:
    api, acknowledged = killed_while_collectors_send(stack, tmp_path, "early")
    assert set(acknowledged) - {e.id for e in await stored(api)}
