"""The real `ratemill api`, as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

from ..local.ports import free_ports
from ..schemas.errors import Unavailable
from .worker import own_environment

__all__ = ["Api"]

_READY_WITHIN_S = 60.0


class Api:
    """`ratemill api` with the configuration file of a folder, on a port that stays."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port, self.cpu_s = folder, free_ports(1)[0], 0.0
        self.url = f"http://127.0.0.1:{self._port}"
        self.file = folder / "ratemill.toml"
        with self.file.open("a") as file:
            file.write(f'[api]\nport = {self._port}\ndatabase = "sqlite:///{folder / "api.db"}"\n')
        self._environment = own_environment()
        self._log = folder / "api.log"
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ratemill.cli.main", *arguments, "--config", str(self.file)]

    def key(self, *scopes: str) -> str:
        """A new operator's key."""
        asked = [part for scope in scopes for part in ("--scope", scope)]
        return subprocess.run(
            self._command("tokens", "create", "--name", "bench", *asked), env=self._environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    def start(self) -> None:
        """Start it; returns once it listens. Raises Unavailable."""
        before = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command("api"), env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + _READY_WITHIN_S
        while b"listening on" not in self._log.read_bytes()[before:]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"the API does not listen: {self._log.read_text(errors='replace')[-2_000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL; what CPU it used is kept."""
        if self._process is not None and self._process.poll() is None:
            times = psutil.Process(self._process.pid).cpu_times()
            self.cpu_s += times.user + times.system
            self._process.kill()
            self._process.wait()
