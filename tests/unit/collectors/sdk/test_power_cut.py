"""A power cut at any moment: what `append` accepted is in the spool, what was settled is not, and nothing is there by half.

The real spool runs on a disk that is watched; then what could be left of that disk is put together for a cut behind each write, sync, truncation and
removal, with none, some and all of what was not synced, and opened.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from ratemill.collectors.sdk.spool import Spool

from .disk import Operation, compiled, laid_out, run, states

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")

PROGRAM = """
import os, random, sys
from ratemill.collectors.sdk.events import Event
from ratemill.collectors.sdk.spool import Refused, Spool
folder, seed, fsync, steps = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "fsync", int(sys.argv[4])
rng = random.Random(seed)
marks = os.open(folder + "/marks", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
def mark(what, ids): os.write(marks, (what + " " + " ".join(map(str, ids)) + "\\n").encode())
def opened():
    spool = Spool(folder + "/spool", fsync=fsync)
    spool._db.execute("PRAGMA wal_autocheckpoint = 6")
    return spool
spool, following = opened(), 0
for step in range(steps):
    kind = rng.random()
    if kind < 0.6:
        ids = range(following, following := following + rng.randrange(1, 5))
        mark("putting", ids)
        spool.append([Event(f"a{n % 2}", f"{n}:{'x' * rng.choice((10, 3000))}".encode()) for n in ids])
        mark("put", ids)
    elif kind < 0.9:
        rows = spool.read(rng.choice((1, 5000)))
        ids = [int(body.split(b":")[0]) for row in rows for body in row.body.split(b"\\n")]
        refused = [Refused(row.account, "", "r", "d", body) for row in rows for body in row.body.split(b"\\n") if int(body.split(b":")[0]) % 5 == 0]
        mark("settling", ids)
        spool.settle(rows, refused)
        mark("settled", ids)
    else:
        spool.close()
        spool = opened()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("disk"))


def ids_of(bodies: list[bytes]) -> list[int]:
    return [int(line.split(b":")[0]) for body in bodies for line in body.split(b"\n")]


def wrong(said: list[bytes], folder: Path) -> list[str]:
    """What a spool that was found after a cut has lost, kept too long, or kept by half."""
    steps = [(what, {int(n) for n in ids.split()}) for what, _, ids in (line.decode().partition(" ") for line in said)]
    done: dict[str, set[int]] = {"put": set(), "settled": set()}
    for what, ids in steps:
        if what in done:
            done[what] |= ids
    undecided: set[int] = steps[-1][1] if steps and steps[-1][0] in ("putting", "settling") else set()
    spool = Spool(folder / "spool", fsync=False)
    waiting, refused = ids_of([row.body for row in spool.read(1 << 30)]), ids_of([each.body for each in spool.refused(10_000)])
    counted = spool.waiting_events
    spool.close()
    found = []
    certain = done["put"] - done["settled"] - undecided
    if lost := certain - set(waiting):
        found.append(f"lost: {sorted(lost)}")
    if more := set(waiting) - certain - undecided:
        found.append(f"waits although it should not: {sorted(more)}")
    if lost := {n for n in done["settled"] if n % 5 == 0} - set(refused):
        found.append(f"refused and forgotten: {sorted(lost)}")
    if len(waiting) != len(set(waiting)) or counted != len(waiting) or set(waiting) & set(refused):
        found.append("an event is there twice, or counted wrongly")
    if undecided & set(waiting) and not undecided <= set(waiting):
        found.append(f"half of a transaction: {sorted(undecided & set(waiting))} of {sorted(undecided)}")
    return found


def judged(log: list[Operation], folder: Path, seed: int, most: int = 1_000_000) -> tuple[int, list[str]]:
    """How many states were looked at, and what was wrong in them; at most so many mistakes are collected."""
    looked, found = 0, []
    for said, files in states(log, random.Random(seed), (0.0, 0.5, 1.0), "marks"):
        laid_out(files, folder)
        looked += 1
        found += wrong(said, folder)
        if len(found) >= most:
            break
    return looked, found


def test_a_power_cut_loses_nothing_that_was_accepted(library: Path, tmp_path: Path) -> None:
    """TESTS_SEED=n: another run."""
    seed = int(os.environ.get("TESTS_SEED", "1"))
    log = run(library, PROGRAM, tmp_path / "run", str(seed), "fsync", "40")
    assert {"w", "s", "d", "c", "u"} <= {operation.kind for operation in log}
    assert sum(operation.kind == "w" and operation.name == "spool" for operation in log) > 10, "the log was never taken over into the file"
    looked, found = judged(log, tmp_path / "left", seed)
    assert found == []
    assert looked > 500


