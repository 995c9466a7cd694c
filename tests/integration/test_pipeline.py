"""How the pipeline stands, as seen from outside: with its worker, without it, and without Kafka."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from harness.api import Api, post
from harness.zygote import Forked
from prometheus_client.parser import text_string_to_metric_families
from ratemill.local.stack import Stack
from ratemill.streams.config import load_config
from ratemill.streams.pipeline import health_of
from ratemill.streams.pipeline_reader import PipelineReader
from ratemill.streams.progress import Counters, Progress, encode_progress

pytestmark = pytest.mark.integration

BOOK = "currency: USD\nprices:\n  - {id: egress, sku: egress, unit: GB, model: unit, unit_price: '0.1'}\n"
KIBANA = Path(__file__).parents[2] / "docker" / "kibana" / "ratemill.ndjson"
NOW = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # of all usage: the same event sent again must be the same
LANES = {("normalize", "cloudevents"), ("rate", "events"), ("index", "rated")}


def usage(*ids: str, sku: str = "egress") -> list[dict[str, Any]]:
    event = {"specversion": "1.0", "source": "s", "type": "usage", "subject": "acme", "time": NOW}
    return [event | {"id": id, "data": {"sku": sku, "quantity": "1", "unit": "GB"}} for id in ids]


class Job:
    """An API, and a worker that can be stopped."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.name = f"pipe{uuid.uuid4().hex[:8]}"
        self.settings = {
            "RATEMILL_KAFKA__BOOTSTRAP": stack.kafka, "RATEMILL_KAFKA__TOPIC_PREFIX": f"{self.name}.", "RATEMILL_KAFKA__PARTITIONS": "2",
            "RATEMILL_ELASTICSEARCH__URL": stack.elasticsearch, "RATEMILL_ELASTICSEARCH__INDEX_PREFIX": self.name,
            "RATEMILL_RATING__COMMIT_INTERVAL_S": "0.2", "RATEMILL_WORKER__DATA_DIR": str(folder / "worker"),
        }  # fmt: skip
        self.folder, self.api = folder, Api(folder, self.settings)
        self.sender = self.api.client(self.api.token("events:write"))
        self.operator = self.api.client(self.api.token("pipeline:read"))
        self.own = self.api.client(self.api.token("pipeline:read", account="acme"))
        self.worker: Forked | None = None
        self.start_worker()
        (folder / "prices.yaml").write_text(BOOK)
        said = self.api.run("prices", "publish", "prices.yaml", "--author", "me", "--reason", "test")
        assert said.returncode == 0, said.stderr

    def start_worker(self) -> None:
        self.worker = self.api.beside("worker", self.folder / "worker.log")

    def stop_worker(self) -> None:
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0

    def send(self, *ids: str, sku: str = "egress") -> None:
        answer = post(self.sender, usage(*ids, sku=sku))
        assert answer.json()["accepted"] == len(ids), answer.text

    def health(self) -> dict[str, Any]:
        answer = self.operator.get("/v1/pipeline")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until(self, holds: Callable[[dict[str, Any]], bool], within_s: float = 90) -> dict[str, Any]:
        deadline = time.monotonic() + within_s
        while not holds(health := self.health()):
            assert time.monotonic() < deadline, health
            time.sleep(0.3)
        return health

    def close(self) -> None:
        self.stop_worker()
        for client in (self.sender, self.operator, self.own):
            client.close()
        assert self.api.stop() == 0


@pytest.fixture(scope="module")
def job(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    made = Job(stack, tmp_path_factory.mktemp("pipeline"))
    yield made
    made.close()


def settled(counted: int) -> Callable[[dict[str, Any]], bool]:
    return lambda health: bool(health["conservation"]) and health["conservation"]["counted"] == counted and health["lag_records"] == 0


def gauges(client: httpx.Client) -> dict[str, dict[tuple[str, ...], float]]:
    text = client.get("/metrics").text
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples} for family in text_string_to_metric_families(text)
    }  # fmt: skip


def test_what_is_done_does_not_lag(job: Job) -> None:
    job.send("a", "b", "c")
    job.send("c")  # once more
    job.send("d", sku="unknown")
    health = job.until(lambda health: settled(4)(health) and health["unpriced"] == 1)
    assert (health["status"], health["freshness_s"], health["lag_s"], health["notes"]) == ("ok", 0, 0, [])
    kept = health["conservation"]
    assert kept == {"balanced": True, "difference": 0, "received": 5, "counted": 4, "duplicate": 1, "dead_lettered": 0, "unbalanced": []}
    assert {(row["lane"], row["topic"].rpartition(".")[2]) for row in health["lanes"]} >= LANES
    assert sum(row["lane"] == "rate" for row in health["lanes"]) == 2
    assert health["unpriced"] == 1
    assert 0 < health["oldest_unpriced_s"] < 3_700  # its window is an hour


