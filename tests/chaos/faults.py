"""How each fault is brought about and taken back, and what shows that it hit.

A fault is a context: it begins when entered, lasts while open, and is taken back when left. What it yields says whom it hit; a fault that
found no victim yields an empty string.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from aiokafka.errors import KafkaError
from harness.workers import Worker
from ratemill.schemas.errors import RatemillError

from .schedule import Fault
from .world import World

__all__ = ["FAULTS", "Hit", "inflict"]

POINTS = ("before_begin", "after_line_items", "after_changelog", "before_offsets", "before_commit", "after_commit")
LANES = ("rate-", "rate-", "normalize-", "index-")


class Hit(NamedTuple):
    """What became of a fault."""

    fault: Fault
    began_s: float
    published: int
    target: str  # "": it found no victim
    proof: str  # what shows that it hit in the middle of the run; "": nothing did


async def inflict(world: World, fault: Fault, began_s: float) -> Hit:
    """Let a fault happen, from its beginning to its end."""
    published, mid_run = world.bed.published, world.mid_run
    counters = [proxy.hits for proxy in world.proxies] + [world.es.hits]
    before = [Counter(c) for c in counters]
    async with FAULTS[fault.kind](world, fault) as target:
        if target:
            await asyncio.sleep(fault.lasts_s)
    hits = sum((now - then for now, then in zip(counters, before, strict=True)), Counter[str]())
    proof = "usage flowed" if target and mid_run else ""
    if proof and fault.kind in _COUNTED:
        count = hits[_COUNTED[fault.kind]]
        proof = f"usage flowed, {count} times" if count else ""
    return Hit(fault, began_s, published, target, proof)


def _pick(fault: Fault, names: list[str]) -> str:
    return names[int(fault.which * len(names))] if names else ""


# -- workers -------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _worker_kill(world: World, fault: Fault) -> AsyncIterator[str]:
    if name := _pick(fault, world.living()):
        await world.workers[name].kill()
    yield name


@asynccontextmanager
async def _worker_kill_in_commit(world: World, fault: Fault) -> AsyncIterator[str]:
    """Killed at a step of the commit protocol."""
    name = _pick(fault, world.ready())
    yield await _mine(world, fault, name, "kill", POINTS, LANES[int(fault.which * 997) % len(LANES)]) if name else ""


@asynccontextmanager
async def _worker_stop_in_commit(world: World, fault: Fault) -> AsyncIterator[str]:
    """Stopped at a step of the commit, beyond its session: woken, it goes on writing what is another's by now."""
    name = _pick(fault, world.ready())
    worker = world.workers.get(name)
    yield await _mine(world, fault, name, "stop", ("before_begin", "after_line_items", "before_commit"), "rate-") if name else ""
    if worker is not None and worker.status is None:
        worker.signal(signal.SIGCONT)


async def _mine(world: World, fault: Fault, name: str, action: str, points: Sequence[str], lane: str) -> str:
    """Lay a failpoint before a running worker; where it hit, or nothing when it was not passed."""
    point = points[int(fault.detail * len(points))]
    worker = world.workers[name]
    worker.lay({"point": point, "lane": lane, "after": 1 + int(fault.detail * 5), "action": action})
    for _ in range(150):
        await asyncio.sleep(0.1)
        if worker.logged("failpoint"):
            return f"{name} {point} {lane[:-1]}"
    await worker.kill()
    return ""


@asynccontextmanager
async def _worker_term(world: World, fault: Fault) -> AsyncIterator[str]:
    if name := _pick(fault, world.living()):
        await _end(world.workers[name])
    yield name


async def _end(worker: Worker) -> None:
    if worker.status is None:
        worker.signal(signal.SIGTERM)
        await worker.ended(within_s=60)


@asynccontextmanager
async def _worker_stop(world: World, fault: Fault) -> AsyncIterator[str]:
    name = _pick(fault, world.living())
    worker = world.workers.get(name)
    if worker is not None:
        worker.signal(signal.SIGSTOP)
    yield name
    if worker is not None and worker.status is None:
        worker.signal(signal.SIGCONT)


@asynccontextmanager
async def _worker_join(world: World, fault: Fault) -> AsyncIterator[str]:
    name = world.join()
    yield name
    if fault.detail < 0.5:
        await world.leave(name)
    else:
        await world.workers.pop(name).kill()


@asynccontextmanager
async def _double_rebalance(world: World, fault: Fault) -> AsyncIterator[str]:
    """One dies; while its partitions are being restored elsewhere another one joins, and soon leaves again."""
    if name := _pick(fault, world.living()):
        await world.workers[name].kill()
        await asyncio.sleep(0.2 + fault.detail)
        guest = world.join()
        yield f"{name}, {guest}"
        await world.leave(guest)
    else:
        yield ""


@asynccontextmanager
async def _disk_loss(world: World, fault: Fault) -> AsyncIterator[str]:
    if name := _pick(fault, world.living()):
        world.held.add(name)
        await world.workers[name].kill()
        if (disk := world.bed.data_dir(name)).exists():  # one that has only just begun has none yet
            await asyncio.to_thread(shutil.rmtree, disk)
        world.held.discard(name)
    yield name


