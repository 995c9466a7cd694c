"""A partition in memory: events in, line items and state out, by the code that rates.

What is explained of it is then compared with numbers worked by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

import msgspec
import pytest
from ratemill.cli.explaining.build import begin, finish, tally_of
from ratemill.cli.explaining.facts import Facts, Publication, Written
from ratemill.metering.tariff import EMPTY_TARIFF, parse_tariff
from ratemill.pricing.money import money
from ratemill.schemas.control import Origin, Receipt, Request
from ratemill.schemas.explanation import Explanation
from ratemill.schemas.line_item import RatedLineItem, decode_line_item
from ratemill.schemas.times import parse_time
from ratemill.schemas.usage_event import UsageEvent, canonical_map
from ratemill.streams.core.requests import amend
from ratemill.streams.core.segments import Rates
from ratemill.streams.core.state import Closed, PartitionState, Settings, written
from ratemill.streams.core.store import Effects, MemoryStore
from ratemill.streams.core.sweep import Target, sweep

WINDOW_S = 3_600


class Rig:
    """One partition."""

    def __init__(self, tariff: str | Mapping[str, Any] | None) -> None:
        self.publications = [Publication(rates(None), "", "", "no price book", 0)]
        self.rates = rates(None)
        self.store = MemoryStore()
        self.state = PartitionState(self.store, self.rates, Settings())
        self.closed_book = ""
        self.closed_first = 0
        self.revision = 0
        self.log: list[Written] = []
        self.events: list[tuple[UsageEvent, Origin]] = []
        self.requests: dict[str, Request] = {}
        self.receipts: dict[str, Receipt] = {}
        self._numbers = count(1)
        if tariff is not None:
            self.publish(tariff)

    # -- what happens ------------------------------------------------------------------------------------------------

    def publish(self, tariff: str | Mapping[str, Any], reason: str = "first prices") -> None:
        """A tariff comes into force, and what is there is rated by it."""
        text = tariff if isinstance(tariff, str) else json.dumps(tariff)
        new = Rates(*_parts(text))
        self.publications.append(Publication(new, "book.yaml", "ann", reason, parse_time("2026-03-01T00:00:00Z") + len(self.publications)))
        self._sweep(Target(new, self.state.closed.month), f"price_book:{new.digest[:12]}")
        self.state.use(new)
        self.rates = new

    def close(self, month: int, request: Request) -> None:
        """A month is closed."""
        self._sweep(Target(self.rates, month), f"control:{request.id}")
        self.closed_first = self.closed_first or month
        self.state.use(self.rates, Closed(month, self.rates, self.closed_first))
        self.closed_book = self.rates.digest
        self._receipt(request, month)

    def amend(self, request: Any) -> None:
        """An event counts as another one."""
        assert amend(self.state, request.original, request.replacement).applied
        self._seal(f"control:{request.id}")
        self._receipt(request, self.state.closed.month)

    def send(self, *events: UsageEvent) -> None:
        """Events come, and are committed."""
        for event in events:
            self.events.append((event, Origin("usage.raw.aws", 0, len(self.events), 0)))
        added = self.state.add(events)
        assert not added.rejected, added.rejected
        self._seal("")

    def _seal(self, cause: str) -> None:
        self.revision += 1
        effects = self.state.seal(0, self.revision, cause)
        self._take([value for _, value in effects.line_items])
        self.store.apply(effects)
        self.state.committed()

    def _sweep(self, target: Target, cause: str) -> None:
        swept = sweep(self.state, target, b"", 10_000, lambda account: True)
        self.revision += 1
        self._take([value for _, value in written(swept.items, self.revision, cause)[0]])
        self.store.apply(Effects((), swept.puts, {}, 0, []))

    def _take(self, line_items: list[bytes]) -> None:
        self.log += [Written(decode_line_item(value), 1_772_000_000_000 + self.revision, len(self.log) + n) for n, value in enumerate(line_items)]

    def _receipt(self, request: Request, closed: int) -> None:
        self.requests[request.id] = request
        self.receipts[request.id] = Receipt(
            control_id=request.id, partition=0, outcome="done", next_offsets={"usage.events": len(self.events)}, book=self.rates.digest,
            closed_through=closed, revision=self.revision, at_ns=0,
        )  # fmt: skip

    # -- what is seen of it ------------------------------------------------------------------------------------------

    def newest(self) -> dict[str, RatedLineItem]:
        """Line items by id."""
        return {record.item.x_line_item_id: record.item for record in self.log}

    def item(self, component: str, start: str = "", **fields: str) -> RatedLineItem:
        """The one line item with a component, a charge period start (as far as it is given) and other fields."""
        found = [
            item
            for item in self.newest().values()
            if item.x_component == component
            and item.charge_period_start.startswith(start)
            and all(getattr(item, name) == value for name, value in fields.items())
        ]
        assert len(found) == 1, [(item.x_component, item.charge_period_start, item.billed_cost) for item in self.newest().values()]
        return found[0]

    def facts(self, item: RatedLineItem, **changes: Any) -> Facts:
        """What would be read about a line item."""
        own, subject = item.x_line_item_id, item.x_corrected_line_item_id or item.x_line_item_id
        related = {
            name: each for name, each in self.newest().items() if name != own and subject in (name, each.x_corrected_line_item_id)
        }
        facts = Facts(
            line_item_id=own, partition=0, indexed=self.newest()[own], elasticsearch="",
            written=[record for record in self.log if record.item.x_line_item_id == own], related=related,
            state={key: value for key, value in self.store.between(b"", b"\xff" * 9) if value}, publications=self.publications,
            book=self.rates.digest, closed_first=self.closed_first, closed_through=self.state.closed.month, closed_book=self.closed_book,
            requests=self.requests, receipts=self.receipts, next_offsets={"usage.events": len(self.events)}, settled=True, read_from="Elasticsearch",
        )  # fmt: skip
        return facts._replace(**changes)

    def explain(self, item: RatedLineItem, page: int = 1, size: int = 20, **changes: Any) -> Explanation:
        """The explanation of a line item, with its events."""
        explained = begin(self.facts(item, **changes))
        tally = tally_of(explained, page, size)
        if tally is not None:
            ends = explained.ends
            for event, origin in self.events[: None if ends is None else ends["usage.events"]]:
                if tally.wanted(event):
                    tally.add(event, origin)
        return finish(explained, tally)

    def tampered(self, item: RatedLineItem, **fields: Any) -> Explanation:
        """As `explain`, after somebody has changed the stored line item, on usage.rated and in Elasticsearch."""
        false = msgspec.structs.replace(item, **fields)
        last = self.facts(item).written[-1]
        return self.explain(item, written=[last._replace(item=false)], indexed=false)


def _parts(text: str) -> tuple[Any, int, Any, str]:
    tariff = parse_tariff(text, "book.yaml")
    return tariff.book, WINDOW_S, tariff.meters, tariff.digest


def rates(text: str | None) -> Rates:
    """Rates of a tariff; without one, of the empty one."""
    return Rates(EMPTY_TARIFF.book, WINDOW_S) if text is None else Rates(*_parts(text))


_ids = count(1)


def event(quantity: str, time: str, sku: str = "s", unit: str = "u", id: str = "", region: str = "", dimensions: Any = None, **more: Any) -> Any:
    """An event of account a at a time like 03-01T00:30 of 2026."""
    return UsageEvent(
        account="a", source="src", id=id or f"e{next(_ids)}", sku=sku, time=parse_time(f"2026-{time}:00Z"), quantity=money(quantity), unit=unit,
        provider="aws", region=region, dimensions=canonical_map(dimensions or {}), **more,
    )  # fmt: skip


@pytest.fixture
def rig() -> Any:
    """Makes a partition with a tariff."""
    return Rig


@pytest.fixture
def use() -> Any:
    """Makes an event."""
    return event


def priced(**fields: Any) -> dict[str, Any]:
    """A tariff with one price of SKU s in unit u."""
    return {"currency": "USD", "prices": [{"id": "p", "sku": "s", "unit": "u", **fields}]}


@pytest.fixture
def book() -> Any:
    """Makes a tariff with one price."""
    return priced
