"""Collectors and readers at the HTTP interface, at once: throughput, latency, and that nothing acknowledged is lost when it is killed.

    python -m ratemill.bench.http_load --seconds 120 --batch 500 --readers 20

A real worker with all three agents and a real `ratemill api`, on a Kafka and an Elasticsearch of their own. Collectors post batches one after
another, readers ask for the costs of an account every `--pause` seconds. Half-way the API is killed (SIGKILL) and started again; collectors send
what was not acknowledged once more. In the end the oracle compares everything with the raw topic.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from ..schemas.errors import Unavailable
from ..streams.config import Config
from ..streams.prices_topic import publish_book
from ..streams.topics import Topics
from .api_process import Api
from .fill import RAW
from .http_clients import KEY
from .latency import percentile
from .limits import AGENTS, Check, Outcome, again, command, drained, own_stack, parser, say, truth_of, wrong_with
from .report import table
from .run import Watch, configure, owned
from .shape import PARTITIONS, price_book
from .worker import Worker

__all__ = ["main"]

COLLECTORS = ("east", "west")


async def _client(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"{__package__}.http_clients", *arguments, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise Unavailable(f"{arguments[0]} ended with status {process.returncode}")
    found: dict[str, Any] = json.loads(printed)
    return found


async def _killed_half_way(api: Api, seconds: float) -> float:
    """Returns for how many seconds nobody listened."""
    await asyncio.sleep(seconds / 2)
    say("killing the API")
    begin = time.monotonic()
    await asyncio.to_thread(api.kill)
    await asyncio.to_thread(api.start)
    return time.monotonic() - begin


class _Done(NamedTuple):
    """What the clients did, and for how many seconds nobody listened."""

    collectors: list[dict[str, Any]]
    readers: dict[str, Any]
    away_s: float


async def _scene(api: Api, how: _Options) -> _Done:
    environment = dict(os.environ) | {KEY: api.key("events:write", "costs:read")}
    api.start()
    seconds = str(how.seconds)
    say(f"{len(COLLECTORS)} collectors with {how.batch:,} events a request, {how.readers} readers, {how.seconds:g} s")
    readers, away_s, *collectors = await asyncio.gather(
        _client(environment, "readers", api.url, COLLECTORS[0], str(how.readers), str(how.pause), seconds),
        _killed_half_way(api, how.seconds),
        *(_client(environment, "collector", api.url, name, str(how.batch), seconds) for name in COLLECTORS),
    )
    return _Done(collectors, readers, away_s)


class _Options:
    """What the command line said."""

    def __init__(self) -> None:
        options = parser("http_load", __doc__)
        options.add_argument("--seconds", type=float, default=120.0, metavar="S", help="length of the load (default: 120)")
        options.add_argument("--batch", type=int, default=500, metavar="N", help="events of a request (default: 500)")
        options.add_argument("--readers", type=int, default=20, metavar="N", help="clients that read costs (default: 20)")
        options.add_argument("--pause", type=float, default=1.0, metavar="S", help="seconds from one question of a reader to its next (default: 1)")
        given = options.parse_args()
        self.folder: Path | None = given.dir
        self.seconds, self.batch, self.readers, self.pause = given.seconds, given.batch, given.readers, given.pause


async def _http_load(folder: Path, how: _Options) -> Outcome:
    with own_stack(folder) as stack:
        config = configure(folder / "run", stack.kafka, "hop", RAW + "http", stack.elasticsearch)
        await publish_book(config, price_book(), "bench.yaml", "bench", "bench")
        worker, api = Worker(folder / "run", AGENTS, None), Api(folder / "run")
        try:
            await owned(worker, PARTITIONS * len(AGENTS))
            done = await _scene(api, how)
            api.kill()
            truth = await _compared(config, worker, sum(each["acknowledged"] for each in done.collectors))
        finally:
            api.kill()
            worker.stop()
    return _judged(how, done, truth, api.cpu_s, again(worker.restarts, worker.why_again))


class _Truth(NamedTuple):
    """What the oracle says of it."""

    wrong: list[str]
    events: int  # different ones in Kafka
    twice: int


async def _compared(config: Config, worker: Worker, acknowledged: int) -> _Truth:
    expected = await truth_of(config.kafka.bootstrap, next(iter(Topics.of(config.kafka).raw)))
    async with Watch(config) as watch:
        await drained(watch, worker, expected.received)
        wrong = await wrong_with(config, watch, expected)
    events = expected.received - expected.duplicates
    if events != acknowledged:
        wrong.append(f"{acknowledged:,} events were acknowledged, {events:,} different ones are in Kafka")
    return _Truth(wrong, events, expected.duplicates)


def _judged(how: _Options, done: _Done, truth: _Truth, cpu_s: float, starts: str) -> Outcome:
    requests = {
        "post a batch": ([took for each in done.collectors for took in each["took_s"]], sum(each["again"] for each in done.collectors)),
        "read costs": (done.readers["took_s"], done.readers["again"]),
    }
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    took_ms = {name: {word: round(1_000 * percentile(took, share)) for word, share in shares.items()} for name, (took, _) in requests.items()}
    table(
        "HTTP interface", ("request", "answered", "not answered", *(f"{word} ms" for word in shares)),
        [(name, f"{len(took):,}", f"{failed:,}", *(f"{ms:,}" for ms in took_ms[name].values())) for name, (took, failed) in requests.items()],
    )  # fmt: skip
    seconds = max(each["seconds"] for each in done.collectors)
    say(f"{truth.events / seconds:,.0f} events/s acknowledged, {truth.events / cpu_s:,.0f} events per CPU-second of the API, readers included")
    counted = f"{truth.events:,} events, {truth.twice:,} sent twice"
    refused = done.readers["statuses"]  # 0: no connection, while nobody listened; 503: the first index was only just made
    checks = [
        Check("everything acknowledged counts, once", not truth.wrong, "; ".join(truth.wrong) or counted),
        Check("the API was killed among requests", any(each["again"] for each in done.collectors), f"away for {done.away_s:.1f} s"),
        Check("readers were answered, or told to ask again", set(refused) <= {"0", "503"}, f"{done.readers['requests']:,} answers; else {refused}"),
    ]
    figures = {
        "seconds": seconds, "batch": how.batch, "readers": how.readers, "pause_s": how.pause, "events": truth.events, "cpu_s": round(cpu_s, 1),
        "away_s": round(done.away_s, 1), "partitions started again": starts, "took_ms": took_ms,
    }  # fmt: skip
    return Outcome(checks, figures)


def main() -> int:
    """Returns the exit status."""
    how = _Options()
    return command("http_load", how.folder, lambda folder: _http_load(folder, how))


if __name__ == "__main__":
    sys.exit(main())
