"""Memory and disk of what is remembered: for each identity of a counted event, and for each open window.

    python -m ratemill.bench.state_size
    python -m ratemill.bench.state_size --ids 10000000,50000000 --windows 500000,1000000,2000000 --confirm 0

Fifty million events through a worker take a quarter of an hour and measure the worker. So the very classes that a worker keeps its state in
(PartitionState and RocksStore, four partitions, default settings) are filled in a process of their own, without Kafka:

    ids       random identities, put into the stores in commits of 100,000; then known and unknown ones are looked up
    windows   one event for each window, with deduplication switched off: what identities need stands above

`--confirm N` lets a real worker count N events and compares its disk with that. RAM is the resident memory above that of the same process with empty
stores, behind a flush: up to 64 MB of memtables for each partition come and go ("filling": as it was before the flush). Disk is what RocksDB's files
hold after that, once compaction is quiet.
"""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from ..schemas.errors import Unavailable
from .in_process import HOURS, Memory, Rating, disk_bytes, memory, window_event
from .limits import Check, Outcome, command, parser, say
from .report import table
from .restore import bed_of, feed
from .run import Watch
from .shape import last_hour

__all__ = ["Size", "main", "per_thing"]

PER_COMMIT = 100_000
SAMPLE = 100  # identities of each commit that are looked up later
IDS, WINDOWS = "ids", "windows"
RAM_PER_ID = 4.0  # bytes: a bloom filter of 10 bits, and the index of the files
RAM_GROWTH = 0.5  # of the growth in proportion
DISK_DIFFERENCE = 0.25  # between the worker's stores and ours


class Size(msgspec.Struct):
    """What so many things need. Bytes; RAM above that with empty stores."""

    what: str
    count: int
    filling: int  # RSS while the memtables are as full as they happen to be; the other figures are from behind a flush
    rss: int
    pss: int
    disk: int
    cpu_us: float  # CPU of the process for each since the size before
    look_up_us: float  # CPU for looking up one unknown identity
    wrong: int  # identities that were forgotten, or found although they never came


def per_thing(sizes: Sequence[Size]) -> list[tuple[float, float, float]]:
    """(RAM, Pss, disk) in bytes for each thing between a size and the one before; the first one from nothing."""
    found = []
    for before, size in itertools.pairwise([Size("", 0, 0, 0, 0, 0, 0.0, 0.0, 0), *sizes]):
        more = size.count - before.count
        found.append(((size.rss - before.rss) / more, (size.pss - before.pss) / more, (size.disk - before.disk) / more))
    return found


def _ids(rating: Rating, sizes: Sequence[int]) -> Iterator[tuple[int, float, int]]:
    """Remember so many; at each size (count, CPU in microseconds to look up an unknown one, how many look-ups were wrong)."""
    random = np.random.default_rng(11)
    known: list[list[tuple[bytes, bytes]]] = [[] for _ in rating.stores]
    count = 0
    for size in sizes:
        while count < size:
            more = min(PER_COMMIT, size - count)
            raw = random.bytes(24 * more)
            ids = [(raw[at : at + 16], raw[at + 16 : at + 24]) for at in range(0, 24 * more, 24)]
            number = count // PER_COMMIT % len(rating.stores)
            rating.remember(number, ids)
            known[number] += ids[:SAMPLE]
            count += more
            if count % 5_000_000 == 0:
                print(f"{count:,} ids", file=sys.stderr, flush=True)
        wrong, used, asked = 0, 0.0, 0
        for store, its in zip(rating.stores, known, strict=True):
            wrong += sum(found != print_ for found, (_, print_) in zip(store.seen([id_ for id_, _ in its]), its, strict=True))
            unknown = [random.bytes(16) for _ in range(20_000)]
            begin = time.thread_time()
            wrong += sum(found is not None for found in store.seen(unknown))
            used, asked = used + time.thread_time() - begin, asked + len(unknown)
        yield count, used / asked * 1e6, wrong


