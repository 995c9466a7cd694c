"""Wiring: the Faust app, its three agents, and the lanes they feed.

Faust keeps the worker: group membership, assignment, fetching, the agents' life. A lane keeps the money: see lanes/base.py
and the commit protocol in ledger.py.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from pathlib import Path
from typing import Any

import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.types import TP

from ..schemas.control import month_text
from ..schemas.errors import AccessDenied, BadConfig, BadInput, Unavailable
from ..schemas.times import format_time
from ..sinks.elasticsearch import ElasticsearchSink
from ..sinks.periods import ClosedPeriods, write_closed
from .config import Config
from .control_topic import Controls
from .lanes.base import CUT_S, QUEUED_BYTES, Batch, Context, Lane
from .lanes.index import IndexLane
from .lanes.normalize import NormalizeLane
from .lanes.rate import RateLane
from .lost_state import LostState
from .metrics import Metrics
from .prices_topic import Books
from .reach import not_allowed, why_not
from .sink_metrics import PrometheusSinkMetrics
from .stopping import COMMITTED_S, LEFT_S, Stop
from .topics import Topics

__all__ = ["RatemillWorker"]

_NS = 1_000_000_000
ADMISSION_S = 30.0
ENDS_WITHIN_S = 5.0


class RatemillWorker:
    """One worker process: a Faust app and the lanes of the partitions it holds now."""

    def __init__(self, config: Config, partitions: dict[str, int]) -> None:
        self.config = config
        self.topics = Topics.of(config.kafka)
        self.folder = Path(config.worker.data_dir)
        self.name = config.worker.name or f"{socket.gethostname()}:{self.folder.resolve()}"
        self.metrics = Metrics()
        self.books = Books(config)
        self.controls = Controls(config)
        self.context = Context(config, self.topics, partitions, config.rating.limits, self.metrics, self._seek, held=self._held)
        self.log = structlog.get_logger("ratemill.worker")
        self._lanes: dict[TP, Lane] = {}
        self._kept: dict[str, Lane] = {}  # by name, over rebalances
        self._assigned = False  # whether the lanes are those of an assignment that still holds
        self._lost = LostState(self.folder / "state", config.worker.keep_lost_state_s)
        self._sink: ElasticsearchSink | None = None
        self._starting_sink: asyncio.Future[None] | None = None
        self._changing = asyncio.Lock()
        self._leaving = False
        self.app = self._faust_app()

    def _faust_app(self) -> Any:
        kafka = self.config.kafka
        try:
            (self.folder / "faust").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"data folder {self.folder}: {error.strerror}; set worker.data_dir to a folder of the worker's own") from error
        app: Any = faust.App(
            kafka.group_id,
            broker=f"ratemill://{kafka.bootstrap.split(',')[0]}",
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            datadir=str(self.folder / "faust"),
            store="memory://",
            table_standby_replicas=0,
            stream_buffer_maxsize=4,
            # Lanes wait for nothing on a rebalance: what is not committed is read again.
            stream_wait_empty=False,
            broker_session_timeout=kafka.session_timeout_s,
            broker_request_timeout=max(40.0, kafka.session_timeout_s + 1),
            broker_heartbeat_interval=kafka.session_timeout_s / 5,
            broker_commit_interval=3.0,
            stream_publish_on_commit=False,
            topic_disable_leader=True,
        )
        # Nothing is sent through Faust: its producer would be one more connection, and one without our log-in.
        app.boot_strategy.enable_kafka_producer = False
        app.ratemill = self
        self._add_agents(app)
        app.on_partitions_revoked.connect(self._on_revoked)
        app.on_partitions_assigned.connect(self._on_assigned)
        return app

    def _add_agents(self, app: Any) -> None:
        wanted = {"normalize": self.topics.hopped, "rate": self.topics.rate_sources, "index": [self.topics.rated]}
        for name in self.config.worker.agents:
            if wanted[name]:
                # Names are pinned: they would otherwise follow module paths.
                app.agent(app.topic(*wanted[name], value_serializer="raw", key_serializer="raw"), name=name, concurrency=1)(_feed)

    # -- what the transport asks -------------------------------------------------------------------------------------

    def lane_of(self, tp: TP) -> Lane | None:
        """The lane that a topic-partition belongs to, while it is assigned."""
        return self._lanes.get(tp)

    def _held(self) -> int:
        return len(self._lanes)

    async def _seek(self, tp: TopicPartition, offset: int) -> None:
        await self.app.consumer.seek(TP(tp.topic, tp.partition), offset)

    def waits_for(self) -> str:
        """What a worker that is not ready waits for; empty when it holds its partitions, restored. Any thread may ask."""
        if not self._assigned:
            return "no assignment of partitions yet"
        return f"not restored yet: {', '.join(restoring)}" if (restoring := self._restoring()) else ""

    def _restoring(self) -> list[str]:
        return sorted({lane.name for lane in tuple(self._lanes.values()) if not lane.ready})

    # -- rebalances --------------------------------------------------------------------------------------------------

    async def _on_revoked(self, _app: Any, revoked: set[TP], **_: Any) -> None:
        async with self._changing:
            self._assigned = False
            await self._stop_lanes()

    async def _on_assigned(self, _app: Any, assigned: set[TP], **_: Any) -> None:
        async with self._changing:
            await self._stop_lanes()
            if self._leaving:
                return
            plan = self._plan(assigned)
            for name, (kind, number, tps) in plan.items():
                lane = self._kept.get(name)
                if lane is None or set(lane.sources) != set(tps):
                    lane = self._kept[name] = self._new_lane(kind, number, tps)
                for tp in tps:
                    self._lanes[TP(tp.topic, tp.partition)] = lane
                lane.share = QUEUED_BYTES // len(plan)
                lane.start()
            self._lost.assigned(plan, time.monotonic())
            self._assigned = True
        self.log.info("assigned", partitions=len(assigned), lanes=sorted(lane.name for lane in set(self._lanes.values())))

    async def _stop_lanes(self) -> None:
        lanes, self._lanes = set(self._lanes.values()), {}
        await asyncio.gather(*(lane.stop() for lane in lanes))
        if lanes:
            clear_up()

    def _plan(self, assigned: set[TP]) -> dict[str, tuple[str, int, list[TopicPartition]]]:
        """Lanes for an assignment: {lane name: (agent, number, sources)}."""
        plan: dict[str, tuple[str, int, list[TopicPartition]]] = {}
        rated_together = set(self.topics.rate_sources)
        for tp in sorted(assigned):
            source = TopicPartition(tp.topic, tp.partition)
            if tp.topic in rated_together:
                plan.setdefault(f"rate-{tp.partition}", ("rate", tp.partition, []))[2].append(source)
            elif tp.topic == self.topics.rated:
                plan[f"index-{tp.partition}"] = ("index", tp.partition, [source])
            elif tp.topic in self.topics.raw:
                plan[f"normalize-{tp.topic}-{tp.partition}"] = ("normalize", tp.partition, [source])
        return plan

    def _new_lane(self, kind: str, number: int, tps: list[TopicPartition]) -> Lane:
        if kind == "rate":
            return RateLane(self.context, number, tps, self.books, self.controls, self.folder / "state")
        if kind == "index":
            if self._sink is None:
                raise RuntimeError("the index agent runs without a sink")
            return IndexLane(self.context, tps[0], self._sink)
        return NormalizeLane(self.context, tps[0])

    # -- life --------------------------------------------------------------------------------------------------------

    def _new_sink(self) -> ElasticsearchSink:
        es = self.config.elasticsearch
        metrics = PrometheusSinkMetrics(self.metrics)
        return ElasticsearchSink(es.url, prefix=es.index_prefix, metrics=metrics, refresh_interval=es.refresh_interval, **es.access)

    async def run(self, stop: Stop) -> None:
        """Work until the end is asked for, then leave. Raises what made Faust crash."""
        self.books.start()
        self.controls.start()
        if "index" in self.config.worker.agents:
            self._sink = self._new_sink()
            # Waits for Elasticsearch, and nothing waits for it: writing makes sure of its index by itself.
            self._starting_sink = asyncio.ensure_future(self._sink.start())
        starting = asyncio.ensure_future(self.app.start())
        stopping = asyncio.ensure_future(stop.event.wait())
        minding = [asyncio.ensure_future(each) for each in (self._watch(), self._stay_admitted(), self._drop_lost())]
        telling = asyncio.ensure_future(self._tell_closed())
        try:
            await asyncio.wait({starting, stopping, *minding}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            crashed = asyncio.ensure_future(self.app.wait_until_stopped())
            await asyncio.wait({crashed, stopping, *minding}, return_when=asyncio.FIRST_COMPLETED)
            for task in minding:
                if task.done():
                    task.result()
            if not stop.asked and self.app.crash_reason is not None:
                raise not_allowed(self.config.kafka, self.app.crash_reason) or self.app.crash_reason
        finally:
            for task in (*minding, telling):
                task.cancel()
            await self._leave(stop)

    async def _leave(self, stop: Stop) -> None:
        """Commit what was taken, leave the group, close everything; what does not answer is left behind when its time is over."""
        stop.begin()
        self._leaving = True
        try:
            async with asyncio.timeout(stop.left(COMMITTED_S) + CUT_S):
                async with self._changing:
                    lanes, self._lanes = set(self._lanes.values()), {}
                    await asyncio.gather(*(lane.conclude(stop.left(COMMITTED_S)) for lane in lanes))
        except TimeoutError:
            self.log.warning("lanes_cut_off")
        self.log.info("lanes_ended", seconds=round(stop.seconds(), 2))
        closing = [self.app.stop(), self.books.stop(), self.controls.stop()]
        if self._sink is not None and self._starting_sink is not None:
            self._starting_sink.cancel()
            closing.append(self._sink.close())
        done, open_ = await asyncio.wait([asyncio.ensure_future(one) for one in closing], timeout=stop.left(LEFT_S))
        for error in filter(None, (one.exception() for one in done)):
            self.log.warning("not_closed", detail=repr(error))
        self.log.info("group_left", seconds=round(stop.seconds(), 2), left_behind=len(open_))

    async def _tell_closed(self) -> None:
        """Let readers of Elasticsearch know which months are final."""
        told = 0
        while self._sink is not None:
            changed = self.controls.changed
            receipt = self.controls.closed_through(self.config.kafka.partitions)
            if receipt is not None and receipt.closed_through > told:
                closed = ClosedPeriods(month_text(receipt.closed_through), format_time(receipt.at_ns // _NS * _NS))
                try:
                    await write_closed(self._sink.client, self.config.elasticsearch.index_prefix, closed, receipt.closed_through)
                except Unavailable as error:
                    self.log.warning("closed_period_not_told", detail=str(error))
                    await asyncio.sleep(5)
                    continue
                told = receipt.closed_through
            await changed.wait()

    async def _stay_admitted(self) -> None:
        """Raise AccessDenied when Kafka takes our password or certificate no longer: connections that are open would hide it until they break."""
        while True:
            await asyncio.sleep(ADMISSION_S)
            try:
                reason = await why_not(self.config.kafka)
            except BadConfig as error:  # certificate and key are being replaced, one after the other
                self.log.warning("certificate_unusable", detail=str(error))
                continue
            if isinstance(reason, AccessDenied):
                raise reason

    async def _watch(self) -> None:
        """Raise what killed a lane, ended the reading of prices and requests or keeps us out; publish lag and queue lengths every second."""
        while True:
            await asyncio.sleep(1)
            self._check_group()
            self.books.check()
            self.controls.check()
            self.metrics.restoring.set(len(self._restoring()))
            for lane in set(self._lanes.values()):
                lane.check()
                self.metrics.queued.labels(lane.name).set(lane.queued)
            ends = await self._unheard_ends()
            lags: dict[Lane, int] = {}
            for tp, lane in list(self._lanes.items()):
                end = ends.get(tp, self.app.consumer.highwater(tp))
                if end is not None:
                    lag = max(0, end - lane.next_offsets.get(TopicPartition(*tp), 0))
                    lags[lane] = lags.get(lane, 0) + lag
                    self.metrics.lag.labels(tp.topic, tp.partition).set(lag)
            for lane, lag in lags.items():
                lane.lag = lag

    async def _drop_lost(self) -> None:
        """Delete what is left here of partitions that went to other workers. Gigabytes take seconds, for which nothing else waits."""
        while True:
            await asyncio.sleep(1)
            for name in self._lost.due(time.monotonic()):
                async with self._changing:  # no lane begins meanwhile
                    if not self._assigned or (name in self._kept and not self._kept[name].over) or name not in self._lost.due(time.monotonic()):
                        continue
                    try:
                        self._lost.drop(name)
                    except OSError as error:
                        self.log.warning("lost_state_kept", lane=name, detail=str(error))
                        continue
                await asyncio.to_thread(self._lost.delete, name)
                self.log.info("lost_state_deleted", lane=name)

    def _check_group(self) -> None:
        try:
            self.app.consumer.check()
        except KafkaError as error:
            raise not_allowed(self.config.kafka, error) or error from error

    async def _unheard_ends(self) -> dict[TP, int]:
        """Ends of the partitions whose lane is full: nothing is fetched for them, so nothing tells the consumer how they grow."""
        full = [tp for tp, lane in self._lanes.items() if lane.queued and not lane.room()]
        try:
            async with asyncio.timeout(ENDS_WITHIN_S):
                return dict(await self.app.consumer.highwaters(*full)) if full else {}
        except (KafkaError, TimeoutError):
            return {}  # the lag is then as of the last fetch, and what is wrong with Kafka shows elsewhere


def clear_up() -> None:
    """Free the clients of lanes that ended: they refer to themselves, and the collector runs so seldom (`worker.py`) that a worker would grow with
    every rebalance. All lanes have stopped and dropped their state, so there is little to look at."""
    gc.collect()


async def _feed(stream: Any) -> None:
    """Body of all three agents: give each fetched batch to the lane that asked for it."""
    host = stream.app.ratemill
    async for batch in stream:
        if isinstance(batch, Batch):
            lane = host.lane_of(TP(batch.tp.topic, batch.tp.partition))
            if lane is not None:
                lane.put(batch)
