"""Statements against an oracle of their own: fractions, written from docs/statements.md, sharing no code with pricing/statement.

Every strategy draws a tariff (any adjustments in any order that a tariff may have), a month of usage in slices, and balances.
The oracle knows prices only through period_cost, which has tests of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from ratemill.pricing import PriceBook, parse_price_book, period_cost
from ratemill.pricing.money import money
from ratemill.pricing.statement import Statement, Usage, commitment, credits, discount, ledger, pipeline, spend, statement, uplift
from ratemill.pricing.statement.terms import Credit

APRIL, MAY, JUNE, DAY = 1_775_001_600, 1_777_593_600, 1_780_272_000, 86_400
ZERO = Fraction(0)

PRICES = [
    {"id": "a", "sku": "a", "unit": "GB", "model": "unit", "unit_price": "1"},
    {"id": "b", "sku": "b", "unit": "GB", "model": "graduated", "tiers": [{"up_to": "10", "unit_price": "3"}, {"unit_price": "0.5"}]},
    {"id": "c", "sku": "c", "unit": "GB", "model": "volume", "tiers": [{"up_to": "5", "unit_price": "2"}, {"unit_price": "1", "flat_price": "1"}]},
    {"id": "d", "sku": "d", "unit": "GB", "model": "package", "package_size": "4", "package_price": "1.5"},
]
SKUS = [price["sku"] for price in PRICES]

skus_of = st.lists(st.sampled_from(SKUS), min_size=1, max_size=3, unique=True)
some_skus = st.just([]) | skus_of
quantities = st.sampled_from(["", "0", "0.25", "1", "3", "4.5", "7", "12", "-1", "-4"])
days = st.integers(-20, 50)


def day(number: int) -> str:
    """Midnight of a day, 0 is 1 April 2026."""
    month, date = (3, 31 + number + 1) if number < 0 else (4, number + 1) if number < 30 else (5, number - 29)
    return f"2026-{month:02}-{date:02}T00:00:00Z"


def time(number: int) -> int:
    return APRIL + number * DAY


@st.composite
def adjustments(draw: st.DrawFn, credits_at: str = "anywhere") -> list[dict[str, Any]]:
    """A pipeline. Allowances come first, as they must; an uplift names what comes before it."""
    steps: list[dict[str, Any]] = []
    for number in range(draw(st.integers(0, 2))):
        order = draw(st.sampled_from(["listed", "cheapest_first", "dearest_first"]))
        size = draw(st.sampled_from(["1", "5", "9.5", "40"]))
        steps.append({"id": f"pool{number}", "type": "allowance", "skus": draw(skus_of), "unit": "GB", "quantity": size, "order": order})
    kinds = ["discount", "amount", "minimum_spend", "maximum_spend", "commitment", "uplift", "recurring", "rounding"]
    kinds += ["credits"] * (credits_at == "anywhere")
    for kind in draw(st.permutations(kinds))[: draw(st.integers(0, len(kinds)))]:
        step: dict[str, Any] = {"id": f"the-{kind}", "type": "discount" if kind == "amount" else kind}
        if kind == "discount":
            step["percent"] = draw(st.sampled_from(["10", "12.5", "100"]))
        if kind in ("amount", "minimum_spend", "maximum_spend"):
            step["amount"] = draw(st.sampled_from(["0.5", "7", "20", "60"]))
        if kind in ("discount", "amount", "minimum_spend", "maximum_spend") and (skus := draw(some_skus)):
            step["skus"] = skus
        if kind == "minimum_spend":
            step["due"] = draw(st.sampled_from(["always", "period_end"]))
        if kind == "uplift":
            names = [*SKUS, *(earlier["id"] for earlier in steps)]
            step["of"] = draw(st.just("all") | st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
            step |= draw(st.sampled_from([{"percent": "10"}, {"tiers": [{"up_to": "15", "percent": "20"}, {"percent": "1.5"}]}]))
            step |= draw(st.sampled_from([{}, {"minimum": "3"}]))
        if kind == "rounding":
            step |= {"digits": draw(st.integers(0, 2)), "mode": draw(st.sampled_from(["half_up", "half_even", "up", "down"]))}
        if kind == "credits":
            step["order"] = draw(st.sampled_from(["expiry", "discount", "balance", "listed"]))
        steps.append(step)
    return steps + [{"id": "the-credits", "type": "credits", "order": "expiry"}] * (credits_at == "last")


@st.composite
def accounts(draw: st.DrawFn, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """What acct-1 has of its own: only what the pipeline has a place for."""
    kinds = {step["type"] for step in steps}
    own: dict[str, Any] = {"account": "acct-1"}
    if draw(st.booleans()):
        since, until = sorted(draw(st.lists(days, min_size=2, max_size=2, unique=True)))
        prorate = draw(st.sampled_from(["second", "day", "none"]))
        own["recurring"] = [
            {"id": "fee", "sku": "fee.sku", "amount": "20", "prorate": prorate, "effective_from": day(since), "effective_to": day(until)}
        ]
    if "commitment" in kinds:
        own["commitments"] = [draw(commitments(number)) for number in range(draw(st.integers(1, 2)))]
    if "credits" in kinds:
        own["credits"] = [draw(grants(number)) for number in range(draw(st.integers(1, 3)))]
    return own


@st.composite
def commitments(draw: st.DrawFn, number: int) -> dict[str, Any]:
    found: dict[str, Any] = {"id": f"commit{number}", "amount": draw(st.sampled_from(["5", "30", "100"])), "per": "month"}
    if skus := draw(some_skus):
        found["skus"] = skus
    if draw(st.booleans()):
        since, until = sorted(draw(st.lists(days, min_size=2, max_size=2, unique=True)))
        found |= {"effective_from": day(since), "effective_to": day(until)}
    found |= draw(st.sampled_from([{}, {"prepaid": True}, {"due": "always"}]))
    return found | draw(st.sampled_from([{}, {"overage": {"surcharge": "20"}}, {"overage": {"discount": "50"}}]))


@st.composite
def grants(draw: st.DrawFn, number: int) -> dict[str, Any]:
    since, until = sorted(draw(st.lists(days, min_size=2, max_size=2, unique=True)))
    amount = draw(st.sampled_from(["2", "5", "15", "15", "80"]))
    found = {"id": f"grant{number}", "amount": amount, "effective_from": day(since), "expires": day(until)}
    found |= draw(st.sampled_from([{}, {"discount": "10"}, {"discount": "25", "prepaid": True}]))
    if skus := draw(some_skus):
        found["skus"] = skus
    return found


@dataclass
class Case:
    """A month of one account: the tariff as it is written, and what happened."""

    steps: list[dict[str, Any]]
    own: dict[str, Any]
    uses: dict[str, list[str]] = field(default_factory=dict)  # SKU -> one quantity per slice, "" for none
    opening: dict[str, Decimal] = field(default_factory=dict)
    final: bool = True
    start: int = APRIL
    end: int = MAY

    def __post_init__(self) -> None:
        self.book: PriceBook = parse_price_book(
            json.dumps({"currency": "USD", "prices": PRICES, "adjustments": self.steps, "accounts": [self.own]}), "tariff.yaml"
        )
        terms = self.book.terms_of("acct-1")
        # Without anything at the level of the account there is no statement to make; a step that does nothing stands in.
        self.terms = terms or parse_price_book(
            json.dumps({"currency": "USD", "prices": PRICES, "adjustments": [{"id": "x", "type": "maximum_spend", "amount": "1e20"}]}), "t.yaml"
        ).terms_of("acct-1")

    def cuts(self) -> list[int]:
        """Boundaries of the slices, from the tariff as it is written."""
        dates = [term.get(key) for term in (*self.own.get("commitments", ()), *self.own.get("credits", ())) for key in DATES]
        instants = {time(number) for number in range(-21, 61) if day(number) in dates}
        return [self.start, *sorted(instant for instant in instants if self.start < instant < self.end), self.end]

    def usage(self, turned: bool = False) -> list[Usage]:
        made = []
        for sku, slices in self.uses.items():
            price = self.book.price_at(sku, "GB", self.start * 10**9)
            mappings = tuple({0: money(text)} if text else {} for text in slices)
            made.append(Usage(sku, "GB", price, self.start, self.end, mappings, any(slices)))
        return made[::-1] if turned else made

    def run(self) -> Statement:
        assert self.terms is not None
        return statement(self.terms, self.start, self.end, self.usage(), self.opening, self.final)


DATES = ("effective_from", "effective_to", "expires")


@st.composite
def cases(draw: st.DrawFn, credits_at: str = "anywhere") -> Case:
    steps = draw(adjustments(credits_at))
    case = Case(steps, draw(accounts(steps)))
    slices = len(case.cuts()) - 1
    used = draw(st.just(SKUS) | st.lists(st.sampled_from(SKUS), max_size=3, unique=True))
    case.uses = {sku: draw(st.lists(quantities, min_size=slices, max_size=slices)) for sku in used}
    case.opening = {
        grant["id"]: money(draw(st.sampled_from(["0", "1.5", grant["amount"]]))) for grant in case.own.get("credits", ()) if draw(st.booleans())
    }
    case.final = draw(st.booleans())
    return case


# ------------------------------------------------------------------------------------------------------------- the oracle


class Oracle:
    """A month in fractions. cells: (origin, SKU, slice) -> amount."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.bounds = case.cuts()
        self.n = len(self.bounds) - 1
        self.cells: dict[tuple[str, str, int], Fraction] = {}
        self.present: set[tuple[str, str]] = set()  # (origin, SKU) that there is anything of
        self.about: dict[str, set[str]] = {}
        self.bought = ZERO
        self.balances = {
            grant["id"]: min(self.fraction(case.opening.get(grant["id"], grant["amount"])), self.fraction(grant["amount"]))
            for grant in case.own.get("credits", ())
            if self.when(grant, "expires")[0] < case.end and self.when(grant, "expires")[1] > case.start
        }
        self.amounts = {sku: [self.fraction(text or "0") for text in slices] for sku, slices in case.uses.items() if any(slices)}
        for sku in self.amounts:
            self.put("", sku, self.cost(sku, self.amounts[sku]))
        if not any(step["type"] == "recurring" for step in case.steps):
            self.recurring({"id": "recurring"})
        for step in case.steps:
            {"discount": self.discount, "minimum_spend": self.minimum, "maximum_spend": self.maximum}.get(
                step["type"], getattr(self, step["type"], None)
            )(step)  # type: ignore[misc]

    fraction = staticmethod(Fraction)

    @property
    def due(self) -> Fraction:
        return sum(self.cells.values(), ZERO) + self.bought

    @property
    def closing(self) -> dict[str, Fraction]:
        ends = {grant["id"]: self.when(grant, "expires")[1] for grant in self.case.own.get("credits", ())}
        return {name: ZERO if ends[name] <= self.case.end else balance for name, balance in self.balances.items()}

    def when(self, term: dict[str, Any], until: str) -> tuple[int, int]:
        moments = {day(number): time(number) for number in range(-21, 61)}
        return moments.get(term.get("effective_from", ""), -(10**12)), moments.get(term.get(until, ""), 10**12)

    def last(self, amount: Fraction) -> list[Fraction]:
        return [ZERO] * (self.n - 1) + [amount]

    def cost(self, sku: str, slices: list[Fraction]) -> list[Fraction]:
        price = self.case.book.price_at(sku, "GB", self.case.start * 10**9)
        assert price is not None
        through = [sum(slices[: number + 1], ZERO) for number in range(self.n)]
        # Fractions of quantities are finite decimals here: money reads their digits.
        costs = [Fraction(period_cost(price, {0: money(digits(total))}, final=self.case.final)) for total in through]
        first = next(number for number, text in enumerate(self.case.uses[sku]) if text)
        costs = [cost if number >= first else ZERO for number, cost in enumerate(costs)]
        return [cost - before for cost, before in zip(costs, [ZERO, *costs], strict=False)]

    def put(self, origin: str, sku: str, amounts: list[Fraction]) -> None:
        if any(amounts) or not origin:
            self.present.add((origin, sku))
        for number, amount in enumerate(amounts):
            place = (origin, sku, number)
            self.cells[place] = self.cells.get(place, ZERO) + amount

    def sees(self, skus: list[str], sku: str) -> bool:
        return not skus or sku in skus or (sku in self.about and self.about[sku] <= set(skus))

    def sums(self, skus: list[str]) -> dict[str, list[Fraction]]:
        found = {sku for _, sku in self.present if self.sees(skus, sku)}
        sums = {sku: [ZERO] * self.n for sku in sorted(found, key=lambda sku: (skus.index(sku) if sku in skus else len(skus), sku))}
        for (_, sku, number), amount in self.cells.items():
            if sku in sums:
                sums[sku][number] += amount
        return sums

    def payable(self, sums: dict[str, list[Fraction]]) -> dict[str, list[Fraction]]:
        left: dict[str, list[Fraction]] = {}
        owed = ZERO
        for sku, amounts in sums.items():
            # In the order of time: what is negative goes against what came before it, and what then is left waits for what comes.
            open_debt, seen = ZERO, [ZERO] * self.n
            for number, amount in enumerate(amounts):
                if amount > 0:
                    pay = min(open_debt, amount)
                    seen[number] = amount - pay
                    open_debt -= pay
                else:
                    debt = -amount
                    for earlier in range(number - 1, -1, -1):
                        pay = min(debt, seen[earlier])
                        seen[earlier] -= pay
                        debt -= pay
                    open_debt += debt
            left[sku] = seen
            owed += open_debt
        for amounts in list(left.values())[::-1]:
            owed = self.reduce(amounts, owed)
        return left

    def reduce(self, amounts: list[Fraction], debt: Fraction) -> Fraction:
        for number in range(self.n - 1, -1, -1):
            pay = min(debt, amounts[number])
            amounts[number] -= pay
            debt -= pay
        return debt

    def allowance(self, step: dict[str, Any]) -> None:
        left = self.fraction(step["quantity"])
        whole = {sku: (sum(self.cost(sku, self.amounts[sku]), ZERO), sum(self.amounts[sku], ZERO)) for sku in self.amounts}
        order = [sku for sku in step["skus"] if sku in self.amounts]
        if step["order"] != "listed":
            sign = 1 if step["order"] == "cheapest_first" else -1
            order.sort(key=lambda sku: sign * (whole[sku][0] / whole[sku][1] if whole[sku][1] else ZERO))
        for sku in order:
            share = min(left, whole[sku][1])
            if share <= 0:
                continue
            reduced, through, before = [], ZERO, ZERO
            for quantity in self.amounts[sku]:
                through += quantity
                kept = through - min(share, max(through, ZERO))
                reduced.append(kept - before)
                before = kept
            old, new = self.cost(sku, self.amounts[sku]), self.cost(sku, reduced)
            if sum(new) < sum(old):
                self.put(step["id"], sku, [b - a for a, b in zip(old, new, strict=True)])
                self.amounts[sku] = reduced
                left -= share

    def discount(self, step: dict[str, Any]) -> None:
        skus = step.get("skus", [])
        if "percent" in step:
            for sku, amounts in self.sums(skus).items():
                self.put(step["id"], sku, [-amount * self.fraction(step["percent"]) / 100 for amount in amounts])
        else:
            left = self.fraction(step["amount"])
            for sku, amounts in self.payable(self.sums(skus)).items():
                left = self.off(step["id"], sku, amounts, left, range(self.n))

    def off(self, origin: str, sku: str, amounts: list[Fraction], wanted: Fraction, order: Any) -> Fraction:
        taken = [ZERO] * self.n
        for number in order:
            taken[number] = min(wanted, amounts[number])
            wanted -= taken[number]
        self.put(origin, sku, [-amount for amount in taken])
        return wanted

    def minimum(self, step: dict[str, Any]) -> None:
        skus = step.get("skus", [])
        sums = self.sums(skus)
        missing = self.fraction(step["amount"]) - sum((sum(amounts, ZERO) for amounts in sums.values()), ZERO)
        if sums and missing > 0 and (self.case.final or step["due"] == "always"):
            self.charge(step["id"], step["id"], skus, self.last(missing))

    def charge(self, origin: str, name: str, skus: list[str], amounts: list[Fraction]) -> None:
        shown = skus[0] if len(skus) == 1 else name
        if len(skus) > 1:
            self.about[shown] = set(skus)
        self.put(origin, shown, amounts)

    def maximum(self, step: dict[str, Any]) -> None:
        sums = self.payable(self.sums(step.get("skus", [])))
        excess = max(sum((sum(amounts, ZERO) for amounts in sums.values()), ZERO) - self.fraction(step["amount"]), ZERO)
        for sku, amounts in sums.items():
            excess = self.off(step["id"], sku, amounts, excess, range(self.n - 1, -1, -1))

    def part(self, amount: str, how: str, low: int, high: int) -> list[Fraction]:
        """Every date here is a midnight, so days are whole ones."""
        first, past = max(low, self.case.start), min(high, self.case.end)
        if how == "none":
            at = max(number for number in range(self.n) if self.bounds[number] <= first)
            return [self.fraction(amount) if number == at else ZERO for number in range(self.n)]
        sums = [ZERO]
        for bound in self.bounds[1:]:
            exact = self.fraction(amount) * max(min(bound, past) - first, 0) / (self.case.end - self.case.start)
            finite = (10**400 * exact).denominator == 1
            sums.append(exact if finite else Fraction(round(exact * 10**9), 10**9))
        return [after - before for before, after in pairwise(sums)]

    def recurring(self, step: dict[str, Any]) -> None:
        for fee in self.case.own.get("recurring", ()):
            low, high = self.when(fee, "effective_to")
            if low < self.case.end and high > self.case.start:
                self.put(step["id"], fee["sku"], self.part(fee["amount"], fee["prorate"], low, high))

    def commitment(self, step: dict[str, Any]) -> None:
        for term in self.case.own["commitments"]:
            low, high = self.when(term, "effective_to")
            if low >= self.case.end or high <= self.case.start:
                continue
            inside = [low <= begin and end <= high for begin, end in zip(self.bounds, self.bounds[1:], strict=False)]
            amount = sum(self.part(term["amount"], "second", low, high), ZERO)
            skus, name = term.get("skus", []), term["id"]
            sums = {sku: [cost if held else ZERO for cost, held in zip(costs, inside, strict=True)] for sku, costs in self.sums(skus).items()}
            counted = sum((sum(costs, ZERO) for costs in sums.values()), ZERO)
            first, last = inside.index(True), self.n - 1 - inside[::-1].index(True)
            if term.get("prepaid"):
                self.charge(step["id"], name, skus, [amount if number == first else ZERO for number in range(self.n)])
            elif counted < amount and (self.case.final or term.get("due") == "always"):
                self.charge(step["id"], name, skus, [amount - counted if number == last else ZERO for number in range(self.n)])
            share = (self.fraction(term.get("overage", {}).get("surcharge", "0")) - self.fraction(term.get("overage", {}).get("discount", "0"))) / 100
            for sku, costs in self.payable(sums).items():
                for number in range(self.n):
                    covered = min(amount, costs[number])
                    amount -= covered
                    single = [ZERO] * self.n
                    single[number] = (costs[number] - covered) * share - (covered if term.get("prepaid") else ZERO)
                    self.put(step["id"], sku, single)

    def uplift(self, step: dict[str, Any]) -> None:
        of = [] if step["of"] == "all" else step["of"]
        ids = {other["id"] for other in self.case.steps}
        shown = {other["id"] for other in self.case.steps if other["type"] in ("rounding",) or self.own_name(other)}
        found = [
            (origin, sku) for origin, sku in self.present
            if not of or self.sees(of, sku) or (origin in of and origin in ids and origin not in shown)
        ]  # fmt: skip
        if not found:
            return
        tiers = step.get("tiers") or [{"percent": step["percent"]}]
        through, before, amounts = ZERO, ZERO, []
        for number in range(self.n):
            through += sum((self.cells.get((*row, number), ZERO) for row in found), ZERO)
            total, lower = ZERO, ZERO
            for tier in tiers:
                upper = self.fraction(tier["up_to"]) if "up_to" in tier else math.inf
                total += max(min(max(through, ZERO), upper) - lower, ZERO) * self.fraction(tier["percent"]) / 100
                lower = upper  # type: ignore[assignment]
            amounts.append(total - before)
            before = total
        if "minimum" in step and self.case.final and before < self.fraction(step["minimum"]):
            amounts[-1] += self.fraction(step["minimum"]) - before
        self.put(step["id"], step["id"], amounts)

    def own_name(self, step: dict[str, Any]) -> bool:
        return step["type"] == "minimum_spend" and len(step.get("skus", [])) != 1

    def credits(self, step: dict[str, Any]) -> None:
        for grant in self.case.own["credits"]:
            if grant.get("prepaid") and self.case.start <= self.when(grant, "expires")[0] < self.case.end:
                self.bought += self.fraction(grant["amount"]) * (100 - self.fraction(grant["discount"])) / 100
        left = self.payable(self.sums([]))
        # What a credit pays is what there was before any credit.
        reach = {grant["id"]: list(self.sums(grant.get("skus", []))) for grant in self.case.own["credits"]}
        for number in range(self.n):
            valid = [
                grant for grant in self.case.own["credits"]
                if self.when(grant, "expires")[0] <= self.bounds[number] and self.bounds[number + 1] <= self.when(grant, "expires")[1]
            ]  # fmt: skip
            ranks: dict[str, Callable[[dict[str, Any]], Any]] = {
                "expiry": lambda g: (g["expires"], -self.fraction(g.get("discount", "0")), self.balances[g["id"]], g["id"]),
                "discount": lambda g: (-self.fraction(g.get("discount", "0")), g["expires"], self.balances[g["id"]], g["id"]),
                "balance": lambda g: (self.balances[g["id"]], g["expires"], -self.fraction(g.get("discount", "0")), g["id"]),
                "listed": lambda g: 0,
            }
            for grant in sorted(valid, key=ranks[step["order"]]):
                for sku in reach[grant["id"]]:
                    pay = min(self.balances[grant["id"]], left[sku][number])
                    left[sku][number] -= pay
                    self.balances[grant["id"]] -= pay
                    self.put(step["id"], sku, [-pay if at == number else ZERO for at in range(self.n)])

    def rounding(self, step: dict[str, Any]) -> None:
        scale = 10 ** step["digits"]
        scaled = abs(self.due) * scale
        low = math.floor(scaled)
        rest = scaled - low
        half = Fraction(1, 2)
        up = {"down": False, "up": rest > 0, "half_up": rest >= half, "half_even": rest > half or (rest == half and low % 2 == 1)}[step["mode"]]
        result = Fraction(low + up, scale) * (-1 if self.due < 0 else 1)
        self.put(step["id"], step["id"], self.last(result - self.due))


