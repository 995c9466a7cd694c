"""What usage would cost, for requests: `ratemill rate`, in a process that can be stopped (rating.py)."""

from __future__ import annotations

import asyncio
import signal
import sys

import msgspec

from ...api.ports import Simulate, Simulation
from ...api.problems import Problem
from ...schemas.errors import BadInput, BadPriceBook, RatemillError
from ...streams.config import Config
from .prices import LiveBook
from .rating import OUT_OF_MEMORY, Result, Task

__all__ = ["run_apart", "simulator"]

COMMAND = (sys.executable, "-P", "-m", "ratemill.cli.serving.rating")
WITHIN_S = 60.0  # on the clock of the wall; on that of the processor it is less
TOO_MUCH = "this takes more computing or memory than a request may; send fewer events, or rate them by `ratemill rate`"


def simulator(config: Config, book: LiveBook) -> Simulate:
    """The port of simulations."""

    async def simulate(simulation: Simulation) -> bytes:
        prices, name, meters, meters_name = simulation.prices or "", "prices", "", ""
        if simulation.prices is None:
            found = (await book.read()).found
            if found is None:
                raise BadInput("no price book is published; send one as `prices`")
            prices, name, meters, meters_name = found.record.text, found.record.name, found.record.meters, found.record.meters_name
        task = Task(
            prices, name, meters, meters_name, simulation.prices is not None, simulation.events, simulation.account, config.rating.window_s,
            config.rating.limits,
        )  # fmt: skip
        result = await run_apart(task)
        if result.mistakes:
            raise BadPriceBook(result.mistakes)
        if result.too_much:
            raise _too_costly(result.too_much)
        return result.answer

    return simulate


async def run_apart(task: Task) -> Result:
    """The result of a simulation, made by a process of its own. Raises Problem 422 when it came to a limit."""
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(WITHIN_S):
            said, _ = await process.communicate(msgspec.msgpack.encode(task))
    except TimeoutError:
        raise _too_costly(TOO_MUCH) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode in (OUT_OF_MEMORY, -signal.SIGXCPU, -signal.SIGKILL):
        raise _too_costly(TOO_MUCH)
    if process.returncode:
        raise RatemillError(f"a simulation ended with status {process.returncode}")
    return msgspec.msgpack.decode(said, type=Result)


def _too_costly(detail: str) -> Problem:
    return Problem(422, "too-costly", detail)
