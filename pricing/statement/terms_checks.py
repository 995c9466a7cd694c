"""Checks between adjustments, accounts and prices: what one of them alone cannot know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from ..book_form import quoted
from ..book_yaml import Mistakes
from ..price import Price
from .accounts_form import AccountDraft, TermDraft
from .adjustments_form import AdjustmentDraft
from .form_parts import Reference
from .terms import Allowance, Commitment, Discount, Step, Uplift

__all__ = ["DEFAULT_FEES", "MOST_PERCENTAGES", "Section", "applies", "check_section", "resolved"]

DEFAULT_FEES = "recurring"  # id of the step that no adjustment stands for: fees come first unless the pipeline says where

# A percentage of a percentage has more digits than either, and nothing is rounded: with this many of them, each with the digits
# that form_parts allows, the largest amounts still fit into money.EXACT.
MOST_PERCENTAGES = 20

PLACES = {"recurring": "fees", "commitment": "commitments", "credits": "credits"}
REDUCING = frozenset({"discount", "maximum_spend", "commitment", "credits"})


class Section(NamedTuple):
    """Everything that was read, in the order written. prices: SKU -> (unit, price or None if there was something wrong with it)."""

    adjustments: Sequence[AdjustmentDraft]
    accounts: Sequence[AccountDraft]
    prices: Mapping[str, Sequence[tuple[str, Price | None]]]
    mistakes: Mistakes


def applies(adjustment: AdjustmentDraft, account: str) -> bool:
    """Whether an adjustment is for an account."""
    return not adjustment.accounts or account in adjustment.accounts


def check_section(section: Section) -> None:
    """All checks; what is wrong goes to the section's mistakes."""
    _check_ids(section)
    _check_places(section)
    _check_allowances(section)
    _check_references(section)
    _check_percentages(section)


def resolved(step: Step, earlier: Iterable[str], skus: Iterable[str]) -> Step:
    """An uplift whose names are told apart: SKUs, also those that only charges have, and ids of earlier adjustments."""
    if not isinstance(step, Uplift):
        return step
    known, ids = frozenset(skus), frozenset(earlier)
    of_adjustments = tuple(name for name in step.of_skus if name in ids and name not in known)
    return step._replace(of_skus=tuple(name for name in step.of_skus if name not in of_adjustments), of_adjustments=of_adjustments)


def fees_place(section: Section, account: str) -> bool:
    """Whether the pipeline says where an account's fees come."""
    return any(adjustment.type == "recurring" and applies(adjustment, account) for adjustment in section.adjustments)


def shown_by(section: Section, adjustment: AdjustmentDraft) -> list[str]:
    """The SKUs that come up with the charges of an adjustment, and that later ones may name."""
    accounts = [account for account in section.accounts if applies(adjustment, account.account)]
    if adjustment.type == "recurring":
        return [fee.own_sku.name for account in accounts for fee in account.fees if fee.own_sku is not None]
    if adjustment.type == "commitment":
        return [sku for account in accounts for commitment in account.commitments for sku in _own(commitment)]
    if adjustment.type not in ("minimum_spend", "uplift", "rounding"):
        return []
    return _own(adjustment)


def _own(part: AdjustmentDraft | TermDraft) -> list[str]:
    """The SKU as which a charge is shown: the chosen one, or its id; none of its own where it is that of the one SKU it is about."""
    if part.own_sku is not None:
        return [part.own_sku.name]
    return [] if len(part.skus) == 1 else [part.id]


