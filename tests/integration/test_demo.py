"""`ratemill demo --once` on real servers: everything balances, and nothing is left running, also when it is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

pytestmark = pytest.mark.integration

DEMO = [sys.executable, "-P", "-c", "from ratemill.cli.main import main; main()", "demo"]


@contextmanager
def demo(folder: Path, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A demo in a folder of its own; ended with the test, whatever became of it."""
    process = subprocess.Popen(
        [*DEMO, "--dir", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder.parent,
        env={**os.environ, "COLUMNS": "120", **environment},
        start_new_session=True,
        # A shell that runs the tests in the background lets them ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that work in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(folder) in line and process.pid != os.getpid():
            found.append(line[:200])
    return found


def address_of_page(folder: Path, process: subprocess.Popen[str]) -> str:
    """Where the demo's HTTP interface listens, once it does."""
    deadline, log = time.monotonic() + 120, folder / "logs" / "api.log"
    while not (found := re.search(r"listening on (http://\S+)", log.read_text() if log.exists() else "")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.2)
    return found[1]


def test_the_demo_balances_and_ends(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    # Settings of another installation must not reach the demo's processes.
    with demo(folder, "--once", RATEMILL_KAFKA__BOOTSTRAP="127.0.0.1:1") as process:
        output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output[-5_000:]
    assert "WRONG" not in output
    for line in (
        "all together: published 1,354 = received 1,354 = counted 1,331 + duplicates 10 + dead-lettered 13",
        "usage.rated 1,327 line items = Elasticsearch 1,327, byte for byte",
        "usage.rated 1,327 line items = offline `ratemill rate` 1,327, byte for byte",
        "37 of 37 sums by account and product equal the provider's",
        "everything holds",
    ):
        assert line in output
    assert "Traceback" not in output
    assert left_behind(folder) == []
    assert not (folder / "kafka").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    with demo(folder, *(["--once"] if number == signal.SIGTERM else [])) as process:
        deadline = time.monotonic() + 200
        while not (folder / "worker.json").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
        if number == signal.SIGINT:
            page = address_of_page(folder, process)
            assert "Live costs" in httpx.get(page, trust_env=False).text
            assert httpx.get(f"{page}/v1/costs", trust_env=False).status_code == 401
        time.sleep(1)
        assert len(left_behind(folder)) > 3
        process.send_signal(number)
        output, _ = process.communicate(timeout=90)
    assert process.returncode == (130 if number == signal.SIGTERM else 0), output
    assert "Traceback" not in output
    if number == signal.SIGINT:
        assert f"{page}/?period=all#key=rm_" in output.replace("\n", "")
    assert left_behind(folder) == []


def test_a_folder_with_another_stack_is_refused(tmp_path: Path) -> None:
    (tmp_path / "demo" / "kafka").mkdir(parents=True)
    with demo(tmp_path / "demo", "--once") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "holds a stack that no demo made" in output
    assert (tmp_path / "demo" / "kafka").exists()
