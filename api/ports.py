"""What the HTTP interface asks of Kafka and of the rating core, neither of which it knows: whoever starts it puts these in."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ..schemas.explanation import Explanation
from .problems import Problem

__all__ = ["Gate", "LetterQuery", "Letters", "Ports", "PriceQuery", "Simulation"]

Document = dict[str, Any]  # as the route describes it in the OpenAPI document

BUSY_RETRY_S = 5


class Gate:
    """At most so many at once: whoever comes beyond that is sent away, and does not wait in a queue that grows."""

    def __init__(self, most: int) -> None:
        self._most, self._inside = most, 0

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Be inside. Raises Problem 429."""
        if self._inside >= self._most:
            what = f"{self._most} requests of this kind are under way, which is all that may be; try again"
            raise Problem(429, "busy", what, headers={"retry-after": str(BUSY_RETRY_S)})
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


class Explain(Protocol):
    """The explanation of a line item. account: whose key asks; None: an operator's, who is told who published prices, and why.

    events: on a page; 0: look for none. Raises BadInput when there is no such line item, Unavailable, Problem 504.
    """

    def __call__(self, line_item_id: str, account: str | None, *, events: int, page: int) -> Awaitable[Explanation]: ...


class PriceQuery(NamedTuple):
    """Which prices. account: as this account sees them; None: all of all accounts. sku: "" for every one. at_ns: nanoseconds since 1970.

    size, cursor: of a page; "" is the first one.
    """

    account: str | None
    sku: str
    at_ns: int
    size: int
    cursor: str


class Prices(Protocol):
    """Prices of the book in force, as `PricePage`. Raises BadInput for a cursor that is none (any more), Unavailable."""

    def __call__(self, query: PriceQuery) -> Awaitable[Document]: ...


class Simulation(NamedTuple):
    """Events to rate, as JSON documents of CloudEvents. prices: a price book in YAML, None: the one in force. account: the only one that counts."""

    events: list[bytes]
    prices: str | None
    account: str | None


class Simulate(Protocol):
    """`SimulationOutcome` as JSON. Raises BadPriceBook, Unavailable, Problem 422 when it takes too much computing or memory."""

    def __call__(self, simulation: Simulation) -> Awaitable[bytes]: ...


class LetterQuery(NamedTuple):
    """Which dead letters, the newest first. reason, topic: "" for all. before: `next` of a page, () for the first one."""

    reason: str
    topic: str
    size: int
    before: tuple[int, int, int] | tuple[()]


class Letters(NamedTuple):
    """Dead letters as `DeadLetterView`, how many there are by reason, and where the next page begins (None: nowhere)."""

    letters: list[Document]
    by_reason: dict[str, int]
    after: tuple[int, int, int] | None


class ReadLetters(Protocol):
    """Raises Unavailable, Problem 504."""

    def __call__(self, query: LetterQuery) -> Awaitable[Letters]: ...


class ClosePeriod(Protocol):
    """Ask for the close of a month: (the request with its receipts as `ControlRequest`, whether it is a new one).

    Where the month is closed already, that is the request that closed it. Raises BadInput for a month that cannot be closed, Unavailable.
    """

    def __call__(self, period: str, *, author: str, reason: str, early: bool) -> Awaitable[tuple[Document, bool]]: ...


class ReadControl(Protocol):
    """The request with an id and its receipts as `ControlRequest`; None: there is none. Raises Unavailable, Problem 504."""

    def __call__(self, id: str) -> Awaitable[Document | None]: ...


@dataclass(frozen=True)
class Ports:
    """All of them. The gates bound what is under way in this process: each of these reads much, or computes long."""

    explain: Explain
    prices: Prices
    simulate: Simulate
    letters: ReadLetters
    close_period: ClosePeriod
    control: ReadControl
    explaining: Gate = field(default_factory=lambda: Gate(2))
    simulating: Gate = field(default_factory=lambda: Gate(2))
    reading_letters: Gate = field(default_factory=lambda: Gate(2))
    controlling: Gate = field(default_factory=lambda: Gate(4))
