"""Which months are closed, from an index whose shard has yet to start."""

from __future__ import annotations

from typing import Any

import pytest
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError
from ratemill.schemas.errors import Unavailable
from ratemill.sinks import periods
from ratemill.sinks.periods import ClosedPeriods, read_closed


def failed(status: int, kind: str) -> ApiError:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, NodeConfig("http", "127.0.0.1", 9200))
    return ApiError(kind, meta, {"error": {"type": kind, "reason": "r"}, "status": status})


class Client:
    """Fails so often, then answers."""

    def __init__(self, times: int, error: ApiError) -> None:
        self.asked, self._times, self._error = 0, times, error

    async def get(self, **_: Any) -> Any:
        self.asked += 1
        if self.asked <= self._times:
            raise self._error
        return {"_source": {"through": "2026-10", "closed_at": "2026-11-03T08:00:00Z"}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periods, "_AGAIN_S", 0)


async def test_a_shard_that_starts_is_waited_for() -> None:
    client: Any = Client(3, failed(503, "no_shard_available_action_exception"))
    assert await read_closed(client) == ClosedPeriods("2026-10", "2026-11-03T08:00:00Z")


@pytest.mark.parametrize(("kind", "asked"), [("no_shard_available_action_exception", 10), ("cluster_block_exception", 1)])
async def test_one_that_does_not_is_told_and_never_no_month_at_all(kind: str, asked: int) -> None:
    client: Any = Client(1_000, failed(503, kind))
    with pytest.raises(Unavailable, match=kind):
        await read_closed(client)
    assert client.asked == asked
