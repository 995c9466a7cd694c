"""A stated share of a processor for a process: so a small machine can offer many times what the process sustains.

The process is stopped (SIGSTOP) as soon as it has used its share of a slice, and goes on (SIGCONT) with the next one. Slices are far
shorter than any timeout of Kafka or Elasticsearch, so to them it is a slow process and not one that comes and goes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

import psutil

__all__ = ["share_of"]

SLICE_S = 0.05
LOOK_S = 0.002


@contextlib.contextmanager
def share_of(pid: int, share: float) -> Iterator[None]:
    """In this block the process may use `share` of one processor (1.0: all of it); 0: as much as it likes."""
    ended = threading.Event()
    thread = threading.Thread(target=_hold, args=(psutil.Process(pid), share, ended), name="share", daemon=True)
    if share:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if share:
            thread.join()


def _hold(process: psutil.Process, share: float, ended: threading.Event) -> None:
    try:
        allowed = _used(process)
        while not ended.is_set():
            end = time.monotonic() + SLICE_S
            # What was used too much is missing in the next slices; what was not used is gone.
            allowed = min(allowed, _used(process)) + share * SLICE_S
            while time.monotonic() < end and _used(process) < allowed:
                time.sleep(LOOK_S)
            if (rest := end - time.monotonic()) > 0:
                os.kill(process.pid, signal.SIGSTOP)
                time.sleep(rest)
                os.kill(process.pid, signal.SIGCONT)
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass  # it has ended


def _used(process: psutil.Process) -> float:
    """Seconds of CPU, of all threads."""
    times = process.cpu_times()
    return times.user + times.system
