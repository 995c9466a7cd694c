"""The reporter: from line items of the rated topic to what a marketplace has accepted.

    1. Read     line items, read_committed, from the positions in the outbox on.
    2. Count    what each adds to its target, with the positions, in one transaction.
    3. Freeze   each hour that is over: a whole number, the rest is carried, in one transaction. From here on the quantity never changes.
    4. Mark     that records go out now, in a transaction: what happens next is in doubt until an answer is written down.
    5. Send     them; every try has the same bytes for a record.
    6. Record   what the marketplace said of each, in a transaction.

Killed between 1 and 2, it reads the same again. Between 2 and 3, the hour is frozen later. Between 3 and 4, it is sent later. Between 4 and 6
the records are doubtful, and sent again: the marketplace knows them by their key and says so, and a duplicate is taken for delivered only where
the quantity is the same. Every transaction is one of the lease, so a reporter that lost it changes nothing; and no try outlives the lease.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from ...pricing.money import ZERO
from ...schemas.line_item import RatedLineItem
from ...store.lease import Lease
from . import aws, azure, gcp, stripe
from .http import Answer, Marketplace, Request
from .listings import Listing, Listings
from .mapping import Left, contribution_of
from .metrics import ReporterMetrics
from .outbox import Outbox
from .records import NOWHERE, Contribution, Record, Verdict
from .rules import RULES, Rules

__all__ = ["MARKETPLACES", "POINTS", "Reporter", "ReporterParts"]

T = TypeVar("T")
_log = logging.getLogger("ratemill.marketplace")

# Places between two steps, where tests let it die.
POINTS = ("after_read", "after_count", "after_freeze", "after_mark", "after_send", "after_record")

MARKETPLACES: Mapping[str, Marketplace] = {"aws": aws, "azure": azure, "gcp": gcp, "stripe": stripe}


async def _go_on(point: str) -> None:
    """In production nothing happens between two steps."""


async def _call(call: Callable[[], T]) -> T:
    return call()


class Ask(Protocol):
    """Runs a blocking call: in a thread, or where no loop is to be kept free, at once."""

    async def __call__(self, call: Callable[[], T]) -> T:
        """What the call returns."""


@dataclass(frozen=True)
class ReporterParts:
    """send: one request, with the credentials of its listing; never raises for what a server does. clock: seconds since 1970, UTC.

    settle_s: so long after its end an hour is left open. send_timeout_s: no try takes longer.
    """

    outbox: Outbox
    lease: Lease
    listings: Listings
    send: Callable[[Listing, Request], Awaitable[Answer]]
    clock: Callable[[], int]
    settle_s: int = 600
    send_timeout_s: float = 30.0
    metrics: ReporterMetrics = field(default_factory=ReporterMetrics)
    ask: Ask = _call
    pass_point: Callable[[str], Awaitable[None]] = _go_on
    rules: Mapping[str, Rules] = field(default_factory=lambda: RULES)


class Reporter:
    """Its methods are the steps; who calls them holds the lease. Every method raises Unavailable and LeaseLost."""

    def __init__(self, parts: ReporterParts) -> None:
        self._parts = parts
        self._rules = {name: parts.rules[each.marketplace] for name, each in parts.listings.listings.items()}
        self._customers = parts.listings.by_target()

    async def begin(self) -> dict[tuple[str, int], int]:
        """Make targets known; where to read on."""
        parts = self._parts
        await parts.ask(lambda: parts.outbox.declare(parts.listings.targets(), parts.listings.digest))
        return await parts.ask(parts.outbox.positions)

    async def take(self, items: Iterable[RatedLineItem], positions: Mapping[tuple[str, int], int]) -> None:
        """Steps 1 and 2: count line items that were read, and how far. positions: behind them."""
        parts = self._parts
        await parts.pass_point("after_read")
        contributions: list[Contribution] = []
        for item in items:
            found = contribution_of(item, parts.listings)
            if isinstance(found, Left):
                parts.metrics.left.labels(found).inc()
                if found == Left.UNMAPPED:  # in another currency or unit than its revision before, perhaps
                    contributions.append(Contribution(item.x_line_item_id, item.x_revision, NOWHERE, 0, ZERO))
            else:
                contributions.append(found)
        if contributions or positions:
            await parts.ask(lambda: parts.outbox.count(contributions, positions))
        await parts.pass_point("after_count")

    async def freeze(self, through: int) -> int:
        """Step 3. through: all line items that were there then are counted (seconds since 1970, UTC)."""
        parts = self._parts
        made = await parts.ask(lambda: parts.outbox.freeze(self._rules, through - parts.settle_s, parts.clock(), self._names_at))
        await parts.pass_point("after_freeze")
        return made

    def _names_at(self, target: str, hour: int) -> Mapping[str, str] | None:
        """Of the customer that the file has for this hour: a subscription may have another plan from some hour on. None: it has left the file."""
        several = self._customers.get(target, ())
        return next((each.customer for each in reversed(several) if each.since <= hour), None)

    async def send(self, listing: Listing) -> int:
        """Steps 4 to 6 for one batch of a listing: how many records it had; 0: none is due."""
        parts, rules = self._parts, self._rules[listing.name]
        await parts.ask(lambda: parts.outbox.pass_deadlines(listing.name, rules, parts.clock()))
        batch = await parts.ask(lambda: parts.outbox.due(listing.name, parts.clock(), rules.batch))
        if not batch:
            return 0
        # No try outlives the lease: who takes it over cannot be sending the same meanwhile.
        if parts.lease.left() <= parts.send_timeout_s:
            await parts.ask(parts.lease.renew)
        await parts.ask(lambda: parts.outbox.mark(batch, parts.clock()))
        await parts.pass_point("after_mark")
        verdicts = await self._try(listing, batch)
        await parts.pass_point("after_send")
        await parts.ask(lambda: parts.outbox.settle(verdicts, parts.clock()))
        await parts.pass_point("after_record")
        self._tell(listing, batch, verdicts)
        return len(batch)

    async def _try(self, listing: Listing, batch: Sequence[Record]) -> dict[str, Verdict]:
        marketplace = MARKETPLACES[listing.marketplace]
        answer = await self._parts.send(listing, marketplace.request(listing, batch))
        return marketplace.verdicts(answer, batch)

    def _tell(self, listing: Listing, batch: Sequence[Record], verdicts: Mapping[str, Verdict]) -> None:
        said: dict[tuple[str, str], list[str]] = {}
        for record in batch:
            verdict = verdicts[record.id]
            self._parts.metrics.answers.labels(listing.name, verdict.outcome).inc()
            if verdict.detail:
                said.setdefault((verdict.outcome, verdict.detail), []).append(record.id)
        for (outcome, detail), ids in said.items():
            _log.warning("marketplace_says: %s: %s: %d records %s, such as %s", listing.name, detail, len(ids), outcome, ids[0])
