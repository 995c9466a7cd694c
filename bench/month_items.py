"""A month of line items as customers have it: one that is very large among many, by the hour, SKU, region and resource."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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
_MARKS = {name: f"\x01{name}\x01" for name in ("id", "account", "begin", "end", "sku", "cost", "quantity", "unit", "price", "region", "resource")}


class Bill(NamedTuple):
    """What an account's month comes to: 10^-12 USD, and line items."""

    cost: int
    line_items: int


class MonthItems:
    """So many line items, the same ones every time; a fifth of them are of one account, the others of a thousand accounts or fewer.

    They come hour by hour, as they do when they are new: those of an account stand all over the index.
    """

    def __init__(self, count: int) -> None:
        self._hours = min(_HOURS, max(24, count // 1_000))
        self._large = count // 5 // self._hours
        # One to ten pairs of SKU and resource: five and a half on average.
        self.accounts = [f"acct-{n:04d}" for n in range(min(1_000, max(10, (count - count // 5) * 2 // 11 // self._hours)))]
        rest = count // self._hours - self._large
        shares = [1 + number * 7_919 % 10 for number in range(len(self.accounts))]
        self._pairs = [share * rest // sum(shares) or 1 for share in shares]
        self.bills: dict[str, Bill] = {}
        self._template = _template()

    def chunks(self, size: int = 10_000) -> Iterator[list[bytes]]:
        """All of them, encoded; `bills` counts them as they go."""
        chunk: list[bytes] = []
        for hour in range(self._hours):
            begin = _START + timedelta(hours=hour)
            times = begin.strftime(_FORM), (begin + timedelta(hours=1)).strftime(_FORM)
            for number, (account, pairs) in enumerate([*zip(self.accounts, self._pairs, strict=True), (LARGE, self._large)]):
                for pair in range(pairs):
                    chunk.append(self._item(account, number, hour, pair, times))
                if len(chunk) >= size:
                    yield chunk
                    chunk = []
        yield chunk

    def late(self, hour: int, count: int) -> list[bytes]:
        """More of them, of the small accounts: what is written while somebody reads."""
        times = _START.strftime(_FORM), (_START + timedelta(hours=1)).strftime(_FORM)
        return [self._item(self.accounts[n % len(self.accounts)], n, hour, 1_000 + n, times) for n in range(count)]

    def _item(self, account: str, number: int, hour: int, pair: int, times: tuple[str, str]) -> bytes:
        sku, unit, price = _SKUS[(number * 5 + pair) % len(_SKUS)]
        quantity = 1 + (number * 31 + hour * 17 + pair * 7) % 9_973  # thousandths of a unit
        cost = quantity * price
        bill = self.bills.get(account, Bill(0, 0))
        self.bills[account] = Bill(bill.cost + cost, bill.line_items + 1)
        return self._template % {
            b"id": hashlib.blake2b(f"{account}/{hour}/{pair}".encode(), digest_size=16).hexdigest().encode(),
            b"account": account.encode(), b"begin": times[0].encode(), b"end": times[1].encode(), b"sku": sku.encode(), b"unit": unit.encode(),
            b"cost": b"%d.%012d" % divmod(cost, 10**12), b"quantity": b"%d.%03d" % divmod(quantity, 1_000), b"price": b"0.%09d" % price,
            b"region": _REGIONS[(number + pair) % len(_REGIONS)].encode(), b"resource": b"i-%04d-%05d" % (number, pair // 2),
        }  # fmt: skip


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
    for name in _MARKS:
        text = text.replace(b"\\u0001%b\\u0001" % name.encode(), b"%%(%b)b" % name.encode())
    return text
