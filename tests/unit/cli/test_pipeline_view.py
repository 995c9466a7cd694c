"""One look for all who ask, and an answer in time however long it takes."""

from __future__ import annotations

import asyncio

import pytest
from ratemill.cli import pipeline_view
from ratemill.cli.pipeline_view import PipelineView
from ratemill.schemas.errors import Unavailable
from ratemill.schemas.pipeline import PipelineHealth
from ratemill.streams.config import Config
from ratemill.streams.pipeline import Look

NOTHING = Look(0, {}, {}, {}, {})


class Reader:
    """In place of Kafka: each look waits until it is let go."""

    def __init__(self) -> None:
        self.looks, self.go = 0, asyncio.Event()

    async def look(self) -> Look:
        self.looks += 1
        await self.go.wait()
        if self.looks == 3:
            raise Unavailable("Kafka at k:9092 does not answer")
        return NOTHING

    async def close(self) -> None:
        pass


async def _asked_many_times() -> tuple[int, list[PipelineHealth], PipelineHealth, PipelineHealth, PipelineHealth, list[str]]:
    view = PipelineView(Config(), now_ms=lambda: 0)
    reader = Reader()
    view._reader = reader  # type: ignore[assignment]
    reader.go.set()
    together = await asyncio.gather(*(view() for _ in range(20)))
    looks = reader.looks
    reader.go.clear()
    view._looked_at -= pipeline_view.KEEP_S  # as if that long ago
    slow = await view()
    reader.go.set()
    late = await view()
    view._looked_at -= pipeline_view.KEEP_S
    away = await view()
    trouble = view.trouble
    await view.close()
    return looks, together, slow, late, away, trouble


def test_one_look_for_all_and_an_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unpriced(*_: object) -> pipeline_view.Unpriced:
        return pipeline_view.Unpriced(2, -5_000)

    monkeypatch.setattr(pipeline_view, "read_unpriced", unpriced)
    monkeypatch.setattr(pipeline_view, "ANSWER_WITHIN_S", 0.05)
    looks, together, slow, late, away, trouble = asyncio.run(_asked_many_times())
    assert looks == 1
    assert all(health is together[0] for health in together)
    assert (together[0].unpriced, together[0].oldest_unpriced_s, together[0].notes) == (2, 5.0, [])
    assert "longer than" in slow.notes[0]
    assert late.notes == []  # the look that took long was not lost
    assert (away.status, away.unpriced) == ("stale", 2)  # Kafka is away, Elasticsearch is not
    assert [note.split()[0] for note in away.notes] == ["Kafka"]
    assert trouble == ["Kafka at k:9092 does not answer"]
    assert "k:9092" not in away.notes[0]
