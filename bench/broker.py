"""The broker that the bench uses: one of its own in its own folder, or one that already runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..local import kafka_server
from ..local.artifacts import ensure_jars
from ..local.ports import HOST, free_ports
from ..local.processes import find, spawn, tail, terminate
from ..schemas.errors import Unavailable

__all__ = ["Broker", "Say", "kafka", "pin", "work_dir"]

Say = Callable[[str], None]

READY_TIMEOUT_S = 120.0
MAX_LIFETIME_S = 3 * 3_600.0  # whatever happens to the bench


class Broker(NamedTuple):
    """Address, and the process id where the bench started it itself."""

    bootstrap: str
    pid: int | None


def pin(pid: int, cores: set[int]) -> None:
    """Keep every thread of a process on these cores. Does nothing where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)


@contextlib.contextmanager
def work_dir(given: Path | None) -> Iterator[Path]:
    """The folder of this bench: the given one, which is kept, or one that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ratemill-bench-")) if given is None else given.expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if given is None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def kafka(folder: Path, bootstrap: str | None, say: Say) -> Iterator[Broker]:
    """A broker: the one at `bootstrap`, or one started in the folder on free ports and ended afterwards."""
    if bootstrap:
        yield Broker(bootstrap, None)
        return
    jars = ensure_jars(say)
    port, controller = free_ports(2)
    home, log = folder / "kafka", folder / "logs" / "kafka.log"
    kafka_server.prepare(home, 1, [(port, controller)], jars.kafka)
    process = spawn("kafka", kafka_server.command(home, jars.kafka), log, home, MAX_LIFETIME_S)
    try:
        begin = time.monotonic()
        while not kafka_server.answers(port, 1):
            if find(process) is None or time.monotonic() - begin > READY_TIMEOUT_S:
                raise Unavailable(f"Kafka did not start; the end of {log}:\n{tail(str(log))}")
            time.sleep(0.2)
        say(f"kafka answers on {HOST}:{port}")
        yield Broker(f"{HOST}:{port}", process.pid)
    finally:
        terminate([process], patience=20)
