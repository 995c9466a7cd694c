"""The embedded stack, with real servers: start, use, break, heal, end; several at once; without a network."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from elasticsearch import AsyncElasticsearch
from harness.topics import make_topic
from ratemill.local import artifacts, resolve
from ratemill.local.processes import Process, find
from ratemill.local.stack import Stack, read_stack
from ratemill.local.state import State
from ratemill.schemas.errors import BadInput, Unavailable

pytestmark = pytest.mark.integration

LIFETIME = 300.0


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    """A stack that a test may break, apart from the one of the session."""
    stack = Stack(tmp_path / "stack", max_lifetime=LIFETIME)
    yield stack
    stack.down(wipe=True)


def ratemill(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "ratemill.cli.main", "local", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def leftovers(directory: Path) -> list[str]:
    """Every process of this machine that names the folder: servers, and their watchers (which look four times a second)."""
    deadline = time.monotonic() + 2
    while (lines := _naming(directory)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return lines


def _naming(directory: Path) -> list[str]:
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline", "status"]) if p.info["status"] != psutil.STATUS_ZOMBIE]
    return [line for line in lines if f"{directory}/" in line]


async def use(kafka: str, elasticsearch: str, topic: str) -> None:
    """Send a record through the one and a document through the other."""
    await make_topic(kafka, topic)
    async with AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=topic) as producer, producer.transaction():
        await producer.send_and_wait(topic, b"usage", key=b"account")
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest", isolation_level="read_committed")
    async with consumer:
        record = await consumer.getone()
        assert (record.key, record.value) == (b"account", b"usage")
    async with AsyncElasticsearch(elasticsearch) as client:
        await client.index(index=topic, id="1", document={"cost": "0.1"}, refresh=True)
        assert (await client.get(index=topic, id="1"))["_source"] == {"cost": "0.1"}


async def test_both_answer_and_keep_what_they_are_given(stack: Stack) -> None:
    await use(stack.kafka, stack.elasticsearch, "local-stack-roundtrip")


def test_everything_listens_on_127_0_0_1_only(stack: Stack) -> None:
    state = State.load(stack.dir)
    assert state is not None
    expected = {port for pair in state.ports.values() for port in pair}
    listening = {
        connection.laddr
        for process in state.processes.values()
        for connection in psutil.Process(process.pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {address.port for address in listening} == expected
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_up_on_a_running_stack_changes_nothing(stack: Stack) -> None:
    before = (stack.dir / "stack.json").read_text()
    stack.up()
    assert (stack.dir / "stack.json").read_text() == before
    assert read_stack(stack.dir) == stack.up()


def test_up_refuses_other_ports_than_the_running_ones(stack: Stack) -> None:
    with pytest.raises(Unavailable, match="run `ratemill local down` first"):
        Stack(stack.dir, kafka_port=1).up()


async def test_a_dead_part_is_seen_and_healed_and_down_leaves_nothing(own: Stack) -> None:
    own.up()
    addresses = read_stack(own.dir)
    own.kill("elasticsearch", signal.SIGKILL)

    assert {s.name: s.state for s in own.status().services} == {"kafka": "up", "elasticsearch": "dead"}
    assert read_stack(own.dir) is None
    said = ratemill("status", "--dir", str(own.dir), cwd=own.dir)
    assert said.returncode == 1
    assert "dead" in said.stdout

    kafka = State.load(own.dir).processes["kafka"]  # type: ignore[union-attr]
    assert own.up() == addresses
    assert find(kafka) is not None, "the part that lived was restarted too"
    await use(own.kafka, own.elasticsearch, "after-heal")

    assert own.down() == ["kafka", "elasticsearch"]
    assert leftovers(own.dir) == []
    assert own.down() == []
    assert (own.dir / "kafka" / "data").is_dir(), "down without wipe must keep the data"


async def test_data_survives_kill_9_restart_and_down(own: Stack) -> None:
    own.up()
    await use(own.kafka, own.elasticsearch, "kept")
    for name in ("kafka", "elasticsearch"):
        own.kill(name, signal.SIGKILL)
        own.restart(name)
    own.down()
    own.up()
    consumer = AIOKafkaConsumer("kept", bootstrap_servers=own.kafka, auto_offset_reset="earliest", isolation_level="read_committed")
    async with consumer, AsyncElasticsearch(own.elasticsearch) as client:
        assert (await consumer.getone()).value == b"usage"
        assert (await client.get(index="kept", id="1"))["_source"] == {"cost": "0.1"}


def test_a_paused_part_is_silent_and_down_ends_it_all_the_same(own: Stack) -> None:
    own.up()
    own.pause("elasticsearch")
    assert {s.name: s.state for s in own.status().services} == {"kafka": "up", "elasticsearch": "silent"}
    own.resume("elasticsearch")
    assert own.status().running
    own.pause("kafka")
    own.down(wipe=True)
    assert leftovers(own.dir) == []
    assert not own.dir.exists()


def test_two_stacks_side_by_side(stack: Stack, own: Stack) -> None:
    other = own.up()
    assert {other.kafka, other.elasticsearch}.isdisjoint({stack.kafka, stack.elasticsearch})
    assert stack.status().running
    assert own.status().running
    own.down()
    assert stack.status().running


async def test_three_brokers_replicate_and_one_is_healed(tmp_path: Path) -> None:
    three = Stack(tmp_path / "three", kafka_brokers=3, max_lifetime=LIFETIME)
    try:
        three.up()
        await make_topic(three.kafka, "replicated", replicas=3)
        admin = AIOKafkaAdminClient(bootstrap_servers=three.kafka)
        await admin.start()
        try:
            topic: dict[str, Any] = {"partitions": []}
            async with asyncio.timeout(60):  # one of the brokers tells of it by now, and another one may be asked
                while not topic["partitions"]:
                    (topic,) = await admin.describe_topics(["replicated"])
                    await asyncio.sleep(0.1)
        finally:
            await admin.close()
        assert sorted(topic["partitions"][0]["replicas"]) == [1, 2, 3]
        three.kill("kafka-2", signal.SIGKILL)
        assert {s.name for s in three.status().services if s.state == "dead"} == {"kafka-2"}
        three.up()
        assert three.status().running
    finally:
        three.down(wipe=True)
    assert leftovers(tmp_path) == []


def test_a_taken_port_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = ratemill("up", "--kafka-port", str(port), "--elasticsearch-port", "0", cwd=tmp_path)
    assert said.returncode == 1
    assert said.stderr.strip().splitlines()[-1].startswith(f"error: port {port} for kafka is taken")
    assert "Traceback" not in said.stderr
    assert leftovers(tmp_path) == []


def test_a_warm_start_uses_no_network_and_no_resolver(own: Stack, tmp_path: Path) -> None:
    artifacts.ensure_jars(lambda line: None)  # the cache is warm from here on
    nowhere = "http://127.0.0.1:9"  # nothing listens there: whatever goes to the network fails
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), nowhere)
    said = ratemill(
        "up", "--dir", str(own.dir), "--kafka-port", "0", "--elasticsearch-port", "0", "--max-lifetime", str(LIFETIME), cwd=tmp_path,
        RATEMILL_MAVEN_URL=nowhere, **proxies,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "download" not in said.stderr
    status = json.loads(ratemill("status", "--json", "--dir", str(own.dir), cwd=tmp_path, **proxies).stdout)
    assert status["running"] is True
    assert status["kafka"] == own.kafka
    assert ratemill("down", "--dir", str(own.dir), cwd=tmp_path).stdout == "ended: kafka, elasticsearch\n"
    assert "nothing runs" in ratemill("down", "--dir", str(own.dir), cwd=tmp_path).stdout


def test_a_cold_start_without_a_network_says_so_in_one_line(tmp_path: Path) -> None:
    said = ratemill(
        "up", "--kafka-port", "0", "--elasticsearch-port", "0", cwd=tmp_path,
        RATEMILL_CACHE_DIR=str(tmp_path / "cache"), RATEMILL_MAVEN_URL="http://127.0.0.1:9",
    )  # fmt: skip
    assert said.returncode == 1
    assert "cannot download" in said.stderr
    assert "RATEMILL_MAVEN_URL" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_jar_with_another_checksum_is_not_kept(tmp_path: Path) -> None:
    class Fake:
        """An artifact whose repository delivers something else."""

        def resolve(self) -> Path:
            path = tmp_path / "evil.jar"
            path.write_bytes(b"something else")
            return path

    with pytest.raises(Unavailable, match=r"evil.jar has the SHA-256"):
        resolve._checked(Fake(), tmp_path, {"evil.jar": "0" * 64})  # type: ignore[arg-type]
    assert not (tmp_path / "evil.jar").exists()


def test_a_server_that_dies_at_once_is_reported_with_its_log(own: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    program = [sys.executable, "-c", "import sys; sys.exit('no space left on this planet')"]
    monkeypatch.setattr("ratemill.local.kafka_server.command", lambda home, jars: [*program, str(home)])
    with pytest.raises(Unavailable, match=r"(?s)kafka ended before it answered.*no space left on this planet"):
        own.up()
    assert leftovers(own.dir) == []
    assert not own.status().services


def test_java_gets_the_options_that_were_chosen_for_it_and_no_others(own: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    program = [sys.executable, "-c", "import os, sys; sys.exit(f'java got {os.environ.get(\"JAVA_TOOL_OPTIONS\")}')"]
    monkeypatch.setattr("ratemill.local.kafka_server.command", lambda home, jars: [*program, str(home)])
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    for chosen, got in (("-XX:+UseSerialGC", "-XX:+UseSerialGC"), ("-XX:AOTCache=/{server}.aot", "-XX:AOTCache=/kafka.aot"), ("", "None")):
        monkeypatch.setenv("RATEMILL_JAVA_OPTIONS", chosen)
        with pytest.raises(Unavailable, match=re.escape(f"java got {got}")):
            own.up()


def test_a_server_that_stays_silent_is_ended(own: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    program = [sys.executable, "-c", "import time; print('hm', flush=True); time.sleep(60)"]
    monkeypatch.setattr("ratemill.local.kafka_server.command", lambda home, jars: [*program, str(home)])
    monkeypatch.setattr("ratemill.local.elasticsearch_home.command", lambda home, jars: [*program, str(home)])
    own.ready_timeout = 1.0
    with pytest.raises(Unavailable, match=r"(?s)kafka does not answer on .* within 1 s.*hm"):
        own.up()
    assert leftovers(own.dir) == []


def test_processes_end_by_themselves_after_max_lifetime(own: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    own.max_lifetime = 2.0
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr("ratemill.local.kafka_server.command", lambda home, jars: [*program, str(home)])
    monkeypatch.setattr("ratemill.local.elasticsearch_home.command", lambda home, jars: [*program, str(home)])
    begin = time.monotonic()
    with pytest.raises(Unavailable, match="ended before it answered"):
        own.up()
    assert time.monotonic() - begin < 10
    assert leftovers(own.dir) == []


def test_a_reused_pid_is_never_signalled(own: Stack) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        own.dir.mkdir()
        names = ("kafka", "elasticsearch")
        processes = {n: Process(n, bystander.pid, time.time(), "x", str(own.dir / n)) for n in names}
        State({"kafka": (1, 2), "elasticsearch": (3, 4)}, processes).save(own.dir)
        assert {s.state for s in own.status().services} == {"dead"}
        assert own.down() == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_damaged_state_file_is_an_error_with_a_remedy(own: Stack) -> None:
    own.dir.mkdir()
    (own.dir / "stack.json").write_text("{")
    with pytest.raises(BadInput, match="remove it"):
        own.status()
    (own.dir / "stack.json").unlink()
