"""Running inputs: in this process with a guard against hanging, or in several that a parent watches.

Input `number` of a run depends on the seed and its number alone, so it can be made again: that is how the input of a process that
died is found. The guard counts CPU time, so a busy machine raises no alarm.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import msgspec
import structlog
from ratemill.schemas.errors import NewerSchema

from .http import http_targets
from .targets import ROOT, Target, record_targets
from .texts import text_targets
from .wire import wire_targets

__all__ = ["SECONDS", "TARGETS", "Failure", "Hang", "attempt", "in_processes", "made", "run", "save"]

SECONDS = 5.0  # CPU time of one input, which goes through several readers; the largest ones take half a second
STUCK_S = 600.0  # by the clock: code that never comes back to Python is ended by the parent; at the lowest priority a second of CPU may take a minute
DISTINCT = 25  # different failures, after which a run ends
_PLACE = struct.Struct("<qqd")  # inputs done, number of the input at work, when it began (time.monotonic)


def _die(data: bytes) -> None:
    os.abort()


def _stand(data: bytes) -> None:
    time.sleep(600)


# No readers: they show that a process which is lost, or never comes back to Python, is noticed. Asked for by name only.
BROKEN = {
    "process-that-dies": Target("process-that-dies", lambda dice: dice.randbytes(8), _die),
    "process-that-stands": Target("process-that-stands", lambda dice: dice.randbytes(8), _stand),
}
TARGETS: dict[str, Target] = {target.name: target for target in (*record_targets(), *text_targets(), *wire_targets(), *http_targets())}
ALL = TARGETS | BROKEN


class Hang(BaseException):
    """An input took more CPU time than any may; not an Exception, so that no reader takes it for one of its own."""


class Failure(msgspec.Struct):
    """What went wrong with one input. where: file:line, or how the process died; said: the last line of the traceback."""

    target: str
    number: int
    where: str
    said: str
    data: bytes


def made(target: Target, seed: str, number: int) -> bytes:
    """Input `number` of a target."""
    return target.make(random.Random(f"{seed}:{target.name}:{number}"))


@contextmanager
def _guard(seconds: float) -> Iterator[None]:
    def alarm(_: int, __: FrameType | None) -> None:
        raise Hang(f"more than {seconds:g} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, alarm)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def attempt(target: Target, data: bytes, number: int = -1, seconds: float = SECONDS) -> Failure | None:
    """Check one input; None when everything holds."""
    try:
        with _guard(seconds):
            target.check(data)
    except NewerSchema:
        return None  # whatever reads it stops the worker, which says so, and nothing is counted
    except (Exception, Hang) as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if not isinstance(error, Hang) else "hang"
        return Failure(target.name, number, where, _line(error), data)
    return None


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:400].encode("utf-8", "backslashreplace").decode()


def chooser(targets: Sequence[Target]) -> Callable[[int], Target]:
    """Which target an input is for, by its number: each as often as its weight says, well mixed."""
    bounds = list(accumulate(target.weight for target in targets))
    return lambda number: targets[bisect(bounds, number * 7_919 % bounds[-1])]


def run(
    targets: Mapping[str, Target], inputs: int, seed: str, *, first: int = 0, step: int = 1, seconds: float = SECONDS,
    told: Callable[[int, int], None] = lambda done, number: None, found: Callable[[Failure], None] = lambda failure: None,
) -> list[Failure]:  # fmt: skip
    """Inputs first, first + step, … below `inputs`; one failure of each kind. told: before each input; found: of each failure."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    choose = chooser(list(targets.values()))
    failures: dict[tuple[str, str], Failure] = {}
    for done, number in enumerate(range(first, inputs, step)):
        told(done, number)
        target = choose(number)
        failure = attempt(target, made(target, seed, number), number, seconds)
        if failure is not None and (failure.target, failure.where) not in failures:
            failures[failure.target, failure.where] = failure
            found(failure)
            if len(failures) >= DISTINCT:
                break
    return list(failures.values())


def save(failure: Failure, folder: Path, seed: str) -> str:
    """Write the input to a file; returns the line that reproduces the failure."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{failure.target}--seed-{seed}-{failure.number}"
    path.write_bytes(failure.data)
    return f"(cd {ROOT}/tests/fuzz && ../../.venv/bin/python -m fuzzing --replay {path})"


# -- several processes -----------------------------------------------------------------------------------------------------------


class Child(NamedTuple):
    """One process of a run. place: shared memory with how far it is."""

    process: subprocess.Popen[bytes]
    place: mmap.mmap


def child_main(names: Sequence[str], inputs: int, seed: str, first: int, step: int, folder: str) -> None:
    """What a child process does: run its share, tell where it is, write failures down as they come."""
    faulthandler.enable()
    with Path(folder, f"place-{first}").open("r+b") as file:
        memory = mmap.mmap(file.fileno(), _PLACE.size)

        def told(done: int, number: int) -> None:
            _PLACE.pack_into(memory, 0, done, number, time.monotonic())

        def found(failure: Failure) -> None:
            written = Path(folder, f"writing-{failure.number}")
            written.write_bytes(msgspec.json.encode(failure))
            written.rename(Path(folder, f"failure-{failure.number}"))  # whole, or not there

        run({name: ALL[name] for name in names}, inputs, seed, first=first, step=step, told=told, found=found)
        _PLACE.pack_into(memory, 0, (inputs - first + step - 1) // step, -1, time.monotonic())


def in_processes(
    names: Sequence[str], inputs: int, seed: str, jobs: int, told: Callable[[int], None] = lambda done: None,
    found: Callable[[Failure], None] = lambda failure: None, stuck_s: float = STUCK_S,
) -> list[Failure]:  # fmt: skip
    """Run inputs in `jobs` processes; a process that dies or stands still is a failure of the input it was at.

    told: inputs done; found: of each failure when it is known, one of each kind.
    """
    failures: dict[tuple[str, str], Failure] = {}

    def take(failure: Failure) -> None:
        if (failure.target, failure.where) not in failures:
            failures[failure.target, failure.where] = failure
            found(failure)

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        children = [_start(Path(folder), names, inputs, seed, first, jobs) for first in range(jobs)]
        try:
            alive = children
            while alive:
                time.sleep(0.2)
                alive = [child for child in children if child.process.poll() is None]
                told(sum(_PLACE.unpack_from(child.place, 0)[0] for child in children))
                for path in sorted(Path(folder).glob("failure-*")):
                    take(msgspec.json.decode(path.read_bytes(), type=Failure))
                    path.unlink()
                for child in alive:
                    _, number, since = _PLACE.unpack_from(child.place, 0)
                    if since and time.monotonic() - since > stuck_s:
                        child.process.kill()
        finally:
            for child in children:
                child.process.kill()
                child.process.wait()
        for child in children:
            if child.process.returncode:
                number = _PLACE.unpack_from(child.place, 0)[1]
                target = chooser([ALL[name] for name in names])(number)
                said = f"the process ended with status {child.process.returncode}"
                take(Failure(target.name, number, f"status {child.process.returncode}", said, made(target, seed, number)))
    return list(failures.values())


def _start(folder: Path, names: Sequence[str], inputs: int, seed: str, first: int, step: int) -> Child:
    place = folder / f"place-{first}"
    place.write_bytes(bytes(_PLACE.size))
    words = ["--child", msgspec.json.encode([list(names), inputs, seed, first, step, str(folder)]).decode()]
    process = subprocess.Popen([sys.executable, "-m", "fuzzing", *words], cwd=ROOT / "tests" / "fuzz")
    with place.open("r+b") as file:
        return Child(process, mmap.mmap(file.fileno(), _PLACE.size))
