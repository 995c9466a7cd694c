"""Bounds the life of a process: `python -m ratemill.local.lifetime SECONDS COMMAND …` becomes COMMAND, watched by a child.

The command keeps this pid (so its signals, exit status and identity are its own), and the watcher is its child: as long as
`getppid` returns that pid it is certain that the process lives and the pid was not reused. The watcher ends with the command.
"""

from __future__ import annotations

import os
import signal
import sys
import time

POLL = 0.25
PATIENCE = 20.0  # between SIGTERM and SIGKILL


def watch(parent: int, seconds: float) -> None:
    """End the parent after `seconds`, unless it ended before."""
    for pause, number in ((seconds, signal.SIGTERM), (PATIENCE, signal.SIGKILL)):
        deadline = time.monotonic() + pause
        while time.monotonic() < deadline:
            if os.getppid() != parent:
                return
            time.sleep(POLL)
        if os.getppid() == parent:
            os.kill(parent, number)


def main() -> None:
    """Fork the watcher, then become the command."""
    seconds, command = float(sys.argv[1]), sys.argv[2:]
    parent = os.getpid()
    if os.fork() == 0:
        watch(parent, seconds)
        os._exit(0)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
