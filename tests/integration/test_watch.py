"""The watcher on a real Kafka and Elasticsearch: from usage over HTTP to a signed webhook, and to a table of hours; and its rules over HTTP."""

from __future__ import annotations

import json
import re
import signal
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from harness.api import Api, post
from harness.receiver import Receiver
from harness.zygote import Forked
from ratemill.local.ports import free_ports
from ratemill.local.stack import Stack

pytestmark = pytest.mark.integration

BOOK = "currency: USD\nprices:\n  - {id: egress, sku: egress, unit: GB, model: unit, unit_price: '0.1'}\n"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")


class Job:
    """A worker, an API, a watcher, and a receiver."""

    def __init__(self, stack: Stack, folder: Path, receiver: Receiver) -> None:
        name = f"watch{uuid.uuid4().hex[:8]}"
        self.folder, self.receiver, self.port = folder, receiver, free_ports(1)[0]
        self.api = Api(folder, {
            "RATEMILL_KAFKA__BOOTSTRAP": stack.kafka, "RATEMILL_KAFKA__TOPIC_PREFIX": f"{name}.", "RATEMILL_KAFKA__PARTITIONS": "2",
            "RATEMILL_ELASTICSEARCH__URL": stack.elasticsearch, "RATEMILL_ELASTICSEARCH__INDEX_PREFIX": name,
            "RATEMILL_RATING__COMMIT_INTERVAL_S": "0.2", "RATEMILL_WORKER__DATA_DIR": str(folder / "worker"),
            "RATEMILL_API__ALLOW_PRIVATE_WEBHOOKS": "true", "RATEMILL_WATCH__INTERVAL_S": "0.5", "RATEMILL_WATCH__METRICS_PORT": str(self.port),
            "RATEMILL_WATCH__EXPECTED_SOURCES": "collector-9",
        })  # fmt: skip
        self.processes = [self.start("worker"), self.start("watch")]
        (folder / "prices.yaml").write_text(BOOK)
        said = self.api.run("prices", "publish", "prices.yaml", "--author", "me", "--reason", "test")
        assert said.returncode == 0, said.stderr
        scopes = ("events:write", "alerts:read", "alerts:write")
        self.own, self.operator = self.api.client(self.api.token(*scopes, account="acme")), self.api.client(self.api.token("admin"))

    def start(self, command: str) -> Forked:
        return self.api.beside(command, self.folder / f"{command}.log", RATEMILL_WORKER__LOG_LEVEL="debug" if command == "watch" else "info")

    def use(self, quantity: str, source: str = "collector-7") -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {"specversion": "1.0", "id": uuid.uuid4().hex, "source": source, "type": "usage", "subject": "acme", "time": now,
                 "data": {"sku": "egress", "quantity": quantity, "unit": "GB"}}  # fmt: skip
        assert post(self.own, [event]).status_code == 202

    def alert(self, path: str, **more: Any) -> dict[str, Any]:
        """Make a rule; the receiver knows its secret from then on."""
        body = {"name": path, "what": "cost", "currency": "USD", "thresholds": ["1", "2"], "url": self.receiver.url + path, **more}
        answer = self.own.post("/v1/alerts", json=body)
        assert answer.status_code == 201, answer.text
        self.receiver.secrets[path] = [answer.json()["secret"]]
        found: dict[str, Any] = answer.json()
        return found

    def rule(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.own.get(f"/v1/alerts/{id}").json()
        return found

    def until(self, what: Callable[[], Any], within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < deadline, (self.receiver.got, (self.folder / "watch.log").read_text()[-3_000:])
            time.sleep(0.2)

    @property
    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def close(self) -> None:
        self.own.close()
        self.operator.close()
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in self.processes] == [0, 0]
        assert self.api.stop() == 0


@pytest.fixture(scope="module")
def job(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with Receiver() as receiver:
        made = Job(stack, tmp_path_factory.mktemp("watch"), receiver)
        yield made
        made.close()


def test_usage_fires_an_alert_that_a_receiver_verifies(job: Job) -> None:
    cost = job.alert("/cost", thresholds=["50%", "100%"], budget="2")
    usage = job.alert("/usage", what="usage", currency="", sku="egress", unit="GB", thresholds=["10.5"])
    job.receiver.plans["/cost"] = [503]
    job.use("9.999999999999999999")
    job.use("0.000000000000000001")  # 10 GB for 1 USD, to the last digit
    job.until(lambda: job.rule(cost["id"])["deliveries"] and job.rule(cost["id"])["deliveries"][0]["status"] == "delivered")
    first, second = job.receiver.of("/cost")  # refused once
    data = first.body["data"]
    assert (data["value"], data["threshold"], data["amount"], data["budget"], data["status"]) == ("1", "50%", "1", "2", "estimate")
    assert (data["account"], data["name"], data["rule"], first.body["type"]) == ("acme", "/cost", cost["id"], "ratemill.alert")
    assert (first.id, first.body) == (second.id, second.body)
    (delivery,) = job.rule(cost["id"])["deliveries"]
    assert (delivery["id"], delivery["attempts"], delivery["last_error"], delivery["due_at"]) == (first.id, 2, "", None)
    assert job.receiver.of("/usage") == []
    job.use("0.5")
    job.until(lambda: job.receiver.of("/usage"))
    (got,) = job.receiver.of("/usage")
    assert (got.body["data"]["value"], got.body["data"]["sku"], got.body["data"]["unit"]) == ("10.5", "egress", "GB")
    assert usage["revision"] == 1
    assert not job.receiver.refused


def test_while_a_secret_is_changed_both_sign_and_a_changed_rule_fires_again(job: Job) -> None:
    made = job.alert("/rotated", thresholds=["0.5"])
    job.until(lambda: job.receiver.of("/rotated"))
    rotated = job.own.post(f"/v1/alerts/{made['id']}/secret").json()["secret"]
    assert SECRET.fullmatch(rotated)
    job.receiver.secrets["/rotated"] = [rotated, made["secret"]]
    body = {"name": "changed", "what": "cost", "currency": "USD", "thresholds": ["0.6"], "url": job.receiver.url + "/rotated"}
    changed = job.own.put(f"/v1/alerts/{made['id']}", json=body)
    assert (changed.status_code, changed.json()["revision"]) == (200, 2)
    assert "secret" not in changed.json()
    job.until(lambda: len(job.receiver.of("/rotated")) == 2)
    assert [each.signed_by for each in job.receiver.of("/rotated")] == [(made["secret"],), (rotated, made["secret"])]


def test_a_receiver_that_is_gone_is_left_alone(job: Job) -> None:
    made = job.alert("/gone", thresholds=["0.1", "0.2", "0.3"])
    job.receiver.plans["/gone"] = [410] * 9
    job.until(lambda: job.rule(made["id"])["disabled_at"])
    assert {each["status"] for each in job.rule(made["id"])["deliveries"]} == {"disabled"}


def test_what_the_terminal_says(job: Job) -> None:
    made = job.alert("/terminal", thresholds=["1000000"])
    said = job.api.run("alerts", "test", made["id"])
    assert (said.returncode, said.stdout) == (0, "the receiver answered 200\n")
    (got,) = job.receiver.of("/terminal")
    assert got.body["type"] == "ratemill.alert.test"
    job.receiver.plans["/terminal"] = [500]
    said = job.api.run("alerts", "test", made["id"])
    assert (said.returncode, "answered 500" in said.stderr) == (1, True)
    assert job.rule(made["id"])["deliveries"] == []
    listed = json.loads(job.api.run("alerts", "list", "--json").stdout)["alerts"]
    assert made["id"] in {rule["id"] for rule in listed}
    assert made["id"] in job.api.run("alerts", "list", "--account", "acme").stdout
    assert "no alert rules" in job.api.run("alerts", "list", "--account", "globex").stdout
    shown = job.api.run("alerts", "show", made["id"])
    assert (shown.returncode, "nothing has fired" in shown.stdout) == (0, True)
    assert job.api.run("alerts", "show", "nosuch").returncode == 2


def test_rules_over_http(job: Job) -> None:
    good = {"name": "a", "what": "cost", "currency": "USD", "thresholds": ["1000000"], "url": "https://example.com/"}
    for change, status in (
        ({"account": "globex"}, 403), ({"account": "acme"}, 201), ({}, 409), ({"thresholds": ["0"]}, 400), ({"thresholds": [1]}, 400),
        ({"what": "colour"}, 400), ({"url": "ftp://example.com"}, 400), ({"colour": "red"}, 400), ({"name": "\0"}, 400),
        ({"name": "x" * 70_000}, 413),
    ):  # fmt: skip
        answer = job.own.post("/v1/alerts", json={**good, **change})
        assert answer.status_code == status, (change, answer.text)
    assert job.own.post("/v1/alerts", content=b"{", headers={"content-type": "application/json"}).status_code == 400
    assert job.own.post("/v1/alerts", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert job.operator.post("/v1/alerts", json=good).status_code == 400  # whose?
    other = job.operator.post("/v1/alerts", json={**good, "account": "globex"}).json()["id"]
    for answer in (
        job.own.get(f"/v1/alerts/{other}"), job.own.put(f"/v1/alerts/{other}", json=good), job.own.delete(f"/v1/alerts/{other}"),
        job.own.post(f"/v1/alerts/{other}/secret"),
    ):  # fmt: skip
        assert answer.status_code == 404
    page = job.own.get("/v1/alerts", params={"limit": 2}).json()
    rest = job.own.get("/v1/alerts", params={"cursor": page["next"]}).json()
    assert rest["next"] is None
    found = [rule["id"] for rule in page["alerts"] + rest["alerts"]]
    assert found == sorted(set(found))
    assert other not in found
    assert not SECRET.search(job.own.get("/v1/alerts").text + job.own.get(f"/v1/alerts/{found[0]}").text)
    assert job.operator.delete(f"/v1/alerts/{other}").status_code == 204
    assert job.operator.get(f"/v1/alerts/{other}").status_code == 404
    refused = job.own.patch(f"/v1/alerts/{found[0]}"), job.own.get(f"/v1/alerts/{found[0]}/secret")
    assert [(answer.status_code, answer.headers["allow"]) for answer in refused] == [(405, "DELETE, GET, PUT"), (405, "POST")]
    with job.api.client(job.api.token("alerts:read", account="acme")) as reader:
        assert reader.post("/v1/alerts", json=good).status_code == 403


def test_sources_hour_by_hour(job: Job) -> None:
    def rows(**parameters: str) -> dict[str, list[dict[str, Any]]]:
        answer = job.operator.get("/v1/completeness", params=parameters)
        assert answer.status_code == 200, answer.text
        return {row["source"]: row["hours"] for row in answer.json()["sources"]}

    began = datetime.now(UTC)
    job.use("0.001", source="collector-7")
    job.use("0.001", source="collector-7")
    job.use("0.001", source="collector-8")
    assert job.own.post("/v1/heartbeats", json={"source": "idle"}).status_code == 204
    wanted = {"collector-7", "collector-8", "collector-9", "idle"}
    job.until(lambda: wanted <= (found := rows()).keys() and found["collector-8"][-1]["state"] == "ok")
    found = rows()
    assert found["collector-7"][-1]["events"] > 1 or began.minute == 0
    assert (found["idle"][-1]["state"], found["idle"][-1]["events"], found["idle"][-1]["heartbeats"]) == ("pending", 0, 1)
    assert [each["state"] for each in found["collector-9"]][:20] == ["silent"] * 20
    assert len(found["collector-9"]) in (24, 25)
    assert rows(source="idle").keys() == {"idle"}
    said = job.api.run("completeness", "--json")
    assert {row["source"] for row in json.loads(said.stdout)["sources"]} == found.keys()
    assert "collector-8" in job.api.run("completeness").stdout
    assert job.own.get("/v1/completeness").status_code == 403  # names of sources are not for accounts
    assert job.operator.get("/v1/completeness", params={"from": "2020-01-01T00:00:00Z"}).status_code == 400
    gauges = ('ratemill_source_silent{source="collector-9"} 1.0', 'ratemill_source_silent{source="collector-8"} 0.0')
    job.until(lambda: all(gauge in metrics for metrics in (job.metrics,) for gauge in gauges))
    assert "ratemill_watch_works 1.0" in job.metrics


def test_a_watcher_that_starts_again_counts_nothing_twice(job: Job) -> None:
    def counted() -> int:
        (row,) = (row for row in job.operator.get("/v1/completeness", params={"source": "once"}).json()["sources"])
        return sum(each["events"] for each in row["hours"])

    def known() -> bool:
        return bool(job.operator.get("/v1/completeness", params={"source": "once"}).json()["sources"])

    job.use("0.001", source="once")
    job.until(known)
    job.processes[1].send_signal(signal.SIGTERM)
    assert job.processes[1].wait(60) == 0
    job.use("0.001", source="once")
    job.processes[1] = job.start("watch")
    job.until(lambda: counted() == 2)
    through = job.operator.get("/v1/completeness").json()["counted_through"]
    job.until(lambda: job.operator.get("/v1/completeness").json()["counted_through"] > through)
    assert counted() == 2


def test_no_secret_was_printed(job: Job) -> None:
    """The watcher logs at level debug; the receiver has all secrets."""
    said = "".join(path.read_text(errors="replace") for path in job.folder.glob("*.log")) + job.metrics
    assert "selector" in said
    secrets = [secret for its in job.receiver.secrets.values() for secret in its]
    assert len(secrets) > 3
    assert "alert_not_delivered" in said
    for secret in secrets:
        assert secret[6:] not in said
