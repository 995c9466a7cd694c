"""Whether prices change, and credits and commitments begin and end, where windows begin.

A window is rated by one price, so a price takes effect with the first window that begins under it. A price that changed within
a window would be late by up to a window; whoever writes a book is told so, instead of finding it in a bill. In the same way all
of a window counts as used when it begins: a credit that ends within a month pays all of a window that is that month.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..pricing.price import SINCE_ALWAYS, Price
from ..pricing.statement.terms import ALWAYS, FOREVER, Commitment, Credit
from ..schemas.times import NS, format_time
from .calendar import Calendar, calendar
from .tariff import Remark, Tariff

__all__ = ["late_cuts", "misaligned"]

SKUS_NAMED = 5


def misaligned(tariff: Tariff, window_s: int) -> list[Remark]:
    """Prices that begin or end within a window of their SKU. window_s: windows of usage without a meter, in seconds."""
    default = calendar(window_s)
    found = []
    for price in tariff.book.prices:
        its = tariff.meters.calendar_of(price.sku, price.unit, default)
        for name, at in (("begins", price.effective_from), ("ends", price.effective_to)):
            if at is not None and at != SINCE_ALWAYS and its.start(at // NS) * NS != at:
                found.append(Remark(("prices", price.id), _told(price, name, at, its)))
    return list(dict.fromkeys(found))


def late_cuts(tariff: Tariff, window_s: int) -> list[Remark]:
    """Credits and commitments that begin or end within a window of usage that they are about. window_s: as for `misaligned`."""
    default, book = calendar(window_s), tariff.book
    calendars: dict[str, set[Calendar]] = {}
    for price in book.prices:
        calendars.setdefault(price.sku, set()).add(tariff.meters.calendar_of(price.sku, price.unit, default))
    found = []
    for account in book.contracts:
        terms = book.terms_of(account)
        if terms is None:
            continue
        held: list[tuple[str, Credit | Commitment]] = [("credit", credit) for credit in terms.credits]
        held += [("commitment", commitment) for commitment in terms.commitments]
        for kind, term in held:
            for name, at, part in (("begins", term.since, "nothing"), ("ends", term.until, "all")):
                if at is None or at in (ALWAYS, FOREVER):
                    continue
                skus = [sku for sku in term.skus or sorted(calendars) if any(its.start(at) != at for its in calendars.get(sku, ()))]
                if skus:
                    what = f"{kind} `{term.id}` of account `{account}` {name} at {format_time(at * NS)}, within a window of {_listed(skus)}"
                    text = f"{what}; usage counts where its window begins, so {part} of that window falls under it"
                    found.append(Remark(("accounts", account, f"{kind}s", term.id), text))
    return found


def _listed(skus: Iterable[str]) -> str:
    names = [f"`{sku}`" for sku in skus]
    return ", ".join(names[:SKUS_NAMED]) + (f" and {len(names) - SKUS_NAMED} more" if len(names) > SKUS_NAMED else "")


def _told(price: Price, what: str, at: int, its: Calendar) -> str:
    start = its.start(at // NS)
    length = its.window if isinstance(its.window, str) else f"{its.window} s"
    near = f"{format_time(start * NS)} or {format_time(its.end(start) * NS)}"
    return (
        f"price `{price.id}` {what} at {format_time(at)}, within a window of its usage (one {length}, {its.timezone}), "
        f"and windows have one price; choose {near}, or give its usage a meter with shorter windows"
    )
