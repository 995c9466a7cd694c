"""Which billing months are closed, for whoever reads costs: totals of those are final, all others are estimates.

One document in the index `<prefix>-periods`. Its external version is the month's number, so a worker that is behind cannot
take a close back, and any worker may write it at any time.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from elasticsearch import ApiError, AsyncElasticsearch, ConflictError, NotFoundError, TransportError

from ..schemas.errors import Unavailable
from .bulk import describe
from .templates import Names

__all__ = ["ClosedPeriods", "read_closed", "write_closed"]

_ID = "closed"
_NO_SHARD = "no_shard_available_action_exception"
_TRIES, _AGAIN_S = 10, 0.1


class ClosedPeriods(msgspec.Struct, frozen=True):
    """The last closed month `YYYY-MM` ("": none), and when that was (RFC 3339). It and every earlier month are final."""

    through: str = ""
    closed_at: str = ""

    def status(self, period: str) -> str:
        """"final" or "estimate", of a billing month `YYYY-MM`."""
        return "final" if period <= self.through else "estimate"


def _index(names: Names) -> str:
    return f"{names.prefix}-periods"


async def write_closed(client: AsyncElasticsearch, prefix: str, closed: ClosedPeriods, number: int) -> None:
    """Say that a month is closed. number: of the month, growing with time. Raises Unavailable."""
    index = _index(Names(prefix))
    try:
        await client.index(index=index, id=_ID, document=msgspec.to_builtins(closed), version=number, version_type="external")
    except ConflictError:
        return  # that month, or a later one, is there already
    except (ApiError, TransportError) as error:
        raise Unavailable(f"Elasticsearch, index {index}: {describe(error)[1]}") from error


async def read_closed(client: AsyncElasticsearch, prefix: str = "ratemill") -> ClosedPeriods:
    """The closed months as Elasticsearch knows them. Raises Unavailable."""
    index = _index(Names(prefix))
    for left in reversed(range(_TRIES)):
        try:
            found: Any = await client.get(index=index, id=_ID)
        except NotFoundError:
            return ClosedPeriods()
        except (ApiError, TransportError) as error:
            # The first month to be closed makes the index, whose shard then takes a moment to start.
            if left and isinstance(error, ApiError) and error.error == _NO_SHARD:
                await asyncio.sleep(_AGAIN_S)
                continue
            raise Unavailable(f"Elasticsearch, index {index}: {describe(error)[1]}") from error
        break
    return msgspec.convert(found["_source"], ClosedPeriods)
