"""Kill a collector at random points, start it again each time, and compare what is on the raw topic with what it had to publish.

    make collector-kill EVENTS=100000 KILLS=20 SEED=1
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ratemill.local.stack import Stack

from .api import Api
from .collector_main import ACCOUNTS, SKUS, quantity_of
from .traffic import DIRECT, HOPPED, PARTITIONS
from .workers import Bed, Record, bed
from .zygote import Forked, start

__all__ = ["Killed", "api_of", "kill_and_restart", "missing", "start_of", "target_of"]

MAIN = Path(__file__).with_name("collector_main.py")


class Killed(NamedTuple):
    """How a collector fared. found: for each start, how many events it had accepted before, and how many of them its spool still held."""

    kills: int
    found: list[dict[str, int]]


def start_of() -> str:
    """The beginning of this hour, as time of the usage."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:00:00Z")


def kill_and_restart(
    folder: Path, target: dict[str, Any], source: str, events: int, kills: int, seed: int, start_: str, broken: str = "", within_s: float = 240
) -> Killed:  # fmt: skip
    """Kill a collector (SIGKILL) when it has accepted so many events as a seed says, and start it again, until it ends by itself.

    The last kill comes when all were accepted.
    """
    rng = random.Random(seed)
    log, marks, end = folder / "collector.log", folder / "spool.accepted", folder / "end"
    spec = {
        "target": target, "spool": str(folder / "spool"), "events": events, "source": source, "start": start_, "seed": seed, "end": str(end),
        "break": broken,
    }  # fmt: skip
    points = [*sorted(rng.randrange(events) for _ in range(kills - 1)), events]
    deadline = time.monotonic() + within_s
    done = 0
    while True:
        collector = _started(spec, folder, log)
        starts = done + 1
        if done < kills:
            while not (_accepted(marks) >= points[done] and _starts(log) >= starts) and collector.poll() is None:
                assert time.monotonic() < deadline, f"seed {seed}: {_accepted(marks)} of {events} accepted after {within_s:.0f} s; {log.read_text()}"
                time.sleep(0.002)
            time.sleep(rng.random() * 0.03)
            collector.kill()
            status = collector.wait(30)
            if status == -9:
                done += 1
                continue
        else:
            end.touch()
            status = collector.wait(max(1.0, deadline - time.monotonic()))
        assert status == 0, f"seed {seed}: the collector ended with {status}: {log.read_text()[-3000:]}"
        return Killed(done, [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"at"')])


def _started(spec: dict[str, Any], folder: Path, log: Path) -> Forked:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")}
    with log.open("ab") as output:
        return start(str(MAIN), json.dumps(spec), cwd=folder, env=environment, output=output)


def _accepted(marks: Path) -> int:
    text = marks.read_text().split() if marks.exists() else []
    return int(text[-1]) if text else 0


def _starts(log: Path) -> int:
    return log.read_text().count('{"at"')


def missing(records: Sequence[Record], source: str, events: int) -> tuple[list[str], int]:
    """What is not as it must be among the events of a source, once repetitions are taken out; and how many repetitions there were."""
    found: dict[str, tuple[str, str, str]] = {}
    wrong: list[str] = []
    copies: Counter[str] = Counter()
    for record in records:
        told = json.loads(record.value or b"[]")
        for event in told if isinstance(told, list) else [told]:
            if event["source"] != source:
                continue
            if (record.key or b"").decode() != event["subject"]:
                wrong.append(f"event {event['id']} is in a record of {record.key!r}")
            said = (event["subject"], event["data"]["sku"], event["data"]["quantity"])
            copies[event["id"]] += 1
            if found.setdefault(event["id"], said) != said:
                wrong.append(f"event {event['id']} has two contents")
    due = {f"{n}": (f"account-{n % ACCOUNTS}", SKUS[n % len(SKUS)][0], quantity_of(n)) for n in range(events)}
    lost = [id for id in due if id not in found]
    wrong += [f"lost {len(lost)} of {events}: {', '.join(lost[:5])} …"] if lost else []
    wrong += [f"event {id} is not what was published" for id, said in found.items() if due.get(id) != said]
    return wrong, copies.total() - len(copies)


def api_of(b: Bed, folder: Path) -> Api:
    """The HTTP interface before HOPPED; in a folder without a configuration, which would name a second topic."""
    folder.mkdir(exist_ok=True)
    return Api(folder, {
        "RATEMILL_KAFKA__BOOTSTRAP": b.stack.kafka, "RATEMILL_KAFKA__TOPIC_PREFIX": f"{b.name}.", "RATEMILL_KAFKA__PARTITIONS": str(PARTITIONS),
        "RATEMILL_ELASTICSEARCH__URL": b.stack.elasticsearch, "RATEMILL_ELASTICSEARCH__INDEX_PREFIX": b.name,
    })  # fmt: skip


def target_of(b: Bed, topic: str, api: Api | None = None) -> dict[str, Any]:
    """Arguments of a target: the topic itself, or an API before it."""
    if api is not None:
        return {"url": api.url, "key": api.token("events:write")}
    return {"bootstrap": b.stack.kafka, "topic": b.topic(topic)}


async def _run(events: int, kills: int, seed: int, over: Sequence[str]) -> int:
    failed = 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        stack = Stack(folder / "stack", max_lifetime=1_800)
        stack.up()
        try:
            async with bed(stack, folder, seed, prices=None) as b:
                for way in over:
                    failed += await _one(b, folder / way, way, events, kills, seed)
        finally:
            stack.down(wipe=True)
    return failed


async def _one(b: Bed, folder: Path, way: str, events: int, kills: int, seed: int) -> bool:
    folder.mkdir()
    api = api_of(b, folder) if way == "http" else None
    topic = HOPPED if api else DIRECT
    began = time.monotonic()
    try:
        killed = await asyncio.to_thread(kill_and_restart, folder, target_of(b, topic, api), way, events, kills, seed, start_of(), within_s=1_200)
    finally:
        if api:
            api.stop()
    wrong, repeated = missing(await b.read(topic), way, events)
    held = [each["waiting"] for each in killed.found[1:]]
    print(
        f"collector={way} seed={seed} events={events} kills={killed.kills} undelivered_at_kills={held} wrong={len(wrong)} repeated={repeated}"
        f" took_s={time.monotonic() - began:.0f}"
    )
    print("\n".join(wrong[:20]), end="\n" if wrong else "")
    return bool(wrong) or killed.kills != kills


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--over", nargs="*", default=["kafka", "http"], choices=["kafka", "http"])
    asked = parser.parse_args()
    raise SystemExit(asyncio.run(_run(asked.events, asked.kills, asked.seed, asked.over)))
