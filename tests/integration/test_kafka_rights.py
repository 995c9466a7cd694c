"""The rights in docs/security.md are those that each role needs: with exactly these a whole job is done, and without one it is refused in words."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from contextlib import aclosing
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from harness.commands import Commands
from harness.documented import kafka_rights
from harness.jobs import ACCOUNTS, LANES, usage, write_job
from harness.secure_kafka import Acl, SecureKafka
from ratemill.local.stack import Stack
from ratemill.schemas.errors import AccessDenied
from ratemill.streams.arrivals import read_arrivals
from ratemill.streams.config import Config, KafkaConfig
from ratemill.streams.hanging import abort, open_transactions
from ratemill.streams.rated_reader import read_rated
from ratemill.streams.reach import client_settings

pytestmark = pytest.mark.integration

ROLES = ("worker", "collector", "price publisher", "operator", "invoice job", "watcher", "marketplace reporter")
SECRET = "canary-of-a-role"
CLOSED = "2020-01"


class Place:
    """One Ratemill, its users, and what each may do."""

    def __init__(self, kafka: SecureKafka, stack: Stack, folder: Path) -> None:
        self.kafka, self.name = kafka, f"acl{uuid.uuid4().hex[:8]}"
        self.prefix = f"{self.name}."
        self._elasticsearch, self._folder = stack.elasticsearch, folder
        for role in ROLES:
            kafka.set_password(self.user(role), SECRET)
        (folder / "secret").write_text(SECRET)
        write_job(folder)

    def user(self, role: str) -> str:
        return f"{self.name}-{role.replace(' ', '-')}"

    def allow(self, *roles: str) -> None:
        for role in roles:
            self.kafka.allow(self.user(role), kafka_rights(role, self.prefix))

    def settings(self, role: str) -> dict[str, str]:
        return {
            "KAFKA__BOOTSTRAP": self.kafka.address("SECURE"), "KAFKA__SECURITY_PROTOCOL": "SASL_SSL", "KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA__USERNAME": self.user(role), "KAFKA__PASSWORD_FILE": str(self._folder / "secret"), "KAFKA__CA_FILE": str(self.kafka.ca_file),
            "KAFKA__TOPIC_PREFIX": self.prefix, "KAFKA__PARTITIONS": "2", "ELASTICSEARCH__URL": self._elasticsearch,
            "ELASTICSEARCH__INDEX_PREFIX": self.name, "RATING__COMMIT_INTERVAL_S": "0.2",
        }  # fmt: skip

    def commands(self, role: str) -> Commands:
        return Commands(self._folder, self.settings(role), [SECRET])


@pytest.fixture
def place(secure_kafka: SecureKafka, stack: Stack, tmp_path: Path) -> Place:
    return Place(secure_kafka, stack, tmp_path)


async def read_as_invoice_job(kafka: KafkaConfig) -> int:
    """Line items that an invoice job finds, in a consumer group of its own."""
    found: set[bytes] = set()
    topic = f"{kafka.topic_prefix}usage.rated"
    consumer = AIOKafkaConsumer(
        topic, **client_settings(kafka), group_id=f"invoice-{uuid.uuid4().hex}", isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            while len(found) < ACCOUNTS:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found |= {record.key for record in records if record.key}
        await consumer.commit()
    finally:
        await consumer.stop()
    return len(found)


def client(place: Place, role: str) -> KafkaConfig:
    """Settings of a role for a client of the test."""
    return KafkaConfig(
        bootstrap=place.kafka.address("SECURE"), security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", username=place.user(role),
        password=SECRET, ca_file=str(place.kafka.ca_file), topic_prefix=place.prefix, partitions=2,
    )  # type: ignore[arg-type]  # fmt: skip


def test_with_the_rights_in_the_documentation_a_whole_job_is_done(place: Place, tmp_path: Path) -> None:
    place.allow(*ROLES)
    worker, operator, collector, publisher = (place.commands(role) for role in ("worker", "operator", "collector", "price publisher"))
    with worker.worker() as running:
        running.wait_for('"partition_owned"', times=LANES)
        said = publisher.run("prices", "publish", "prices.yaml", "--author", "me", "--reason", "the first one")
        assert said.status == 0, said
        (tmp_path / "poison.ndjson").write_text('{"specversion": "1.0"}\n')
        for file in ("usage.ndjson", "poison.ndjson"):
            said = collector.run("publish", file)
            assert said.status == 0, said
        assert len(worker.costs(ACCOUNTS)) == ACCOUNTS
        # Everything else that somebody does through the commands, so that a right which only that needs is missed.
        (tmp_path / "dearer.yaml").write_text((tmp_path / "prices.yaml").read_text().replace("0.10", "0.20"))
        month = time.strftime("%Y-%m", time.gmtime())
        for line in (
            "prices shadow dearer.yaml --author me --reason test", "prices history", f"prices diff dearer.yaml --period {month}",
            f"close {CLOSED} --author me --reason test --yes", "control list", "dead-letters list", "dead-letters replay --all --yes", "doctor",
            "top --json", "reconcile",
        ):  # fmt: skip
            said = operator.run(*line.split())
            assert said.status == 0, (line, said)
        item = json.loads(operator.run("costs", "--by", "account", "--json").out)
        assert len(item["rows"]) == ACCOUNTS
        running.wait_for('"partition_owned"', times=LANES)
    assert running.process.returncode == 0, running.text[-2000:]
    assert asyncio.run(read_as_invoice_job(client(place, "invoice job"))) == ACCOUNTS
    said = place.commands("invoice job").run("invoice", "--period", month, "--estimate", "--output", "invoices")
    assert (said.status, f"{ACCOUNTS} estimated invoices" in said.out) == (0, True), said


MISSING = [
    Acl("topic", "prefixed", "usage.raw.", "Read"),
    Acl("topic", "literal", "usage.events", "Read"),
    Acl("topic", "literal", "usage.rated", "Write"),
    Acl("topic", "prefixed", "ratemill.state.", "Write"),
    Acl("topic", "literal", "ratemill.prices", "Read"),
    Acl("group", "literal", "ratemill", "Read"),
    Acl("transactional id", "prefixed", "ratemill-", "Write"),
]
WORDS = {"topic": "TopicAuthorizationFailed", "group": "GroupAuthorizationFailed", "transactional id": "TransactionalIdAuthorizationFailed"}


@pytest.fixture(scope="module")
def shared(secure_kafka: SecureKafka, stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place whose topics are there, with usage in them, and whose worker has lost its right to create any."""
    made = Place(secure_kafka, stack, tmp_path_factory.mktemp("rights"))
    made.allow("worker", "collector", "operator")
    worker = made.commands("worker")
    with worker.worker() as running:
        running.wait_for('"partition_owned"', times=LANES)
        do_a_job_as(made)
    for acl in kafka_rights("worker", made.prefix):
        if acl.operation == "Create":
            made.kafka.forbid(made.user("worker"), acl)
    return made