def _check_ids(section: Section) -> None:
    """Ids are unique, within an account also those of its terms, and none is the name of an SKU: names in `of` and `skus` are plain."""
    mistakes = section.mistakes
    lines: dict[str, int] = {}
    for adjustment in section.adjustments:
        if adjustment.id in lines:
            what = f"adjustment id {quoted(adjustment.id)} is used twice, first in line {lines[adjustment.id]}"
            mistakes.add(adjustment.line, f"{what}; give this adjustment another id")
        elif adjustment.id:
            lines[adjustment.id] = adjustment.line
    default_fees = any(account.fees and not fees_place(section, account.account) for account in section.accounts)
    chosen = {part.own_sku.name: part.id for part in _parts(section) if part.own_sku is not None}
    for part in _parts(section):
        if part.id and (part.id in section.prices or chosen.get(part.id, part.id) != part.id):
            mistakes.add(part.line, f"id {quoted(part.id)} is also the name of an SKU; give it another id, so that names in lists are plain")
    for adjustment in section.adjustments:
        if default_fees and adjustment.id == DEFAULT_FEES:
            what = f"id {quoted(DEFAULT_FEES)} is that of the fees of accounts, which come first unless an adjustment of type recurring says where"
            mistakes.add(adjustment.line, f"{what}; give this adjustment another id")
    named: dict[str, int] = {}
    for account in section.accounts:
        if account.account in named:
            what = f"account {quoted(account.account)} is given twice, first in line {named[account.account]}"
            mistakes.add(account.line, f"{what}; put all of it in one place")
        elif account.account:
            named[account.account] = account.line
        own: dict[str, int] = {}
        for term in account.terms:
            first = lines.get(term.id) or own.get(term.id)
            if term.id and first:
                mistakes.add(term.line, f"id {quoted(term.id)} is used twice, first in line {first}; give this one another id")
            own.setdefault(term.id, term.line)


def _parts(section: Section) -> list[AdjustmentDraft | TermDraft]:
    """Everything that has an id."""
    return [*section.adjustments, *(term for account in section.accounts for term in account.terms)]


def _check_places(section: Section) -> None:
    """What accounts have comes in the pipeline, and once."""
    for number, adjustment in enumerate(section.adjustments):
        for earlier in section.adjustments[:number]:
            both = not earlier.accounts or not adjustment.accounts or set(earlier.accounts) & set(adjustment.accounts)
            if adjustment.type == earlier.type and adjustment.type in PLACES and both:
                what = f"adjustment {quoted(earlier.id)} (line {earlier.line}) says already where {PLACES[adjustment.type]} come"
                section.mistakes.add(adjustment.line, f"{what}; remove one of them, or give both `accounts` that differ")
    for account in section.accounts:
        for kind, terms in (("commitment", account.commitments), ("credits", account.credits)):
            if terms and not any(adjustment.type == kind and applies(adjustment, account.account) for adjustment in section.adjustments):
                what = f"account {quoted(account.account)} has {PLACES[kind]}, but no adjustment of type {kind} says where in the month they come"
                section.mistakes.add(terms[0].line, f"{what}; add `{{id: {kind}-step, type: {kind}}}` to `adjustments`")


def _check_allowances(section: Section) -> None:
    """An allowance is a quantity, so its SKUs have prices in its unit that quantities add up under; and it comes before reductions."""
    for number, adjustment in enumerate(section.adjustments):
        if adjustment.type != "allowance":
            continue
        for earlier in section.adjustments[:number]:
            if earlier.type in REDUCING and _meet(earlier, adjustment):
                what = f"allowances are worth what the prices make of them, before what {quoted(earlier.id)} (line {earlier.line}) takes off"
                section.mistakes.add(adjustment.line, f"{what}; write adjustment {quoted(adjustment.id)} above it")
                break
        if not isinstance(adjustment.step, Allowance):
            continue
        for reference in adjustment.skus:
            prices = section.prices.get(reference.name, ())
            units = sorted({unit for unit, _ in prices})
            if any(unit != adjustment.step.unit for unit in units):
                what = f"{quoted(reference.name)} is priced in {' and '.join(units)}, but the allowance is in {quoted(adjustment.step.unit)}"
                section.mistakes.add(reference.line, f"{what}; an allowance covers SKUs of one unit")
            for _, price in prices:
                if price is not None and price.selector:
                    what = f"{quoted(reference.name)} has price {quoted(price.id)} of model {price.model}, which has no one unit price"
                    section.mistakes.add(reference.line, f"{what}, so it is not said what an allowance of it is worth; leave this SKU out")


