"""What a statement is made from, and what comes out: plain immutable values.

    Usage                a month of one account, as the rating step adds it up
    Terms                what the tariff file says about one account: the pipeline of adjustments, fees, commitments, credits
    Charge, Statement    the line items of the account and what is left of its credits

Times are seconds since 1970, months are 12 x year + month - 1. Intervals include their start and exclude their end. Amounts are
in the account's currency, but for those in `Terms.steps`: these are in the book's, and `Terms.steps_in` converts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import NamedTuple

from ..exchange import UTC_MONTHS, ExchangeRates
from ..money import EXACT, ZERO
from ..price import Price

__all__ = [
    "ALWAYS",
    "FOREVER",
    "Allowance",
    "Charge",
    "Commitment",
    "Commitments",
    "Credit",
    "Credits",
    "Discount",
    "Fee",
    "Fees",
    "Maximum",
    "Minimum",
    "RoundTotal",
    "Statement",
    "Step",
    "Terms",
    "Uplift",
    "UpliftTier",
    "Usage",
]

ALWAYS = -(2**63)  # start of what names none, be it a time or a month
FOREVER = 2**63 - 1  # end of a credit that does not expire


class Usage(NamedTuple):
    """One stretch of one SKU: one price over one accumulation period, or the part of it in which the price held.

    slices: one mapping of cell -> quantity per slice of the month, in the order of time; empty where nothing was used. The
    slices of a month are bounded by its start, `Terms.cuts` and its end.
    """

    sku: str
    unit: str
    price: Price | None
    start: int
    end: int
    slices: tuple[Mapping[int, Decimal], ...]
    used: bool


class Charge(NamedTuple):
    """A line item of the account: quantity x unit_price = cost, exactly. unit_price is never negative.

    key is stable within (account, month, adjustment) and unique there. unit: the currency where the quantity is an amount of
    money (so many dollars at 0.10 each), "Months" for fees, "charge" where the charge is one amount that nothing measures.
    recurring: due whatever was used (FOCUS ChargeFrequency).
    """

    adjustment: str
    key: str
    category: str  # Usage | Purchase | Credit | Adjustment
    sku: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    cost: Decimal
    description: str
    start: int
    end: int
    recurring: bool


class Statement(NamedTuple):
    """charges: in the order of the pipeline. closing: what is left after the month of each credit that was valid in it."""

    charges: tuple[Charge, ...]
    closing: Mapping[str, Decimal]


class Fee(NamedTuple):
    """A recurring fee, due every month that it meets."""

    id: str
    sku: str
    amount: Decimal  # of a whole month
    prorate: str = "second"  # second | day | none
    digits: int = 9  # kept, half_even, of a share that is not a finite decimal
    since: int = ALWAYS
    until: int | None = None
    description: str = ""


class Commitment(NamedTuple):
    """A least amount per month. skus: whose charges count; () is all."""

    id: str
    sku: str  # what its own charges are shown as
    amount: Decimal
    skus: tuple[str, ...] = ()
    prepaid: bool = False  # charged whole at the start, and drawn down by what counts
    always: bool = False  # the shortfall is shown while the month runs, not only once it is final
    surcharge: Decimal = ZERO  # of what exceeds the commitment, 0.2 for 20 %
    discount: Decimal = ZERO  # of what exceeds the commitment
    prorate: str = "second"
    digits: int = 9
    since: int = ALWAYS
    until: int | None = None
    description: str = ""


class Credit(NamedTuple):
    """An amount that pays charges between `since` and `until`. skus: which charges; () is all."""

    id: str
    amount: Decimal
    since: int
    until: int
    skus: tuple[str, ...] = ()
    discount: Decimal = ZERO  # at which it was bought, 0.1 for 10 %
    prepaid: bool = False  # bought on the statement of the month in which it begins
    sku: str = ""  # what its purchase is shown as
    description: str = ""


class Fees(NamedTuple):
    """Where in the pipeline the account's recurring fees come."""

    id: str
    since: int = ALWAYS
    until: int | None = None


class Commitments(NamedTuple):
    """Where in the pipeline the account's commitments come."""

    id: str
    since: int = ALWAYS
    until: int | None = None


class Credits(NamedTuple):
    """Where in the pipeline the account's credits are used, and which first."""

    id: str
    order: str = "expiry"  # expiry | discount | balance | listed
    since: int = ALWAYS
    until: int | None = None


class Allowance(NamedTuple):
    """A quantity that several SKUs share and that is not charged."""

    id: str
    skus: tuple[str, ...]
    unit: str
    quantity: Decimal
    order: str = "listed"  # listed | cheapest_first | dearest_first
    since: int = ALWAYS
    until: int | None = None
    description: str = ""


class Discount(NamedTuple):
    """A share (0.1 for 10 %) or an amount off; the other one is None."""

    id: str
    share: Decimal | None
    amount: Decimal | None
    skus: tuple[str, ...] = ()
    since: int = ALWAYS
    until: int | None = None
    description: str = ""


