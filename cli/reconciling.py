"""Whether Elasticsearch holds what `usage.rated` does, line item by line item: the comparison, without Kafka and Elasticsearch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

from ..pricing.money import ZERO, money, plain
from ..pricing.statement.terms import month_between
from ..schemas.control import month_text
from ..schemas.times import NS, parse_time

__all__ = ["Comparison", "Group", "month_of"]


class Group(NamedTuple):
    """What is added up: a billing account's month in one currency."""

    account: str
    period: str
    currency: str


class _Seen(NamedTuple):
    """A revision of a line item: all that has to be kept of it. digest: of everything that it says."""

    revision: int
    digest: bytes
    group: Group
    billed: str


@dataclass
class Difference:
    """Of one group: line items that only one side has, or that both have and differ, and the billed cost of these on each side."""

    missing: int = 0  # in Elasticsearch
    extra: int = 0
    other: int = 0
    rated: Decimal = field(default=ZERO)
    elasticsearch: Decimal = field(default=ZERO)
    example: str = ""

    @property
    def line_items(self) -> int:
        """How many."""
        return self.missing + self.extra + self.other


def month_of(item: Mapping[str, Any]) -> str:
    """The billing month YYYY-MM of a line item."""
    start, end = (parse_time(item[name]) // NS for name in ("BillingPeriodStart", "BillingPeriodEnd"))
    return month_text(month_between(start, end))


class Comparison:
    """Takes line items of both sides, then tells the differences.

    The pipeline may run on meanwhile: `rated` is told all records up to a time, then `indexed` every document as of a later time, then
    `rated_since` the records of the time between. What is newer in Elasticsearch must be one of these.
    """

    def __init__(self, period: str | None = None) -> None:
        """period: look at this billing month YYYY-MM alone."""
        self._period = period
        self._groups: dict[Group, Group] = {}  # one object for each: there are far more line items than groups
        self._rated: dict[str, _Seen] = {}
        self._newer: dict[str, _Seen] = {}
        self._differ: dict[str, _Seen] = {}
        self._agreed: set[str] = set()

    def rated(self, item: Mapping[str, Any]) -> None:
        """A record of usage.rated; the highest revision counts."""
        seen = self._seen(item)
        known = self._rated.get(item["x_LineItemId"])
        if seen is not None and (known is None or known.revision < seen.revision):
            self._rated[item["x_LineItemId"]] = seen

    def indexed(self, item: Mapping[str, Any]) -> None:
        """A document of Elasticsearch."""
        seen, id = self._seen(item), item["x_LineItemId"]
        if seen is None:
            return
        known = self._rated.get(id)
        if known == seen:
            self._agreed.add(id)
        elif known is None or known.revision < seen.revision:
            self._newer[id] = seen
        else:
            self._differ[id] = seen

    def rated_since(self, item: Mapping[str, Any]) -> None:
        """A record of usage.rated that was written later than those that `rated` was told."""
        id = item["x_LineItemId"]
        if self._newer.get(id) == self._seen(item):
            del self._newer[id]
            self._agreed.add(id)

    @property
    def line_items(self) -> int:
        """How many were compared."""
        return len(self._rated.keys() | self._agreed | self._newer.keys())

    @property
    def groups(self) -> int:
        """How many accounts' months."""
        return len(self._groups)

    def differences(self) -> dict[Group, Difference]:
        """What is wrong, by group; nothing when all agree."""
        found: dict[Group, Difference] = {}
        for id, there in (self._newer | self._differ).items():
            here = self._rated.get(id)
            one = found.setdefault(there.group, Difference())
            if here is None:
                one.extra += 1
            else:
                one.other += 1
                one.rated += money(here.billed)
            one.elasticsearch += money(there.billed)
            one.example = min(id, one.example or id)
        for id, here in self._rated.items():
            if id not in self._agreed and id not in self._newer and id not in self._differ:
                one = found.setdefault(here.group, Difference())
                one.missing += 1
                one.rated += money(here.billed)
                one.example = min(id, one.example or id)
        return found

    def document(self) -> dict[str, Any]:
        """The outcome for `--json`: amounts are exact plain decimals."""
        found = self.differences()
        rows = [
            {**group._asdict(), "missing": one.missing, "extra": one.extra, "other": one.other, "rated": plain(one.rated),
             "elasticsearch": plain(one.elasticsearch), "example": one.example}
            for group, one in sorted(found.items())
        ]  # fmt: skip
        return {"line_items": self.line_items, "groups": self.groups, "differences": sum(one.line_items for one in found.values()), "rows": rows}

    def _seen(self, item: Mapping[str, Any]) -> _Seen | None:
        period = month_of(item)
        if self._period is not None and period != self._period:
            return None
        group = Group(item["BillingAccountId"], period, item["BillingCurrency"])
        text = json.dumps(item, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")
        return _Seen(item["x_Revision"], blake2b(text, digest_size=16).digest(), self._groups.setdefault(group, group), item["BilledCost"])