def _windows(rating: Rating, sizes: Sequence[int]) -> Iterator[tuple[int, float, int]]:
    """Open so many; at each size (count, 0, windows without a line item)."""
    count, hour = 0, last_hour()
    for size in sizes:
        wrong = 0
        while count < size:
            more = min(PER_COMMIT, size - count)
            wrong += more - rating.count_all(window_event(*divmod(window, HOURS), hour, window) for window in range(count, count + more))
            count += more
        # A window that a tier bound lies in has a line item for each tier, so there may be more, never fewer.
        yield count, 0.0, max(0, wrong)


def _measure(what: str, folder: Path, sizes: Sequence[int]) -> None:
    """The child process: prints a line of JSON for each size."""
    gc.freeze()
    rating = Rating(folder, deduplicate=what == IDS)
    gc.collect()
    empty = memory()
    used, before = time.process_time(), 0
    for count, look_up, wrong in (_ids if what == IDS else _windows)(rating, sizes):
        cpu = (time.process_time() - used) / (count - before) * 1e6
        gc.collect()
        filling: Memory = memory()
        rating.flush()
        disk, now = disk_bytes(folder), memory()
        rss, pss = now.rss - empty.rss, now.pss - empty.pss
        size = Size(what, count, filling.rss - empty.rss, rss, pss, disk, round(cpu, 2), round(look_up, 2), wrong)
        print(msgspec.json.encode(size).decode(), flush=True)
        used, before = time.process_time(), count
    rating.close()


def _measured(what: str, folder: Path, sizes: Sequence[int]) -> list[Size]:
    """Sizes from a process of their own, so that nothing else is in its memory."""
    if not sizes:
        return []
    say(f"state_size: {what} {', '.join(f'{size:,}' for size in sizes)}")
    arguments = [sys.executable, "-m", "ratemill.bench.state_size", "--part", what, str(folder), json.dumps(list(sizes))]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise Unavailable(f"the process that fills the state ended with status {done.returncode}")
    return [msgspec.json.decode(line, type=Size) for line in done.stdout.splitlines()]


async def _worker(folder: Path, ids: int) -> tuple[Size, list[str]]:
    """Let a real worker count so many events: its memory above that of its start, and its disk."""
    async with bed_of(folder) as (bed, producer):
        worker, _, _ = await bed.start()
        async with Watch(bed.config) as watch:
            empty, used = worker.resident_bytes(), worker.usage().cpu_s
            async for _ in feed(bed, producer, watch, ids):
                pass
            rss, cpu = worker.resident_bytes() - empty, worker.usage().cpu_s - used
            wrong = watch.mismatches(bed.many.expected(bed.sent, 0))
        bed.stop()
        disk = disk_bytes(bed.data / "state")
    return Size("a worker's ids", ids, rss, rss, 0, disk, round(cpu / ids * 1e6, 2), 0.0, 0), wrong


async def _state_size(folder: Path, ids: Sequence[int], windows: Sequence[int], confirm: int) -> Outcome:
    found = {IDS: _measured(IDS, folder / "ids", ids), WINDOWS: _measured(WINDOWS, folder / "windows", windows)}
    checks = _checks(found[IDS], found[WINDOWS])
    shown = [*found[IDS], *found[WINDOWS]]
    if confirm:
        worker, wrong = await _worker(folder, confirm)
        ours = _measured(IDS, folder / "confirm", [confirm])[0]
        apart = worker.disk / ours.disk - 1
        checks.append(Check(f"{confirm:,} ids in a real worker: as much disk", abs(apart) <= DISK_DIFFERENCE,
                            f"{worker.disk / confirm:.1f} bytes an id, {ours.disk / confirm:.1f} here"))  # fmt: skip
        checks.append(Check("its counters are right", not wrong, "; ".join(wrong) or f"{confirm:,} received and counted"))
        shown += [worker, ours]
    _show(found[IDS], found[WINDOWS], shown[len(found[IDS]) + len(found[WINDOWS]) :])
    return Outcome(checks, {"sizes": shown})


