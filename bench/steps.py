"""What each step costs an event: `python -m ratemill.bench.steps OUT worker …` runs `ratemill worker …` and times its steps.

A step that is a call is timed where it is called, without the steps inside it. What else an event loop runs is timed callback by callback, and
belongs to the library whose coroutine it is. All in CPU time of the thread, and a few ten thousand times in all, so it hardly costs anything. The
totals go to OUT ten times a second, each with the CPU time of the process, so that start and end can be cut off as the bench cuts them off.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .report import table
from .run import Result

__all__ = ["Sample", "between", "main", "report"]

EVERY_S = 0.1
FETCH, PRODUCE, LANES, FAUST, LOOPS, REST = "fetch", "produce", "transactions, lanes", "Faust", "other callbacks", "selectors, RocksDB's threads"
# (module, class or "", function, step). Compiled loops are called by these, or they do the same in Python.
CALLS = (
    ("streams.lanes.decoding", "PlainReader", "read", "decode, identity"),
    ("streams.lanes.rate", "", "decode_batch", "decode, identity"),
    ("streams.core.state", "PartitionState", "add_readings", "deduplicate, window"),
    ("streams.core.state", "PartitionState", "add", "deduplicate, window"),
    ("streams.core.counted", "CountedNatively", "rate", "price, encode line items"),
    ("streams.core.counted", "Counted", "rate", "price, encode line items"),
    ("streams.core.state", "PartitionState", "_rate", "price, encode line items"),
    ("streams.ledger", "", "filled_batches", "record batches"),
    ("streams.rocks", "RocksStore", "write", "local store"),
    ("streams.identities.recent", "RecentIds", "_write", "identities to the disk"),
    ("streams.identities.in_runs", "_Merging", "run", "identities to the disk"),
)
# Part of the path of a coroutine's file -> step.
COROUTINES = (
    ("/aiokafka/producer/", PRODUCE), ("/aiokafka/consumer/", FETCH), ("/aiokafka/", PRODUCE), ("/faust/", FAUST), ("/mode/", FAUST),
    ("/streams/transport", FETCH), ("/streams/", LANES),
)  # fmt: skip


class Sample(NamedTuple):
    """As of one moment: CPU seconds of the process, whether a lane owns its partition, CPU seconds by step."""

    cpu_s: float
    owned: bool
    steps: dict[str, float]


_totals: dict[str, float] = {}
_stacks = threading.local()
_owned = threading.Event()


def _timed_each(function: Callable[..., Iterator[Any]], step: str) -> Callable[..., Iterator[Any]]:
    """As `_timed`, of what returns an iterator: each step of that."""

    @functools.wraps(function)
    def timed(*arguments: Any, **named: Any) -> Iterator[Any]:
        advance = _timed(function(*arguments, **named).__next__, step)
        while True:
            try:
                yield advance()
            except StopIteration:
                return

    return timed


def _timed(function: Callable[..., Any], step: str | Callable[[Any], str]) -> Callable[..., Any]:
    """The function, its CPU time added to a step: a name, or what the name is of its first argument."""

    @functools.wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        try:
            inner: list[float] = _stacks.inner
        except AttributeError:
            inner = _stacks.inner = []
        name = step if isinstance(step, str) else step(arguments[0])
        inner.append(0.0)
        began = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            used = time.thread_time() - began
            _totals[name] = _totals.get(name, 0.0) + used - inner.pop()
            if inner:
                inner[-1] += used

    return timed


def _step_of(handle: Any) -> str:
    """What a callback of an event loop belongs to."""
    if threading.current_thread() is not threading.main_thread():
        return FETCH  # Faust's consumer has a thread of its own
    callback = handle._callback
    while isinstance(callback, functools.partial):
        callback = callback.func
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        code = getattr(owner.get_coro(), "cr_code", None)
        where = "" if code is None else code.co_filename
        return next((step for part, step in COROUTINES if part in where), LOOPS)
    # A socket that can be read or written: in this thread it is a producer's or a reader's of the control topics.
    return PRODUCE if type(owner).__module__.startswith(("asyncio.selector", "aiokafka")) else LOOPS


def _install() -> None:
    for module, kind, name, step in CALLS:
        of = importlib.import_module(f"ratemill.{module}")
        of = getattr(of, kind) if kind else of
        function = getattr(of, name)
        iterates = "Iterator" in str(function.__annotations__.get("return", ""))
        setattr(of, name, (_timed_each if iterates else _timed)(function, step))
    handle: Any = asyncio.events.Handle
    handle._run = _timed(handle._run, _step_of)
    lane = importlib.import_module("ratemill.streams.lanes.base").Lane
    lane._work = _noting(lane._work)


def _noting(work: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def noting(lane: Any) -> None:
        _owned.set()
        await work(lane)

    return noting


def _write(out: Path) -> None:
    with out.open("ab", buffering=0) as file:
        while True:
            time.sleep(EVERY_S)
            used = os.times()
            file.write(msgspec.json.encode(Sample(used.user + used.system, _owned.is_set(), dict(_totals))) + b"\n")


def main() -> None:
    """Run the command; its samples go to OUT."""
    out = Path(sys.argv[1])
    _install()
    command = importlib.import_module("ratemill.cli.main")
    threading.Thread(target=_write, args=(out,), daemon=True).start()
    sys.argv = ["ratemill", *sys.argv[2:]]
    command.main()


def between(samples: Sequence[Sample], cpu_s: float) -> dict[str, float]:
    """CPU seconds by step from the first sample in which a lane owns its partition, and so many CPU seconds on. Raises ValueError without one."""
    begin = next((sample for sample in samples if sample.owned), None)
    if begin is None:
        raise ValueError("no lane ever owned its partition")
    end = min(samples, key=lambda sample: abs(sample.cpu_s - begin.cpu_s - cpu_s))
    steps = {name: used - begin.steps.get(name, 0.0) for name, used in end.steps.items()}
    steps[REST] = end.cpu_s - begin.cpu_s - sum(steps.values())
    return steps


def report(out: Path, result: Result) -> None:
    """Print microseconds an event and the share of each step, the largest first."""
    steps = between([msgspec.json.decode(line, type=Sample) for line in out.read_bytes().splitlines()], result.cpu_s)
    whole = sum(steps.values())
    rows = [(name, f"{used / result.events * 1e6:.2f}", f"{used / whole:.0%}") for name, used in sorted(steps.items(), key=lambda each: -each[1])]
    table(f"{result.path}: {whole / result.events * 1e6:.2f} us of processor an event", ("step", "us", "share"), rows)


if __name__ == "__main__":
    main()
