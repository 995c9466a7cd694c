"""How long a worker takes to have its state again, against the size of that state, with its disk and without.

    python -m ratemill.bench.restore --ids 1000000,3000000,10000000

The real worker (agent `rate`) counts so many events, each an identity that it remembers. Then it is started again and again:

    stopped   SIGTERM, disk kept
    killed    SIGKILL while it counts, disk kept: RocksDB comes back as of its last flush
    lost      SIGTERM, disk deleted: everything is read back from Kafka

After each start, events that were counted before are sent once more, from all over the log, with as many new ones: the first must all be
duplicates, and the others must all count. At the end the oracle compares `usage.rated`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaProducer

from ..schemas.errors import Unavailable
from ..streams.prices_topic import publish_book
from .broker import Broker, kafka
from .fill import PREFIX, RAW, producer_of
from .kafka_io import create
from .limits import Check, Outcome, command, parser, say
from .many import Many
from .oracle import Expected, compare
from .probe import folder_mb
from .report import table
from .run import STALLED_AFTER_S, Watch, configure, newest_rated, owned
from .shape import PARTITIONS, PRICES, price_book
from .worker import Worker

__all__ = ["Bed", "bed_of", "compared", "feed", "main"]

PROBES = 2_000  # of each kind
KILLED_AFTER = 100_000  # events that a killed worker has counted since it started
TIMES_FASTER = 4.0  # without compiled loops it is far more: each identity then takes its way through RocksDB
STOPPED, KILLED, LOST = "stopped", "killed", "lost"


class Start(msgspec.Struct):
    """One start of the worker."""

    ids: int
    how: str
    assigned_s: float  # from the start of the process until the group has given it partitions
    restore_s: float  # from then until the last lane owns its partition
    cpu_s: float  # of the process, until then
    peak_mb: float
    state_mb: float  # local state, before
    wrong: list[str]


class Bed:
    """The worker, its topic, and how far both are."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.config = configure(folder / "run", broker.bootstrap, "direct", RAW + "restore")
        self.folder = folder / "run"
        self.many = Many()
        self.sent = self.duplicates = 0
        self._worker: Worker | None = None

    @property
    def data(self) -> Path:
        """Local state."""
        return Path(self.config.worker.data_dir)

    async def send(self, producer: AIOKafkaProducer, first: int, count: int, step: int = 1) -> None:
        """Send the events of these numbers: `count` of them, each `step` behind the one before."""
        await self.many.send(producer, PREFIX + RAW + "restore", range(first, first + count * step, step))
        self.sent += count

    async def start(self) -> tuple[Worker, float, float]:
        """Start the worker: (worker, seconds until assigned, seconds from then until all is owned)."""
        began = time.time()
        self._worker = worker = Worker(self.folder, ("rate",), None)
        await owned(worker, PARTITIONS)
        await asyncio.sleep(0.5)  # for the log to be written
        times = {"assigned": [0.0], "partition_owned": [0.0]}
        for line in worker.log.read_bytes().splitlines():
            said = json.loads(line) if line.startswith(b"{") else {}
            if said.get("event") in times and said.get("lanes") != []:
                times[said["event"]].append(datetime.fromisoformat(said["timestamp"]).timestamp())
        assigned, all_owned = max(times["assigned"]), max(times["partition_owned"])
        return worker, assigned - began, all_owned - assigned

    def stop(self, how: str = STOPPED) -> None:
        """End the worker, as a person would, or as a crash would."""
        if self._worker is not None:
            end = self._worker.kill if how == KILLED else self._worker.stop
            end()
            self._worker = None
        if how == LOST:
            shutil.rmtree(self.data / "state")

    async def counted(self, watch: Watch) -> None:
        """Wait until everything sent is committed. Raises Unavailable when nothing moves."""
        done, changed, told = -1, time.monotonic(), time.monotonic()
        while done < self.sent:
            now = await watch.poll()
            if now != done:
                done, changed = now, time.monotonic()
            if self._worker is not None:
                self._worker.check()
            if time.monotonic() - changed > STALLED_AFTER_S:
                raise Unavailable(f"{done:,} of {self.sent:,} events are counted, and nothing moves")
            if time.monotonic() - told > 10:
                told = time.monotonic()
                say(f"restore: counted {done:,} of {self.sent:,} events")


@asynccontextmanager
async def bed_of(folder: Path) -> AsyncIterator[tuple[Bed, AIOKafkaProducer]]:
    """A bed on a Kafka of its own, its topic made and its prices published, with a producer; all of it is ended afterwards."""
    with kafka(folder, None, say) as broker:
        bed = Bed(folder, broker)
        await create(broker.bootstrap, PREFIX + RAW + "restore", PARTITIONS)
        await publish_book(bed.config, price_book(), "bench.yaml", "bench", "bench")
        producer = producer_of(broker.bootstrap)
        await producer.start()
        try:
            yield bed, producer
        finally:
            bed.stop()
            await producer.stop()


async def feed(bed: Bed, producer: AIOKafkaProducer, watch: Watch, ids: int, step: int = 250_000) -> AsyncIterator[int]:
    """Let the running worker remember so many identities; yields how many it does after each step."""
    while bed.many.next < ids:
        count = min(step, ids - bed.many.next)
        await bed.send(producer, bed.many.next, count)
        bed.many.next += count
        await bed.counted(watch)
        yield bed.many.next


