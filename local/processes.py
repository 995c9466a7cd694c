"""Processes that outlive the command which started them: found again by pid *and* identity, ended without leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..schemas.errors import Unavailable

__all__ = ["Process", "find", "java_environment", "spawn", "tail", "terminate"]

# psutil derives the start time from the boot time, which moves when the clock is set. The marker in the command line
# makes a process ours; the time only has to tell apart processes of the same stack.
CREATE_TIME_TOLERANCE = 10.0
EXEC_TOLERANCE = 1.0

# Java reads options from these and would start with a heap or an agent that nobody chose for this stack.
FOREIGN_JAVA_OPTIONS = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH")
OWN_JAVA_OPTIONS = "RATEMILL_JAVA_OPTIONS"  # those that somebody did choose for it

# Children of this process by pid. A handle is kept until its process ended: only a parent that asks for the exit status
# makes a dead child vanish, and a handle that is dropped early warns about a process that is meant to go on.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Process:
    """One process of a stack, as `stack.json` holds it."""

    name: str
    pid: int
    create_time: float
    log: str
    marker: str  # a path in its command line which no other stack's process has


def java_environment(name: str) -> dict[str, str]:
    """The environment of a service's Java: with the options that were chosen for it, and no others."""
    environment = {k: v for k, v in os.environ.items() if k not in FOREIGN_JAVA_OPTIONS}
    if chosen := os.environ.get(OWN_JAVA_OPTIONS):
        environment["JAVA_TOOL_OPTIONS"] = chosen.replace("{server}", name.partition("-")[0])  # kafka-2 is a kafka
    return environment


def spawn(name: str, command: list[str], log: Path, marker: Path, max_lifetime: float) -> Process:
    """Start a detached process with its output in `log`; with a bound, it ends by itself after that many seconds."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))  # the run before this one stays readable
    if max_lifetime > 0:
        command = [sys.executable, "-P", "-m", f"{__package__}.lifetime", str(max_lifetime), *command]
    try:
        with log.open("wb") as output:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                cwd=log.parent, env=java_environment(name),
            )  # fmt: skip
    except OSError as error:
        raise Unavailable(f"cannot start {name}: {error}") from error
    _children[child.pid] = child
    try:
        created = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:  # it died at once; its log says why
        created = time.time()
    return Process(name, child.pid, created, str(log), str(marker))


def find(process: Process) -> psutil.Process | None:
    """The living process, or None if it ended or its pid belongs to another program by now."""
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        del _children[process.pid]
    try:
        found = psutil.Process(process.pid)
        if process.pid in _children:  # a child's pid is not reused before its exit status was asked for
            return found if found.status() != psutil.STATUS_ZOMBIE else None
        difference = abs(found.create_time() - process.create_time)
        if found.status() == psutil.STATUS_ZOMBIE or difference > CREATE_TIME_TOLERANCE:
            return None
        arguments = found.cmdline()
        if not arguments:  # in the middle of exec, as the lifetime watcher's parent is at first: only the time is there to judge by
            return found if difference < EXEC_TOLERANCE else None
        return found if any(process.marker in argument for argument in arguments) else None
    except psutil.Error:
        return None


def terminate(processes: Iterable[Process], patience: float) -> list[str]:
    """End these processes and what they started: politely, then not. Returns the names of those that ran."""
    ours = [(p.name, found) for p in processes if (found := find(p))]
    everything = [found for _, found in ours]
    for _, found in ours:
        try:
            everything.extend(found.children(recursive=True))
        except psutil.Error:
            pass
    for _, found in ours:
        _send(found, signal.SIGTERM)
        _send(found, signal.SIGCONT)  # a stopped process would not see the other signal
    _, stubborn = psutil.wait_procs(everything, timeout=patience)
    for found in stubborn:
        _send(found, signal.SIGKILL)
    _, left = psutil.wait_procs(stubborn, timeout=10.0)
    for pid in [pid for pid, child in _children.items() if child.poll() is not None]:
        del _children[pid]
    left = [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    if left:
        raise Unavailable(f"processes {', '.join(str(p.pid) for p in left)} do not end, not even by SIGKILL (a hanging disk does that)")
    return [name for name, _ in ours]


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)  # psutil compares the start time once more before it signals
    except psutil.Error:
        pass


def tail(log: str, lines: int = 15) -> str:
    """The end of a log, indented, for an error message."""
    try:
        with Path(log).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return "    (no log)"
    last = [line for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(f"    {line[:300]}" for line in last) or "    (the log is empty)"
