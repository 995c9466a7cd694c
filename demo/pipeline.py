"""The processes of the demo: stack, worker and HTTP interface, in one folder, ended whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from ..local.processes import Process, find, spawn, tail, terminate
from ..local.stack import Stack
from ..schemas.errors import BadInput, Unavailable
from ..streams.config import Config, load_config

__all__ = ["Pipeline", "forget_settings", "interruptible"]

_RATEMILL = "from ratemill.cli.main import main; main()"
_NAMES = ("worker", "api")
_PATIENCE_S = 20.0
_API_WITHIN_S = 30.0


class Pipeline:
    """A stack, one worker and one HTTP interface in a folder. `lifetime_s` bounds their life, should the demo itself be killed."""

    def __init__(self, folder: Path, kafka_port: int, elasticsearch_port: int, lifetime_s: float) -> None:
        self.folder = folder.expanduser().absolute()
        self.stack = Stack(self.folder, kafka_port, elasticsearch_port, max_lifetime=lifetime_s)
        self._lifetime_s = lifetime_s
        self._processes: dict[str, Process] = {}  # "worker", "api"

    @property
    def config_file(self) -> Path:
        """Configuration that finds this stack, for the worker and for whoever wants to look."""
        return self.folder / "ratemill.toml"

    @property
    def worker_log(self) -> Path:
        """Where the worker writes."""
        return self._log("worker")

    def _log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def _record(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Only one demo in a folder; what a killed one left behind is ended and removed first."""
        marker = self.folder / ".demo.lock"
        if not marker.exists() and any((self.folder / name).exists() for name in ("stack.json", "kafka", "elasticsearch", "worker")):
            raise BadInput(f"{self.folder} holds a stack that no demo made, and a demo begins empty; choose another --dir")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = marker.open("w")
        except OSError as error:
            raise BadInput(f"cannot use {self.folder} for the demo: {error.strerror}; choose another --dir") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadInput(f"another demo runs in {self.folder}; end it, or choose another --dir") from None
            self.down(wipe=True)
            yield

    def up(self, progress: Callable[[str], None]) -> Config:
        """Start the stack, and return the configuration for it."""
        addresses = self.stack.up(progress)
        text = (
            f'[kafka]\nbootstrap = "{addresses.kafka}"\n\n[elasticsearch]\nurl = "{addresses.elasticsearch}"\n\n'
            f"[worker]\ndata_dir = {json.dumps(str(self.folder / 'worker'))}\n\n"
            f"[api]\nport = 0\ndatabase = {json.dumps(f'sqlite:///{self.folder}/api.db')}\n"
        )
        self.config_file.write_text(text, encoding="utf-8")
        return load_config(str(self.config_file), environment={})

    def start_worker(self) -> None:
        """Start the worker as a process of its own."""
        self._start("worker", "--log-format", "json")

    def start_api(self) -> None:
        """Start the HTTP interface as a process of its own; it listens a moment later."""
        self._start("api")

    def _start(self, name: str, *options: str) -> None:
        command = [sys.executable, "-P", "-c", _RATEMILL, name, "--config", str(self.config_file), *options]
        self._processes[name] = spawn(name, command, self._log(name), self.config_file, self._lifetime_s)
        self._record(name).write_text(json.dumps(asdict(self._processes[name])), encoding="utf-8")

    def api_address(self) -> str:
        """Where the HTTP interface listens, once it does. Raises Unavailable when it does not within 30 s."""
        deadline = time.monotonic() + _API_WITHIN_S
        while not (found := re.search(r"listening on (http://\S+)", self._log("api").read_text(errors="replace"))):
            self.check()
            if time.monotonic() > deadline:
                raise Unavailable(f"the HTTP interface does not listen within {_API_WITHIN_S:.0f} s; see {self._log('api')}")
            time.sleep(0.1)
        return found[1]

    def check(self) -> None:
        """Raise Unavailable, with the end of its log, when the worker or the HTTP interface has ended."""
        for name, process in self._processes.items():
            if find(process) is None:
                raise Unavailable(f"the {name} ended; the end of {self._log(name)}:\n{tail(str(self._log(name)))}")

    def down(self, wipe: bool) -> None:
        """End processes and stack, of this run or of one that was killed. Twice is no harm."""
        for name in _NAMES:
            record = self._record(name)
            if name not in self._processes and record.is_file():
                with contextlib.suppress(OSError, ValueError, TypeError):
                    self._processes[name] = Process(**json.loads(record.read_text(encoding="utf-8")))
        terminate(self._processes.values(), _PATIENCE_S)
        self._processes.clear()
        for name in _NAMES:
            self._record(name).unlink(missing_ok=True)
        self.stack.down(wipe=False)
        if wipe:
            self._wipe()

    def _wipe(self) -> None:
        # Only what the demo made: a person may have named a folder that holds other things too.
        for name in ("kafka", "elasticsearch", "worker", "logs"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("ratemill.toml", "prices.yaml", "stack.json", ".lock", "api.db", "api.db-wal", "api.db-shm"):
            (self.folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """SIGTERM ends the demo as Ctrl-C does. Yields a function that makes both wait, for the time of cleaning up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, interrupt)

    def shield() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield shield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def forget_settings() -> None:
    """The demo's processes take their settings from its own file; variables meant for another installation stay out."""
    for name in [n for n in os.environ if n.startswith("RATEMILL_") and n != "RATEMILL_CACHE_DIR"]:
        del os.environ[name]
