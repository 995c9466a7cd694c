"""The parts of an explanation that are told, not computed: what the line item is, its price, its revisions and their causes."""

from __future__ import annotations

from ...pricing.price import SINCE_ALWAYS, Price
from ...schemas.control import Amend, BackfillClose, BackfillOpen, BackfillRevert, Close, Request, Rerate
from ...schemas.explanation import CorrectionShown, PriceFacts, Published, Revision, Subject, Terms
from ...schemas.line_item import RatedLineItem
from ...schemas.times import NS, format_time
from ..prices import in_words
from .facts import Facts, Publication, Written, period_of
from .recompute import kind_of

__all__ = ["cause_in_words", "correction", "held_by", "price_facts", "revision", "revisions_note", "subject", "terms_facts", "why_unpriced"]

_REQUESTS: dict[type, str] = {
    Close: "close of a period",
    Amend: "amended event",
    BackfillOpen: "backfill opened",
    BackfillClose: "backfill closed",
    BackfillRevert: "backfill reverted",
    Rerate: "rerating",
}


def subject(facts: Facts) -> Subject:
    """What the line item is."""
    item = facts.stored
    status, words = _status(facts, item)
    return Subject(
        line_item_id=item.x_line_item_id, revision=item.x_revision, account=item.billing_account_id, sku=item.sku_id, kind=kind_of(item),
        component=item.x_component, adjustment=item.x_adjustment, description=item.charge_description or "", category=item.charge_category,
        charge_class=item.charge_class or "", charge_period_start=item.charge_period_start, charge_period_end=item.charge_period_end,
        billing_period=facts.period, status=status, status_in_words=words, corrects_period=item.x_corrected_period,
        corrects_line_item=item.x_corrected_line_item_id, region=item.region_id or "", resource=item.resource_id or "",
        dimensions=item.x_dimensions, provider=item.x_usage_provider, quantity=item.pricing_quantity or "", unit=item.pricing_unit or "",
        unit_price=item.list_unit_price or "", cost=item.billed_cost, currency=item.billing_currency,
        pricing_currency=item.x_pricing_currency, exchange_rate=item.x_exchange_rate,
    )  # fmt: skip


def _status(facts: Facts, item: RatedLineItem) -> tuple[str, str]:
    if item.x_withdrawn:
        return "withdrawn", "restating left it empty; it stands for nothing"
    if not facts.is_closed(facts.period):
        return "estimate", "the period is open, later usage may change it"
    found = facts.close_of(facts.period)
    by = "" if found is None else f" on {format_time(found[0].at_ns // NS * NS)} by {found[0].author}: {found[0].reason}"
    return "final", f"the period was closed{by}"


def held_by(publication: Publication, item: RatedLineItem) -> Price | None:
    """The price that a line item names, by id and version, if the book has it."""
    book = publication.rates.book
    for unit in sorted(book.units_of(item.sku_id)):
        for price in book.series(item.sku_id, unit, item.billing_account_id):
            if (price.id, price.version) == (item.x_price_id, item.x_price_version):
                return price
    return None


def price_facts(facts: Facts) -> PriceFacts | None:
    """The price that the line item names, as the last book has it that does; None when it names none, or one that is nowhere."""
    item, in_force = facts.stored, facts.in_force
    held = [(each, price) for each in facts.publications if (price := held_by(each, item)) is not None] if item.x_price_id else []
    if not held:
        return None
    price = held[-1][1]
    return PriceFacts(
        id=price.id,
        version=price.version,
        model=price.model,
        unit=price.unit,
        currency=price.currency,
        accumulate=price.accumulate,
        effective_from="always" if price.effective_from == SINCE_ALWAYS else format_time(price.effective_from),
        effective_to="" if price.effective_to is None else format_time(price.effective_to),
        in_words=in_words(price._replace(accounts=(item.billing_account_id,)) if facts.confidential and price.accounts else price).splitlines(),
        introduced=_published(held[0][0]),
        in_force=None if in_force is None else _published(in_force),
        held=in_force is not None and held_by(in_force, item) is not None,
    )


def terms_facts(facts: Facts) -> Terms | None:
    """The terms of the account behind a charge of it; None for usage, and where the book in force has none."""
    item = facts.stored
    book = facts.in_force
    if book is None or kind_of(item) != "account":
        return None
    if (closed := facts.publication(facts.closed_book)) is not None and facts.is_closed(facts.period):
        book = closed
    terms = book.rates.of(item.billing_account_id).terms
    if terms is None:
        return None
    same = (each for each in facts.publications if (its := each.rates.of(item.billing_account_id).terms) is not None and its.digest == terms.digest)
    introduced = next(same, None)
    steps = [step.id for step in terms.steps]
    return Terms(terms.digest, terms.currency, steps, None if introduced is None else _published(introduced), _published(book))


def _published(book: Publication) -> Published:
    return Published(book.digest, book.name, book.author, book.reason, format_time(book.published_at_ns // NS * NS))


def why_unpriced(facts: Facts) -> str:
    """Why a line item has no price."""
    item, book = facts.stored, facts.in_force
    if book is None or not book.rates.book.prices:
        return "no price book is in force"
    units, unit = sorted(book.rates.book.units_of(item.sku_id)), item.consumed_unit or ""
    if facts.confidential:  # units in which others alone have a price
        units = [each for each in units if book.rates.book.series(item.sku_id, each, item.billing_account_id)]
    if not units:
        return f"the price book in force has no price for the SKU {item.sku_id}"
    if unit not in units:
        return f"the price book in force has prices for {item.sku_id} in {', '.join(units)}, and this usage is in {unit}"
    return f"the prices of {item.sku_id} in {unit} leave this usage out: look at when they are in effect, for which accounts, and at their cells"


def revision(facts: Facts, record: Written) -> Revision:
    """A revision as it stands on usage.rated."""
    item = record.item
    return Revision(
        item.x_revision, format_time(record.written_at_ms * 1_000_000), record.offset, item.pricing_quantity or "", item.billed_cost,
        item.x_withdrawn, item.x_cause, cause_in_words(item.x_cause, facts),
    )  # fmt: skip


def correction(item: RatedLineItem) -> CorrectionShown:
    """A correction of the line item."""
    return CorrectionShown(item.x_line_item_id, period_of(item), item.pricing_quantity or "", item.billed_cost)


def cause_in_words(cause: str, facts: Facts) -> str:
    """What a cause on a line item means, and who answers for it."""
    kind, _, name = cause.partition(":")
    if not cause:
        return "usage"
    if kind == "price_book":
        book = next((each for each in facts.publications if each.digest.startswith(name)), None)
        return f"price book {name}" + (f" by {book.author}: {book.reason}" if book else ", which is not on the topic")
    if kind == "control":
        request: Request | None = facts.requests.get(name)
        if request is None:
            return f"request {name}, which is not on the topic"
        return f"{_REQUESTS.get(type(request), 'request')} {name[:8]} by {request.author}: {request.reason}"
    return cause


def revisions_note(facts: Facts) -> str:
    """What can be said of revisions that are not there."""
    if not facts.written:
        return "usage.rated holds no revision of it"
    if len(facts.written) == 1:
        return "usage.rated is compacted: earlier revisions may be gone from it"
    # Compaction leaves at most one record of a key in what it has cleaned, and takes none from what it has not.
    return "usage.rated is compacted: revisions before the first one here may be gone; after it none is missing"
