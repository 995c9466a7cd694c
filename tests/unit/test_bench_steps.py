"""The costs by step: what is inside a step is not counted twice, nothing of the process is left out, and start-up is no part of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from ratemill.bench import steps
from ratemill.bench.steps import REST, Sample, _step_of, _timed, _timed_each, between


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_step_does_not_count_what_is_inside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, float] = {}
    monkeypatch.setattr(steps, "_totals", found)
    inner = _timed(burn, "inner")

    def both(seconds: float) -> None:
        burn(seconds)
        inner(2 * seconds)

    _timed(both, lambda seconds: f"outer {seconds}")(0.02)
    assert set(found) == {"inner", "outer 0.02"}
    assert 0.9 < found["inner"] / 0.04 < 1.5
    assert 0.9 < found["outer 0.02"] / 0.02 < 1.5


def test_what_raises_is_counted_and_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, float] = {}
    monkeypatch.setattr(steps, "_totals", found)

    def fails() -> None:
        burn(0.01)
        raise ValueError("so")

    with pytest.raises(ValueError, match="so"):
        _timed(fails, "failed")()
    assert found["failed"] > 0.009


def test_of_a_generator_only_its_own_work_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, float] = {}
    monkeypatch.setattr(steps, "_totals", found)

    def each(number: int) -> Iterator[int]:
        for at in range(number):
            burn(0.01)
            yield at

    for _ in _timed_each(each, "each")(3):
        burn(0.02)
    assert 0.9 < found["each"] / 0.03 < 1.5


def test_a_callback_belongs_to_the_library_of_its_coroutine() -> None:
    async def ours() -> str:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        code = compile("async def run(seen, step, handle):\n    seen.append(step(handle))", "/x/aiokafka/producer/sender.py", "exec")
        names: dict[str, object] = {}
        exec(code, names)

        class Handle:
            _callback: object = None

        handle = Handle()
        task = loop.create_task(names["run"](seen, _step_of, handle))  # type: ignore[operator]
        handle._callback = task.cancel  # any method of the task
        await task
        handle._callback = print
        return f"{seen[0]}, {_step_of(handle)}"

    assert asyncio.run(ours()) == f"{steps.PRODUCE}, {steps.LOOPS}"


def test_start_and_end_are_cut_off() -> None:
    samples = [
        Sample(1.0, False, {"a": 0.5}),
        Sample(2.0, True, {"a": 0.75}),
        Sample(4.0, True, {"a": 1.75, "b": 0.5}),
        Sample(6.0, True, {"a": 9.0, "b": 9.0}),  # what ending takes
    ]
    assert between(samples, 2.1) == {"a": 1.0, "b": 0.5, REST: 0.5}
    with pytest.raises(ValueError, match="no lane"):
        between(samples[:1], 2.0)
