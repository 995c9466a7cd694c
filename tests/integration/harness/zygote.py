"""Starts Ratemill's processes at once: everything is imported a single time, and each is a fork of the process that has done so.

A worker takes 1.7 s of CPU time to import what it needs, the HTTP interface 3 s, `ratemill costs` 1.1 s; tests start hundreds of them.
This process gets requests over a socket, JSON ({"command", "environment", "cwd"}) with the files that become standard input, output and
errors, and answers each with {"pid"}; when a child ends it says {"pid", "status"}, with the status that `subprocess` would give.

A few tests start real commands (test_demo, test_local_stack, test_hanging_transaction, and those of tests/unit): that these begin and
end as they must is seen there.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryFile
from typing import IO, Any

__all__ = ["RATEMILL", "Forked", "run", "start"]

RATEMILL = ("-m", "ratemill.cli.main")  # as in `python -m ratemill.cli.main`
_REQUEST_BYTES = 1 << 17
_PR_SET_PDEATHSIG = 1
# What a program imports only when it begins, by the command or the script.
_NEEDS = {
    "worker": "ratemill.streams.worker", "worker_main.py": "ratemill.streams.worker", "api_main.py": "ratemill.cli.api",
    "watch_main.py": "ratemill.cli.watch", "market_main.py": "ratemill.cli.marketplace",
}  # fmt: skip


class Forked:
    """A process, used like a `subprocess.Popen`."""

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

    @property
    def returncode(self) -> int | None:
        """As `poll`."""
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended; `subprocess.TimeoutExpired` when it lives on for so many seconds."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        assert self._status is not None
        return self._status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended: somebody else may have its number by then."""
        if self._status is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


class _Zygote:
    """The process that forks, seen from the tests."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:  # its own errors go where those of the tests go
            self._process = subprocess.Popen([sys.executable, __file__], stdin=theirs, stdout=subprocess.DEVNULL)
        self._lock = threading.Lock()
        self._born: Queue[Forked] = Queue()
        self._living: dict[int, Forked] = {}
        threading.Thread(target=self._listen, name="zygote", daemon=True).start()

    def _listen(self) -> None:
        while packet := self._socket.recv(_REQUEST_BYTES):
            said = json.loads(packet)
            if "status" in said:
                self._living.pop(said["pid"]).end(said["status"])
            else:
                self._living[said["pid"]] = Forked(said["pid"])
                self._born.put(self._living[said["pid"]])

    def fork(self, request: Mapping[str, Any], *files: IO[Any]) -> Forked:
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [file.fileno() for file in files])
            try:
                return self._born.get(timeout=300)  # on a busy machine an import can take long
            except Empty:
                _zygote.clear()  # its answer would be taken for that to the next request
                raise


_zygote: list[_Zygote] = []


def start(*command: str, cwd: Path, env: Mapping[str, str], output: IO[Any], errors: IO[Any] | None = None, stdin: IO[Any] | None = None) -> Forked:
    """Start what `python COMMAND…` starts: (*RATEMILL, …) or a script and its arguments. What it prints goes to these files."""
    if not _zygote:
        _zygote.append(_Zygote())
    with open(os.devnull, "rb") as nothing:
        request = {"command": command, "environment": dict(env), "cwd": str(cwd)}
        return _zygote[0].fork(request, stdin or nothing, output, errors or output)


def run(*command: str, cwd: Path, env: Mapping[str, str], timeout: float = 120, typed: bytes = b"") -> subprocess.CompletedProcess[str]:
    """`start` it and wait for its end. typed: what stands in its standard input. Bytes that are no UTF-8 become surrogates, as in file names."""
    with TemporaryFile() as stdin, TemporaryFile() as output, TemporaryFile() as errors:
        stdin.write(typed)
        stdin.seek(0)  # it is read from where this process stands in it
        process = start(*command, cwd=cwd, env=env, output=output, errors=errors, stdin=stdin)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        said = [os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="surrogateescape") for file in (output, errors)]
    return subprocess.CompletedProcess(command, status, *said)


# -- the process itself --------------------------------------------------------------------------------------------------


def _end_with(parent: int) -> None:
    """Let the kernel kill this process when the one that started it dies, even while it is stopped."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # that was before


def _prepare(command: list[str]) -> None:
    """Import what the command will import, as far as it is known, for this process and all that it forks from now on."""
    module, name = command[:2] == [*RATEMILL], Path(command[0]).name
    if module:
        commands = importlib.import_module(RATEMILL[1]).COMMANDS
        name = command[2] if len(command) > 2 else ""
        if name in commands:
            importlib.import_module(f"ratemill.cli.{commands[name][0]}")
    if name in _NEEDS:
        importlib.import_module(_NEEDS[name])
    gc.freeze()  # no child looks through all this for garbage


def _become(request: dict[str, Any], files: list[int], parent: int) -> None:
    """The child: `python COMMAND…`, and nothing else."""
    status = 1
    try:
        _end_with(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for there, here in enumerate(files):
            os.dup2(here, there)
        os.closerange(3, 1_024)
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        os.chdir(request["cwd"])
        _run(request["command"])
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the end of a program does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(command: list[str]) -> None:
    if command[:2] == [*RATEMILL]:
        del sys.modules[RATEMILL[1]]  # it is run, not imported
        sys.argv, sys.path[0] = command[1:], os.getcwd()
        runpy.run_module(RATEMILL[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = command, str(Path(command[0]).parent)
        runpy.run_path(command[0], run_name="__main__")


def _main() -> None:
    _end_with(os.getppid())
    requests = socket.socket(fileno=0)
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted test run ends by itself, and its end is ours
    while True:
        ready, _, _ = select.select([requests, wake], [], [])
        if wake in ready:
            os.read(wake, 4_096)
            _reap(requests)
        if requests in ready:
            packet, files, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 3)
            if not packet:
                return
            request = json.loads(packet)
            _prepare(request["command"])
            own, pid = os.getpid(), os.fork()
            if pid == 0:
                _become(request, files, own)
            for file in files:
                os.close(file)
            _say(requests, pid=pid)


def _reap(requests: socket.socket) -> None:
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _say(requests, pid=pid, status=os.waitstatus_to_exitcode(how))


def _say(requests: socket.socket, **what: int) -> None:
    requests.send(json.dumps(what).encode())


if __name__ == "__main__":
    _main()
