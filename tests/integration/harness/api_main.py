"""`ratemill api` with a guarantee taken away: `python api_main.py early|no_tenants api …`.

early: answers before Kafka has what it was sent. no_tenants: the account of a key is not looked at.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from ratemill.api import alerts, explanations, prices, questions, simulations
from ratemill.api.elastic_view import routes as elastic_view
from ratemill.api.outbox import Outbox
from ratemill.cli.main import main

_pending: set[asyncio.Task[None]] = set()


def _early() -> None:
    real = Outbox.send

    async def later(self: Outbox, *arguments: Any) -> None:
        await asyncio.sleep(0.5)
        await real(self, *arguments)

    async def send(self: Outbox, *arguments: Any) -> None:
        task = asyncio.get_running_loop().create_task(later(self, *arguments))
        _pending.add(task)
        task.add_done_callback(_pending.discard)

    Outbox.send = send  # type: ignore[method-assign]


def _no_tenants() -> None:
    for routes in (questions, alerts, elastic_view, explanations, prices, simulations):
        routes.account_of = lambda principal, asked: asked  # type: ignore[attr-defined]


if __name__ == "__main__":
    {"early": _early, "no_tenants": _no_tenants}[sys.argv.pop(1)]()
    main()