def do_a_job_as(place: Place) -> None:
    assert place.commands("operator").run("prices", "publish", "prices.yaml", "--author", "me", "--reason", "test").status == 0
    assert place.commands("collector").run("publish", "usage.ndjson").status == 0
    assert len(place.commands("worker").costs(ACCOUNTS)) == ACCOUNTS


@pytest.mark.parametrize("missing", MISSING, ids=lambda acl: f"{acl.name} {acl.operation}")
def test_a_worker_without_one_of_its_rights_ends_and_says_which(shared: Place, missing: Acl) -> None:
    missing = missing._replace(name=shared.prefix + missing.name)
    assert missing in kafka_rights("worker", shared.prefix)
    user, identity = shared.user("worker"), uuid.uuid4().hex
    file = shared.commands("worker").folder / f"{identity}.ndjson"
    file.write_text(usage("acct-1", identity))
    shared.kafka.forbid(user, missing)
    try:
        with shared.commands("worker").worker() as running:
            assert shared.commands("collector").run("publish", file.name).status == 0
            said = running.ended(within_s=60)
    finally:
        shared.kafka.allow(user, [missing])
    assert said.status == 1, said.err[-3000:]
    assert f"does not allow user {user} what it needs" in said.last or f"does not show us topic {missing.name}" in said.last
    assert WORDS[missing.resource] in said.last
    assert "docs/security.md" in said.last
    assert "Traceback" not in said.err


def test_a_worker_with_all_of_them_goes_on(shared: Place) -> None:
    """Negative control of the one above: nothing else was in its way, and it needs to create topics no more."""
    file = shared.commands("worker").folder / "last.ndjson"
    file.write_text(usage("acct-last", "last"))
    with shared.commands("worker").worker() as running:
        assert shared.commands("collector").run("publish", file.name).status == 0
        assert len(shared.commands("worker").costs(ACCOUNTS + 1)) == ACCOUNTS + 1
    assert running.process.returncode == 0


