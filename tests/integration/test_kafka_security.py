"""A Kafka with TLS and passwords: who is right gets in and has a whole job done; everybody else is told in one line why not."""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import trustme
from aiokafka import AIOKafkaConsumer, TopicPartition
from harness.commands import Commands, Worker
from harness.jobs import ACCOUNTS, do_a_job, usage, write_job
from harness.secure_kafka import SecureKafka
from ratemill.collectors.sdk import KafkaTarget, Publisher
from ratemill.collectors.sdk import usage as collected
from ratemill.local.ports import free_ports
from ratemill.local.stack import Stack
from ratemill.streams.config import KafkaConfig
from ratemill.streams.reach import client_settings

pytestmark = pytest.mark.integration

PASSWORD, WRONG, ROTATED = "canary-right-4c1e/=", "canary-wrong-77a0", "canary-rotated-90fd"
Make = Callable[..., Commands]


@pytest.fixture
def commands(stack: Stack, secure_kafka: SecureKafka, tmp_path: Path) -> Make:
    """Commands that log in as root, by a password, through the listener SECURE."""
    secure_kafka.set_password("root", PASSWORD)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    name = f"sec{uuid.uuid4().hex[:8]}"

    def make(**changes: str) -> Commands:
        settings = {
            "KAFKA__BOOTSTRAP": secure_kafka.address("SECURE"), "KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA__USERNAME": "root", "KAFKA__PASSWORD_FILE": str(tmp_path / "password"), "KAFKA__CA_FILE": str(secure_kafka.ca_file),
            "KAFKA__TOPIC_PREFIX": f"{name}.", "KAFKA__PARTITIONS": "2", "ELASTICSEARCH__URL": stack.elasticsearch,
            "ELASTICSEARCH__INDEX_PREFIX": name, "RATING__COMMIT_INTERVAL_S": "0.2",
        }  # fmt: skip
        write_job(tmp_path)
        return Commands(tmp_path, {**settings, **changes}, [PASSWORD, WRONG, ROTATED])

    return make


def line_items(kafka: KafkaConfig) -> int:
    """How many line items can be read from usage.rated."""

    async def read() -> int:
        consumer = AIOKafkaConsumer(**client_settings(kafka), isolation_level="read_committed", auto_offset_reset="earliest")
        await consumer.start()
        try:
            tps = [TopicPartition(f"{kafka.topic_prefix}usage.rated", n) for n in range(kafka.partitions)]
            consumer.assign(tps)
            ends, found = await consumer.end_offsets(tps), set[bytes]()
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found |= {record.key for record in records if record.key}
            return len(found)
        finally:
            await consumer.stop()

    return asyncio.run(read())


def sockets(worker: Worker) -> tuple[set[int], set[int]]:
    """Ports that a worker listens on, and those that it is connected to."""
    found = worker.running.net_connections(kind="inet")
    return {c.laddr.port for c in found if c.status == psutil.CONN_LISTEN}, {c.raddr.port for c in found if c.raddr}


def test_the_right_password_over_tls_gets_a_whole_job_done(commands: Make, secure_kafka: SecureKafka, stack: Stack) -> None:
    metrics_port = free_ports(1)[0]
    c = commands(WORKER__METRICS_PORT=str(metrics_port))
    with c.worker() as worker:
        do_a_job(c, worker)
        doctor = c.run("doctor")
        assert "0 problems" in doctor.out, doctor
        # Nothing speaks to anything but these two, and nothing of Faust's listens.
        listening, connected = sockets(worker)
        assert listening == {metrics_port}
        assert connected <= {secure_kafka.ports["SECURE"], int(stack.elasticsearch.rpartition(":")[2])}
        assert secure_kafka.ports["SECURE"] in connected
    assert worker.process.returncode == 0, worker.text[-2000:]
    assert line_items(settings(c)) == ACCOUNTS


def settings(c: Commands) -> KafkaConfig:
    """The same settings, for clients of the test itself."""
    given = {name.removeprefix("KAFKA__").lower(): value for name, value in c.settings.items() if name.startswith("KAFKA__")}
    if path := given.pop("password_file", ""):
        given["password"] = Path(path).read_text().strip()
    return KafkaConfig.model_validate(given)


def test_a_client_certificate_gets_a_whole_job_done(commands: Make, secure_kafka: SecureKafka) -> None:
    certificate = str(secure_kafka.client_certificate("root"))
    both = {"KAFKA__CERT_FILE": certificate, "KAFKA__KEY_FILE": certificate}
    c = commands(KAFKA__BOOTSTRAP=secure_kafka.address("MTLS"), KAFKA__SECURITY_PROTOCOL="SSL", **both)
    for name in ("SASL_MECHANISM", "USERNAME", "PASSWORD_FILE"):
        del c.settings[f"KAFKA__{name}"]
    with c.worker() as worker:
        do_a_job(c, worker)
    assert worker.process.returncode == 0, worker.text[-2000:]