def test_a_spool_without_fsync_is_caught(library: Path, tmp_path: Path) -> None:
    log = run(library, PROGRAM, tmp_path / "run", "1", "none", "10")
    assert [line for line in judged(log, tmp_path / "left", 1, most=1)[1] if line.startswith("lost")]


def test_a_sync_that_comes_too_late_is_caught(library: Path, tmp_path: Path) -> None:
    """Each sync of the log of SQLite is moved behind what says that the append is done."""
    log = run(library, PROGRAM, tmp_path / "run", "1", "fsync", "10")
    late: list[Operation] = []
    held: list[Operation] = []
    for operation in log:
        if operation.kind == "s" and operation.name == "spool-wal":
            held.append(operation)
            continue
        late.append(operation)
        if operation.name == "marks" and operation.data.startswith(b"put "):
            late += held
            held.clear()
    assert [line for line in judged(late, tmp_path / "left", 1, most=1)[1] if line.startswith("lost")]


FULL = """
import os, sys
from ratemill.collectors.sdk.events import Event
from ratemill.collectors.sdk.spool import Spool, SpoolFailed, SpoolFull
folder, what = sys.argv[1:]
spool = Spool(folder + "/spool")
events = [Event("a", f"{n}:{'x' * 3000}".encode()) for n in range(6)]
spool.append(events[:2])
flag = os.open(f"{folder}/{what}", os.O_CREAT)
try:
    spool.append(events[2:4])
except (SpoolFull, SpoolFailed) as error:
    said = error
os.unlink(f"{folder}/{what}")
assert type(said) is (SpoolFull if what == "full" else SpoolFailed), said
assert folder in str(said) and "\\n" not in str(said), said
try:
    spool.append(events[4:])
except SpoolFailed as error:
    assert what == "broken", error  # nobody knows what a second sync would say
    spool.close()
    spool = Spool(folder + "/spool")
    spool.append(events[4:])
spool.close()
"""


@pytest.mark.parametrize("what", ["full", "broken"])
def test_a_disk_that_is_full_or_fails_refuses_and_nothing_is_there_by_half(library: Path, tmp_path: Path, what: str) -> None:
    run(library, FULL, tmp_path / "run", what)
    spool = Spool(tmp_path / "run" / "spool")
    found = ids_of([row.body for row in spool.read(1 << 30)])
    spool.close()
    # A failed sync leaves unknown whether the append is there; a full disk does not.
    assert found in ([0, 1, 4, 5], [0, 1, 2, 3, 4, 5]) if what == "broken" else found == [0, 1, 4, 5]


DELIVER = """
import os, sys
from ratemill.collectors.sdk.events import Event
from ratemill.collectors.sdk.spool import Spool, SpoolFull
folder = sys.argv[1]
spool = Spool(folder + "/spool")
for n in range(6):
    spool.append([Event("a", f"{n}:{'x' * 3000}".encode())])
def ids():
    return [int(row.body.partition(b":")[0]) for row in spool.read(1 << 30)]
flag = os.open(f"{folder}/full", os.O_CREAT)
try:
    spool.append([Event("a", b"6:")])
    raise AssertionError("there is room")
except SpoolFull:
    pass
rows = spool.read(1 << 30)
spool.settle([rows[0], rows[2]])
assert (ids(), spool.waiting_events, spool.first()[0]) == ([1, 3, 4, 5], 4, 2), "the rest can leave"
spool.settle([rows[1]])
assert ids() == [3, 4, 5]
spool.close()
spool = Spool(folder + "/spool")  # which needs no room
assert ids() == [0, 1, 2, 3, 4, 5], "delivered once more, which counts once"
spool.settle(spool.read(1 << 30)[:2])
os.unlink(f"{folder}/full")
spool.settle(spool.read(1)[:1])
assert (ids(), spool.waiting_events) == ([3, 4, 5], 3)
spool.append([Event("a", b"7:")])
spool.close()
"""


def test_from_a_disk_that_is_full_everything_is_delivered(library: Path, tmp_path: Path) -> None:
    run(library, DELIVER, tmp_path / "run")
    spool = Spool(tmp_path / "run" / "spool")
    assert ids_of([row.body for row in spool.read(1 << 30)]) == [3, 4, 5, 7], "what was acknowledged was removed as soon as there was room"
    spool.close()
