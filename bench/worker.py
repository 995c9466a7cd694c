"""The real worker as a process of its own: started, pinned, watched from outside, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from ..schemas.errors import Unavailable

__all__ = ["Pinned", "Usage", "Worker", "own_environment"]

STOP_WITHIN_S = 40.0
OWNED = b'"partition_owned"'


def own_environment() -> dict[str, str]:
    """Ours without what is set for another Ratemill of this user, which must not change the bench; where jars are kept and what is compiled stays."""
    return {k: v for k, v in os.environ.items() if not k.startswith("RATEMILL_") or k in ("RATEMILL_CACHE_DIR", "RATEMILL_NATIVE")}


class Usage(NamedTuple):
    """What a process had used at a moment."""

    at: float  # monotonic seconds
    cpu_s: float  # user and system, all threads
    threads: dict[int, float]  # CPU seconds by thread id


class Pinned:
    """A process kept on given cores, with what it says on standard error in a file."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str], cores: set[int] | None) -> None:
        self.folder, self._name = folder, name
        self._popen = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            preexec_fn=None if cores is None or not hasattr(os, "sched_setaffinity") else lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        self._process = psutil.Process(self._popen.pid)
        self.log = folder / f"{name}.log"
        self._reader = threading.Thread(target=self._read, name=f"{name}-log", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with self.log.open("wb") as log:
            for line in self._popen.stderr or ():
                self._said(line)
                log.write(line)
                log.flush()

    def _said(self, line: bytes) -> None:
        """Take in a line of the log; called in a thread of its own."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def usage(self) -> Usage:
        """CPU used up to now."""
        threads = {t.id: t.user_time + t.system_time for t in self._process.threads()}
        times = self._process.cpu_times()
        return Usage(time.monotonic(), times.user + times.system, threads)

    def thread_names(self) -> dict[int, str]:
        """Names of the threads, where the system tells."""
        names = {}
        for thread in self._process.threads():
            try:
                names[thread.id] = Path(f"/proc/{self._popen.pid}/task/{thread.id}/comm").read_text().strip()
            except OSError:
                names[thread.id] = ""
        return names

    def resident_bytes(self) -> int:
        """Resident memory now."""
        return int(self._process.memory_info().rss)

    def peak_bytes(self) -> int:
        """Greatest resident memory so far (the present one where the system does not keep the greatest)."""
        try:
            for line in Path(f"/proc/{self._popen.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1_024
        except OSError:
            pass
        return self.resident_bytes()

    def check(self) -> None:
        """Raise Unavailable when the worker has ended."""
        status = self._popen.poll()
        if status is not None:
            raise Unavailable(f"the {self._name} ended with status {status}; the end of its log:\n{self.log_end()}")

    def log_end(self) -> str:
        """What it said last."""
        return self.log.read_text(errors="replace")[-2_000:]

    def kill(self) -> None:
        """End it as a crash would: SIGKILL."""
        self._popen.kill()
        self.stop()

    def stop(self) -> None:
        """End it: politely, then not."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._reader.join(5)


class Worker(Pinned):
    """A `ratemill worker` process with a configuration file of its own in `folder`."""

    def __init__(self, folder: Path, agents: Sequence[str], cores: set[int] | None, through: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", *(through or ["ratemill.cli.main"])]
        command += ["worker", "--config", str(folder / "ratemill.toml"), "--agents", ",".join(agents), "--log-format", "json"]
        self.first_owned: Usage | None = None
        self.owned = 0
        self.restarts = 0
        self.why_again = ""  # what the log says of the first
        super().__init__("worker", command, folder, own_environment(), cores)

    def _said(self, line: bytes) -> None:
        """Note the CPU used when the first lane owned its partition."""
        if OWNED in line:
            if self.first_owned is None:
                self.first_owned = self.usage()
            self.owned += 1
        if b'"partition_starts_again"' in line or b'"fenced"' in line:
            self.restarts += 1
            self.why_again = self.why_again or line.decode(errors="replace").strip()[:400]
