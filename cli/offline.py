"""Rating a whole set of events at once, without Kafka: the definition that the live pipeline is compared with.

The same decoders, deduplication, windows and prices as a worker; every group is priced from its entries alone. Memory
holds the identities of all events and the usage of all windows, never the events and never all line items.
"""

from __future__ import annotations

import heapq
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import groupby
from typing import IO, NamedTuple

from ..collectors.files import Piece
from ..metering.tariff import Tariff
from ..pricing.money import ZERO, money
from ..pricing.statement.terms import month_between
from ..schemas.acceptance import check_time
from ..schemas.control import Amend, BackfillClose, BackfillOpen, Close, Request, Rerate, month_text
from ..schemas.decoders.cloudevents import decode_plain
from ..schemas.decoders.registry import decode
from ..schemas.errors import BadInput, Reason, Rejection
from ..schemas.limits import DEFAULT_LIMITS, Limits
from ..schemas.line_item import RatedLineItem, encode_line_item
from ..schemas.times import NS, parse_time
from ..schemas.usage_event import UsageEvent
from ..streams.core.corrections import Closed
from ..streams.core.requests import Outcome, amend, close_backfill, open_backfill, revert_backfill
from ..streams.core.segments import Rates
from ..streams.core.state import PartitionState, Settings
from ..streams.core.store import Effects, MemoryStore, Store
from ..streams.core.sweep import Target, definition, invoiced, sweep

__all__ = ["OfflineRating", "Rejected", "SkuTotal", "Totals", "decode_piece"]

_CHUNK = 20_000  # events worked at once
_COMMIT = 100_000  # events between two commits to the store in memory
_SORTED_AT_ONCE = 200_000  # line items of one account held; beyond that, sorted runs go to a temporary file


class Rejected(NamedTuple):
    """One event or record that does not count: where it stands, why, and its bytes."""

    piece: Piece
    at: int  # place of the event in its record, -1 when the record as a whole is meant
    rejection: Rejection


@dataclass(slots=True)
class SkuTotal:
    """What one SKU costs one account, in one currency."""

    cost: Decimal = ZERO
    line_items: int = 0
    unpriced: int = 0


