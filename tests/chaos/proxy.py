"""A TCP proxy before one broker: the network between workers and Kafka, which can be slow, cut, or lose answers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter

__all__ = ["MODES", "Proxy"]

MODES = ("pass", "delay", "blackhole", "reset", "drop-answers")
_HOST = "127.0.0.1"
_CHUNK = 1 << 16


class Proxy:
    """Forwards connections to a port; `treat` changes how. What a mode did to the traffic is counted in `hits`.

    delay: every piece waits up to half a second. blackhole: connections stay open, nothing arrives on either side. reset: connections
    are reset, new ones too. drop-answers: requests arrive, their answers do not. A connection that lost bytes is reset when the
    mode ends, as its stream has a hole.
    """

    def __init__(self, port: int, target: int, seed: int) -> None:
        self.port = port
        self.hits: Counter[str] = Counter()
        self._target = target
        self._mode = "pass"
        self._random = random.Random(f"proxy {seed} {target}")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._holed: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, _HOST, self.port)

    async def stop(self) -> None:
        """End every connection and stop listening."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            _reset(writer)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def treat(self, mode: str) -> None:
        """From now on treat connections like this."""
        if mode not in MODES:
            raise ValueError(f"no mode {mode!r}; there are {', '.join(MODES)}")
        self._mode = mode
        for writer in list(self._writers if mode == "reset" else self._holed):
            self.hits["reset"] += mode == "reset"
            _reset(writer)
        self._holed.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        ends = [writer]
        self._writers.add(writer)
        try:
            if self._mode == "reset":
                self.hits["reset"] += 1
                _reset(writer)
                return
            there, out = await asyncio.open_connection(_HOST, self._target)
            ends.append(out)
            self._writers.add(out)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, out, ends, answers=False))
                group.create_task(self._pump(there, writer, ends, answers=True))
        except (OSError, ExceptionGroup):
            pass
        finally:
            for end in ends:
                _reset(end)
                self._writers.discard(end)
                self._holed.discard(end)
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: list[asyncio.StreamWriter], *, answers: bool) -> None:
        while data := await reader.read(_CHUNK):
            if self._mode == "delay":
                self.hits["delay"] += 1
                await asyncio.sleep(self._random.uniform(0, 0.5))
            if self._mode == "blackhole" or (self._mode == "drop-answers" and answers):
                self.hits[self._mode] += 1
                self._holed.update(ends)
                continue
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("one end closed")


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by RST instead of an orderly end."""
    with contextlib.suppress(OSError, AttributeError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