def test_a_collector_publishes_over_tls_and_is_told_when_its_password_is_wrong(commands: Make, secure_kafka: SecureKafka, tmp_path: Path) -> None:
    """By the same settings as the worker's; what waits while the password is wrong is delivered with the right one."""
    c = commands()
    assert c.run("publish", "usage.ndjson").status == 0  # makes the topics
    topic = f"{c.settings['KAFKA__TOPIC_PREFIX']}usage.raw.cloudevents"
    login = KafkaTarget(
        secure_kafka.address("SECURE"), topic, security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", username="root", password=WRONG,
        ca_file=str(secure_kafka.ca_file),
    )  # fmt: skip
    event = collected(account="acme", source="sdk", id="1", time="2026-11-27T10:00:00Z", sku="k", quantity=1, unit="u")
    with Publisher(login, tmp_path / "spool", linger_s=0) as publisher:
        publisher.put(event)
        assert not publisher.flush(3)
        deadline = time.monotonic() + 30
        while not publisher.metrics().failure and time.monotonic() < deadline:
            time.sleep(0.05)
        said = publisher.metrics().failure
        publisher.close(0)
    assert said.startswith(f"Kafka at {login.bootstrap}, topic {topic}: ")
    assert WRONG not in f"{said}{login!r}"
    with Publisher(replace(login, password=PASSWORD), tmp_path / "spool") as publisher:
        assert publisher.flush(60), publisher.metrics()


NO_LOGIN = {"KAFKA__SASL_MECHANISM": None, "KAFKA__USERNAME": None, "KAFKA__PASSWORD_FILE": None}
REFUSALS: dict[str, tuple[str, Mapping[str, str | None], str]] = {
    "wrong password": ("SECURE", {"KAFKA__PASSWORD": WRONG, "KAFKA__PASSWORD_FILE": None}, "it refuses user root (SCRAM-SHA-512); check"),
    "wrong user": ("SECURE", {"KAFKA__USERNAME": "nobody"}, "it refuses user nobody (SCRAM-SHA-512); check kafka.username and kafka.password"),
    "other mechanism": ("SECURE", {"KAFKA__SASL_MECHANISM": "SCRAM-SHA-256"}, "it does not take SCRAM-SHA-256; set kafka.sasl_mechanism"),
    "unknown authority": ("SECURE", {"KAFKA__CA_FILE": "stranger.pem"}, "from no authority that is trusted here; set kafka.ca_file"),
    "authorities of the system": ("SECURE", {"KAFKA__CA_FILE": None}, "from no authority that is trusted here; set kafka.ca_file"),
    "expired certificate": ("EXPIRED", {}, "its certificate has expired, or is not valid yet; renew it there"),
    "wrong host name": ("ELSEWHERE", {}, "its certificate is for another host; use a name that is in the certificate"),
    "no client certificate": ("MTLS", {"KAFKA__SECURITY_PROTOCOL": "SSL", **NO_LOGIN}, "it wants a client certificate; set kafka.cert_file"),
    "plaintext to a TLS port": (
        "SECURE", {"KAFKA__SECURITY_PROTOCOL": "PLAINTEXT", "KAFKA__CA_FILE": None, **NO_LOGIN}, "it speaks TLS there, and we would not; set",
    ),
    "password in the clear to a TLS port": ("SECURE", {"KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA__CA_FILE": None}, "it speaks TLS there"),
    "TLS to a plain port": ("SASL", {}, "it does not speak TLS there; set kafka.bootstrap"),
    "no log-in where one is wanted": (
        "SASL", {"KAFKA__SECURITY_PROTOCOL": "PLAINTEXT", "KAFKA__CA_FILE": None, **NO_LOGIN}, "it closes the connection; if that listener wants",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_who_is_wrong_is_told_why_in_one_line(commands: Make, secure_kafka: SecureKafka, tmp_path: Path, case: str) -> None:
    listener, changes, text = REFUSALS[case]
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "stranger.pem"))
    c = commands(KAFKA__BOOTSTRAP=secure_kafka.address(listener))
    where = f"Kafka at {secure_kafka.address(listener)}: "
    said = c.run("publish", "usage.ndjson", within_s=40, **changes)
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith(f"error: {where}")
    assert text in said.err
    assert len(said.err.splitlines()) == 1
    doctor = c.run("doctor", within_s=60, **changes)
    found = [line for line in doctor.out.splitlines() if line.startswith("problem")]
    assert (doctor.status, len(found), doctor.err) == (1, 1, "")
    assert text.replace("; ", " -> ") in found[0]
    with c.worker(**changes) as worker:
        said = worker.ended(within_s=40)
    assert said.status == 1
    assert text in said.last
    assert "Traceback" not in said.err


FAUST_SENDS = """
from ratemill.streams import app, config, worker
made = app.RatemillWorker._faust_app
def faust_app(self):
    found = made(self)
    found.boot_strategy.enable_kafka_producer = True
    return found
app.RatemillWorker._faust_app = faust_app
worker.run_worker(config.load_config())
"""


def test_what_faust_would_send_itself_gets_no_connection(commands: Make) -> None:
    """Negative control: with its own producer, Faust connects without our log-in, and the worker does not start."""
    with commands().worker(command=(sys.executable, "-c", FAUST_SENDS)) as worker:
        said = worker.ended(within_s=90)
    assert said.status != 0
    assert "Unable to bootstrap" in said.err


def test_a_password_taken_away_ends_the_worker_and_a_restart_takes_the_new_one(commands: Make, secure_kafka: SecureKafka, tmp_path: Path) -> None:
    c = commands()
    with c.worker() as worker:
        do_a_job(c, worker)
        secure_kafka.set_password("root", ROTATED)
        said = worker.ended(within_s=60)
    assert said.status == 1
    assert "it refuses user root (SCRAM-SHA-512); check kafka.username and kafka.password" in said.last
    assert "Traceback" not in said.err
    (tmp_path / "password").write_text(ROTATED)
    (tmp_path / "usage.ndjson").write_text(usage("acct-later", "later"))
    with c.worker():
        assert c.run("publish", "usage.ndjson").status == 0
        assert len(c.costs(ACCOUNTS + 1)) == ACCOUNTS + 1