class Minimum(NamedTuple):
    """The least that the SKUs cost in a month."""

    id: str
    sku: str  # what the top-up is shown as
    amount: Decimal
    skus: tuple[str, ...] = ()
    always: bool = False
    unused: bool = False  # due even if none of the SKUs was used
    since: int = ALWAYS
    until: int | None = None
    description: str = ""


class Maximum(NamedTuple):
    """The most that the SKUs cost in a month."""

    id: str
    amount: Decimal
    skus: tuple[str, ...] = ()
    since: int = ALWAYS
    until: int | None = None
    description: str = ""


class UpliftTier(NamedTuple):
    """share (0.1 for 10 %) of what lies below `upper` (None: no bound) and above the tier before."""

    upper: Decimal | None
    share: Decimal


class Uplift(NamedTuple):
    """A share of other charges: those of some SKUs, those of some adjustments, or of all (both empty)."""

    id: str
    sku: str
    tiers: tuple[UpliftTier, ...]
    of_skus: tuple[str, ...] = ()
    of_adjustments: tuple[str, ...] = ()
    minimum: Decimal | None = None
    always: bool = False
    unused: bool = False
    since: int = ALWAYS
    until: int | None = None
    description: str = ""


class RoundTotal(NamedTuple):
    """The total of everything before it, rounded."""

    id: str
    sku: str
    digits: int
    mode: str
    since: int = ALWAYS
    until: int | None = None
    description: str = ""


Step = Fees | Commitments | Credits | Allowance | Discount | Minimum | Maximum | Uplift | RoundTotal


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one account. Immutable; equal terms have an equal digest."""

    digest: str
    currency: str  # of the account
    steps: tuple[Step, ...]  # those that may apply to the account, in the order in which they are applied
    fees: tuple[Fee, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    credits: tuple[Credit, ...] = ()
    exchange: ExchangeRates | None = None  # None: the account has the book's currency
    _converted: dict[Decimal, tuple[Step, ...]] = field(default_factory=dict, repr=False, compare=False)  # rate -> steps, as they were asked for

    def steps_in(self, month: int) -> tuple[Step, ...]:
        """The steps that hold in a month, their amounts in the account's currency at the rate of the month.

        Before the first rate nothing can be converted: steps with amounts are left out then, as prices are.
        """
        steps = self.steps
        if self.exchange is not None:
            rate = self.exchange.rate(self.currency, month)
            if rate is None:
                steps = tuple(step for step in steps if not amounts_of(step))
            elif rate in self._converted:
                steps = self._converted[rate]
            else:
                steps = self._converted[rate] = tuple(converted(step, rate) for step in steps)
        return tuple([step for step in steps if step.since <= month and (step.until is None or month < step.until)])

    def cuts(self, start_s: int, end_s: int) -> tuple[int, ...]:
        """Instants strictly inside a month at which a slice of usage must end: a credit or a commitment begins or ends there."""
        if not self.credits and not self.commitments:
            return ()
        terms: list[Credit | Commitment] = [*self.credits, *self.commitments]
        return tuple(sorted({at for term in terms for at in (term.since, term.until) if at is not None and start_s < at < end_s}))

    def due(self, start_s: int, end_s: int) -> bool:
        """Whether a month in which nothing was used has charges."""
        terms: list[Fee | Commitment] = [*self.fees, *self.commitments]
        if any(meets(term, start_s, end_s) for term in terms):
            return True
        if any(credit.prepaid and start_s <= credit.since < end_s for credit in self.credits):
            return True
        return any(isinstance(step, Minimum | Uplift) and step.unused for step in self.steps_in(month_between(start_s, end_s)))


def meets(term: Fee | Commitment | Credit, start_s: int, end_s: int) -> bool:
    """Whether a term is in force at any time of [start_s, end_s)."""
    return term.since < end_s and (term.until is None or term.until > start_s)


def month_between(start_s: int, end_s: int) -> int:
    """The calendar month that lies between two instants: its middle is in the same month of UTC in every time zone."""
    return UTC_MONTHS.month_of((start_s + end_s) // 2)


def amounts_of(step: Step) -> tuple[Decimal, ...]:
    """The amounts of money in a step, in the book's currency."""
    match step:
        case Minimum() | Maximum():
            return (step.amount,)
        case Discount():
            return () if step.amount is None else (step.amount,)
        case Uplift():
            bounds = tuple(tier.upper for tier in step.tiers if tier.upper is not None)
            return bounds if step.minimum is None else (*bounds, step.minimum)
    return ()


def converted(step: Step, rate: Decimal) -> Step:
    """A step with its amounts x rate, exactly."""
    with localcontext(EXACT):
        match step:
            case Minimum() | Maximum():
                return step._replace(amount=step.amount * rate)
            case Discount():
                return step._replace(amount=None if step.amount is None else step.amount * rate)
            case Uplift():
                tiers = tuple(tier if tier.upper is None else tier._replace(upper=tier.upper * rate) for tier in step.tiers)
                return step._replace(tiers=tiers, minimum=None if step.minimum is None else step.minimum * rate)
    return step
