"""A Ratemill that faults can be done to: servers, the proxies before them, workers with a supervisor, and traffic."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from harness.traffic import make_traffic
from harness.workers import Bed, Worker
from ratemill.local.ports import free_ports
from ratemill.local.stack import Listener, Stack
from ratemill.streams.hanging import StillOpen, abort, obstacle, open_transactions, refuse_members
from ratemill.streams.topics import ensure_topics

from .http_proxy import ElasticsearchProxy
from .proxy import Proxy
from .schedule import SESSION_TIMEOUT_S, Plan

__all__ = ["Say", "World"]

Say = Callable[[str], None]
PER_SECOND = 250.0  # records published
CHUNK = 50
RESTART_S = 1.0  # what a supervisor (systemd, Kubernetes) waits before it starts a worker again
LIFE_AFTER_S = 400.0  # nothing outlives the faults by more than this


class World:
    """Everything that a plan needs. `start` it, let faults happen, `heal` it; `close` ends every process."""

    def __init__(self, plan: Plan, folder: Path, breaks: Sequence[str], say: Say) -> None:
        self.plan, self.folder, self.say = plan, folder, say
        self.breaks = tuple(breaks)
        ports = free_ports(2 * plan.brokers)
        listening, self._proxied = ports[: plan.brokers], ports[plan.brokers :]
        majority = {"min.insync.replicas": "2", "transaction.state.log.min.isr": "2"} if plan.brokers > 1 else {}
        self.stack = Stack(
            folder / "stack",
            max_lifetime=plan.seconds + LIFE_AFTER_S,
            kafka_brokers=plan.brokers,
            listeners=[Listener("PROXIED", listening, advertised=self._proxied)],
            broker_settings=majority,
        )
        self.proxies = [Proxy(port, target, plan.seed) for port, target in zip(self._proxied, listening, strict=True)]
        self.workers: dict[str, Worker] = {}  # those that ought to run, by name
        self.held: set[str] = set()  # not to be started again for now
        self.exits: list[tuple[str, int]] = []
        self.republished = 0
        self._number = 0
        self._ended_at: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._publisher: asyncio.Task[None] | None = None
        self._enough = asyncio.Event()

    @property
    def brokers(self) -> list[str]:
        """Names of the brokers in the stack."""
        return ["kafka", *(f"kafka-{number}" for number in range(2, self.plan.brokers + 1))]

    async def start(self) -> None:
        """Servers, proxies, topics, price book, workers; returns when all partitions are owned."""
        await asyncio.to_thread(self.stack.up, self.say)
        self.es = ElasticsearchProxy(self.stack.elasticsearch, self.plan.seed)
        await self.es.start()
        for proxy in self.proxies:
            await proxy.start()
        self.bed = Bed(self.stack, self.folder, self.plan.seed, 1, SESSION_TIMEOUT_S)
        self.bed.traffic = make_traffic(self.plan.seed, int(PER_SECOND * self.plan.seconds), time.time())
        self.bed.settings = {
            "RATEMILL_KAFKA__BOOTSTRAP": ",".join(f"127.0.0.1:{port}" for port in self._proxied),
            "RATEMILL_ELASTICSEARCH__URL": self.es.url,
        }
        await ensure_topics(self.bed.config)
        await self.bed.publish_prices(self.bed.prices)
        for _ in range(self.plan.workers):
            self.join()
        for worker in self.workers.values():
            await worker.ready(lanes=1, within_s=120)
        self._tasks.append(asyncio.create_task(self._supervise()))

    async def close(self) -> None:
        """End everything that this made."""
        for task in [*self._tasks, *([self._publisher] if self._publisher else [])]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "bed"):
            await self.bed.close()
        for proxy in self.proxies:
            await proxy.stop()
        if hasattr(self, "es"):
            await self.es.stop()
        await asyncio.to_thread(self.stack.down)

    # -- workers -----------------------------------------------------------------------------------------------------

    def join(self) -> str:
        """Start one more worker; its name."""
        self._number += 1
        name = f"w{self._number}"
        self._start(name)
        return name

    def _start(self, name: str) -> None:
        self.workers[name] = self.bed.worker(name, breaks=self.breaks, lifetime_s=int(self.plan.seconds + LIFE_AFTER_S))

    def living(self) -> list[str]:
        """Names of the workers that run and are not held still, in order."""
        return sorted(name for name, worker in self.workers.items() if worker.status is None and not worker.stopped())

    def ready(self) -> list[str]:
        """Those of them that own something."""
        return [name for name in self.living() if self.workers[name].logged("partition_owned")]

    async def leave(self, name: str) -> int:
        """Take a worker away for good by SIGTERM; its exit status."""
        return await self.workers.pop(name).terminate(within_s=60)

    async def _supervise(self) -> None:
        """Start again whatever ended, as systemd or Kubernetes would."""
        while True:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            for name, worker in list(self.workers.items()):
                if worker.status is None:
                    continue
                if name not in self._ended_at:
                    self._ended_at[name] = now
                    self.exits.append((name, worker.status))
                elif now - self._ended_at[name] >= RESTART_S and name not in self.held:
                    del self._ended_at[name]
                    self._start(name)

    # -- traffic -----------------------------------------------------------------------------------------------------

    def start_traffic(self) -> None:
        """Publish at a steady pace until `stop_traffic`; what a broker does not take is published again."""
        self._publisher = asyncio.create_task(self._publish())

    async def stop_traffic(self) -> None:
        """Publish no more; what is under way is finished."""
        self._enough.set()
        if self._publisher is not None:
            await self._publisher

    @property
    def mid_run(self) -> bool:
        """Usage flows: some was published, and more is to come."""
        return self._publisher is not None and not self._enough.is_set() and 0 < self.bed.published < len(self.bed.traffic)

    async def _publish(self) -> None:
        producer: AIOKafkaProducer | None = None
        messages, began = self.bed.traffic, time.monotonic()
        while self.bed.published < len(messages) and not self._enough.is_set():
            chunk = messages[self.bed.published : self.bed.published + CHUNK]
            try:
                # As a collector does: an idempotent producer first; with a new one, events come twice, and that is what ids are for.
                async with asyncio.timeout(25):
                    if producer is None:
                        producer = AIOKafkaProducer(bootstrap_servers=self.stack.kafka, acks="all", enable_idempotence=True, linger_ms=5)
                        await producer.start()
                    sent = [await producer.send(self.bed.topic(m.topic), m.value, m.key, m.partition) for m in chunk]
                    await asyncio.gather(*sent)
            except (KafkaError, OSError, TimeoutError):
                self.republished += len(chunk)
                await _drop(producer)
                producer = None
                await asyncio.sleep(0.5)
                continue
            self.bed.published += len(chunk)
            await asyncio.sleep(max(0.0, began + self.bed.published / PER_SECOND - time.monotonic()))
        await _drop(producer)

    # -- healing -----------------------------------------------------------------------------------------------------

    async def heal(self) -> None:
        """Take back whatever is still wrong with the servers and the way to them, and let every worker run."""
        self.es.treat("pass")
        for proxy in self.proxies:
            proxy.treat("pass")
        self.held.clear()
        await asyncio.to_thread(self.stack.up, lambda line: None)
        if not self.living():
            self.join()

    async def end_hanging(self) -> int:
        """Do what docs/operations.md says under 'A transaction that hangs'; how many there were that Kafka itself will never end."""
        config, now_ms = self.bed.config, time.time() * 1_000
        found = [each for each in await open_transactions(config) if not obstacle(config, each, int(now_ms))]
        if not found:
            return 0
        names = list(self.workers)
        self.held.update(names)
        await asyncio.gather(*(self.workers[name].terminate() for name in names))
        deadline = time.monotonic() + 10 * SESSION_TIMEOUT_S
        while True:
            try:
                await refuse_members(config)
                break
            except StillOpen:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)
        for each in found:
            await abort(config, each.parts)
        for name in names:
            shutil.rmtree(self.bed.data_dir(name), ignore_errors=True)
        self.held.clear()
        return len(found)


async def _drop(producer: AIOKafkaProducer | None) -> None:
    if producer is not None:
        try:
            async with asyncio.timeout(3):
                await producer.stop()
        except (KafkaError, OSError, TimeoutError):
            pass
