"""Explanations for requests: those of `ratemill explain`."""

from __future__ import annotations

from collections.abc import Awaitable

from ...api.ports import Explain
from ...schemas.explanation import Explanation
from ...streams.config import Config
from ..explain import explain
from ..explaining.reading import no_bar
from .jobs import Jobs

__all__ = ["explainer"]

WITHIN_S = 30.0


def explainer(config: Config, jobs: Jobs) -> Explain:
    """The port of explanations."""

    def made(line_item_id: str, account: str | None, *, events: int, page: int) -> Awaitable[Explanation]:
        return jobs.run(lambda: explain(config, line_item_id, events, page, no_bar, for_customer=account is not None), WITHIN_S)

    return made
