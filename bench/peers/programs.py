"""The rows of the comparison: which program, under which guarantee, with which settings of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...local.versions import KAFKA
from ..broker import Say
from .environments import java_command, python_of, version_of

__all__ = ["PEERS", "Peer"]


class Peer(NamedTuple):
    """One row."""

    name: str  # of the row, and of its log
    family: str  # what --only names
    guarantee: str  # as its program takes it
    told: str  # for the table: what was chosen
    command: Callable[[Say], list[str]]  # up to the file with the settings; raises Unavailable when it cannot be installed
    version: Callable[[], str]
    once: bool = False  # so slow that one round has to do


def _python(name: str, module: str) -> Callable[[Say], list[str]]:
    return lambda say: [str(python_of(name, say)), "-m", f"ratemill.bench.peers.{module}"]


def _quix(guarantee: str) -> Peer:
    told = "apply(stateful), RocksDB and changelog, commit 5 s (default), orjson for values and state, producer batches 1 MB, linger 50 ms"
    return Peer(f"quix {guarantee}", "quix", guarantee, told, _python("quix", "quix"), lambda: version_of("quix", "quixstreams"))


def _bytewax(guarantee: str) -> Peer:
    told = "one stateful_batch by account, input batches of 5,000, writes changed windows after 10 s"
    if guarantee == "recovery":
        told += "; epochs of 10 s (default), 1 recovery partition"
    return Peer(f"bytewax {guarantee}", "bytewax", guarantee, told, _python("bytewax", "bytewax_flow"), lambda: version_of("bytewax", "bytewax"))


def _streams(guarantee: str, told: str) -> Peer:
    told += ", processor API, 3 RocksDB stores with changelogs, cache 128 MB for two of them, 5,000 records a poll, batches 256 kB, heap 512 MB"
    return Peer(f"kafka-streams {guarantee}", "kafka-streams", guarantee, told, lambda say: java_command("kafka_streams", "Rate", say), lambda: KAFKA)


PEERS = (
    Peer(
        "script", "script", "none", "set and dict in memory, batches of 10,000, writes changed windows every 10 s, auto-commit",
        _python("script", "script"), lambda: version_of("script", "confluent-kafka"),
    ),
    _streams("at_least_once", "commit 30 s (default)"),
    _streams("exactly_once_v2", "commit 5 s (default: 0.1 s)"),
    _bytewax("none"),
    _bytewax("recovery"),
    _quix("at-least-once"),
    _quix("exactly-once"),
    Peer(
        "faust at-least-once", "faust", "at-least-once",
        "as documented: three RocksDB tables with changelogs, a send for each result; linger 50 ms, buffer of 10,000 messages, no debug logging",
        _python("faust", "faust_app"), lambda: version_of("faust", "faust-streaming"), once=True,
    ),
)  # fmt: skip
