"""Telegraf and the OpenTelemetry Collector as their makers build them, with our configurations: only addresses, files and names are others.

`make collector-programs` puts both into build/collector-programs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from ratemill.local.ports import free_ports

__all__ = ["Collector", "Program", "Telegraf", "collector_needed", "telegraf_needed"]

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples" / "collectors"
BUILT = ROOT / "build" / "collector-programs"
LIFETIME_S = 300


def program(*names: str) -> str | None:
    """The first of these on the PATH, or that we built."""
    on_path = [shutil.which(name) for name in names]
    return next((found for found in [*on_path, *(shutil.which(name, path=BUILT) for name in names)] if found), None)


TELEGRAF, COLLECTOR = program("telegraf"), program("otelcol-contrib", "otelcol")
telegraf_needed = pytest.mark.skipif(TELEGRAF is None, reason="no telegraf: put it on the PATH, or `make collector-programs`")
collector_needed = pytest.mark.skipif(COLLECTOR is None, reason="no otelcol-contrib: put it on the PATH, or `make collector-programs`")


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """The text with all of these in it replaced; each must be there."""
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the configuration"
        text = text.replace(old, new)
    return text


class Program:
    """One of them, with a folder and an input of its own."""

    def __init__(self, folder: Path, config: Path, command: Sequence[str], secrets: Mapping[str, str], address: str) -> None:
        self.folder, self.config, self.address = folder, config, address
        self._command, self._secrets = command, secrets
        self._log = folder / "program.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(base_url=address, timeout=30, trust_env=False, verify=False)

    @property
    def log(self) -> str:
        """All that it printed since it was started last."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Returns when it takes usage."""
        limited = ["timeout", "--foreground", "--kill-after=5", str(LIFETIME_S), *self._command]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(limited, cwd=self.folder, env={**os.environ, **self._secrets}, stdout=output, stderr=output)
        deadline = time.monotonic() + 40
        while True:
            assert self._process.poll() is None, f"ended with {self._process.returncode}:\n{self.log[-3000:]}"
            try:
                self._client.get("/")
                return
            except httpx.TransportError:
                assert time.monotonic() < deadline, f"does not listen:\n{self.log[-3000:]}"
                time.sleep(0.1)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        for running in [*psutil.Process(self._process.pid).children(), self._process]:
            running.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._client.close()

    def send(self, readings: Sequence[Mapping[str, str]]) -> None:
        """Give it usage, and wait until it has taken it; as often as it asks for that."""
        deadline = time.monotonic() + 30
        while (answer := self._post(readings)).status_code in (429, 503):
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.2)
        assert answer.is_success, answer.text

    def _post(self, readings: Sequence[Mapping[str, str]]) -> httpx.Response:
        raise NotImplementedError

    def kept(self, readings: int) -> None:
        """Wait until so many wait on its disk."""
        raise NotImplementedError


class Telegraf(Program):
    """Lines of InfluxDB's protocol over HTTP, to Kafka or to the API."""

    def __init__(self, folder: Path, output: str, changes: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        common, kafka, http = re.split(r"\n(?=# (?:Either|Or) )", (EXAMPLES / "telegraf.conf").read_text(encoding="utf-8"))
        (port,) = free_ports(1)
        text = replaced(common + {"kafka": kafka, "http": http}[output], {
            **changes, "/var/lib/telegraf/usage": str(folder / "buffer"), "[agent]\n": '[agent]\n  flush_interval = "1s"\n  debug = true\n',
        })  # fmt: skip
        address = f"127.0.0.1:{port}"
        text += f'\n[[inputs.http_listener_v2]]\n  service_address = "tcp://{address}"\n  paths = ["/write"]\n  data_format = "influx"\n'
        config = folder / "telegraf.conf"
        config.write_text(text)
        super().__init__(folder, config, [str(TELEGRAF), "--config", str(config)], secrets, f"http://{address}")

    def _post(self, readings: Sequence[Mapping[str, str]]) -> httpx.Response:
        lines = [
            f'{r["sku"]},account={r["account"]},resource={r["resource"]},unit={r["unit"]} usage="{r["amount"]}" {r["start_ns"]}\n' for r in readings
        ]
        return self._client.post("/write", content="".join(lines))

    def kept(self, readings: int) -> None:
        deadline = time.monotonic() + 60
        while int((re.findall(r"Buffer fullness: (\d+)", self.log) or ["0"])[-1]) < readings:
            assert time.monotonic() < deadline, self.log[-3000:]
            time.sleep(0.2)


class Collector(Program):
    """Log records of OTLP over HTTP, to Kafka."""

    def __init__(self, folder: Path, changes: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        grpc, http = free_ports(2)
        mine = {"127.0.0.1:4317": f"127.0.0.1:{grpc}", "127.0.0.1:4318": f"127.0.0.1:{http}", "/var/lib/otelcol": str(folder / "queue")}
        text = replaced((EXAMPLES / "otel-collector.yaml").read_text(encoding="utf-8"), {**changes, **mine})
        document = yaml.safe_load(text)
        # Its own metrics would listen where another one's do.
        document["service"]["telemetry"] = {"metrics": {"level": "none"}}
        config = folder / "otelcol.yaml"
        config.write_text(yaml.safe_dump(document))
        super().__init__(folder, config, [str(COLLECTOR), "--config", str(config)], secrets, f"http://127.0.0.1:{http}")

    def _post(self, readings: Sequence[Mapping[str, str]]) -> httpx.Response:
        records = [{"attributes": [{"key": name, "value": {"stringValue": value}} for name, value in each.items()]} for each in readings]
        document: dict[str, Any] = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
        accounts = {each["account"] for each in readings}
        return self._client.post("/v1/logs", json=document, headers={"account": accounts.pop()} if len(accounts) == 1 else {})

    def kept(self, readings: int) -> None:
        """It answers when its queue has them."""
