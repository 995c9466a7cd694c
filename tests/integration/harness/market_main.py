"""`ratemill marketplace` over line items from a file, without Kafka, and dying on purpose: `python market_main.py JSON ARGUMENTS`.

JSON: {"items": file with line items, one a line, "kill": point after which it dies, "now": seconds since 1970}. Points are those of the reporter.
Everything else comes from the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ratemill.cli import marketplace
from ratemill.cli.main import main
from ratemill.schemas.line_item import decode_line_item
from ratemill.sinks.marketplace import runner
from ratemill.streams.rated_reader import RatedBatch

SPEC = json.loads(sys.argv.pop(1))
TOPIC = ("usage.rated", 0)


async def _read(_config: Any, positions: Mapping[tuple[str, int], int]) -> AsyncIterator[RatedBatch]:
    at = positions.get(TOPIC, 0)
    while True:
        lines = Path(SPEC["items"]).read_bytes().splitlines()
        yield RatedBatch([decode_line_item(line) for line in lines[at:]], {TOPIC: len(lines)} if len(lines) > at else {}, SPEC["now"])
        at = len(lines)
        await asyncio.sleep(0.05)


async def _die(point: str) -> None:
    if point == SPEC.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)


class _Runner(runner.Runner):
    def __init__(self, parts: Any, *arguments: Any) -> None:
        super().__init__(replace(parts, clock=lambda: SPEC["now"], pass_point=_die), *arguments)


if __name__ == "__main__":
    marketplace.read_rated, marketplace.Runner = _read, _Runner  # type: ignore[assignment,attr-defined,misc]
    time.time = lambda: float(SPEC["now"])  # type: ignore[assignment]
    signal.alarm(120)
    main()
