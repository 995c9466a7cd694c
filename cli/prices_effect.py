"""What putting a price book in force does to months that were rated already: restated while they are open, corrected once closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from aiokafka import TopicPartition

from ..metering.tariff import Tariff
from ..pricing.money import plain, round_to
from ..pricing.months import billing_month
from ..schemas.control import month_text
from ..streams.config import Config
from ..streams.core.comparison import CostKey, Pair, Spent, compare, spend, totals
from ..streams.core.items import GroupKey
from ..streams.core.segments import Rates
from ..streams.core.store import Store
from ..streams.core.sweep import definition
from ..streams.progress import decode_progress
from ..streams.restore import read_to_end
from ..streams.topics import Topics, ensure_topics
from .counting import counted
from .prices_changes import Change
from .prices_rating import rates_of
from .prices_usage import Wanted, live_usage

__all__ = ["MonthEffect", "changed_terms", "changes_the_past", "effect", "effect_lines"]

_DIGITS = 6  # after the point, in words


class MonthEffect(NamedTuple):
    """What changes of one month."""

    month: int
    closed: bool
    pairs: list[Pair]  # of what differs


def changes_the_past(found: Iterable[Change], edits: list[str], old: Tariff, new: Tariff, now_ns: int) -> bool:
    """Whether something that was rated already comes out differently: prices that begin or change in the past, or other terms of accounts."""
    known = {price.id for price in old.book.prices}
    begun = any(price.id not in known and price.effective_from < now_ns for price in new.book.prices)
    return bool(edits) or begun or any(map(_is_term, found))


def changed_terms(found: Iterable[Change]) -> list[str]:
    """Adjustments, terms of accounts and exchange rates that are not as they were, by file and line, and what to do about it."""
    advice = "what has no dates holds for closed months too; let it begin when nothing is closed yet, or say --restate to have those corrected"
    return [f"{change.where}: {change.what} is {change.kind}, and {advice}" for change in found if _is_term(change)]


def _is_term(change: Change) -> bool:
    return change.what == "currency" or change.what.startswith(("adjustment ", "account ", "exchange rate "))


def effect(config: Config, old: Tariff, new: Tariff) -> list[MonthEffect]:
    """Every month that comes out differently, from the usage of the running workers. Raises Unavailable, Unsettled."""
    closed = asyncio.run(_closed_through(config))
    window_s = config.rating.window_s
    before, after = rates_of(old, window_s, old.meters), rates_of(new, window_s, old.meters)
    special = old.book.has_specials or new.book.has_specials

    def differs(group: GroupKey) -> bool:
        return special or old.book.series_version(group.sku, group.unit) != new.book.series_version(group.sku, group.unit)

    with live_usage(config, Wanted(differs)) as usage:
        then, now = _by_month(usage.store, before, closed), _by_month(usage.store, after, closed)
    found = []
    for month in sorted({*then, *now}):
        pairs = [p for p in compare(then.get(month, {}), now.get(month, {})) if p.difference or p.unpriced_then != p.unpriced_now]
        if pairs:
            found.append(MonthEffect(month, month <= closed, pairs))
    return found


def effect_lines(found: list[MonthEffect]) -> list[str]:
    """In words, one line per month and currency."""
    lines = []
    for month, closed, pairs in found:
        for total in totals(pairs):
            accounts = len({pair.account for pair in pairs if pair.currency == total.currency})
            amount = f"{plain(round_to(total.difference, _DIGITS, 'half_even'))} {total.currency} in {counted(accounts, 'account')}"
            if closed:
                what = f"closed: corrections of {amount}, billed in the open month"
            else:
                what = f"open: its line items are restated, by {amount}"
            priced = total.unpriced_then - total.unpriced_now
            also = "" if not priced else f"; {counted(abs(priced), 'line item')} {'more with a price' if priced > 0 else 'left without a price'}"
            lines.append(f"  {month_text(month)}  {what}{also}")
    return lines


def _by_month(store: Store, rates: Rates, closed: int) -> dict[int, dict[CostKey, Spent]]:
    """Costs by month, that of closed months with what is due at their end."""
    found: dict[int, dict[CostKey, Spent]] = {}
    for item in definition(store, rates, None, closed):
        spend(found.setdefault(billing_month(item), {}), [item])
    return found


async def _closed_through(config: Config) -> int:
    """The last month that every partition has closed; 0 for none."""
    topic = Topics.of(config.kafka).progress
    counts = await ensure_topics(config)
    lanes: dict[str, int] = {}
    async for _, records in read_to_end(config.kafka, {TopicPartition(topic, number): 0 for number in range(counts[topic])}):
        for record in records:
            if record.value is not None and (record.key or b"").startswith(b"rate-"):
                progress = decode_progress(record.value)
                lanes[progress.lane] = progress.closed_through
    return min(lanes.values(), default=0)