@dataclass
class Totals:
    """received = counted + duplicates + rejected, and what it all costs."""

    received: int = 0
    counted: int = 0
    duplicates: int = 0
    rejected: int = 0
    line_items: int = 0
    unpriced: int = 0
    by_sku: dict[tuple[str, str, str], SkuTotal] = field(default_factory=dict)  # by account, sku and currency
    periods: set[tuple[str, str]] = field(default_factory=set)  # begin and end of every billing period

    def take(self, item: RatedLineItem) -> None:
        """Add a line item."""
        self.line_items += 1
        self.unpriced += item.x_unpriced
        row = self.by_sku.setdefault((item.billing_account_id, item.sku_id, item.billing_currency), SkuTotal())
        row.cost += money(item.billed_cost)
        row.line_items += 1
        row.unpriced += item.x_unpriced
        self.periods.add((item.billing_period_start, item.billing_period_end))

    def open_months(self, closed: int) -> list[str]:
        """The months of line items that may change yet, YYYY-MM. closed: the last closed one as a number, 0 for none."""
        months = {month_between(parse_time(start) // NS, parse_time(end) // NS) for start, end in self.periods}
        return [month_text(month) for month in sorted(months) if month > closed]

    def by_currency(self) -> dict[str, SkuTotal]:
        """One exact total per currency, in their order; currencies are never added to each other."""
        found: dict[str, SkuTotal] = {}
        for (_, _, currency), row in sorted(self.by_sku.items()):
            total = found.setdefault(currency, SkuTotal())
            total.cost += row.cost
            total.line_items += row.line_items
            total.unpriced += row.unpriced
        return dict(sorted(found.items()))


def decode_piece(piece: Piece, format: str, limits: Limits = DEFAULT_LIMITS) -> list[UsageEvent | Rejection]:
    """The events of a record, as the normalize agent would read it; one Rejection for a record that cannot be read."""
    if piece.size or len(piece.value) > limits.max_record_bytes:
        size = piece.size or len(piece.value)
        return [Rejection(Reason.TOO_LARGE, f"the record has {size} bytes; at most {limits.max_record_bytes} are read")]
    if piece.flaw:
        return [Rejection(Reason.NOT_DECODABLE, piece.flaw)]
    if format == "cloudevents" and piece.value[:1] == b"{":
        try:
            return [decode_plain(piece.value, limits)]
        except Rejection as rejection:
            return [rejection.with_traceback(None)]
    return decode(piece.value, (), format, limits)


class OfflineRating:
    """Feed it records, then read its line items. The caller's decimal context must be exact (pricing.money)."""

    def __init__(self, tariff: Tariff, window_s: int, rejected: Callable[[Rejected], None], limits: Limits = DEFAULT_LIMITS) -> None:
        self._settings = Settings(window_s)
        self._store = MemoryStore()
        self._state = PartitionState(self._store, Rates(tariff.book, window_s, tariff.meters, tariff.digest), self._settings)
        self._tell = rejected
        self._limits = limits
        self._now = time.time_ns()
        self._events: list[UsageEvent] = []
        self._origins: list[tuple[Piece, int]] = []
        self._uncommitted = 0
        self._revision = 0
        self.totals = Totals()

    @property
    def closed_through(self) -> int:
        """The last closed month as a number, 12 x year + month - 1; 0 for none."""
        return self._state.closed.month

    def add(self, pieces: Iterable[Piece], format: str, allowed: Callable[[Piece, int, UsageEvent], bool] = lambda *_: True) -> None:
        """Count the events of records in the order given: of two events in conflict, the first one counts.

        allowed: whether an event may count; one that may not is rejected, and only `allowed` can tell of it.
        """
        for piece in pieces:
            for index, entry in enumerate(decode_piece(piece, format, self._limits)):
                self.totals.received += 1
                problem = entry if isinstance(entry, Rejection) else check_time(entry, self._now, self._limits, live=False)
                if problem is not None:
                    self._reject(piece, index, problem)
                elif not isinstance(entry, UsageEvent):
                    continue
                elif not allowed(piece, index, entry):
                    self.totals.rejected += 1
                else:
                    self._events.append(entry)
                    self._origins.append((piece, index))
            if len(self._events) >= _CHUNK:
                self._count()
        self._count()

    def _reject(self, piece: Piece, index: int, rejection: Rejection) -> None:
        self.totals.rejected += 1
        self._tell(Rejected(piece, index, rejection))

    def _count(self) -> None:
        added = self._state.add(self._events)
        self.totals.counted += added.counted
        self.totals.duplicates += added.duplicates
        for at in added.conflicts:
            detail = "an event with this identity and another payload stands before; that one counts"
            self._reject(*self._origins[at], Rejection(Reason.CONFLICT, detail))
        for at, rejection in added.rejected:
            self._reject(*self._origins[at], rejection)
        self._uncommitted += len(self._events)
        self._events, self._origins = [], []
        if self._uncommitted >= _COMMIT:
            self._commit()

    def _commit(self) -> None:
        self._revision += 1
        effects = self._state.seal(0, self._revision)
        deque(effects.line_items, maxlen=0)  # restated ones are of no interest here: all are made at the end
        self._store.apply(effects)
        self._state.committed()
        self._uncommitted = 0

    def answer(self, request: Request) -> Outcome:
        """Let a control request take effect behind everything that was added so far. Raises BadInput for a second close."""
        self._commit()
        state = self._state
        if isinstance(request, Close):
            if state.closed.month:
                raise BadInput(f"{request.period}: a month was closed before in this run; rate its late usage in a run of its own")
            swept = sweep(state, Target(state.rates, request.month), b"", 1 << 62, lambda account: True)
            self._store.apply(Effects((), swept.puts, {}, 0, []))
            state.use(state.rates, Closed(request.month, state.rates))
            return Outcome(f"closed through {request.period}")
        if isinstance(request, Rerate):
            return Outcome("rated again")  # here all line items are made at the end
        if isinstance(request, Amend):
            outcome = amend(state, request.original, request.replacement)
        elif isinstance(request, BackfillOpen):
            outcome = open_backfill(state, request.name, request.from_ns, request.to_ns)
        elif isinstance(request, BackfillClose):
            outcome = close_backfill(state, request.name)
        else:
            outcome = Outcome("reverted", counts={"events": revert_backfill(state, request.name, 1 << 62)[0]})
        self._commit()
        return outcome

    def usage(self) -> Store:
        """The usage of every window that was counted, to be rated by other prices too."""
        self._commit()
        self._store.forget(1 << 62)
        return self._store

    def line_items(self) -> Iterator[tuple[RatedLineItem | None, bytes]]:
        """All line items, sorted by account, ChargePeriodStart, SkuId and x_LineItemId, with their JSON.

        The same set of events gives the same bytes. An item is None where its account has more of them than memory
        should hold: then only the JSON was kept. Totals are complete when this ends.
        """
        self._commit()
        self._store.forget(1 << 62)  # identities are not needed any more
        state = self._state
        found = heapq.merge(definition(self._store, state.rates, state.closed), invoiced(self._store, state.closed), key=_by_account)
        with tempfile.TemporaryFile() as spilled:
            for _, items in groupby(found, key=_by_account):
                runs = _Runs(spilled)
                for item in items:
                    item.x_revision = 1
                    self.totals.take(item)
                    runs.add((item.charge_period_start, item.sku_id, item.x_line_item_id), item)
                yield from runs.sorted()


def _by_account(item: RatedLineItem) -> str:
    return item.billing_account_id


class _Runs:
    """A sort that spills: sorted runs of one account in a temporary file, merged when read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._held: list[tuple[tuple[str, str, str], RatedLineItem]] = []
        self._runs: list[list[tuple[tuple[str, str, str], int, int]]] = []
        file.seek(0)
        file.truncate()

    def add(self, key: tuple[str, str, str], item: RatedLineItem) -> None:
        self._held.append((key, item))
        if len(self._held) >= _SORTED_AT_ONCE:
            self._spill()

    def _spill(self) -> None:
        run = []
        for key, item in sorted(self._held, key=lambda pair: pair[0]):
            value = encode_line_item(item)
            run.append((key, self._file.tell(), len(value)))
            self._file.write(value)
        self._runs.append(run)
        self._held = []

    def sorted(self) -> Iterator[tuple[RatedLineItem | None, bytes]]:
        """Everything added, in the order of the keys."""
        if not self._runs:
            for _, item in sorted(self._held, key=lambda pair: pair[0]):
                yield item, encode_line_item(item)
            return
        self._spill()
        for _, at, length in heapq.merge(*self._runs):
            self._file.seek(at)
            yield None, self._file.read(length)
