"""`ratemill …` that is killed with -9 before one of its steps: `python invoice_main.py STEP ARGUMENT…`.

A step is a statement of SQLite, or a file that gets its name. Who is not killed says how many there were, in the last line on standard error.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from ratemill.cli.main import main

_last, _done = int(sys.argv[1]), [0]


def _step(*_: Any) -> None:
    if _done[0] == _last:
        os.kill(os.getpid(), signal.SIGKILL)
    _done[0] += 1


class _Watched(sqlite3.Connection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.set_trace_callback(_step)


def _replace(path: Path, target: Path, replace: Any = Path.replace) -> Any:
    _step()
    return replace(path, target)


def _connect(*arguments: Any, connect: Any = sqlite3.connect, **options: Any) -> sqlite3.Connection:
    made: sqlite3.Connection = connect(*arguments, **options, factory=_Watched)
    return made


sqlite3.connect = _connect  # type: ignore[assignment]
Path.replace = _replace  # type: ignore[method-assign, assignment]
sys.argv[1:] = sys.argv[2:]
try:
    main()
finally:
    print(_done[0], file=sys.stderr)