def digits(value: Fraction) -> str:
    """A finite decimal as text."""
    scaled = value * 10**12
    assert scaled.denominator == 1
    return f"{scaled.numerator}e-12"


def usage_cost(case: Case) -> Fraction:
    total = ZERO
    for used in case.usage():
        quantity = sum((Fraction(value) for cells in used.slices for value in cells.values()), ZERO)
        if used.price is not None and used.used:
            total += Fraction(period_cost(used.price, {0: money(digits(quantity))}, final=case.final))
    return total


def due_of(case: Case, made: Statement) -> Fraction:
    """What all line items come to: Σ usage + Σ charges."""
    return usage_cost(case) + sum((Fraction(charge.cost) for charge in made.charges), ZERO)


def agrees(case: Case) -> bool:
    """Whether a statement is the oracle's, as a whole and per SKU and adjustment."""
    made, told = case.run(), Oracle(case)
    if due_of(case, made) != told.due or {name: Fraction(value) for name, value in made.closing.items()} != told.closing:
        return False
    found: dict[tuple[str, str], Fraction] = {}
    for charge in made.charges:
        if charge.category != "Purchase" or not charge.key.startswith("purchase/grant"):
            found[charge.adjustment, charge.sku] = found.get((charge.adjustment, charge.sku), ZERO) + Fraction(charge.cost)
    expected: dict[tuple[str, str], Fraction] = {}
    for (origin, sku, _), amount in told.cells.items():
        if origin:
            expected[origin, sku] = expected.get((origin, sku), ZERO) + amount
    return {key: value for key, value in found.items() if value} == {key: value for key, value in expected.items() if value}


relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(cases() | cases("last"))
def test_what_is_due_is_what_the_oracle_says(case: Case) -> None:
    assert agrees(case)


@relaxed
@given(cases())
def test_each_charge_is_quantity_times_price_and_has_a_key_of_its_own(case: Case) -> None:
    made = case.run()
    for charge in made.charges:
        assert Fraction(charge.quantity) * Fraction(charge.unit_price) == Fraction(charge.cost) != 0
        assert charge.unit_price >= 0
        assert charge.category in ("Usage", "Purchase", "Credit", "Adjustment")
        assert case.start <= charge.start < charge.end <= case.end
        assert charge.sku
    assert len({(charge.adjustment, charge.key) for charge in made.charges}) == len(made.charges)


@relaxed
@given(cases())
def test_the_order_of_the_input_changes_nothing(case: Case) -> None:
    assert case.terms is not None
    opening = dict(reversed(case.opening.items()))
    turned = statement(case.terms, case.start, case.end, case.usage(turned=True), opening, case.final)
    assert turned == case.run()


@relaxed
@given(cases())
def test_balances_are_never_negative_and_never_grow(case: Case) -> None:
    made = case.run()
    used: dict[str, Fraction] = {}
    for charge in made.charges:
        if charge.key.startswith("used/"):
            name = charge.key.split("/")[1]
            used[name] = used.get(name, ZERO) - Fraction(charge.cost)
            assert charge.cost < 0
    for grant in case.own.get("credits", ()):
        if (closing := made.closing.get(grant["id"])) is not None:
            opening = Fraction(case.opening.get(grant["id"], money(grant["amount"])))
            assert 0 <= Fraction(closing) <= opening - used.get(grant["id"], ZERO)
        else:
            assert grant["id"] not in used