def test_what_waits_is_seen_without_a_worker_and_gets_older(job: Job) -> None:
    done = job.until(settled(4))
    job.stop_worker()
    sent_at = time.time()
    job.send("e", "f")
    health = job.until(lambda health: health["lag_records"] > 0)
    assert health["lag_s"] <= time.time() - sent_at + 1
    waiting = [row for row in health["lanes"] if row["lag_records"]]
    assert {row["lane"] for row in waiting} == {"normalize"}
    older = job.until(lambda later: later["lag_s"] > health["lag_s"] + 2)
    assert older["freshness_s"] == older["lag_s"] <= time.time() - sent_at + 1
    assert older["conservation"] == done["conservation"]
    told = gauges(job.operator)
    assert max(told["ratemill_lag_seconds"].values()) >= older["lag_s"]
    assert sum(told["ratemill_waiting_records"].values()) == older["lag_records"]
    assert told["ratemill_freshness_seconds"][()] >= older["freshness_s"]
    assert told["ratemill_pipeline_seen"][()] == 1
    job.start_worker()
    fresh = job.until(settled(6))
    assert (fresh["freshness_s"], fresh["status"]) == (0, "ok")


def test_dead_letters_are_counted_once_each(job: Job) -> None:
    (job.folder / "bad.ndjson").write_text('{"specversion": "1.0", "nothing": 1}\n' * 3)
    before = job.health()
    said = job.api.run("publish", "bad.ndjson")
    assert said.returncode == 0, said.stderr
    health = job.until(lambda health: health["dead_letters_last_hour"] >= before["dead_letters_last_hour"] + 3)
    assert health["dead_letters_last_hour"] == before["dead_letters_last_hour"] + 3 == health["dead_letters_last_day"]
    # The markers of a transaction reach its partitions one after the other.
    health = job.until(lambda health: health["conservation"]["dead_lettered"] == before["conservation"]["dead_lettered"] + 3)
    assert health["conservation"]["balanced"]


# -- reconciliation and the terminal -----------------------------------------------------------------------------------------


def test_the_charts_of_kibana_add_up_what_there_is(job: Job) -> None:
    job.until(settled(6))
    for line in KIBANA.read_text().splitlines():
        attributes = json.loads(line)["attributes"]
        if "visState" not in attributes:
            continue
        body = json.loads(json.loads(attributes["visState"])["params"]["spec"])["data"]["url"]["body"]
        # What Kibana puts in.
        body["query"]["bool"] |= {"must": [], "filter": [], "must_not": body["query"]["bool"]["must_not"][1:]}
        over_time = body["aggs"]["currency"]["aggs"]["by"]["aggs"]["time"]["date_histogram"]
        del over_time["interval"]
        over_time["fixed_interval"] = "1h"
        with httpx.Client(base_url=job.settings["RATEMILL_ELASTICSEARCH__URL"], trust_env=False) as client:
            answer = client.post(f"/{job.name}-line-items/_search", json=body).raise_for_status().json()
        (currency,) = answer["aggregations"]["currency"]["buckets"]
        buckets = [bucket for by in currency["by"]["buckets"] for bucket in by["time"]["buckets"]]
        billed = sum(round(bucket["e0"]["value"] * 10**9 + bucket["m9"]["value"]) for bucket in buckets)
        assert (currency["key"], billed) == ("USD", 500_000_000)  # five events of 0.1; the sixth has no price


def test_both_sides_agree_and_a_document_that_was_touched_is_found(job: Job, tmp_path: Path) -> None:
    job.until(settled(6))
    metrics = tmp_path / "reconciliation.prom"
    said = job.api.run("reconcile", "--json", "--metrics", str(metrics))
    outcome = json.loads(said.stdout)
    assert (said.returncode, outcome["differences"], outcome["behind"], outcome["rows"]) == (0, 0, 0, [])
    assert outcome["line_items"] >= 2
    told = {family.name: family.samples[0].value for family in text_string_to_metric_families(metrics.read_text())}
    assert (told["ratemill_reconciled_line_items"], told["ratemill_reconciliation_differences"]) == (outcome["line_items"], 0)

    index = httpx.Client(base_url=job.settings["RATEMILL_ELASTICSEARCH__URL"], trust_env=False)
    alias = f"{job.name}-line-items"
    found = index.post(f"/{alias}/_search", json={"query": {"term": {"SkuId": "egress"}}}).json()["hits"]["hits"][0]
    document, id = f"/{found['_index']}/_doc/{found['_id']}", found["_id"]
    newer = {"version": found["_source"]["x_Revision"], "version_type": "external_gte", "refresh": "true"}
    index.put(document, params=newer, json=found["_source"] | {"BilledCost": "99"}).raise_for_status()
    said = job.api.run("reconcile", "--json", "--metrics", str(metrics))
    (row,) = json.loads(said.stdout)["rows"]
    assert (said.returncode, row["other"], row["elasticsearch"], row["rated"], row["example"]) == (1, 1, "99", found["_source"]["BilledCost"], id)
    assert "ratemill_reconciliation_differences 1.0" in metrics.read_text()
    assert job.api.run("reconcile", "--period", "2020-01").returncode == 0  # of another month

    index.delete(document, params={"refresh": "true"}).raise_for_status()
    said = job.api.run("reconcile")
    assert said.returncode == 1
    assert "1 differ" in said.stdout
    index.close()


