"""Starts worker processes at once: everything is imported a single time, and each worker is a fork of the process that has done so.

A worker takes 1.2 s of CPU time to import Ratemill and Faust; tests start hundreds. This process reads requests, a JSON object a line
({"spec", "environment", "log"}), and answers each with {"pid"}; when a child ends it says {"pid", "status"}, with the status that
`subprocess` would give.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from queue import Queue
from typing import Any

__all__ = ["Forked", "fork_worker"]


class Forked:
    """A worker process, used like a `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended = threading.Event()
        self._status: int | None = None

    def end(self, status: int) -> None:
        """It has ended."""
        self._status = status
        self._ended.set()

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while it lives."""
        return self._status

    def wait(self) -> int:
        """The exit status, once it has ended."""
        self._ended.wait()
        assert self._status is not None
        return self._status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended: somebody else may have its number by then."""
        if self._status is None:
            os.kill(self.pid, number)


class _Zygote:
    """The process that forks, seen from the tests."""

    def __init__(self) -> None:
        # Its own errors go where those of the tests go.
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lock = threading.Lock()
        self._born: Queue[Forked] = Queue()
        self._living: dict[int, Forked] = {}
        threading.Thread(target=self._listen, name="zygote", daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "status" in said:
                self._living.pop(said["pid"]).end(said["status"])
            else:
                self._living[said["pid"]] = Forked(said["pid"])
                self._born.put(self._living[said["pid"]])

    def fork(self, request: Mapping[str, Any]) -> Forked:
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            return self._born.get(timeout=60)


_zygote: list[_Zygote] = []


def fork_worker(spec: Mapping[str, Any], environment: Mapping[str, str], log: Path) -> Forked:
    """Start worker_main.py with this specification and environment; what it prints is appended to the log."""
    if not _zygote:
        _zygote.append(_Zygote())
    return _zygote[0].fork({"spec": spec, "environment": dict(environment), "log": str(log)})


# -- the process itself --------------------------------------------------------------------------------------------------


def _become(worker_main: Any, request: dict[str, Any]) -> None:
    """The child: a worker, and nothing else."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        for there, here in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(there, here)
        os.closerange(3, 1_024)
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = ["worker_main.py", json.dumps(request["spec"])]
        status = worker_main.main()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the end of a program does
        os._exit(status)


def _main() -> None:
    import worker_main

    worker_main._end_with_parent()
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted test run ends by itself, and its end is ours
    requests = sys.stdin.buffer
    while True:
        ready, _, _ = select.select([requests, wake], [], [])
        if wake in ready:
            os.read(wake, 4_096)
            _reap()
        if requests in ready:
            line = requests.readline()
            if not line:
                return
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                _become(worker_main, request)
            _say(pid=pid)


def _reap() -> None:
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _say(pid=pid, status=os.waitstatus_to_exitcode(how))


def _say(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    _main()
