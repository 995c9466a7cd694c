"""The sections `adjustments` and `accounts` of a tariff file: from YAML to the terms of every account."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any

from ..book_form import Form
from ..exchange import ExchangeRates
from ..money import plain
from ..price import Price
from .accounts_form import AccountDraft, read_account
from .adjustments_form import read_adjustment
from .contracts import NO_CONTRACTS, Contracts
from .terms import Commitment, Commitments, Credit, Credits, Fee, Fees, Step, Terms
from .terms_checks import DEFAULT_FEES, Section, applies, check_section, fees_place, resolved, shown_by

__all__ = ["read_accounts", "read_contracts"]


def read_accounts(form: Form, currency: str) -> list[AccountDraft]:
    """Read the section `accounts` from the root of the file, as far as that goes. currency: of the book."""
    listed = form.list_of("accounts", "[{account: acct-1, currency: EUR}]")
    found = [read_account(node, number, currency, form.mistakes) for number, node in enumerate(listed.items if listed else (), 1)]
    return [draft for draft in found if draft]


def read_contracts(
    form: Form, currency: str, accounts: Sequence[AccountDraft], prices: Iterable[tuple[str, str, Price | None]], rates: ExchangeRates
) -> Contracts:
    """Read the section `adjustments` from the root of the file, and put it together with the accounts.

    Everything wrong goes to the mistakes of the form; the answer is of no use where it has any. currency: of the book. prices:
    (sku, unit, price) of everything that the book prices; None for a price with something wrong.
    """
    if not form.has("adjustments") and not form.has("accounts"):
        return NO_CONTRACTS
    listed = form.list_of("adjustments", "[{id: partner, type: discount, percent: \"10\"}]")
    adjustments = [read_adjustment(node, number, form.mistakes) for number, node in enumerate(listed.items if listed else (), 1)]
    by_sku: dict[str, list[tuple[str, Price | None]]] = {}
    for sku, unit, price in prices:
        by_sku.setdefault(sku, []).append((unit, price))
    section = Section([draft for draft in adjustments if draft], accounts, by_sku, form.mistakes)
    check_section(section)
    return NO_CONTRACTS if form.mistakes else _contracts(section, currency, rates)


def _contracts(section: Section, currency: str, rates: ExchangeRates) -> Contracts:
    """The terms of every account, from sections without a mistake."""
    steps = _steps(section)
    general = [step for adjustment, step in zip(section.adjustments, steps, strict=True) if not adjustment.accounts]
    own = {account.account: account for account in section.accounts}
    by_account: dict[str, Terms | None] = {}
    for name in sorted({*own, *(account for adjustment in section.adjustments for account in adjustment.accounts)}):
        account = own.get(name) or AccountDraft(0, name, currency, 0, (), (), ())
        held = [step for adjustment, step in zip(section.adjustments, steps, strict=True) if applies(adjustment, name)]
        if account.fees and not fees_place(section, name):
            held.insert(0, Fees(DEFAULT_FEES))
        by_account[name] = _terms(account, held, None if account.currency == currency else rates)
    everyone = _terms(AccountDraft(0, "", currency, 0, (), (), ()), general, None)
    # An account that used nothing is only looked at when it is named here, so those with a minimum of their own are.
    named = {*own, *(account for adjustment in section.adjustments if adjustment.unused for account in adjustment.accounts)}
    content = {
        "general": everyone.digest if everyone else "",
        "accounts": {name: terms.digest if terms else "" for name, terms in by_account.items()},
        "named": sorted(named),
    }
    currencies = {account.account: account.currency for account in section.accounts if account.currency != currency}
    pipeline = tuple((step, adjustment.accounts) for adjustment, step in zip(section.adjustments, steps, strict=True))
    return Contracts(_digest(content), everyone, MappingProxyType(by_account), tuple(sorted(named)), MappingProxyType(currencies), pipeline)


def _steps(section: Section) -> list[Step]:
    """The step of each adjustment, with the names in `of` told apart."""
    known = {*section.prices, *(fee.own_sku.name for account in section.accounts for fee in account.fees if fee.own_sku is not None)}
    earlier: list[str] = []
    steps = []
    for adjustment in section.adjustments:
        if adjustment.step is None:
            raise ValueError(f"adjustment {adjustment.id} was not read")
        steps.append(resolved(adjustment.step, earlier, known))
        known.update(shown_by(section, adjustment))
        earlier.append(adjustment.id)
    return steps


def _terms(account: AccountDraft, steps: Sequence[Step], exchange: ExchangeRates | None) -> Terms | None:
    """The terms of one account; None when nothing is left to do. Places for what the account does not have are left out."""
    fees = tuple(draft.term for draft in account.fees if isinstance(draft.term, Fee))
    commitments = tuple(draft.term for draft in account.commitments if isinstance(draft.term, Commitment))
    credits = tuple(draft.term for draft in account.credits if isinstance(draft.term, Credit))
    empty = tuple(kind for kind, held in ((Fees, fees), (Commitments, commitments), (Credits, credits)) if not held)
    kept = tuple(step for step in steps if not isinstance(step, empty))
    if not kept:
        return None
    rates = [] if exchange is None else [[rate.month, plain(rate.rate)] for rate in exchange.of(account.currency)]
    parts = [[type(part).__name__, definition(part)] for part in (*kept, *fees, *commitments, *credits)]
    return Terms(_digest([account.currency, rates, parts]), account.currency, kept, fees, commitments, credits, exchange)


def definition(part: Step | Fee | Commitment | Credit) -> dict[str, Any]:
    """The fields that say something: a later Ratemill with more options finds the same digests."""
    defaults: dict[str, Any] = part._field_defaults
    return {key: value for key, value in part._asdict().items() if key not in defaults or value != defaults[key]}


def _digest(content: object) -> str:
    text = json.dumps(content, default=plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