def _meet(one: AdjustmentDraft, other: AdjustmentDraft) -> bool:
    """Whether two adjustments may work on the same charges."""
    accounts = not one.accounts or not other.accounts or set(one.accounts) & set(other.accounts)
    skus = not one.skus or {reference.name for reference in one.skus} & {reference.name for reference in other.skus}
    return bool(accounts and skus)


def _check_references(section: Section) -> None:
    """Every name in a list is that of an SKU, or under `of` of an adjustment, and of what comes before."""
    places = {adjustment.id: adjustment.line for adjustment in section.adjustments if adjustment.id}
    later = {sku: adjustment for adjustment in reversed(section.adjustments) for sku in shown_by(section, adjustment)}
    known = {*section.prices}
    for account in section.accounts:
        if not fees_place(section, account.account):
            known |= {fee.own_sku.name for fee in account.fees if fee.own_sku is not None}
    earlier: set[str] = set()
    for adjustment in section.adjustments:
        for reference in adjustment.skus:
            _check_sku(section, reference, known, later, adjustment)
        for reference in adjustment.of:
            if reference.name == adjustment.id:
                section.mistakes.add(reference.line, f"`of` names {quoted(reference.name)} itself: its own amount cannot be part of it; leave it out")
            elif reference.name not in known and reference.name in places and reference.name not in earlier:
                what = f"`of` names {quoted(reference.name)} (line {places[reference.name]}), which is applied after {quoted(adjustment.id)}"
                section.mistakes.add(reference.line, f"{what}, so the two would go round in a circle; write it above, or leave it out")
            elif reference.name not in earlier:
                _check_sku(section, reference, known | earlier, later, adjustment)
        for account in section.accounts:
            if applies(adjustment, account.account):
                terms = {"commitment": account.commitments, "credits": account.credits}.get(adjustment.type, ())
                for reference in (reference for term in terms for reference in term.skus):
                    _check_sku(section, reference, known, later, adjustment)
        known.update(shown_by(section, adjustment))
        earlier.add(adjustment.id)


def _check_sku(
    section: Section, reference: Reference, known: set[str], later: Mapping[str, AdjustmentDraft], adjustment: AdjustmentDraft
) -> None:  # fmt: skip
    if reference.name in known:
        return
    shown = later.get(reference.name)
    if shown is not None:
        what = f"`{reference.key}` names {quoted(reference.name)}, a charge of {quoted(shown.id)} (line {shown.line})"
        section.mistakes.add(reference.line, f"{what}, which is not applied before {quoted(adjustment.id)}; write it above, or leave the name out")
        return
    close = get_close_matches(reference.name, sorted(known), 1)
    hint = f"did you mean `{close[0]}`?" if close else "name an SKU that has a price"
    section.mistakes.add(reference.line, f"`{reference.key}` names {quoted(reference.name)}, which is not known; {hint}")


def _check_percentages(section: Section) -> None:
    """No account has more percentages than amounts have room for."""
    for account in [None, *section.accounts]:
        count = 0
        for adjustment in section.adjustments:
            if account is not None and not applies(adjustment, account.account):
                continue
            count += isinstance(adjustment.step, Uplift) or (isinstance(adjustment.step, Discount) and adjustment.step.share is not None)
            if count > MOST_PERCENTAGES:
                section.mistakes.add(adjustment.line, f"more than {MOST_PERCENTAGES} percentages one after the other; put some of them together")
                return
        for term in account.commitments if account is not None else ():
            count += isinstance(term.term, Commitment) and bool(term.term.surcharge or term.term.discount)
            if count > MOST_PERCENTAGES:
                section.mistakes.add(term.line, f"more than {MOST_PERCENTAGES} percentages one after the other; put some of them together")
                return
