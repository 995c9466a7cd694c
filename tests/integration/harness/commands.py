"""The real commands, each with the settings of a test and nothing else; whatever they print is searched for the secrets of the test."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil

from .zygote import RATEMILL, Forked, run, start

__all__ = ["Commands", "Said", "Worker", "leaks"]

COMMAND = (sys.executable, "-m", "ratemill.cli.main")
LIFETIME_S = 300


class Said(NamedTuple):
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on standard error."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


def leaks(text: str, secrets: Sequence[str]) -> list[str]:
    """Forms of the secrets that stand in a text: as they are, escaped, in base64 (wherever in it they begin), in hexadecimal."""
    return [form for secret in secrets for form in _forms(secret) if form.lower() in text.lower()]


def _forms(secret: str) -> set[str]:
    raw = secret.encode()
    forms = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(raw)[2:-1], raw.hex()}
    for before in range(3):
        # What stands before and after shares characters with the first and the last byte.
        encoded = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        forms.add(encoded[(0, 2, 3)[before] : len(encoded) - 1])
    return forms


class Worker:
    """A running `ratemill worker`."""

    def __init__(self, process: Forked | subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    @property
    def text(self) -> str:
        """Everything it printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def running(self) -> psutil.Process:
        """The worker itself: what bounds the life of another program stands above it."""
        process = psutil.Process(self.process.pid)
        return next(iter(process.children()), process)

    def wait_for(self, text: str, within_s: float = 60, times: int = 1) -> None:
        """Until it has printed something so often."""
        deadline = time.monotonic() + within_s
        while self.text.count(text) < times:
            assert self.process.poll() is None, f"the worker ended with {self.process.returncode}:\n{self.text[-3000:]}"
            assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{self.text[-3000:]}"
            time.sleep(0.1)

    def ended(self, within_s: float = 60) -> Said:
        """Wait for the end."""
        return Said(self.process.wait(within_s), "", self.text)


class Commands:
    """Commands in one folder. Settings are named as in the environment, without RATEMILL_."""

    def __init__(self, folder: Path, settings: Mapping[str, str], secrets: Sequence[str]) -> None:
        self.folder, self.settings, self.secrets = folder, dict(settings), tuple(secrets)

    def environment(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """What a command sees; None takes a setting away."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")}
        chosen = {**self.settings, **changes}
        return clean | {f"RATEMILL_{name}": value for name, value in chosen.items() if value is not None}

    def run(self, *arguments: str, within_s: float = 90, **changes: str | None) -> Said:
        """Run a command to its end."""
        done = run(*RATEMILL, *arguments, cwd=self.folder, env=self.environment(changes), timeout=within_s)
        self._search(done.stdout + done.stderr)
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def worker(self, name: str = "w", command: Sequence[str] = (), **changes: str | None) -> Iterator[Worker]:
        """Run a worker beside the test. command: another program than `ratemill worker`."""
        data = {"WORKER__NAME": name, "WORKER__DATA_DIR": str(self.folder / name), "WORKER__LOG_FORMAT": "json"}
        log = self.folder / f"{name}.log"
        environment, limited = self.environment({**data, **changes}), ["timeout", "--foreground", "--kill-after=30", str(LIFETIME_S), *command]
        process: Forked | subprocess.Popen[bytes]
        with log.open("wb") as output:
            if command:
                process = subprocess.Popen(limited, cwd=self.folder, env=environment, stdout=output, stderr=output)
            else:
                process = start(*RATEMILL, "worker", cwd=self.folder, env=environment, output=output)
        worker = Worker(process, log)
        try:
            yield worker
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                finally:
                    process.kill()
            self._search(worker.text)

    def costs(self, rows: int, within_s: float = 60, **changes: str | None) -> list[dict[str, Any]]:
        """Costs by account, once there are so many accounts."""
        deadline = time.monotonic() + within_s
        while True:
            said = self.run("costs", "--by", "account", "--json", **changes)
            found: list[dict[str, Any]] = json.loads(said.out)["rows"] if said.status == 0 else []
            if len(found) >= rows:
                return found
            assert time.monotonic() < deadline, said
            time.sleep(0.5)

    def _search(self, text: str) -> None:
        assert leaks(text, self.secrets) == [], "a secret was printed"
