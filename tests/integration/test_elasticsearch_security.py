"""Elasticsearch behind TLS and log-ins: who is right writes and reads, everybody else is told why not, and rating goes on meanwhile."""

from __future__ import annotations

import asyncio
import http.client
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from harness.commands import Commands
from harness.documented import elasticsearch_rights
from harness.jobs import ACCOUNTS, do_a_job, write_job
from harness.secure_elasticsearch import Rights, SecureElasticsearch, api_key, basic
from harness.secure_kafka import expired_certificate
from ratemill.local.stack import Stack
from ratemill.schemas.errors import AccessDenied
from ratemill.sinks.elasticsearch import ElasticsearchSink, check, connect
from ratemill.sinks.metrics import CountingMetrics
from ratemill.sinks.periods import ClosedPeriods, write_closed

pytestmark = pytest.mark.integration

KEY, BOTH_KEY, WRONG, PASSWORD = "canary-key-1f09", "canary-both-2a77", "canary-wrong-3d1e", "canary-password-88c2"


class Door:
    """A front door, and who has a key."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.name = f"es{uuid.uuid4().hex[:8]}"
        self.worker, self.reader = (elasticsearch_rights(role, self.name) for role in ("worker", "reader"))

    @contextmanager
    def open(self, certificate: trustme.LeafCert | None = None, worker: Rights | None = None) -> Iterator[SecureElasticsearch]:
        """A worker has a key, a reader the password, and an operator a key with the rights of both."""
        worker = worker or self.worker
        both = {pattern: worker.indices[pattern] | self.reader.indices[pattern] for pattern in worker.indices}
        roles = {f"ApiKey {api_key(KEY)}": worker, basic("reader", PASSWORD): self.reader}
        roles[f"ApiKey {api_key(BOTH_KEY)}"] = Rights(worker.cluster | self.reader.cluster, both)
        with SecureElasticsearch(self.stack.elasticsearch, certificate or self.authority.issue_cert("127.0.0.1"), roles) as door:
            yield door

    def commands(self, url: str, **changes: str) -> Commands:
        settings = {
            "KAFKA__BOOTSTRAP": self.stack.kafka, "KAFKA__TOPIC_PREFIX": f"{self.name}.", "KAFKA__PARTITIONS": "2", "ELASTICSEARCH__URL": url,
            "ELASTICSEARCH__API_KEY": api_key(KEY), "ELASTICSEARCH__CA_FILE": self.ca_file, "ELASTICSEARCH__INDEX_PREFIX": self.name,
            "RATING__COMMIT_INTERVAL_S": "0.2",
        }  # fmt: skip
        write_job(self.folder)
        return Commands(self.folder, {**settings, **changes}, [KEY, WRONG, PASSWORD, api_key(KEY), api_key(WRONG)])


@pytest.fixture
def door(stack: Stack, tmp_path: Path) -> Door:
    return Door(stack, tmp_path)


READER: dict[str, str | None] = {"ELASTICSEARCH__API_KEY": None, "ELASTICSEARCH__USERNAME": "reader", "ELASTICSEARCH__PASSWORD": PASSWORD}
BOTH: dict[str, str | None] = {"ELASTICSEARCH__API_KEY": api_key(BOTH_KEY)}


def test_an_api_key_writes_and_a_user_reads(door: Door) -> None:
    with door.open() as es:
        c = door.commands(es.url)
        with c.worker() as worker:
            do_a_job(c, worker, **READER)
            said = c.run("costs", "--by", "account", "--json", **READER)
            assert len(json.loads(said.out)["rows"]) == ACCOUNTS
            assert c.run("invoice", "acct-1", json.loads(said.out)["periods"][0]["period"], **READER).status == 0
            doctor = c.run("doctor", **BOTH)
            assert "0 problems" in doctor.out, doctor
        assert c.run("costs").status == 1  # who writes may not read
        assert "403" in c.run("costs").err
        with c.worker(name="reader", **READER) as worker:  # who reads may not write
            worker.wait_for("HTTP 403 security_exception")
            assert "give the key or the user the privileges that docs/security.md lists" in worker.text


def test_with_a_wrong_key_rating_goes_on_and_the_line_items_wait(door: Door) -> None:
    with door.open() as es:
        c = door.commands(es.url)
        with c.worker(ELASTICSEARCH__API_KEY=api_key(WRONG)) as worker:
            worker.wait_for('"elasticsearch_tried_again"')
            assert c.run("prices", "publish", "prices.yaml", "--author", "me", "--reason", "test").status == 0
            assert c.run("publish", "usage.ndjson").status == 0
            worker.wait_for("HTTP 401 security_exception: unable to authenticate")
            assert "check elasticsearch.api_key" in worker.text
            wait_until_rated(c)
            assert json.loads(c.run("costs", "--by", "account", "--json", **READER).out)["rows"] == []
        assert worker.process.returncode == 0
        with c.worker():
            assert len(c.costs(ACCOUNTS, **READER)) == ACCOUNTS


def wait_until_rated(c: Commands) -> None:
    """Until doctor sees all of it counted."""
    for _ in range(20):
        if f"{ACCOUNTS} received = {ACCOUNTS} counted" in (said := c.run("doctor")).out:
            return
    pytest.fail(f"not rated: {said}")


CASES = {
    "wrong key": (lambda ca: ca.issue_cert("127.0.0.1"), {"ELASTICSEARCH__API_KEY": api_key(WRONG)}, "HTTP 401 security_exception"),
    "no key": (lambda ca: ca.issue_cert("127.0.0.1"), {"ELASTICSEARCH__API_KEY": None}, "HTTP 401 security_exception"),
    "wrong password": (
        lambda ca: ca.issue_cert("127.0.0.1"),
        {"ELASTICSEARCH__API_KEY": None, "ELASTICSEARCH__USERNAME": "reader", "ELASTICSEARCH__PASSWORD": WRONG}, "HTTP 401 security_exception",
    ),
    "unknown authority": (lambda ca: trustme.CA().issue_cert("127.0.0.1"), {}, "from no authority that is trusted here"),
    "authorities of the system": (lambda ca: ca.issue_cert("127.0.0.1"), {"ELASTICSEARCH__CA_FILE": None}, "from no authority that is trusted here"),
    "wrong host name": (lambda ca: ca.issue_cert("es.example"), {}, "its certificate is for another host"),
    "expired certificate": (lambda ca: expired_certificate(ca, "127.0.0.1"), {}, "its certificate has expired"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_who_is_wrong_is_told_why(door: Door, case: str) -> None:
    certificate, changes, text = CASES[case]
    with door.open(certificate(door.authority)) as es:
        c = door.commands(es.url)
        doctor = c.run("doctor", **changes)
        found = [line for line in doctor.out.splitlines() if line.startswith("problem")]
        assert (doctor.status, len(found), doctor.err) == (1, 1, "")
        assert text in found[0]
        assert " -> " in found[0]
        assert "rating goes on without it" in found[0]
        said = c.run("costs", **changes)
        assert (said.status, said.out, len(said.err.splitlines())) == (1, "", 1)
        assert text in said.err
        with c.worker(**changes) as worker:
            worker.wait_for(text)
            assert worker.process.poll() is None
        assert worker.process.returncode == 0
        assert "Traceback" not in worker.text
        assert not es.seen  # nothing was let through


def test_https_to_a_plain_port_and_http_to_a_tls_port(door: Door) -> None:
    plain = door.stack.elasticsearch.replace("http://", "https://")
    said = door.commands(plain).run("costs")
    assert said.status == 1
    assert "is elasticsearch.url the address of a TLS port?" in said.err
    with door.open() as es:
        said = door.commands(es.url.replace("https://", "http://"), ELASTICSEARCH__CA_FILE="").run("costs")
    assert said.status == 1
    assert len(said.err.splitlines()) == 1


WORKER_NEEDS = ["monitor", "manage_index_templates", "manage", "write"]


async def everything_a_worker_does(url: str, door: Door) -> list[str]:
    """What Elasticsearch said to it: one kind of trouble each."""
    metrics = CountingMetrics()

    async def once(_: float) -> None:
        raise TimeoutError

    access = {"api_key": api_key(KEY), "ca_file": door.ca_file}
    sink = ElasticsearchSink(url, prefix=door.name, metrics=metrics, sleep=once, **access)
    client = connect(url, **access)
    trouble = []
    for step in (sink.start, lambda: check(client), lambda: sink._create("2026.01"), lambda: sink._create("2026.01"), lambda: bulk(sink)):
        try:
            await step()
        except (TimeoutError, AccessDenied) as error:
            trouble.append(f"{type(error).__name__}: {metrics.last_detail or error}")
        except Exception as error:
            trouble.append(repr(error))
    try:
        await write_closed(client, door.name, ClosedPeriods("2026-01", "2026-02-01T00:00:00Z"), 24_313)
    except Exception as error:
        trouble.append(repr(error))
    await sink.close()
    await client.close()
    return trouble


async def bulk(sink: ElasticsearchSink) -> None:
    """One empty document through the door; what the index says of it does not matter, but that it may say something does."""
    body = json.dumps({"index": {"_index": sink.names.write_alias("2026.01"), "_id": "x"}}).encode() + b"\n{}\n"
    answer = await sink.client.bulk(operations=body, require_alias=True)
    (item,) = answer["items"]
    if item["index"].get("status") == 403:
        raise AccessDenied(str(item))


def test_a_worker_has_trouble_without_any_one_of_its_privileges_and_none_with_all(door: Door) -> None:
    assert sorted(WORKER_NEEDS) == sorted([*door.worker.cluster, *next(iter(door.worker.indices.values()))])
    for missing in WORKER_NEEDS:
        less = Rights(door.worker.cluster - {missing}, {pattern: has - {missing} for pattern, has in door.worker.indices.items()})
        with door.open(worker=less) as es:
            trouble = asyncio.run(everything_a_worker_does(es.url, door))
        assert trouble, missing
        assert any("403" in each for each in trouble), (missing, trouble)
        remove(door)
    with door.open() as es:
        assert asyncio.run(everything_a_worker_does(es.url, door)) == []
    remove(door)


def remove(door: Door) -> None:
    """Indexes of one round."""
    for path in (f"{door.name}-line-items-2026.01", f"{door.name}-periods", f"_index_template/{door.name}-line-items"):
        connection = http.client.HTTPConnection(door.stack.elasticsearch.removeprefix("http://"), timeout=10)
        connection.request("DELETE", f"/{path}")
        assert connection.getresponse().status in (200, 404)
        connection.close()
