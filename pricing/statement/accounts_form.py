"""The section `accounts` of a tariff file: what one account has of its own, or mistakes with their lines."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from ..book_form import Form, quoted
from ..book_yaml import Mistakes, Node, Table, kind_of
from ..exchange import read_currency
from ..money import ZERO
from .form_parts import PRORATE, Reference, digits_of, due_always, named, one_of, period, share_of
from .terms import FOREVER, Commitment, Credit, Fee

__all__ = ["AccountDraft", "TermDraft", "read_account"]

ACCOUNT_KEYS = ("account", "currency", "description", "recurring", "commitments", "credits")
FEE_KEYS = ("id", "sku", "amount", "prorate", "digits", "effective_from", "effective_to", "description")
COMMITMENT_KEYS = (
    "id", "amount", "per", "skus", "sku", "prepaid", "due", "overage", "prorate", "digits", "effective_from", "effective_to", "description",
)  # fmt: skip
CREDIT_KEYS = ("id", "amount", "effective_from", "expires", "skus", "discount", "prepaid", "sku", "description")
OVERAGE_KEYS = ("surcharge", "discount")
ALL_SKUS = "remove this line to mean every SKU"


class TermDraft(NamedTuple):
    """A fee, a commitment or a credit as far as it could be read."""

    line: int
    id: str
    skus: tuple[Reference, ...]
    own_sku: Reference | None
    term: Fee | Commitment | Credit | None  # None: something was wrong


class AccountDraft(NamedTuple):
    """An account as far as it could be read."""

    line: int
    account: str
    currency: str
    currency_line: int
    fees: tuple[TermDraft, ...]
    commitments: tuple[TermDraft, ...]
    credits: tuple[TermDraft, ...]

    @property
    def terms(self) -> tuple[TermDraft, ...]:
        """Everything that has an id."""
        return (*self.fees, *self.commitments, *self.credits)


def read_account(node: Node, number: int, book_currency: str, mistakes: Mistakes) -> AccountDraft | None:
    """Read item `number` of `accounts`, counted from 1. Everything wrong in it goes to `mistakes`."""
    if not isinstance(node, Table):
        mistakes.add(node.line, f"account {number} is {kind_of(node)}, but must be a map with account")
        return None
    form = Form(node, f"account {number}", mistakes)
    form.require("account", "acct-1")
    account = form.text("account", "acct-1")
    if account:
        form.what = f"account {quoted(account)}"
    form.check_keys(ACCOUNT_KEYS)
    currency, currency_line = read_currency(form, "EUR", book_currency), form.line("currency")
    form.text("description", "Acme, Berlin", limit=1024)
    fees = _listed(form, "recurring", '[{id: platform, sku: acme.platform, amount: "500"}]', FEE_KEYS, "fee", _fee)
    commitments = _listed(form, "commitments", '[{id: c-2026, amount: "1000", per: month}]', COMMITMENT_KEYS, "commitment", _commitment)
    example = '[{id: g1, amount: "5000", effective_from: 2026-01-01T00:00:00Z, expires: 2027-01-01T00:00:00Z}]'
    credits = _listed(form, "credits", example, CREDIT_KEYS, "credit", _credit)
    return AccountDraft(node.line, account, currency, currency_line, fees, commitments, credits)


Reader = Callable[[Form, str, tuple[str, ...], str], Fee | Commitment | Credit]


def _listed(form: Form, key: str, example: str, keys: tuple[str, ...], name: str, reader: Reader) -> tuple[TermDraft, ...]:
    """The items of one of the lists of an account."""
    listed = form.list_of(key, example)
    found = []
    for number, node in enumerate(listed.items if listed else (), 1):
        if not isinstance(node, Table):
            form.mistakes.add(node.line, f"{name} {number} of {form.what} is {kind_of(node)}, but must be a map with id and amount")
            continue
        before = len(form.mistakes)
        part = Form(node, f"{name} {number} of {form.what}", form.mistakes)
        part.require("id", f"{name}-{number}")
        own_id = part.text("id", f"{name}-{number}")
        if own_id:
            part.what = f"{name} {quoted(own_id)} of {form.what}"
        part.check_keys(keys)
        part.require("amount", '"500"')
        skus = tuple(named(part, "skus", "[acme.storage]", ALL_SKUS)) if "skus" in keys else ()
        sku = part.text("sku", "acme.platform")
        term = reader(part, own_id, tuple(reference.name for reference in skus), sku)
        own_sku = Reference("sku", part.line("sku"), sku) if sku else None
        found.append(TermDraft(node.line, own_id, skus, own_sku, None if len(form.mistakes) > before else term))
    return tuple(found)


def _amount(form: Form) -> Decimal:
    return form.number("amount", "500", above_zero=True) or ZERO


def _label(form: Form) -> str:
    return form.text("description", "Platform fee", limit=1024)


def _fee(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Fee:
    form.require("sku", "acme.platform")
    prorate, digits = _proration(form)
    since, until = period(form)
    return Fee(own_id, sku, _amount(form), prorate, digits, since, until, _label(form))


def _proration(form: Form) -> tuple[str, int]:
    prorate = form.choice("prorate", PRORATE, "second")
    if prorate == "none" and form.has("digits"):
        form.wrong("digits", "`digits` is kept of a part of a month, and `prorate: none` makes none; remove this line")
    return prorate, digits_of(form, 9)


def _commitment(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Commitment:
    form.require("per", "month")
    form.choice("per", ("month",), "month")
    prorate, digits = _proration(form)
    since, until = period(form)
    prepaid = form.flag("prepaid")
    if prepaid and form.has("due"):
        form.wrong("due", "`due` says when a shortfall is shown, and a prepaid commitment has none: it is charged whole; remove one of them")
    surcharge = discount = ZERO
    table = form.table_of("overage", '{surcharge: "20"}')
    if table is not None:
        part = Form(table, f"overage of {form.what}", form.mistakes)
        part.check_keys(OVERAGE_KEYS)
        if one_of(part, ("surcharge", "discount"), ('"20"', '"10"')):
            surcharge, discount = share_of(part, "surcharge", "20", 1_000) or ZERO, share_of(part, "discount", "10", 100) or ZERO
    # A shortfall of one SKU is that SKU's; of several, or of all, it is an SKU of its own.
    shown = sku or (skus[0] if len(skus) == 1 else own_id)
    return Commitment(
        own_id, shown, _amount(form), skus, prepaid, due_always(form), surcharge, discount, prorate, digits, since, until, _label(form)
    )  # fmt: skip


def _credit(form: Form, own_id: str, skus: tuple[str, ...], sku: str) -> Credit:
    form.require("effective_from", "2026-01-01T00:00:00Z")
    since, until = period(form, "expires")
    prepaid = form.flag("prepaid")
    if form.has("sku") and not prepaid:
        form.wrong("sku", "`sku` is what the purchase of a prepaid credit is shown as, and this one is not `prepaid: true`; remove this line")
    discount = share_of(form, "discount", "10", 100, above_zero=False) or ZERO
    return Credit(own_id, _amount(form), since, FOREVER if until is None else until, skus, discount, prepaid, sku or own_id, _label(form))