@pytest.mark.parametrize(
    ("role", "line"),
    [
        ("collector", "prices publish prices.yaml --author me --reason test"), ("collector", f"close {CLOSED} --author me --reason test --yes"),
        ("collector", "dead-letters list"), ("price publisher", "publish usage.ndjson"),
        ("price publisher", f"close {CLOSED} --author me --reason test --yes"), ("invoice job", "publish usage.ndjson"),
    ],
)  # fmt: skip
def test_a_role_can_do_nothing_else(shared: Place, role: str, line: str) -> None:
    shared.allow(role)
    said = shared.commands(role).run(*line.split())
    assert said.status == 1, said
    assert "AuthorizationFailed" in said.err
    assert len(said.err.splitlines()) == 1


async def test_who_reads_beside_the_workers_needs_one_right(shared: Place) -> None:
    reporter, watcher = (Config(kafka=client(shared, role)) for role in ("marketplace reporter", "watcher"))
    for each in (read_rated(reporter, {}), read_arrivals(watcher, {})):
        with pytest.raises(AccessDenied, match="does not show us topic"):
            await anext(each)
    for role in ("marketplace reporter", "watcher"):
        (right,) = kafka_rights(role, shared.prefix)
        assert right.operation == "Read"
        await asyncio.to_thread(shared.kafka.allow, shared.user(role), [right._replace(operation="Describe")])
    for each in (read_rated(reporter, {}), read_arrivals(watcher, {})):
        with pytest.raises(AccessDenied, match="what it needs"):
            await anext(each)
    await asyncio.to_thread(shared.allow, "marketplace reporter", "watcher")
    async with asyncio.timeout(60), aclosing(read_rated(reporter, {})) as line_items, aclosing(read_arrivals(watcher, {})) as arrivals:
        accounts: set[str] = set()
        while len(accounts) < ACCOUNTS:
            accounts |= {item.billing_account_id for item in (await anext(line_items)).items}
        while not (await anext(arrivals)).usage:
            pass


async def test_ending_a_transaction_needs_the_rights_that_the_documentation_adds(shared: Place) -> None:
    more = [Acl("topic", "literal", "__consumer_offsets", "Read"), Acl("cluster", "literal", "kafka-cluster", "Alter")]
    name = f"{shared.prefix}ratemill-rate-0"
    producer = AIOKafkaProducer(bootstrap_servers=shared.kafka.plain, transactional_id=name)
    await producer.start()
    commands, config = shared.commands("operator"), Config(kafka=client(shared, "operator"))
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(f"{shared.prefix}ratemill.state.progress", b"{}", b"nobody", partition=0)
        await producer.send_offsets_to_transaction({TopicPartition(f"{shared.prefix}usage.events", 0): 0}, f"{shared.prefix}ratemill-nobody")

        said = await asyncio.to_thread(commands.run, "transactions", "list")
        assert (said.status, len(said.err.splitlines())) == (1, 1)
        assert "__consumer_offsets; give us the rights that docs/security.md lists" in said.last
        await asyncio.to_thread(shared.kafka.allow, shared.user("operator"), more[:1])
        said = await asyncio.to_thread(commands.run, "transactions", "list")
        assert said.status == 0, said
        assert said.out.startswith("open   transaction of ")

        (found,) = await open_transactions(config)
        with pytest.raises(AccessDenied, match="ClusterAuthorizationFailed"):
            await abort(config, found.parts)
        await asyncio.to_thread(shared.kafka.allow, shared.user("operator"), more[1:])
        await abort(config, found.parts)
        assert await open_transactions(config) == []
        # Whose it is, and what Kafka makes of it, is shown to those who may see that transactional id.
        assert (found.name, found.state) == ("", "")
        await producer.abort_transaction()
    finally:
        await producer.stop()


def test_who_has_no_rights_at_all_creates_no_topic(place: Place) -> None:
    said = place.commands("worker").run("publish", "usage.ndjson")
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert f"does not show us topic {place.prefix}usage.raw.cloudevents" in said.err
    with place.commands("worker").worker() as running:
        said = running.ended()
    assert said.status == 1
    assert "does not show us topic" in said.last


def test_a_topic_that_is_missing_is_created_only_by_who_may(place: Place) -> None:
    place.allow("collector")
    said = place.commands("collector").run("publish", "usage.ndjson")
    assert (said.status, len(said.err.splitlines())) == (1, 1)
    assert f"there is no topic {place.prefix}usage.raw.cloudevents, and Kafka does not allow us to create it" in said.err