@relaxed
@given(cases("last"))
def test_credits_never_make_what_is_due_negative(case: Case) -> None:
    made = case.run()
    paid = sum((Fraction(charge.cost) for charge in made.charges if charge.key.startswith("used/")), ZERO)
    bought = sum((Fraction(charge.cost) for charge in made.charges if charge.key.startswith("purchase/grant")), ZERO)
    due = due_of(case, made) - bought
    assert due >= min(ZERO, due - paid)


@relaxed
@given(cases(), st.integers(1, 29))
def test_a_cut_changes_only_what_credits_pay(case: Case, at: int) -> None:
    """Another credit that nothing uses cuts the month; every line item of the other adjustments stays as it is."""
    assert case.terms is not None
    if case.own.get("commitments") or any(step["type"] == "credits" for step in case.steps):
        return
    whole = case.run()
    cut = Credit("cut", money(1), APRIL + at * DAY, JUNE)
    terms = type(case.terms)("cut", case.terms.currency, case.terms.steps, case.terms.fees, credits=(cut,))
    for early in (True, False):
        usage = [used._replace(slices=(*used.slices, {}) if early else ({}, *used.slices)) for used in case.usage()]
        assert statement(terms, case.start, case.end, usage, {}, case.final).charges == whole.charges


@settings(relaxed, max_examples=60)
@given(cases("last"), st.lists(st.sampled_from(["", "2", "9", "-3"]), min_size=3, max_size=3))
def test_months_follow_each_other(case: Case, amounts: list[str]) -> None:
    """Each month opens with what the one before left; over all of them a credit pays no more than its amount."""
    balances: dict[str, Decimal] = {}
    used: dict[str, Fraction] = {}
    for (start, end), quantity in zip([(APRIL - 31 * DAY, APRIL), (APRIL, MAY), (MAY, JUNE)], amounts, strict=True):
        here = Case(case.steps, case.own, {}, balances, True, start, end)
        here.uses = {"a": [quantity] * (len(here.cuts()) - 1)}
        assert agrees(here)
        made = here.run()
        for charge in made.charges:
            if charge.key.startswith("used/"):
                name = charge.key.split("/")[1]
                used[name] = used.get(name, ZERO) - Fraction(charge.cost)
        for name, balance in made.closing.items():
            assert balance <= balances.get(name, balance)
        balances |= made.closing
    for grant in case.own.get("credits", ()):
        assert used.get(grant["id"], ZERO) <= Fraction(grant["amount"])


