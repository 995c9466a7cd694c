"""Closes and their receipts, for requests: the same requests in the log as `ratemill close` makes, and no others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from ...api.ports import ClosePeriod, ReadControl
from ...schemas.control import Close, Request
from ...streams.config import Config
from ...streams.control_topic import Controls, load_controls, partitions_concerned, publish_control
from ..close import closed_before, month_to_close
from ..corrections import request_json, request_now
from .jobs import Jobs

__all__ = ["closer", "control_reader"]

WITHIN_S = 30.0


def closer(config: Config, jobs: Jobs) -> ClosePeriod:
    """The port of closes."""
    one_at_a_time = asyncio.Lock()  # or both of two that come together would find the month open

    async def close(period: str, *, author: str, reason: str, early: bool) -> tuple[dict[str, Any], bool]:
        month = month_to_close(period, datetime.now(UTC), early, '"early": true')

        async def ask() -> tuple[dict[str, Any], bool]:
            controls = await load_controls(config)
            if (known := closed_before(controls, month)) is not None:
                return _as_json(config, controls, known), False
            request = request_now(Close, author, reason, period=period)
            await publish_control(config, request)
            return _as_json(config, controls, request), True

        async with one_at_a_time:
            return await jobs.run(ask, WITHIN_S)

    return close


def control_reader(config: Config, jobs: Jobs) -> ReadControl:
    """The port of requests and receipts."""

    async def read(id: str) -> dict[str, Any] | None:
        async def look() -> dict[str, Any] | None:
            controls = await load_controls(config)
            request = controls.request(id)
            return None if request is None else _as_json(config, controls, request)

        return await jobs.run(look, WITHIN_S)

    return read


def _as_json(config: Config, controls: Controls, request: Request) -> dict[str, Any]:
    return request_json(request, controls.receipts(request.id), partitions_concerned(config, request))
