"""Put the simulated world in the place of the real one, for good: only in processes that do nothing else.

What is replaced is what reaches outside: aiokafka's producer and consumers, RocksDB, the Elasticsearch client, the clocks, Faust. All else is
the production code as it is. Some things are only made cheaper: a tariff is parsed once in a process, so is the index template made, settings
of clients that nobody reads are not made, and metrics count nothing.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
from collections.abc import Callable
from decimal import setcontext
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, cast

import structlog
from faust.transport.drivers import aiokafka as driver
from ratemill.pricing.money import EXACT
from ratemill.schemas.errors import RatemillError, Unavailable
from ratemill.sinks import elasticsearch as sink
from ratemill.streams import app, failpoints, following, ledger, prices_topic, reach, restore, stopping
from ratemill.streams.lanes import answers, base, rate, shadowing
from ratemill.streams.topics import Topics

from .clients import SimulatedConsumer, SimulatedProducer
from .disk import SimulatedStore
from .elastic import SimulatedElasticsearch
from .scheduler import START_NS, forget_tasks, quick_tasks, quiet_burials
from .workers import seldom_idle
from .world import TIMES, World

__all__ = ["install"]


class _Clock:
    """`time`, as lanes use it."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()

    @staticmethod
    def time_ns() -> int:
        return START_NS + int(asyncio.get_running_loop().time() * 1_000_000_000)


def _getmany(self: Any, active_partitions: Any, timeout: float) -> Any:
    return self.fetched(active_partitions, timeout)


async def _pause(point: str, where: str) -> None:
    """Makes a named place of the commit protocol an await at which a worker can die, for one that is about to."""
    if asyncio.get_running_loop().doomed_in:  # type: ignore[attr-defined]
        await asyncio.sleep(0)


async def _why_not(kafka: Any) -> RatemillError:
    """Nobody is refused here: who does not get through finds nobody there, a moment later."""
    await asyncio.sleep(0)
    return Unavailable("Kafka does not answer")


def _into_trace(logger: Any, name: str, event: dict[str, Any]) -> str:
    try:
        process = asyncio.get_running_loop()
    except RuntimeError:
        raise structlog.DropEvent from None
    details = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "lane"))
    process.world.trace(f"log           {process.name} {event.get('lane', '')}: {event.get('event')} {details}"[:260])  # type: ignore[attr-defined]
    raise structlog.DropEvent


class _NoLog:
    """A log that nobody reads."""

    def bind(self, **_: Any) -> _NoLog:
        return self

    def info(self, event: str, **_: Any) -> None:
        pass

    warning = error = info


class _Silent:
    """A metric that nobody reads."""

    def labels(self, *_: Any) -> _Silent:
        return self

    def inc(self, amount: float = 1) -> None:
        pass

    observe = set = inc


class _Counted(_Silent):
    """A counter of each world."""

    def __init__(self, what: str) -> None:
        self._what = what

    def inc(self, amount: float = 1) -> None:
        World.current().count(self._what)


def _once_each(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Made once for each configuration; those are kept (`config_of`)."""
    made: dict[int, Any] = {}
    return lambda config: made[id(config)] if id(config) in made else made.setdefault(id(config), make(config))


def _leave_it() -> None:
    """In place of a run of the collector."""


def install(*, traced: bool = False) -> None:
    """Once in a process, before any world is made."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        raise SystemExit("a seed fixes everything only under PYTHONHASHSEED=0; start it by `python -m simulation`")
    sys.setrecursionlimit(5_000)
    quiet_burials()
    forget_tasks()
    quick_tasks()
    warnings.simplefilter("ignore")
    setcontext(EXACT.copy())
    level = 0 if traced else 50
    structlog.configure(processors=[_into_trace], wrapper_class=structlog.make_filtering_bound_logger(level), cache_logger_on_first_use=False)
    if not traced:
        structlog.get_logger = lambda *_: log
    log, clock = _NoLog(), cast("Any", _Clock())
    for module in (ledger, base, rate, shadowing, stopping):
        module.time = clock  # type: ignore[attr-defined]
    for module in (ledger, restore, following):
        module.client_settings = lambda kafka: {}
    ledger.AIOKafkaProducer = SimulatedProducer
    ledger.TRANSACTION_TIMEOUT_S = TIMES.TRANSACTION
    restore.AIOKafkaConsumer = following.AIOKafkaConsumer = SimulatedConsumer
    restore.STALLED_S = TIMES.STALLED
    reach.why_not = _why_not
    restore.NEWEST = 8  # offsets: some progress lies further back
    rate.RocksStore = SimulatedStore  # type: ignore[assignment,misc]
    sink.Names = lru_cache(maxsize=10)(sink.Names)  # type: ignore[assignment,misc]
    sink.template_body = lru_cache(maxsize=10)(sink.template_body)  # type: ignore[assignment]
    sink.connect = lambda *args, **options: SimulatedElasticsearch()  # type: ignore[assignment,return-value]
    prices_topic.parse_tariff = lru_cache(maxsize=100)(prices_topic.parse_tariff)  # type: ignore[assignment]
    topics: Any = Topics
    topics.of = _once_each(topics.of)
    metrics: Any = SimpleNamespace(**dict.fromkeys(vars(app.Metrics()), _Silent()))
    metrics.fenced, metrics.resets = _Counted("lanes fenced"), _Counted("unknown outcomes")
    app.Metrics = lambda: metrics
    driver.Consumer._getmany = _getmany
    base.FINISH_S = TIMES.FINISH
    app.COMMITTED_S, app.LEFT_S = TIMES.COMMITTED, TIMES.LEFT
    app.CUT_S = base.CUT_S = TIMES.CUT
    base.OR_END_S = TIMES.OR_END
    base.Lane.stop.__defaults__ = (TIMES.STOP,)
    base.Lane.__hash__ = lambda self: hash(self.name)  # type: ignore[method-assign,assignment]  # sets of lanes have the order of their names
    seldom_idle()
    answers.SWEPT_PER_COMMIT = 4  # groups: a sweep takes several commits
    failpoints.hit = _pause
    app.clear_up = _leave_it  # `simulate` does that between two worlds
    gc.collect()
    gc.freeze()
    gc.disable()


