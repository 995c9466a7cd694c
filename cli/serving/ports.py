"""All ports of the HTTP interface, put together."""

from __future__ import annotations

from contextlib import AsyncExitStack

from ...api.ports import Ports
from ...streams.config import Config
from ...streams.lean_records import use_lean_records
from .control import closer, control_reader
from .explaining import explainer
from .jobs import Jobs
from .letters import letter_reader
from .prices import LiveBook, price_reader
from .simulating import simulator

__all__ = ["make_ports"]


def make_ports(config: Config, stack: AsyncExitStack) -> Ports:
    """They connect when they are asked, and read records as workers do. stack: ends what is under way when it closes."""
    use_lean_records()
    jobs = Jobs(config)
    stack.callback(jobs.close)
    book = LiveBook(config, jobs)
    return Ports(
        explain=explainer(config, jobs),
        prices=price_reader(book, jobs),
        simulate=simulator(config, book),
        letters=letter_reader(config, jobs),
        close_period=closer(config, jobs),
        control=control_reader(config, jobs),
    )
