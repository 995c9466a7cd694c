"""The network between workers and Kafka does what its mode says, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from ratemill.local.ports import free_ports

from chaos.proxy import Proxy


class _Echo:
    """A server that answers what it is sent, and remembers it."""

    def __init__(self) -> None:
        self.got = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1_000):
                self.got += data
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxy, _Echo]]:
    listening, target = free_ports(2)
    echo = _Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", target)
    proxy = Proxy(listening, target, seed=1)
    await proxy.start()
    try:
        yield proxy, echo
    finally:
        await proxy.stop()
        server.close()


async def answer(reader: asyncio.StreamReader, within_s: float = 2) -> bytes:
    async with asyncio.timeout(within_s):
        return await reader.read(1_000)


@pytest.mark.parametrize("mode", ["pass", "delay"])
async def test_what_passes_arrives(mode: str) -> None:
    async with proxied() as (proxy, _):
        proxy.treat(mode)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"hello")
        assert await answer(reader) == b"hello"
        assert proxy.hits["delay"] == (2 if mode == "delay" else 0)
        writer.close()


@pytest.mark.parametrize(("mode", "arrives"), [("blackhole", b""), ("drop-answers", b"hello")])
async def test_nothing_comes_back_and_then_the_connection_is_reset(mode: str, arrives: bytes) -> None:
    async with proxied() as (proxy, echo):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.treat(mode)
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await answer(reader, 0.3)
        assert echo.got == arrives
        assert proxy.hits[mode] == 1
        proxy.treat("pass")  # the stream has a hole
        with pytest.raises(ConnectionResetError):
            await answer(reader)


async def test_connections_are_reset_old_and_new() -> None:
    async with proxied() as (proxy, _):
        reader, _ = await asyncio.open_connection("127.0.0.1", proxy.port)
        await asyncio.sleep(0.05)
        proxy.treat("reset")
        with pytest.raises(ConnectionResetError):
            await answer(reader)
        reader, _ = await asyncio.open_connection("127.0.0.1", proxy.port)
        with pytest.raises(ConnectionResetError):
            await answer(reader)


async def test_a_connection_that_lost_nothing_outlives_a_mode() -> None:
    async with proxied() as (proxy, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.treat("blackhole")
        proxy.treat("pass")
        writer.write(b"hello")
        assert await answer(reader) == b"hello"
        writer.close()
