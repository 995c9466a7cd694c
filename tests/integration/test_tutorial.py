"""docs/tutorial.md by its letter: every command that it shows, in one shell, and the figures that it names."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    \$ (.+)$", PAGE, re.MULTILINE)
WITHIN_S = 90


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Shell:
    """A person's shell: variables and jobs stay from one command to the next."""

    def __init__(self, folder: Path) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if name != "USER" and not name.startswith("RATEMILL_KAFKA")}
        environment = {**kept, "PATH": path, "COLUMNS": "120"}
        self._process = subprocess.Popen(
            ["bash", "--norc", "-m"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=environment, start_new_session=True,
        )  # fmt: skip

    def run(self, command: str) -> tuple[int, str]:
        """Exit status and output."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho \"__ended $?\"\n")
        self._process.stdin.flush()
        said = ""
        for line in self._process.stdout:
            if line.startswith("__ended "):
                return int(line.split()[1]), said
            said += line
        raise AssertionError(f"the shell is gone: {said}")

    def end(self) -> None:
        """With all that it started."""
        subprocess.run(["pkill", "-KILL", "-s", str(self._process.pid)], check=False)
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(10)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """What each command printed, each time it stands on the page. It runs once, in a folder that has what a clone has.

    The page sets up and takes the usual ports; here the environment is set up already, and others may hold those ports.
    """
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "examples").symlink_to(ROOT / "examples")
    other = {
        "make setup": "true",
        'export PATH="$PWD/.venv/bin:$PATH"': "true",
        "ratemill local up": "ratemill local up --kafka-port 0 --elasticsearch-port 0 --max-lifetime 900",
        "ratemill api > api.log 2>&1 &": f"ratemill api --port {free_port()} > api.log 2>&1 &",
    }
    assert set(other) <= set(COMMANDS)
    shell = Shell(folder)
    found: dict[str, list[str]] = {}
    try:
        for command in COMMANDS:
            status, said = shell.run(other.get(command, command))
            assert status == 0, f"{command}: {said}\n{shell.run('tail -5 worker.log')[1]}"
            if command == "ratemill costs":
                said = until(lambda: shell.run("ratemill costs")[1], lambda text: "0.2944" in text)
            if command == "ratemill dead-letters list":
                said = until(lambda: shell.run("ratemill dead-letters list")[1], lambda text: "conflict" in text)
            found.setdefault(command, []).append(said)
        yield found
    finally:
        shell.run("ratemill local down --wipe")
        shell.end()


def until(look: Callable[[], str], right: Callable[[str], bool]) -> str:
    deadline = time.monotonic() + WITHIN_S
    while not right(said := look()):
        assert time.monotonic() < deadline, said
        time.sleep(0.5)
    return said


def test_costs_are_those_of_the_page_and_sending_twice_changes_nothing(outputs: dict[str, list[str]]) -> None:
    first, second = outputs["ratemill costs"]
    assert first == second
    for named in ("4.20168", "0.2944"):
        assert named in PAGE
        assert re.search(rf"\b{named}0*\b", first)


def test_what_it_publishes_is_what_the_page_says(outputs: dict[str, list[str]]) -> None:
    for said in outputs["ratemill publish usage.ndjson"]:
        shown = re.search(r"published (\d+) records \(([\d,]+) bytes\)", PAGE)
        assert shown is not None
        assert shown[0] in said


def test_the_conflict_is_a_dead_letter(outputs: dict[str, list[str]]) -> None:
    assert "conflict" in outputs["ratemill dead-letters list"][0]


def test_the_line_item_of_the_offline_run_is_explained_by_the_live_system(outputs: dict[str, list[str]]) -> None:
    (said,) = outputs["ratemill explain $ID"]
    assert "0.00014" in said
    assert "differs" not in said


def test_the_cancelled_event_is_on_record(outputs: dict[str, list[str]]) -> None:
    assert "cancel" in outputs["ratemill control list"][0]
    assert "a test" in outputs["ratemill control list"][0]


def test_the_invoice_is_an_estimate_of_what_the_costs_are(outputs: dict[str, list[str]]) -> None:
    (said,) = outputs["ratemill invoice acme $MONTH"]
    assert "ESTIMATE" in said
    assert "4.49608" in said


def test_the_price_book_of_the_page_is_the_one_in_the_examples() -> None:
    text = (ROOT / "examples" / "tutorial" / "prices.yaml").read_text(encoding="utf-8")
    assert "".join(f"    {line}\n" for line in text.splitlines()) in PAGE


def test_all_commands_are_read() -> None:
    assert len(COMMANDS) == PAGE.count("\n    $ ")
    subcommands = {command.split()[1] for command in COMMANDS if command.startswith("ratemill ")}
    assert subcommands >= {"local", "prices", "worker", "publish", "costs", "dead-letters", "rate", "explain", "cancel", "invoice"}
