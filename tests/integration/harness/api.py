"""A running `ratemill api` with settings of its own, and how a collector talks to it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from .zygote import RATEMILL, Forked, run, start

__all__ = ["Api", "environment_of", "post"]

BROKEN = Path(__file__).with_name("api_main.py")


def environment_of(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command: these settings, and none that the caller happens to have."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")} | dict(settings)


class Api:
    """The process, and a token for each scope that is asked for."""

    def __init__(self, folder: Path, settings: Mapping[str, str], breaks: str = "") -> None:
        self.folder = folder
        self.environment = environment_of(settings) | {"RATEMILL_API__DATABASE": f"sqlite:///{folder}/api.db"}
        self._log = folder / "api.log"
        self._breaks = breaks
        self._port = "0"
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had before."""
        command = [str(BROKEN), self._breaks] if self._breaks else RATEMILL
        before = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as output:
            self._process = start(*command, "api", "--port", self._port, cwd=self.folder, env=self.environment, output=output)
        deadline = time.monotonic() + 60
        while not (found := re.search(rb"listening on (http://127\.0\.0\.1:([0-9]+))", self._log.read_bytes()[before:])):
            assert self._process.poll() is None, f"ended with {self._process.returncode}: {self.log}"
            assert time.monotonic() < deadline, f"does not listen: {self.log}"
            time.sleep(0.05)
        self.url, self._port = found[1].decode(), found[2].decode()

    @property
    def log(self) -> str:
        """All that it printed."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.ask_to_stop()
        return self._process.wait(timeout=30)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command with the same settings."""
        return run(*RATEMILL, *arguments, cwd=self.folder, env=self.environment)

    def beside(self, command: str, log: Path, **settings: str) -> Forked:
        """A command that stays, such as a worker, with the same settings and more; what it prints is appended to the log."""
        with log.open("ab") as output:
            return start(*RATEMILL, command, cwd=self.folder, env=self.environment | settings, output=output)

    def token(self, *scopes: str, account: str = "") -> str:
        """A new key."""
        asked = [part for scope in scopes for part in ("--scope", scope)] + (["--account", account] if account else [])
        said = self.run("tokens", "create", "--name", "test", *asked)
        assert said.returncode == 0, said.stderr
        return said.stdout.strip()

    def client(self, token: str = "", **options: Any) -> httpx.Client:
        """A client that sends this key, and knows no proxy."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        # No TLS: reading the authorities that it would trust takes longer than most requests.
        return httpx.Client(base_url=self.url, headers=headers, timeout=40, trust_env=False, verify=False, **options)


def post(client: httpx.Client, events: Any, **headers: str) -> httpx.Response:
    """Send events as JSON."""
    return client.post("/v1/events", content=json.dumps(events), headers={"content-type": "application/json", **headers})
