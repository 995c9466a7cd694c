"""`ratemill transactions` without Kafka: which transactions it ends, which it leaves alone, and how it says so."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import pytest
from click.testing import CliRunner, Result
from ratemill.schemas.errors import BadInput
from ratemill.streams import hanging
from ratemill.streams.config import Config
from ratemill.streams.hanging import HANGS_AFTER_S, OpenTransaction, Part, StillOpen, obstacle

module = importlib.import_module("ratemill.cli.transactions")
CONFIG = Config()
NOW_MS = 1_800_000_000_000
LANE = ("usage.rated", "ratemill.state.windows", "ratemill.state.progress", "__consumer_offsets")


def transaction(
    *topics: str, age_s: float = HANGS_AFTER_S, state: str = "CompleteCommit", now_ms: float = NOW_MS, name: str = "l"
) -> OpenTransaction:
    return OpenTransaction(7, name, state, tuple(Part(topic, 0, 5, 7, 1, 0, int(now_ms - 1_000 * age_s)) for topic in topics))


def test_one_that_hangs_is_ended() -> None:
    assert obstacle(CONFIG, transaction(*LANE), NOW_MS) == ""
    assert obstacle(CONFIG, transaction(*LANE, state=""), NOW_MS) == ""
    assert obstacle(CONFIG, transaction("usage.dead-letter", "usage.raw.aws"), NOW_MS) == ""  # a replay of dead letters has no progress


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (transaction(*LANE, age_s=HANGS_AFTER_S - 1), "Kafka ends one of a dead worker by itself; ask again in 1 s"),
        (transaction(*LANE, age_s=-5), "it is 0 s old"),  # of a worker whose clock is ahead
        (transaction(*LANE, state="PrepareCommit"), "Kafka is still to end it (state PrepareCommit)"),
        (transaction("usage.raw.aws", "__consumer_offsets"), "its producer is no Ratemill"),
        (transaction("usage.rated", "usage.dead-letter", "__consumer_offsets"), "it has ended in ratemill.state.progress"),
    ],
)
def test_others_are_not(found: OpenTransaction, why: str) -> None:
    assert why in obstacle(CONFIG, found, NOW_MS)


def test_its_age_is_that_of_its_newest_record() -> None:
    old = transaction(*LANE, age_s=1_000)
    assert obstacle(CONFIG, old, NOW_MS) == ""
    assert "1 s old" in obstacle(CONFIG, old._replace(parts=(*old.parts, old.parts[0]._replace(last_ms=NOW_MS - 1_000))), NOW_MS)


Run = Callable[..., Result]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[Part]:
    """What was aborted, by a command that finds no Kafka but what `show` puts there."""
    gone: list[Part] = []

    async def abort(config: Config, parts: Iterable[Part]) -> None:
        gone.extend(parts)

    async def nobody(config: Config) -> None:
        return None

    monkeypatch.setattr(module, "abort", abort)
    monkeypatch.setattr(module, "refuse_members", nobody)
    return gone


def show(monkeypatch: pytest.MonkeyPatch, ended: list[Part], *found: OpenTransaction) -> None:
    async def open_transactions(config: Config) -> list[OpenTransaction]:
        return [each for each in found if not set(each.parts) & set(ended)]

    monkeypatch.setattr(module, "open_transactions", open_transactions)


def run(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(module.command, arguments, input=answer)


def here(*topics: str, **how: Any) -> OpenTransaction:
    return transaction(*topics, now_ms=time.time() * 1_000, **how)


def test_it_ends_in_all_of_its_partitions(monkeypatch: pytest.MonkeyPatch, ended: list[Part]) -> None:
    hangs, lives = here(*LANE), here("ratemill.state.progress", age_s=0, name="of a live one")
    show(monkeypatch, ended, hangs, lives)
    assert run("abort", "usage.rated", "0", "5", answer="n\n").exit_code == 1
    assert ended == []
    said = run("abort", "usage.rated", "0", "5", answer="y\n")
    assert said.exit_code == 0, said
    assert ended == list(hangs.parts)
    assert "delete the data folders of all workers" in said.output


def test_all_leaves_out_what_does_not_hang(monkeypatch: pytest.MonkeyPatch, ended: list[Part]) -> None:
    hangs, lives = here(*LANE), here("ratemill.state.progress", age_s=0, name="of a live one")
    show(monkeypatch, ended, hangs, lives)
    said = run("abort", "--all", "--yes")
    assert "left out: transaction of of a live one: it is 0 s old" in said.output
    assert ended == list(hangs.parts)
    refused = run("abort", "--all", "--yes")
    assert isinstance(refused.exception, StillOpen)


def test_nothing_is_open(monkeypatch: pytest.MonkeyPatch, ended: list[Part]) -> None:
    show(monkeypatch, ended)
    assert [run(*line.split()).output for line in ("list", "abort --all")] == ["no transaction is open\n"] * 2
    assert isinstance(run("abort", "usage.rated", "0", "5").exception, BadInput)


@pytest.mark.parametrize("line", ["abort", "abort usage.rated", "abort usage.rated 0", "abort usage.rated 0 5 --all", "abort usage.rated x 5"])
def test_bad_usage(line: str) -> None:
    assert run(*line.split()).exit_code == 2


def test_json(monkeypatch: pytest.MonkeyPatch, ended: list[Part]) -> None:
    show(monkeypatch, ended, here(*LANE))
    (said,) = json.loads(run("list", "--json").output)["transactions"]
    assert (said["hangs"], said["producer_id"], said["parts"][0]["topic"]) == (True, 7, "usage.rated")


def test_the_requests_are_those_of_the_protocol() -> None:
    """Byte by byte, by Kafka's message definitions: compact arrays have their length plus one, each structure ends with its tags."""
    marker = hanging._Markers(7, 1, "t", 3, 2).prepare({27: (1, 2)})
    topic = b"\x02" + b"\x02t" + b"\x02\x00\x00\x00\x03" + b"\x00"
    assert marker.encode() == b"\x02" + (7).to_bytes(8) + b"\x00\x01" + b"\x00" + topic + (2).to_bytes(4) + b"\x00" + b"\x00"
    assert hanging._Producers({"t": [3]}).prepare({61: (0, 0)}).encode() == topic + b"\x00"
    assert hanging._States([7]).prepare({66: (0, 2)}).encode() == b"\x01" + b"\x02" + (7).to_bytes(8) + b"\x00"
    answer = b"\0\0\0\0" + b"\x02\x02t\x02" + b"\0\0\0\x03" + b"\0\0" + b"\0" + b"\x01" + b"\0" + b"\0" + b"\0"
    (found,) = hanging._ProducersResponse0.decode(BytesIO(answer)).to_object()["topics"]
    assert (found["name"], found["partitions"][0]["partition"], found["partitions"][0]["producers"]) == ("t", 3, [])
