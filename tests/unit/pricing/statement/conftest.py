"""A month of one account: a tariff as text, usage in a few words, and the statement in a form that is easy to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any

import pytest
from ratemill.pricing import parse_price_book, slice_costs
from ratemill.pricing.money import EXACT, ZERO, money, plain
from ratemill.pricing.statement import Charge, Usage, statement

APRIL, MAY, JUNE = 1_775_001_600, 1_777_593_600, 1_780_272_000  # 2026-04-01, -05-01, -06-01, 00:00 UTC; April has 30 days
DAY = 86_400

# One GB of a costs 1, of b 2, of c 3 and from the 11th 1; v is 1 each up to 10, then 0.5 for all of them.
PRICES = """
currency: USD
exchange_rates: [{currency: EUR, rate: "0.9"}, {currency: EUR, rate: "0.8", effective_from: 2026-05-01T00:00:00Z}]
prices:
  - {id: a, sku: a, unit: GB, model: unit, unit_price: "1"}
  - {id: b, sku: b, unit: GB, model: unit, unit_price: "2"}
  - {id: c, sku: c, unit: GB, model: graduated, tiers: [{up_to: 10, unit_price: "3"}, {unit_price: "1"}]}
  - {id: v, sku: v, unit: GB, model: volume, tiers: [{up_to: 10, unit_price: "1"}, {unit_price: "0.5"}]}
"""


class Month:
    """The statement of one month of account acct-1.

    usage: SKU -> quantity, or one quantity per slice ("" where nothing was used). lines: "adjustment key" -> cost. due: what all
    line items come to, those of usage included. costs: what is left per SKU.
    """

    def __init__(
        self,
        terms: str,
        usage: Mapping[str, str | Sequence[str]] | None = None,
        opening: Mapping[str, str] | None = None,
        final: bool = True,
        start: int = APRIL,
        end: int = MAY,
        account: str = "acct-1",
        prices: str = PRICES,
    ) -> None:
        self.book = parse_price_book(prices + terms, "tariff.yaml")
        found = self.book.terms_of(account)
        assert found is not None, "no terms"
        self.terms = found
        self.usage = [self._usage(sku, [text] if isinstance(text, str) else text, account, start, end) for sku, text in (usage or {}).items()]
        balances = {name: money(text) for name, text in (opening or {}).items()}
        made = statement(self.terms, start, end, self.usage, balances, final)
        self.charges: tuple[Charge, ...] = made.charges
        self.closing = {name: plain(balance) for name, balance in made.closing.items()}
        self.lines = {f"{charge.adjustment} {charge.key}": plain(charge.cost) for charge in made.charges}
        assert len(self.lines) == len(made.charges), "two line items have one key"
        with localcontext(EXACT):
            for charge in made.charges:
                assert charge.quantity * charge.unit_price == charge.cost != 0
                assert charge.unit_price >= 0
                assert start <= charge.start < charge.end <= end
                assert charge.category in ("Usage", "Purchase", "Credit", "Adjustment")
            self.costs = self._costs(final)
            self.due = plain(sum(self.costs.values(), ZERO))

    def _usage(self, sku: str, slices: Sequence[str], account: str, start: int, end: int) -> Usage:
        price = self.book.price_at(sku, "GB", start * 10**9, account)
        return Usage(sku, "GB", price, start, end, tuple({0: money(text)} if text else {} for text in slices), any(slices))

    def _costs(self, final: bool) -> dict[str, Decimal]:
        costs: dict[str, Decimal] = {}
        for used in self.usage:
            if used.price is not None:
                costs[used.sku] = costs.get(used.sku, ZERO) + sum(slice_costs(used.price, used.slices, used.used, final=final), ZERO)
        for line in self.charges:
            costs[line.sku] = costs.get(line.sku, ZERO) + line.cost
        return costs

    def line(self, name: str) -> Charge:
        """The line item "adjustment key"."""
        (found,) = (charge for charge in self.charges if f"{charge.adjustment} {charge.key}" == name)
        return found


@pytest.fixture
def month() -> Any:
    """The class, so that tests need no import between modules."""
    return Month