# -- Kafka ---------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _broker_kill(world: World, fault: Fault) -> AsyncIterator[str]:
    name = _pick(fault, world.brokers)
    await asyncio.to_thread(world.stack.kill, name)
    yield name
    await asyncio.to_thread(world.stack.restart, name)


@asynccontextmanager
async def _broker_restart(world: World, fault: Fault) -> AsyncIterator[str]:
    name = _pick(fault, world.brokers)
    await asyncio.to_thread(world.stack.restart, name)
    yield name


@asynccontextmanager
async def _broker_pause(world: World, fault: Fault) -> AsyncIterator[str]:
    name = _pick(fault, world.brokers)
    await asyncio.to_thread(world.stack.pause, name)
    yield name
    await asyncio.to_thread(world.stack.resume, name)


def _network(mode: str) -> Callable[[World, Fault], AbstractAsyncContextManager[str]]:
    @asynccontextmanager
    async def treated(world: World, fault: Fault) -> AsyncIterator[str]:
        """The way to all brokers, or to one of them."""
        several = len(world.proxies) > 1 and fault.detail < 0.5
        chosen = [world.proxies[int(fault.which * len(world.proxies))]] if several else world.proxies
        for proxy in chosen:
            proxy.treat(mode)
        yield "one broker" if several else "all brokers"
        for proxy in chosen:
            proxy.treat("pass")

    return treated


# -- Elasticsearch -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _es_kill(world: World, fault: Fault) -> AsyncIterator[str]:
    await asyncio.to_thread(world.stack.kill, "elasticsearch")
    yield "elasticsearch"
    await asyncio.to_thread(world.stack.restart, "elasticsearch")


@asynccontextmanager
async def _es_pause(world: World, fault: Fault) -> AsyncIterator[str]:
    await asyncio.to_thread(world.stack.pause, "elasticsearch")
    yield "elasticsearch"
    await asyncio.to_thread(world.stack.resume, "elasticsearch")


@asynccontextmanager
async def _es_read_only(world: World, fault: Fault) -> AsyncIterator[str]:
    """The block that Elasticsearch itself sets when a disk is almost full."""
    await _block(world, True)
    yield "all indexes"
    await _block(world, None)


async def _block(world: World, value: bool | None) -> None:
    url = f"{world.stack.elasticsearch}/{world.bed.index}-line-items-*/_settings"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        for _ in range(60):
            try:
                (await session.put(url, json={"index.blocks.read_only_allow_delete": value})).raise_for_status()
                return
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(0.5)
    raise RatemillError(f"Elasticsearch does not take the setting of {world.bed.index}-line-items-*")


def _answers(mode: str) -> Callable[[World, Fault], AbstractAsyncContextManager[str]]:
    @asynccontextmanager
    async def treated(world: World, fault: Fault) -> AsyncIterator[str]:
        world.es.treat(mode)
        yield "bulk requests"
        world.es.treat("pass")

    return treated


# -- prices --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _new_prices(world: World, fault: Fault) -> AsyncIterator[str]:
    """Every unit price changes, and restates what was rated; it must be told to a Kafka that may be away."""
    prices: list[dict[str, Any]] = [dict(price) for price in world.bed.prices]
    for price in prices:
        if "unit_price" in price:
            price["unit_price"] = f"0.{int(fault.detail * 1_000_000):06d}1"
    for _ in range(120):
        try:
            async with asyncio.timeout(10):
                await world.bed.publish_prices(prices)
            break
        except (RatemillError, KafkaError, OSError, TimeoutError):
            await asyncio.sleep(1)
    else:
        raise RatemillError("the new price book could not be published")
    yield f"book of {fault.detail}"


FAULTS: dict[str, Callable[[World, Fault], AbstractAsyncContextManager[str]]] = {
    "worker-kill": _worker_kill,
    "worker-kill-in-commit": _worker_kill_in_commit,
    "worker-term": _worker_term,
    "worker-stop": _worker_stop,
    "worker-stop-in-commit": _worker_stop_in_commit,
    "worker-pause": _worker_stop,
    "worker-join": _worker_join,
    "double-rebalance": _double_rebalance,
    "disk-loss": _disk_loss,
    "broker-kill": _broker_kill,
    "broker-restart": _broker_restart,
    "broker-pause": _broker_pause,
    "net-delay": _network("delay"),
    "net-blackhole": _network("blackhole"),
    "net-reset": _network("reset"),
    "net-drop-answers": _network("drop-answers"),
    "es-kill": _es_kill,
    "es-pause": _es_pause,
    "es-429": _answers("429"),
    "es-partial": _answers("partial"),
    "es-drop-answers": _answers("drop-answers"),
    "es-read-only": _es_read_only,
    "new-prices": _new_prices,
}
# Faults that hit only if something came their way: what the proxies counted.
_COUNTED = {
    "net-delay": "delay", "net-blackhole": "blackhole", "net-reset": "reset", "net-drop-answers": "drop-answers",
    "es-429": "429", "es-partial": "partial", "es-drop-answers": "drop-answers", "es-read-only": "blocked",
}  # fmt: skip
