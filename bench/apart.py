"""A producer in a process of its own, which says at its end in one line of JSON what it sent."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Self

from ..schemas.errors import Unavailable

__all__ = ["Apart"]


class Apart:
    """`python -m MODULE ARGUMENTS`: `async with` starts it, and ends it at the latest with the block."""

    def __init__(self, module: str, *arguments: object) -> None:
        self._arguments = ["-m", f"{__package__}.{module}", *map(str, arguments)]
        self._process: Any = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(sys.executable, *self._arguments, stdout=asyncio.subprocess.PIPE)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet. Raises Unavailable when it failed."""
        if self._process.returncode:
            raise Unavailable(f"the producer ended with status {self._process.returncode}")
        return self._process.returncode is None

    async def sent(self) -> dict[str, float]:
        """Wait for its end: events, seconds, and how far it was behind its schedule at most (latest_tick_s). Raises Unavailable when it failed."""
        printed, _ = await self._process.communicate()
        if self.running or not printed:
            raise Unavailable("the producer said nothing")
        found: dict[str, float] = json.loads(printed)
        return found

    async def end(self) -> dict[str, float]:
        """As `sent`, at once: whoever runs as this must take SIGTERM as a wish to end early."""
        if self.running:
            self._process.terminate()
        return await self.sent()