async def _grow(bed: Bed, producer: AIOKafkaProducer, watch: Watch, ids: int) -> None:
    bed.stop()
    await bed.start()
    async for _ in feed(bed, producer, watch, ids):
        pass
    bed.stop()


async def _measured(bed: Bed, producer: AIOKafkaProducer, watch: Watch, ids: int, how: str) -> Start:
    """Start once after an end of this kind, and try whether the worker remembers."""
    if how == KILLED:
        await bed.send(producer, bed.many.next, KILLED_AFTER)
        bed.many.next += KILLED_AFTER
        await bed.counted(watch)
    bed.stop(how)
    state_mb = folder_mb(bed.data / "state")
    worker, assigned_s, restore_s = await bed.start()
    peak, cpu = worker.peak_bytes() / 1e6, worker.usage().cpu_s
    known = bed.many.next
    await bed.send(producer, known % (known // PROBES), PROBES, known // PROBES)
    bed.duplicates += PROBES
    await bed.send(producer, known, PROBES)
    bed.many.next += PROBES
    await bed.counted(watch)
    wrong = watch.mismatches(Expected(bed.sent, bed.duplicates))
    found = Start(ids, how, round(assigned_s, 2), round(restore_s, 2), round(cpu, 1), round(peak), round(state_mb, 1), wrong)
    say(f"restore: {ids:,} ids, {how}: {found.restore_s} s, {found.assigned_s} s until assigned{'; ' + '; '.join(wrong) if wrong else ''}")
    return found


async def _restore(folder: Path, sizes: list[int], rounds: int) -> Outcome:
    starts: list[Start] = []
    changelogs: dict[int, float] = {}
    async with bed_of(folder) as (bed, producer):
        await bed.start()  # makes the topics
        async with Watch(bed.config) as watch:
            for ids in sizes:
                await _grow(bed, producer, watch, ids)
                changelogs[ids] = round(folder_mb(folder / "kafka" / "data", f"{PREFIX}ratemill.state.*/*.log"), 1)
                for _ in range(rounds):
                    for how in (STOPPED, KILLED, LOST):
                        starts.append(await _measured(bed, producer, watch, ids, how))
        bed.stop()
        wrong = await compared(bed)
    return _judged(starts, changelogs, wrong)


async def compared(bed: Bed) -> list[str]:
    """In what `usage.rated` is not what the oracle says of all that was sent."""
    say("comparing with the oracle")
    newest = await newest_rated(bed.config)
    return compare(bed.many.expected(bed.sent, bed.duplicates), {sku.name: sku.tiers for sku in PRICES}, newest.items.values())


def _judged(starts: list[Start], changelogs: dict[int, float], wrong: list[str]) -> Outcome:
    rows = []
    for s in starts:
        speed = f"{s.ids / s.restore_s:,.0f}" if s.how == LOST else ""
        rows.append((f"{s.how}, {s.ids:,} ids", f"{changelogs[s.ids]:,.0f}", f"{s.state_mb:,.0f}", f"{s.assigned_s:.1f}", f"{s.restore_s:.2f}",
                     f"{s.assigned_s + s.restore_s:.1f}", speed, f"{s.cpu_s:.1f}", f"{s.peak_mb:,.0f}"))  # fmt: skip
    columns = ("end before", "changelogs MB", "disk MB", "to assigned s", "restore s", "both s", "ids/s", "CPU s", "peak MB")
    table("Restore: one worker, agent rate, 4 partitions at once", columns, rows)
    checks = []
    for ids in changelogs:
        its = {how: statistics.median([s.restore_s for s in starts if s.ids == ids and s.how == how]) for how in (STOPPED, KILLED, LOST)}
        times = its[LOST] / its[STOPPED]
        # Making a producer, opening a store and asking Kafka takes its time at any size; the claim is about states that take long.
        claimed = ids == max(changelogs)
        found = f"{its[STOPPED]:.2f} s after a stop, {its[KILLED]:.2f} s after a kill, {its[LOST]:.2f} s without: {times:.0f} times"
        what = f"{TIMES_FASTER:.0f} times faster with its disk" if claimed else "faster with its disk"
        checks.append(Check(f"{ids:,} ids: {what}", times >= (TIMES_FASTER if claimed else 1), found))
    forgot = [line for start in starts for line in start.wrong]
    probed = f"{PROBES:,} duplicates and {PROBES:,} new ones after each start"
    checks.append(Check("every identity is remembered", not forgot, "; ".join(forgot) or probed))
    checks.append(Check("nothing lost, nothing doubled", not wrong, "; ".join(wrong) or "the oracle agrees"))
    return Outcome(checks, {"starts": starts, "changelogs_mb": changelogs})


def main() -> int:
    """Run what was asked for; 1 when a check fails."""
    options = parser("restore", __doc__)
    options.add_argument("--ids", default="1000000,3000000,10000000", metavar="N,…", help="sizes, growing (default: 1, 3 and 10 million)")
    options.add_argument("--rounds", type=int, default=1, metavar="R", help="starts of each kind and size (default: 1)")
    given = options.parse_args()
    try:
        sizes = [int(size) for size in given.ids.split(",")]
    except ValueError:
        options.error(f"--ids {given.ids}: numbers with commas between them, such as 1000000,3000000")
    if sizes != sorted(set(sizes)) or sizes[0] < PROBES or given.rounds < 1:
        options.error(f"--ids must grow and be at least {PROBES:,}; --rounds at least 1")
    return command("restore", given.dir, lambda folder: _restore(folder, sizes, given.rounds))


if __name__ == "__main__":
    sys.exit(main())