# ------------------------------------------------------------------------------------------------------ negative controls


def _first_only(amounts: Any, wanted: Decimal, latest_first: bool = False) -> list[Decimal]:
    taken = [Decimal(0)] * len(amounts)
    taken[0] = min(wanted, amounts[0])
    return taken


def _clamped(items: Any) -> Any:
    return {item: [max(amount, Decimal(0)) for amount in amounts] for item, amounts in items.items()}


def _by_name(rows: Any, skus: Any = ()) -> Any:
    return ledger.grouped(rows)


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "credits pay also what is taken back": (credits, "payable", _clamped),
    "credits ignore the order of their SKUs": (credits, "grouped", _by_name),
    "a discount takes too much": (discount, "payable", _clamped),
    "a discount sees one slice": (discount, "take", _first_only),
    "a maximum sees one slice": (spend, "take", _first_only),
    "a commitment covers one slice": (commitment, "take", _first_only),
    "an allowance is forgotten": (pipeline, "apply_allowance", lambda step, book: None),
    "rounding is forgotten": (pipeline, "apply_rounding", lambda step, book: None),
    "tiers of an uplift are one": (uplift, "in_tiers", lambda tiers, amount: [amount] + [Decimal(0)] * (len(tiers) - 1)),
    "nothing expires": (pipeline, "closing_balances", lambda credits, balances, end: dict(balances)),
    "balances are not carried": (pipeline, "opening_balances", lambda credits, opening, start, end: {c.id: c.amount for c in credits}),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_statement_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, instead = MUTANTS[mutant]
    monkeypatch.setattr(module, name, instead)
    bounded = settings(max_examples=1_000, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    try:
        find(cases("last") | cases(), lambda case: not agrees(case), settings=bounded)
    except NoSuchExample:
        pytest.fail("the oracle agrees with a wrong statement")
