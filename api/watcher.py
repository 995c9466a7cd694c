"""`ratemill watch`: what looks at costs and at what arrives, and tells of it. One process works; others wait for its lease."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

import prometheus_client
from elasticsearch import AsyncElasticsearch
from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import Engine

from ..schemas.arrivals import Arrivals
from ..schemas.errors import RatemillError, Unavailable
from ..sinks.costs import CostRow, costs
from ..sinks.periods import read_closed
from ..store.holding import Holding
from ..store.lease import Lease, LeaseLost
from .alerting.deliveries import Deliveries, Due
from .alerting.evaluation import Question, evaluate, periods_of, questions
from .alerting.webhooks import RETRY_S, Sender
from .sources.states import is_silent
from .sources.store import Sources
from .tokens import Tokens

__all__ = ["WatchMetrics", "WatchParts", "Watcher"]

P = ParamSpec("P")
T = TypeVar("T")
_log = logging.getLogger("ratemill.watch")
AT_ONCE = 32  # deliveries under way
AT_ONCE_PER_ACCOUNT = 4  # so that one with a slow receiver does not hold up all others
_LOOK_S = 1.0  # between two looks at what is due, and at what is silent
_SWEEP_S = 3_600.0
_MOST_LABELS = 200


class WatchMetrics:
    """Prometheus metrics of the watcher. Sources are labels, at most _MOST_LABELS of them; accounts and rules never are."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.works = Gauge("ratemill_watch_works", "1: this process holds the lease.", registry=r)
        self.errors = prometheus_client.Counter("ratemill_watch_errors_total", "Steps that failed and are tried again.", ["step"], registry=r)
        self.evaluated = Gauge("ratemill_alert_evaluated_timestamp_seconds", "When all rules were last looked at.", registry=r)
        self.firings = prometheus_client.Counter("ratemill_alert_firings_total", "Thresholds that were reached.", registry=r)
        self.tries = prometheus_client.Counter("ratemill_alert_tries_total", "Tries to deliver, by what became of it.", ["status"], registry=r)
        self.failed = prometheus_client.Counter("ratemill_alert_deliveries_failed_total", "Deliveries that were given up.", registry=r)
        self.oldest = Gauge("ratemill_alert_oldest_undelivered_seconds", "Age of what waits longest to be delivered.", registry=r)
        self.counted = Gauge("ratemill_arrivals_counted_timestamp_seconds", "All that had arrived by then is counted.", registry=r)
        self.silent = Gauge("ratemill_source_silent", "1: it is expected, and has sent nothing for an hour.", ["source"], registry=r)
        for status in ("delivered", "pending", "failed", "disabled"):
            self.tries.labels(status)


@dataclass(frozen=True)
class WatchParts:
    """arrivals: reads the raw topics from these positions on. interval_s: between two looks at costs. expected: sources that always are."""

    engine: Engine
    lease: Lease
    sender: Sender
    elasticsearch: AsyncElasticsearch
    index_prefix: str
    arrivals: Callable[[Mapping[tuple[str, int], int]], AsyncGenerator[Arrivals]]
    interval_s: float
    expected: Sequence[str] = ()
    metrics: WatchMetrics = field(default_factory=WatchMetrics)


