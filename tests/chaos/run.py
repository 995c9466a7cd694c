"""One run: plan, faults while usage flows, healing, verdict; and what is left behind when the verdict is bad."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from harness.traffic import DIRECT, HOPPED
from ratemill.schemas.errors import RatemillError

from .faults import Hit, inflict
from .judge import Verdict, judge
from .schedule import KINDS, Plan
from .world import Say, World

__all__ = ["Report", "run"]

RECOVERS_WITHIN_S = 120.0
TOPICS = (DIRECT, HOPPED, "usage.events", "usage.rated", "usage.dead-letter", "ratemill.state.progress")


class Report(NamedTuple):
    """What a run came to."""

    plan: Plan
    hits: list[Hit]
    exits: Counter[str]  # how workers ended, by exit status
    republished: int
    recovered_s: float  # from healing to lag zero everywhere
    verdict: Verdict

    @property
    def faults(self) -> int:
        """Faults that are shown to have hit in the middle of the run."""
        return sum(1 for hit in self.hits if hit.proof)

    @property
    def good(self) -> bool:
        """Nothing lost, doubled or mismatched, and something hit."""
        return self.faults > 0 and not (self.verdict.lost or self.verdict.doubled or self.verdict.mismatched)

    @property
    def line(self) -> str:
        """The last line of the output."""
        its = self.verdict
        counts = f"faults={self.faults} events={its.events} lost={its.lost} doubled={its.doubled} mismatched={its.mismatched}"
        return f"chaos seed={self.plan.seed} {counts} recovered_s={self.recovered_s:.1f}"


async def run(plan: Plan, folder: Path, breaks: Sequence[str], say: Say) -> Report:
    """Run a plan. Raises RatemillError when the servers cannot be started, or usage is not through in time after healing."""
    world = World(plan, folder, breaks, say)
    try:
        say(f"starting {plan.brokers} broker(s), Elasticsearch and {plan.workers} workers")
        await world.start()
        hits = await _let_happen(world)
        await world.stop_traffic()
        await world.heal()
        say(f"healed; {world.bed.published:,} records published; waiting until all of it is rated and visible")
        recovered_s = await _recovered(world)
        say(f"lag zero after {recovered_s:.1f} s; comparing with the oracle")
        verdict = await judge(world.bed)
        exits = Counter(f"{status}" for _, status in world.exits)
        report = Report(plan, sorted(hits, key=lambda hit: hit.began_s), exits, world.republished, recovered_s, verdict)
        if not report.good:
            await _keep(world, report)
        return report
    except AssertionError as error:
        raise RatemillError(str(error)) from error
    finally:
        await world.close()


async def _let_happen(world: World) -> list[Hit]:
    """Publish, and let each fault happen at its time; faults of one domain come one after the other."""
    domains = {kind.domain: asyncio.Lock() for kind in KINDS.values()}
    began = time.monotonic()
    world.start_traffic()
    ending: list[asyncio.Task[Hit]] = []

    async def happen(number: int) -> Hit:
        fault = world.plan.faults[number]
        async with domains[KINDS[fault.kind].domain]:
            hit = await inflict(world, fault, round(time.monotonic() - began, 1))
        where = f"{hit.target} ({hit.proof or 'nothing shows that it hit'})" if hit.target else "no victim"
        world.say(f"{hit.began_s:5.1f} s  {fault.kind} for {fault.lasts_s:.1f} s, at {hit.published:,} records  {where}")
        return hit

    for number, fault in enumerate(world.plan.faults):
        await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
        ending.append(asyncio.create_task(happen(number)))
    hits = await asyncio.gather(*ending)
    await asyncio.sleep(max(0.0, began + world.plan.seconds - time.monotonic()))
    return list(hits)


async def _recovered(world: World) -> float:
    """Wait until everything published is rated under the last price book, and visible; the seconds that took."""
    began = time.monotonic()
    try:
        await world.bed.caught_up(RECOVERS_WITHIN_S)
    except AssertionError:
        # Kafka forgets the markers of transactions that it decides on while their partitions have no leader: docs/reliability.md.
        if not (hung := await world.end_hanging()):
            raise
        world.say(f"Kafka lost the markers of {hung} transactions: workers stopped, transactions aborted, disks deleted, as docs/operations.md says")
        began = time.monotonic()
        await world.bed.caught_up(RECOVERS_WITHIN_S)
    if world.bed.digest:
        await world.bed.priced_by(world.bed.digest, RECOVERS_WITHIN_S)
        await world.bed.caught_up(RECOVERS_WITHIN_S)
    return time.monotonic() - began


async def _keep(world: World, report: Report) -> None:
    """Leave what is needed to look into it: the plan, what hit, the differences, and the topics record by record."""
    told = {"plan": report.plan, "hits": report.hits, "exits": report.exits, "line": report.line, "differences": report.verdict.lines}
    (world.folder / "report.json").write_text(json.dumps(told, indent=1))
    for topic in TOPICS:
        with (world.folder / f"{topic}.ndjson").open("w") as out:
            for r in await world.bed.read(topic, committed=False):
                key, value = ((base64.b64encode(part).decode() if part is not None else None) for part in (r.key, r.value))
                out.write(json.dumps({"partition": r.partition, "offset": r.offset, "timestamp_ms": r.timestamp, "key": key, "value": value}) + "\n")
