"""How a rate lane takes over price books and answers requests: between commits, with nothing pending, one at a time.

A request takes effect at one place of each source, the `next_offsets` of its receipt. When the log is read again from far back
(all state was lost), the receipts say where: records behind that place wait until the request has taken effect, under the
price book that was in force then. So the same log gives the same line items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...pricing.book import EMPTY_BOOK
from ...schemas.control import Amend, BackfillClose, BackfillOpen, BackfillRevert, Close, Receipt, Request, Rerate, month_number, month_text
from ..control_topic import Controls
from ..core.corrections import Closed
from ..core.requests import Outcome, amend, close_backfill, open_backfill, revert_backfill
from ..core.state import written
from ..core.store import Effects
from ..core.sweep import Swept, Target, Wanted, rerate, sweep
from ..ledger import Unsettled
from .base import Batch
from .held import Held
from .partitions import account_partition

if TYPE_CHECKING:
    from .rate import RateLane

__all__ = ["Answers"]

SWEPT_PER_COMMIT = 2_000  # groups
REVERTED_PER_COMMIT = 5_000  # events


class Answers:
    """What one rate lane does that does not come from a source."""

    def __init__(self, lane: RateLane, controls: Controls) -> None:
        self._lane = lane
        self._controls = controls
        self._held = Held()  # records that a request has to take effect before

    async def ready(self) -> None:
        """Wait until all requests made before the start are known. Raises Unavailable."""
        self._held = Held()
        await self._controls.ready()

    def first_book(self) -> str:
        """Digest of the price book that a partition without any progress begins with."""
        wanted = self._wanted_book()
        return wanted or EMPTY_BOOK.digest

    async def next(self) -> bool:
        """Do the next thing that is to be done, a commit's worth of it. False when there is nothing."""
        progress = self._lane.progress
        if progress.repricing:
            await self._reprice(progress.repricing)
            return True
        if not progress.repriced:  # else a request is under way: it goes on under the book it began with
            wanted = self._wanted_book()
            if wanted and wanted != progress.book:
                await self._reprice(wanted)
                return True
        found = self._next_request()
        if found is None:
            return False
        offset, request = found
        if not self._reached(request):
            return False
        await self._answer(offset, request)
        return True

    # -- price books -------------------------------------------------------------------------------------------------

    def _wanted_book(self) -> str:
        """Digest of the book to rate with: the last one published, or the one under which the next request once took effect."""
        receipt = self._receipt()
        if receipt is not None and receipt.book:
            return receipt.book
        latest = self._lane.books.latest
        return latest.digest if latest is not None else ""

    async def _reprice(self, digest: str) -> None:
        lane = self._lane
        progress, rates = lane.progress, lane.rates_of(digest)
        progress.repricing = digest
        swept = sweep(lane.state, Target(rates, lane.state.closed.month), bytes.fromhex(progress.repriced), SWEPT_PER_COMMIT, self._owns)
        if swept.done:
            progress.book, progress.repricing = digest, ""
        written_items = await self._write(swept, f"price_book:{digest[:12]}", None)
        if swept.done:
            lane.state.use(rates)
        lane.log.info("price_book", digest=digest[:12], restated=written_items, complete=swept.done)

    async def _write(self, swept: Swept, cause: str, receipt: Receipt | None) -> int:
        lane, progress = self._lane, self._lane.progress
        progress.repriced = "" if swept.done else swept.after.hex()
        progress.revision += 1
        line_items, unpriced = written(swept.items, progress.revision, cause)
        await lane.write(Effects(line_items, swept.puts, {}, 0, [unpriced]), receipt)
        return len(line_items)

    # -- requests ----------------------------------------------------------------------------------------------------

    def _next_request(self) -> tuple[int, Request] | None:
        """The first request that is not answered and concerns this partition."""
        lane = self._lane
        for offset, request in self._controls.requests_from(lane.progress.control_offset):
            account = request.original.account if isinstance(request, Amend) else request.account if isinstance(request, Rerate) else ""
            if not account or self._owns(account):
                return offset, request
            lane.progress.control_offset = offset + 1
        return None

    def _owns(self, account: str) -> bool:
        return account_partition(account, self._lane.context.config.kafka.partitions) == self._lane.number

    def _receipt(self) -> Receipt | None:
        """The receipt that an earlier life of this partition wrote for the next request; None in ordinary life."""
        found = self._next_request()
        return None if found is None else self._controls.receipt(found[1].id, self._lane.number)

    def admit(self, batch: Batch) -> Batch:
        """The records of a batch that came before the next request took effect."""
        receipt = self._receipt()
        if receipt is None:
            return batch
        limit = receipt.next_offsets.get(batch.tp.topic, 0)
        if batch.records[-1].offset < limit:
            return batch
        before = [record for record in batch.records if record.offset < limit]
        self._held.keep(batch._replace(records=batch.records[len(before) :]))
        if not before:
            # Also when the log no longer holds what came before: then there is nothing to wait for.
            self._lane.next_offsets[batch.tp] = max(limit, self._lane.next_offsets[batch.tp])
        return batch._replace(records=before)

    def _reached(self, request: Request) -> bool:
        """Whether everything that came before a request took effect is counted."""
        receipt = self._controls.receipt(request.id, self._lane.number)
        if receipt is None:
            return True
        return all(offset >= receipt.next_offsets.get(tp.topic, 0) for tp, offset in self._lane.next_offsets.items())

    async def _answer(self, offset: int, request: Request) -> None:
        """One commit of a request's work; the last one carries the receipt."""
        lane, cause = self._lane, f"control:{request.id}"
        if isinstance(request, Close):
            done = await self._close(offset, request, cause)
        elif isinstance(request, Rerate):
            done = await self._rerate(offset, request, cause)
        elif isinstance(request, BackfillRevert):
            done = await self._revert(offset, request, cause)
        else:
            outcome = self._simple(request)
            await lane.seal(cause, self._receipt_of(offset, request, outcome))
            done = True
        if done and self._held.lost:
            raise Unsettled(f"{lane.name}: a request has taken effect; reading on from there")
        if done:
            lane.put_back(self._held.take())

    def _simple(self, request: Amend | BackfillOpen | BackfillClose) -> Outcome:
        state = self._lane.state
        if isinstance(request, Amend):
            return amend(state, request.original, request.replacement)
        if isinstance(request, BackfillOpen):
            return open_backfill(state, request.name, request.from_ns, request.to_ns)
        return close_backfill(state, request.name)

    def _receipt_of(self, offset: int, request: Request, outcome: Outcome) -> Receipt:
        """The receipt of the commit that comes next, and the progress that goes with it."""
        lane, progress = self._lane, self._lane.progress
        progress.control_offset = offset + 1
        return Receipt(
            control_id=request.id,
            partition=lane.number,
            outcome=outcome.text,
            next_offsets={tp.topic: at for tp, at in lane.next_offsets.items()},
            book=progress.book,
            closed_through=progress.closed_through,
            revision=progress.revision + 1,
            at_ns=lane.context.clock_ns(),
            counts=outcome.counts,
            applied=outcome.applied,
        )

    def _counted(self, counts: dict[str, int], done: bool) -> dict[str, int]:
        """The counts of a request so far, over all of its commits; kept in the progress until it is done."""
        progress = self._lane.progress
        total = {name: progress.counts.get(name, 0) + count for name, count in counts.items()}
        progress.counts = {} if done else total
        return total

    async def _close(self, offset: int, request: Close, cause: str) -> bool:
        lane, progress, state = self._lane, self._lane.progress, self._lane.state
        month = month_number(request.period)
        if month <= state.closed.month:
            text = f"nothing to do: {month_text(state.closed.month)} and everything before is closed"
            await lane.seal(cause, self._receipt_of(offset, request, Outcome(text, False)))
            return True
        swept = sweep(state, Target(state.rates, month), bytes.fromhex(progress.repriced), SWEPT_PER_COMMIT, self._owns)
        counts, receipt = self._counted({"line_items": len(swept.items)}, swept.done), None
        if swept.done:
            progress.closed_through, progress.closed_book = month, progress.book
            progress.closed_first = progress.closed_first or month
            receipt = self._receipt_of(offset, request, Outcome(f"closed through {month_text(month)}", counts=counts))
        await self._write(swept, cause, receipt)
        if swept.done:
            state.use(state.rates, Closed(month, state.rates, progress.closed_first))
            lane.log.info("period_closed", period=request.period)
        return swept.done

    async def _rerate(self, offset: int, request: Rerate, cause: str) -> bool:
        progress, state = self._lane.progress, self._lane.state
        wanted = Wanted(request.account, request.sku, month_number(request.period) if request.period else 0)
        swept = rerate(state, wanted, bytes.fromhex(progress.repriced), SWEPT_PER_COMMIT)
        counts, receipt = self._counted({"groups": swept.groups, "line_items": len(swept.items)}, swept.done), None
        if swept.done:
            receipt = self._receipt_of(offset, request, Outcome("rated again", counts=counts))
        await self._write(swept, cause, receipt)
        return swept.done

    async def _revert(self, offset: int, request: BackfillRevert, cause: str) -> bool:
        lane = self._lane
        reverted, done = revert_backfill(lane.state, request.name, REVERTED_PER_COMMIT)
        counts, receipt = self._counted({"events": reverted}, done), None
        if done:
            receipt = self._receipt_of(offset, request, Outcome("reverted", counts=counts))
        await lane.seal(cause, receipt)
        lane.log.info("backfill_reverted", name=request.name, events=reverted, complete=done)
        return done
