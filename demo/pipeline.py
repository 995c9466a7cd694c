"""The processes of the demo: stack and worker, in one folder, ended whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from ..local.processes import Process, find, spawn, tail, terminate
from ..local.stack import Stack
from ..schemas.errors import BadInput, Unavailable
from ..streams.config import Config, load_config

__all__ = ["Pipeline", "forget_settings", "interruptible"]

_WORKER = "from ratemill.cli.main import main; main()"
_PATIENCE_S = 20.0


class Pipeline:
    """A stack and one worker in a folder. `lifetime_s` bounds their life, should the demo itself be killed."""

    def __init__(self, folder: Path, kafka_port: int, elasticsearch_port: int, lifetime_s: float) -> None:
        self.folder = folder.expanduser().absolute()
        self.stack = Stack(self.folder, kafka_port, elasticsearch_port, max_lifetime=lifetime_s)
        self._lifetime_s = lifetime_s
        self._worker: Process | None = None

    @property
    def config_file(self) -> Path:
        """Configuration that finds this stack, for the worker and for whoever wants to look."""
        return self.folder / "ratemill.toml"

    @property
    def worker_log(self) -> Path:
        """Where the worker writes."""
        return self.folder / "logs" / "worker.log"

    @property
    def _record(self) -> Path:
        return self.folder / "worker.json"

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
            f"[worker]\ndata_dir = {json.dumps(str(self.folder / 'worker'))}\n"
        )
        self.config_file.write_text(text, encoding="utf-8")
        return load_config(str(self.config_file), environment={})

    def start_worker(self) -> None:
        """Start the worker as a process of its own."""
        command = [sys.executable, "-P", "-c", _WORKER, "worker", "--config", str(self.config_file), "--log-format", "json"]
        self._worker = spawn("worker", command, self.worker_log, self.config_file, self._lifetime_s)
        self._record.write_text(json.dumps(asdict(self._worker)), encoding="utf-8")

    def check(self) -> None:
        """Raise Unavailable, with the end of its log, when the worker has ended."""
        if self._worker is not None and find(self._worker) is None:
            raise Unavailable(f"the worker ended; the end of {self.worker_log}:\n{tail(str(self.worker_log))}")

    def down(self, wipe: bool) -> None:
        """End worker and stack, of this run or of one that was killed. Twice is no harm."""
        if self._worker is None and self._record.is_file():
            with contextlib.suppress(OSError, ValueError, TypeError):
                self._worker = Process(**json.loads(self._record.read_text(encoding="utf-8")))
        if self._worker is not None:
            terminate([self._worker], _PATIENCE_S)
            self._worker = None
        self._record.unlink(missing_ok=True)
        self.stack.down(wipe=False)
        if wipe:
            self._wipe()

    def _wipe(self) -> None:
        # Only what the demo made: a person may have named a folder that holds other things too.
        for name in ("kafka", "elasticsearch", "worker", "logs"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in ("ratemill.toml", "prices.yaml", "stack.json", ".lock"):
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