class Watcher:
    """Waits for the lease, works while it has it, and waits again when it was lost."""

    def __init__(self, parts: WatchParts) -> None:
        self._parts = parts
        self._lease, self._metrics = parts.lease, parts.metrics
        self._deliveries, self._sources = Deliveries(parts.engine, parts.lease), Sources(parts.engine)
        self._under_way: dict[str, Due] = {}
        self._told: set[str] = set()  # sources that the gauge of silence has
        # Not the loop's own threads: there the names of receivers are looked up, which can take longer than the lease lasts.
        self._threads = ThreadPoolExecutor(8, "watch")
        self._holding = Holding(self._lease, self._ask, self._report)

    async def run(self) -> None:
        """Until it is cancelled; then the lease is free at once."""
        try:
            await self._holding.run(self._work)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        """Until the lease is lost: raises LeaseLost."""
        _log.info("watch_works")
        self._metrics.works.set(1)
        self._under_way.clear()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._holding.renew())
                group.create_task(self._holding.repeat("evaluate", self._evaluate, self._parts.interval_s))
                group.create_task(self._holding.repeat("deliver", lambda: self._deliver(group), _LOOK_S))
                group.create_task(self._holding.repeat("arrivals", self._follow, _LOOK_S))
                group.create_task(self._holding.repeat("look", self._look, _LOOK_S))
                group.create_task(self._holding.repeat("sweep", self._sweep, _SWEEP_S))
        except* LeaseLost as lost:
            raise lost.exceptions[0] from None
        finally:
            self._metrics.works.set(0)

    async def _ask(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """A call that asks the database, in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *arguments, **named))

    def _report(self, step: str, error: RatemillError) -> None:
        self._metrics.errors.labels(step).inc()
        _log.warning("watch_tries_again: %s: %s", step, error)

    # -- alerts ------------------------------------------------------------------------------------------------------

    async def _evaluate(self) -> None:
        now = int(time.time())
        periods = periods_of(now)
        rules, fired = await self._ask(self._deliveries.enabled_rules), await self._ask(self._deliveries.fired, periods)
        closed = await read_closed(self._parts.elasticsearch, self._parts.index_prefix)  # first: what is final is read after it became so
        answers: dict[Question, Sequence[CostRow]] = {}
        for question in questions(rules, fired, periods):
            try:
                answers[question] = await self._costs(question)
            except Unavailable:
                raise
            except RatemillError as error:  # of this one: it must not keep all others from firing
                self._report("evaluate", error)
        firings = evaluate(rules, fired, answers, closed, now)
        self._metrics.firings.inc(await self._ask(self._deliveries.record, firings, now))
        self._metrics.evaluated.set(now)

    async def _costs(self, question: Question) -> list[CostRow]:
        parts = self._parts
        return await costs(parts.elasticsearch, parts.index_prefix, account=question.account, period=question.period, by=question.by)

    async def _deliver(self, group: asyncio.TaskGroup) -> None:
        """Begin tries of what is due, as many as there is room for."""
        counts = Counter(due.account for due in self._under_way.values())
        full = [account for account, count in counts.items() if count >= AT_ONCE_PER_ACCOUNT]
        room = AT_ONCE - len(self._under_way)
        if not room:
            return
        for due in await self._ask(self._deliveries.due, int(time.time()), room, list(self._under_way), full):
            if counts[due.account] < AT_ONCE_PER_ACCOUNT:
                counts[due.account] += 1
                self._under_way[due.id] = due
                group.create_task(self._try(due))

    async def _try(self, due: Due) -> None:
        try:
            # No try outlives the lease: who takes it over cannot be sending the same meanwhile.
            if self._lease.left() <= self._parts.sender.timeout_s:
                return
            answer = await self._parts.sender.send(due.url, due.id, due.body, due.keys, int(time.time()))
            status = await self._ask(self._deliveries.settle, due, answer, int(time.time()))
            self._metrics.tries.labels(status).inc()
            self._metrics.failed.inc(status == "failed")
            if answer.error:
                _log.info("alert_not_delivered: rule %s, delivery %s: %s; %s", due.rule_id, due.id, answer.error, status)
        except LeaseLost:
            raise
        except RatemillError as error:  # it is not known that it was delivered: it will be once more, under the same id
            self._report("deliver", error)
            await asyncio.sleep(RETRY_S[0])
        finally:
            del self._under_way[due.id]

    # -- completeness ------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        async with aclosing(self._parts.arrivals(await self._ask(self._sources.positions))) as batches:
            async for batch in batches:
                if batch.positions or batch.through:
                    await self._ask(self._sources.add, self._lease, batch, int(time.time()))

    async def _look(self) -> None:
        """Set the gauges."""
        now = int(time.time())
        oldest, through = await self._ask(self._deliveries.oldest), await self._ask(self._sources.through)
        seen: dict[str, int | None] = dict.fromkeys(self._parts.expected)
        seen |= await self._ask(self._sources.last_seen, now)
        self._metrics.oldest.set(0 if oldest is None else now - oldest)
        self._metrics.counted.set(through)
        told = list(seen)[:_MOST_LABELS]  # those that were declared come first
        for source in self._told - set(told):  # not all at once: whoever reads meanwhile must find the others
            self._metrics.silent.remove(source)
        self._told = set(told)
        for source in told:
            self._metrics.silent.labels(source).set(is_silent(seen[source], through))

    async def _sweep(self) -> None:
        await self._ask(self._deliveries.sweep, int(time.time()))
        await self._ask(self._sources.sweep, self._lease, int(time.time()))
        await self._ask(Tokens(self._parts.engine).sweep)