def test_the_terminal_shows_the_same(job: Job) -> None:
    job.until(settled(6))
    said = job.api.run("top", "--json")
    here, there = json.loads(said.stdout), job.health()
    for health in (here, there):
        for row in health["lanes"]:
            row["records_per_s"] = None
        health["oldest_unpriced_s"] = None
    assert (said.returncode, here) == (0, there)
    said = job.api.run("top", "--once")
    assert said.returncode == 0
    assert "ok  freshness 0.0 s  waiting 0" in said.stdout


def test_a_key_of_an_account_learns_how_fresh_its_costs_are_and_no_more(job: Job) -> None:
    assert job.own.get("/v1/pipeline").json().keys() == {"status", "freshness_s"}
    with job.api.client(job.api.token("costs:read")) as other:
        assert other.get("/v1/pipeline").status_code == 403


def test_one_look_serves_all_who_ask_at_once(job: Job) -> None:
    asked = time.monotonic()
    answers = [job.operator.get("/v1/pipeline").text for _ in range(20)]
    assert len(set(answers)) <= time.monotonic() - asked + 2  # at most one a second


# -- what only a look at Kafka itself can show -------------------------------------------------------------------------------


async def _look_beside_an_open_transaction(settings: dict[str, str]) -> tuple[Any, Any, Any]:
    config = load_config(environment=settings)
    topic = f"{config.kafka.topic_prefix}usage.events"
    reader = PipelineReader(config)
    producer = AIOKafkaProducer(bootstrap_servers=config.kafka.bootstrap, transactional_id=f"{config.kafka.group_id}-hangs")
    try:
        before = health_of(await reader.look(), None)
        await producer.start()
        await producer.begin_transaction()
        await (await producer.send(topic, b"x", partition=0, timestamp_ms=time.time_ns() // 1_000_000 - 60_000))
        hidden = health_of(await reader.look(), None)
        await producer.abort_transaction()
        after = health_of(await reader.look(), None)
    finally:
        await producer.stop()
        await reader.close()
    return before, hidden, after


def test_what_a_hanging_transaction_hides_is_not_fresh(job: Job) -> None:
    job.until(settled(6))
    before, hidden, after = asyncio.run(_look_beside_an_open_transaction(job.settings))
    assert (before.freshness_s, after.freshness_s) == (0, 0)
    assert (hidden.lag_records, hidden.status) == (0, "behind")  # no lane lags: none of them can see it
    assert 60 <= hidden.freshness_s < 90


async def _unbalance(settings: dict[str, str]) -> None:
    config = load_config(environment=settings)
    async with AIOKafkaProducer(bootstrap_servers=config.kafka.bootstrap) as producer:
        lost = Progress("rate-7", 1, sources={"t": Counters(received=5, counted=2, duplicates=1)})
        await producer.send_and_wait(f"{config.kafka.topic_prefix}ratemill.state.progress", encode_progress(lost), b"rate-7", partition=0)


def test_a_lane_that_lost_events_is_named(job: Job) -> None:
    """Negative control: last, for it stays."""
    asyncio.run(_unbalance(job.settings))
    health = job.until(lambda health: not health["conservation"]["balanced"], 20)
    assert (health["conservation"]["difference"], health["conservation"]["unbalanced"]) == (2, ["rate-7 from t"])
    assert gauges(job.operator)["ratemill_conservation_difference_events"][()] == 2


def test_without_kafka_and_elasticsearch_it_says_so(tmp_path: Path) -> None:
    api = Api(tmp_path, {"RATEMILL_KAFKA__BOOTSTRAP": "127.0.0.1:1", "RATEMILL_ELASTICSEARCH__URL": "http://127.0.0.1:1"})
    try:
        with api.client(api.token("pipeline:read")) as client:
            health = client.get("/v1/pipeline").json()
            assert (health["status"], health["freshness_s"], health["lag_records"], health["unpriced"]) == ("stale", None, None, None)
            assert [note.split()[0] for note in health["notes"]] == ["Kafka", "Elasticsearch"]
            assert "127.0.0.1" not in json.dumps(health)
            told = gauges(client)
            assert told["ratemill_pipeline_seen"][()] == 0
            assert told["ratemill_freshness_seconds"] == {}
    finally:
        assert api.stop() == 0