def _checks(ids: Sequence[Size], windows: Sequence[Size]) -> list[Check]:
    checks = [Check("known identities are found, unknown ones are not", not sum(s.wrong for s in ids), f"{sum(s.wrong for s in ids)} wrong")]
    if len(ids) > 1:
        ram, _, disk = per_thing(ids)[-1]
        checks.append(Check(f"one id more needs at most {RAM_PER_ID:g} bytes of RAM", ram <= RAM_PER_ID,
                            f"{ram:.2f} bytes between {ids[-2].count:,} and {ids[-1].count:,}, and {disk:.1f} on disk"))  # fmt: skip
    for sizes, name, grown in ((ids, "ids", ids[:1]), (windows, "windows", windows[-2:-1])):
        if len(sizes) < 2:
            continue
        first, last = grown[0], sizes[-1]
        times, more = last.count / first.count, last.rss / max(1, first.rss)
        checks.append(Check(f"RAM does not grow in proportion to the {name}", more - 1 <= RAM_GROWTH * (times - 1),
                            f"{times:.1f} times the {name}, {more:.2f} times the RAM"))  # fmt: skip
    if windows:
        checks.append(Check("every window has its line item", not sum(s.wrong for s in windows), f"{sum(s.wrong for s in windows)} without"))
    return checks


def _show(*groups: Sequence[Size]) -> None:
    rows = []
    for sizes in groups:
        apart = per_thing(sizes) if len({s.what for s in sizes}) == 1 else [(s.rss / s.count, s.pss / s.count, s.disk / s.count) for s in sizes]
        for s, (rss, pss, disk) in zip(sizes, apart, strict=True):
            whole = (f"{size / 1e6:,.0f}" for size in (s.filling, s.rss, s.pss, s.disk))
            each = (f"{s.rss / s.count:.2f}", f"{s.disk / s.count:.1f}", f"{rss:.2f}", f"{pss:.2f}", f"{disk:.1f}")
            rows.append((f"{s.count:,} {s.what}", *whole, *each, f"{s.cpu_us:.2f}", f"{s.look_up_us:.2f}"))
    more = ("RAM each more", "Pss each more", "disk each more")
    columns = ("state", "filling MB", "RAM MB", "Pss MB", "disk MB", "RAM each", "disk each", *more, "CPU us", "look-up us")
    table("State: bytes above empty stores, four partitions", columns, rows)


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",") if size != "0"]


def main() -> int:
    """Run what was asked for; 1 when a check fails."""
    if sys.argv[1:2] == ["--part"]:  # the process that is measured
        what, folder, sizes = sys.argv[2:]
        _measure(what, Path(folder), json.loads(sizes))
        return 0
    options = parser("state_size", __doc__)
    options.add_argument("--ids", default="10000000,50000000", metavar="N,…", help="sizes, growing; 0: none (default: 10 and 50 million)")
    options.add_argument("--windows", default="500000,1000000,2000000", metavar="N,…", help="the same of windows (default: 0.5, 1 and 2 million)")
    options.add_argument("--confirm", type=int, default=1_000_000, metavar="N", help="ids that a real worker remembers; 0: none (default: 1,000,000)")
    given = options.parse_args()
    try:
        ids, windows = _sizes(given.ids), _sizes(given.windows)
    except ValueError:
        options.error("--ids and --windows: numbers with commas between them, such as 10000000,50000000")
    if any(sizes != sorted(set(sizes)) or min(sizes, default=1) < 1 for sizes in (ids, windows)) or given.confirm < 0 or not (ids or windows):
        options.error("--ids and --windows must grow, and one of them must not be 0; --confirm must not be negative")
    return command("state_size", given.dir, lambda folder: _state_size(folder, ids, windows, given.confirm))


if __name__ == "__main__":
    sys.exit(main())
