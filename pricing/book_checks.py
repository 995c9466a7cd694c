"""Checks between the prices of a book: what one price alone cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from .book_form import quoted
from .book_price import Draft
from .book_yaml import Mistakes

__all__ = ["check_currencies", "check_ids", "check_series"]


def check_ids(drafts: list[Draft], mistakes: Mistakes) -> None:
    """Every price has an id of its own, and a SKU price id belongs to one series."""
    lines: dict[str, int] = {}
    owners: dict[str, tuple[str, str]] = {}
    for draft in drafts:
        if draft.id and draft.id in lines:
            mistakes.add(draft.line, f"price id {quoted(draft.id)} is used twice, first in line {lines[draft.id]}; give this price another id")
        lines.setdefault(draft.id, draft.line)
        for tier in draft.price.tiers if draft.price else ():
            owner = owners.setdefault(tier.sku_price_id, draft.series or ("", ""))
            if owner != draft.series:
                what = f"`sku_price_id` {quoted(tier.sku_price_id)} of price {quoted(draft.id)} is also that of SKU {quoted(owner[0])}"
                mistakes.add(draft.line, f"{what} in {quoted(owner[1])}; give it another")


def check_currencies(drafts: list[Draft], currency: str, of_accounts: Mapping[str, str], mistakes: Mistakes) -> None:
    """A price in another currency than the book's names accounts, and each of them is billed in that currency."""
    for draft in drafts:
        if draft.price is None or draft.price.currency == currency:
            continue
        for account in draft.accounts:
            its = of_accounts.get(account, currency)
            if its != draft.price.currency:
                what = f"price {quoted(draft.id)} is in {quoted(draft.price.currency)}, and its account {quoted(account)} is billed in {its}"
                mistakes.add(draft.line, f"{what}; write the price in {its}, or the account's `currency` in `accounts`")


def check_series(drafts: list[Draft], mistakes: Mistakes) -> None:
    """Within a series, no time has two prices: neither among general prices, nor among those of any one account."""
    by_series: dict[tuple[str, str, str], list[tuple[int, int, Draft]]] = {}
    for draft in drafts:
        if draft.series is not None and draft.effective_from is not None:
            for account in draft.accounts or ("",):
                by_series.setdefault((*draft.series, account), []).append((draft.effective_from, draft.line, draft))
    told: set[tuple[int, int]] = set()  # two prices may meet in many accounts, and are told of once
    for (_, _, account), members in by_series.items():
        members.sort(key=lambda member: member[:2])
        where = f"for the same sku and unit, and for account {quoted(account)}" if account else "for the same sku and unit"
        for (since, line, earlier), (next_since, next_line, later) in pairwise(members):
            if (line, next_line) in told:
                continue
            if since == next_since:
                told.add((line, next_line))
                what = f"price {quoted(later.id)} begins when price {quoted(earlier.id)} (line {line}) does, {where}"
                mistakes.add(next_line, f"{what}; give one of them a later effective_from, or remove it")
            elif earlier.effective_to is not None and earlier.effective_to > next_since:
                told.add((line, next_line))
                what = f"price {quoted(earlier.id)} (line {line}) ends after this price {quoted(later.id)} begins, {where}"
                mistakes.add(next_line, f"{what}; let it end at this effective_from, or leave its effective_to out")
