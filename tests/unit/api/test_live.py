"""Watched documents: read once for all who watch, told of when they change, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from ratemill.api.live import Live, Watched
from ratemill.api.problems import Problem
from ratemill.schemas.errors import Unavailable


class Document:
    """What is watched: the test says when it changes, and when it cannot be read."""

    def __init__(self) -> None:
        self.text, self.reads, self.broken = "1", 0, False
        self.was_read = asyncio.Event()

    async def read(self) -> bytes:
        self.reads += 1
        self.was_read.set()
        if self.broken:
            raise Unavailable("no answer")
        return self.text.encode()

    async def again(self) -> None:
        """Until it was read twice more: a read that was under way may not have seen what changed."""
        for _ in range(2):
            self.was_read.clear()
            await self.was_read.wait()


@pytest.fixture
async def live(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Live]:
    monkeypatch.setattr(Live, "pause_s", 0)
    made = Live()
    yield made
    made.stop()


@pytest.fixture
async def join(live: Live) -> AsyncIterator[Callable[..., Awaitable[Watched]]]:
    async with AsyncExitStack() as stack:

        async def join(document: Document, question: str = "q", owner: str = "o") -> Watched:
            return await stack.enter_async_context(live.watch(question, owner, document.read))

        yield join


async def seen(watched: Watched, than: str = "") -> tuple[str, str]:
    version = await watched.newer(than)
    assert version is not None
    return version.id, version.data.decode()


Join = Callable[..., Awaitable[Watched]]


async def test_all_who_ask_the_same_share_one_reader(join: Join) -> None:
    mine, others, document = Document(), Document(), Document()
    one, two = await join(mine), await join(others, owner="p")
    assert one is two
    assert await seen(one) == await seen(two)
    assert (mine.reads > 0, others.reads) == (True, 0)
    other = await join(document, "another question")
    assert other is not one
    document.text = "2"
    await document.again()
    assert (await seen(other))[1] == "2"
    assert (await seen(one))[1] == "1"


async def test_only_what_changed_is_told(join: Join) -> None:
    document = Document()
    watched = await join(document)
    id, _ = await seen(watched)
    waiting = asyncio.create_task(seen(watched, id))
    await document.again()
    assert not waiting.done()
    document.text = "2"
    second, text = await waiting
    assert (second != id, text) == (True, "2")
    document.text = "1"
    assert await seen(watched, second) == (id, "1")


async def test_who_is_slow_gets_the_newest(join: Join) -> None:
    document = Document()
    watched = await join(document)
    id, _ = await seen(watched)
    for text in "234":
        document.text = text
        await document.again()
    last, text = await seen(watched, id)
    assert text == "4"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await watched.newer(last)


async def test_what_nobody_watches_is_not_read(live: Live) -> None:
    document = Document()
    async with live.watch("q", "o", document.read) as watched:
        async with live.watch("q", "o", document.read):
            await seen(watched)
        await document.again()  # one is left
    await asyncio.sleep(0)
    reads = document.reads
    await asyncio.sleep(0.05)
    assert document.reads == reads
    async with live.watch("q", "o", document.read) as anew:
        assert (await seen(anew))[1] == "1"


async def test_what_cannot_be_read_is_told_to_all_and_begun_anew(join: Join) -> None:
    document = Document()
    watched = await join(document)
    id, _ = await seen(watched)
    waiting = [asyncio.create_task(watched.newer(id)) for _ in range(3)]
    document.broken = True
    assert all(isinstance(error, Unavailable) for error in await asyncio.gather(*waiting, return_exceptions=True))
    document.broken = False
    assert await seen(await join(document)) == (id, "1")


async def test_a_stop_ends_watches_now_and_later(live: Live, join: Join) -> None:
    document = Document()
    watched = await join(document)
    id, _ = await seen(watched)
    waiting = asyncio.create_task(watched.newer(id))
    await document.again()
    live.stop()
    assert await waiting is None
    assert await (await join(document)).newer("") is None
    assert await (await join(document, "another")).newer("") is None


async def test_streams_are_bounded_in_all_and_for_each_owner(live: Live, join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Live, "most", 3)
    monkeypatch.setattr(Live, "most_of_one", 2)
    document = Document()
    async with live.watch("q", "a", document.read), live.watch("q", "a", document.read):
        with pytest.raises(Problem) as refused:
            await join(document, owner="a")
        assert (refused.value.status, "retry-after" in refused.value.headers) == (429, True)
        async with live.watch("q", "b", document.read):
            with pytest.raises(Problem):
                await join(document, owner="c")
    await join(document, owner="a")


async def test_reads_are_bounded(live: Live, join: Join) -> None:
    running, most = 0, 0

    class Slow(Document):
        async def read(self) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.005)
            running -= 1
            return await super().read()

    documents = [Slow() for _ in range(Live.readers * 3)]
    for number, document in enumerate(documents):
        await join(document, str(number), str(number))
    await asyncio.gather(*(document.again() for document in documents))
    assert most == Live.readers
