"""A month of line items as customers have it: one that is very large among many, by the hour, SKU, region and resource."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from ..schemas.line_item import RatedLineItem, encode_line_item

__all__ = ["LARGE", "MONTH", "Bill", "MonthItems"]

MONTH = "2026-10"
LARGE = "acct-large"
_START = datetime(2026, 10, 1, tzinfo=UTC)
_HOURS = 24 * 31
_SKUS = tuple((f"acme.sku-{n:02d}", "GB-h" if n % 3 else "calls", 10 ** (n % 5) + n) for n in range(24))  # name, unit, 10^-9 USD a unit
_REGIONS = ("eu-west-1", "us-east-1", "us-west-2", "ap-south-1")
_FORM = "%Y-%m-%dT%H:%M:%SZ"
_OF_ACCOUNT = ("account", "sku", "unit", "price", "region", "resource")
_OF_HOUR = ("id", "begin", "end", "cost", "quantity")
_MARKS = {name: f"\x01{name}\x01" for name in (*_OF_ACCOUNT, *_OF_HOUR)}


class Bill(NamedTuple):
    """What an account's month comes to: 10^-12 USD, and line items."""

    cost: int
    line_items: int


class MonthItems:
    """So many line items, the same ones every time; a fifth of them are of one account, the others of about a thousand accounts.

    They come hour by hour, as they do when they are new: those of an account stand all over the index.
    """

    def __init__(self, count: int) -> None:
        self._hours = min(_HOURS, max(24, count // 1_000))
        per_hour = count // self._hours
        # One to ten pairs of SKU and resource: five and a half on average.
        self.accounts = [f"acct-{n:04d}" for n in range(max(10, (per_hour - per_hour // 5) * 2 // 11))]
        pairs = [1 + number * 7_919 % 10 for number in range(len(self.accounts))]
        self._pairs = [*zip(self.accounts, pairs, strict=True), (LARGE, per_hour // 5)]
        self._forms: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._template = _template()
        self.bills: dict[str, Bill] = {}

    def chunks(self, size: int = 10_000) -> Iterator[list[bytes]]:
        """All of them, encoded; `bills` counts them as they go."""
        chunk: list[bytes] = []
        for hour in range(self._hours):
            for number, (account, pairs) in enumerate(self._pairs):
                chunk += [self._item(account, number, hour, pair) for pair in range(pairs)]
                if len(chunk) >= size:
                    yield chunk
                    chunk = []
        yield chunk

    def late(self, hour: int, count: int) -> list[bytes]:
        """More of them, of the small accounts: what is written while somebody reads."""
        return [self._item(account, number, hour % self._hours, 1_000 + hour) for number, (account, _) in enumerate(self._pairs[:count])]

    def _item(self, account: str, number: int, hour: int, pair: int) -> bytes:
        form, price = self._forms.get((number, pair)) or self._form(account, number, pair)
        quantity = 1 + (number * 31 + hour * 17 + pair * 7) % 9_973  # thousandths of a unit
        bill = self.bills.get(account, Bill(0, 0))
        self.bills[account] = Bill(bill.cost + quantity * price, bill.line_items + 1)
        cost, amount = b"%d.%012d" % divmod(quantity * price, 10**12), b"%d.%03d" % divmod(quantity, 1_000)
        id_ = hashlib.blake2b(b"%d/%d/%d" % (number, hour, pair), digest_size=16).hexdigest().encode()
        return form % (id_, *_times(hour), cost, cost, cost, cost, amount, amount)

    def _form(self, account: str, number: int, pair: int) -> tuple[bytes, int]:
        """A line item with gaps for what differs from hour to hour, and its price."""
        sku, unit, price = _SKUS[(number * 5 + pair) % len(_SKUS)]
        form = self._template % {
            b"account": account.encode(), b"sku": sku.encode(), b"unit": unit.encode(), b"price": b"0.%09d" % price,
            b"region": _REGIONS[(number + pair) % len(_REGIONS)].encode(), b"resource": b"i-%04d-%05d" % (number, pair // 2),
        }  # fmt: skip
        self._forms[number, pair] = form, price
        return form, price


@lru_cache(maxsize=4)
def _times(hour: int) -> tuple[bytes, bytes]:
    begin = _START + timedelta(hours=hour)
    return begin.strftime(_FORM).encode(), (begin + timedelta(hours=1)).strftime(_FORM).encode()


def _template() -> bytes:
    """A line item as the pipeline writes it, with gaps."""
    m = _MARKS
    item = RatedLineItem(
        m["id"], 1, m["account"], "USD", _START.strftime(_FORM), (_START + timedelta(hours=_HOURS)).strftime(_FORM), m["begin"], m["end"], m["sku"],
        m["cost"], m["cost"], m["cost"], m["cost"], "Usage", None, m["sku"], m["quantity"], m["unit"], m["sku"], "Other", "Acme", "Acme", "Acme",
        None, m["price"], m["price"], m["quantity"], m["unit"], "Standard", "Usage-Based", None, None, m["region"], m["resource"],
        "tier-1", m["sku"], "0" * 16, "unit", "acme", "{}",
    )  # fmt: skip
    text = encode_line_item(item).replace(b"%", b"%%")
    for name in _OF_ACCOUNT:
        text = text.replace(_escaped(name), b"%%(%b)b" % name.encode())
    for name in _OF_HOUR:
        text = text.replace(_escaped(name), b"%%b")
    return text


def _escaped(name: str) -> bytes:
    return b"\\u0001%b\\u0001" % name.encode()
