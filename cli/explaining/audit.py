"""The audit of a line item: statements that must hold, each with its verdict. Nothing is believed because it is stored.

A verdict "unknown" says what could not be compared, and why; it is never passed off as "equal".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec

from ...pricing.money import money, plain
from ...schemas.explanation import DIFFERS, EQUAL, UNKNOWN, Arithmetic, Check, Difference, Events
from ...schemas.line_item import PROVENANCE_FIELDS, RatedLineItem, encode_line_item
from ..counting import counted
from .facts import Facts, Written, period_of
from .recompute import Rerated
from .words import held_by

__all__ = ["by_hand", "corrections_of", "events", "indexed", "ordered", "product", "published", "recomputed", "samples", "unknown", "verdict"]

_COSTS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")


def verdict(checks: Iterable[Check]) -> str:
    """The verdict of all together: the gravest."""
    found = {check.verdict for check in checks}
    return DIFFERS if DIFFERS in found else UNKNOWN if UNKNOWN in found else EQUAL


def unknown(name: str, why: str) -> Check:
    """A statement that could not be tested."""
    return Check(name, UNKNOWN, why)


def product(item: RatedLineItem) -> Check:
    """quantity x unit price is each of the four costs, exactly."""
    fields = fields_of(item)
    if item.list_unit_price is None or item.pricing_quantity is None or item.x_withdrawn:
        wanted, says = "0", "it costs nothing" if item.x_withdrawn else "without a price it costs nothing"
    else:
        wanted = plain(money(item.pricing_quantity) * money(item.list_unit_price))
        says = f"{item.pricing_quantity} × {item.list_unit_price} = {wanted}"
    wrong = [Difference(name, fields.get(name), wanted) for name in _COSTS if fields.get(name) != wanted]
    return Check("quantity × unit price", DIFFERS if wrong else EQUAL, says, wrong)


def recomputed(item: RatedLineItem, made: RatedLineItem | None, usage: Rerated | None, impossible: str, facts: Facts) -> Check:
    """The line item made anew from the partition's state by the rating code is the stored one, in every field but its provenance."""
    name = "recomputed"
    if impossible:
        return unknown(name, f"not recomputed: {impossible}")
    source = "the usage of the account" if usage is None else counted(len(usage.entries), "window")
    if item.x_withdrawn:
        wrong = [] if made is None else [Difference("x_Withdrawn", "true", None), Difference("BilledCost", item.billed_cost, made.billed_cost)]
        says = "by the state there is no such line item: it is rightly withdrawn" if made is None else "withdrawn, but by the state it is there"
    elif made is None:
        wrong, says = [Difference("BilledCost", item.billed_cost, None)], "by the state there is no such line item"
    else:
        wrong = differences(fields_of(item), fields_of(made))
        says = f"recomputed from {source}: " + ("not equal to the stored line item" if wrong else "equal to the stored line item")
        later = corrections_of(facts, closed_only=True)
        if wrong and later and _sums_to(item, later, made):
            # When a month is closed, what was corrected in it counts as invoiced; so the line item alone is not what the state holds.
            return Check(name, EQUAL, f"recomputed from {source}: equal together with what was corrected since ({len(later):,})")
    return _judged(name, says, wrong, facts)


def _judged(name: str, says: str, wrong: list[Difference], facts: Facts) -> Check:
    """What a comparison of the line item with the state comes to: while the state moves, a difference proves nothing."""
    if wrong and not facts.settled:
        return Check(name, UNKNOWN, f"{says}; but the state changes faster than it can be read: ask again when there is less usage", wrong)
    return Check(name, DIFFERS if wrong else EQUAL, says, wrong)


def corrections_of(facts: Facts, closed_only: bool = False) -> list[RatedLineItem]:
    """Corrections of the line item, those of closed months only if asked for; oldest first."""
    own = facts.line_item_id
    found = [each for each in facts.related.values() if each.x_corrected_line_item_id == own and not each.x_withdrawn]
    if closed_only:
        found = [each for each in found if facts.is_closed(period_of(each))]
    return sorted(found, key=lambda each: (each.billing_period_start, each.x_line_item_id))


def _sums_to(item: RatedLineItem, later: Sequence[RatedLineItem], made: RatedLineItem) -> bool:
    cost = sum((money(each.billed_cost) for each in later), money(item.billed_cost))
    quantity = sum((money(each.pricing_quantity or "0") for each in later), money(item.pricing_quantity or "0"))
    return cost == money(made.billed_cost) and quantity == money(made.pricing_quantity or "0")


def by_hand(facts: Facts, arithmetic: Sequence[Arithmetic]) -> list[Check]:
    """The part of the arithmetic that is this line item comes to its cost."""
    item = facts.stored
    if item.x_withdrawn or item.x_corrected_line_item_id or not arithmetic:
        return []
    name = "arithmetic"
    amounts = [part.amount for each in arithmetic for part in each.parts if part.this]
    amounts = amounts or [step.amount for each in arithmetic for step in each.steps if step.this]
    if len(amounts) != 1:
        what = f"no part of the arithmetic is {item.x_adjustment or item.x_component}"
        return [_judged(name, what, [Difference("BilledCost", item.billed_cost, None)], facts)]
    if amounts[0] == item.billed_cost:
        return [Check(name, EQUAL, f"its part comes to {amounts[0]}, which is its cost")]
    return [_judged(name, f"its part comes to {amounts[0]}", [Difference("BilledCost", item.billed_cost, amounts[0])], facts)]


def published(facts: Facts) -> Check:
    """Some published price book holds the price that the line item names, in that version."""
    name, item = "price", facts.stored
    if not item.x_price_id:
        return Check(name, EQUAL, "it names no price")
    for each in facts.publications:
        if held_by(each, item) is not None:
            return Check(name, EQUAL, f"{item.x_price_id}, version {item.x_price_version}, is in the published book {each.digest[:12]}")
    wrong = [Difference("x_PriceVersion", item.x_price_version, None)]
    return Check(name, DIFFERS, f"no published price book holds {item.x_price_id} in version {item.x_price_version}", wrong)


def indexed(facts: Facts) -> Check:
    """Elasticsearch holds what usage.rated does."""
    name = "Elasticsearch"
    if facts.elasticsearch:
        return unknown(name, facts.elasticsearch)
    item, document = facts.stored, facts.indexed
    if not facts.written:
        wrong = [Difference("x_Revision", str(item.x_revision), None)]
        return Check(name, DIFFERS, "Elasticsearch has it, and usage.rated holds no revision of it", wrong)
    if document is None:
        return unknown(name, f"it is not there yet; revision {item.x_revision} is on usage.rated")
    if document.x_revision < item.x_revision:
        return unknown(name, f"it is behind: it has revision {document.x_revision} of {item.x_revision}")
    wrong = differences(fields_of(document), fields_of(item), all_fields=True)
    says = "it holds another line item than usage.rated" if wrong else f"it holds the same revision {item.x_revision}, field by field"
    return Check(name, DIFFERS if wrong else EQUAL, says, wrong)


def ordered(written: Sequence[Written]) -> Check:
    """Revisions only grow along the log."""
    numbers = [record.item.x_revision for record in written]
    if all(a < b for a, b in pairwise(numbers)):
        more = ", each greater than the one before" if len(numbers) > 1 else ""
        return Check("revisions", EQUAL, f"{len(numbers)} on usage.rated{more}")
    return Check("revisions", DIFFERS, f"revisions do not grow along the log: {', '.join(map(str, numbers))}")


def events(found: Decimal, expected: Decimal, about: Events, facts: Facts) -> Check:
    """The events that count add up to the usage behind the line item."""
    name = "events"
    what = f"{about.counted:,} event{' adds' if about.counted == 1 else 's add'} up to {plain(found)}"
    if found == expected:
        return Check(name, EQUAL, f"{what}, the usage that was rated")
    if about.note:
        return unknown(name, f"{what} of {plain(expected)}; {about.note}")
    wrong = [Difference("quantity", plain(expected), plain(found))]
    return _judged(name, f"{what}, and {plain(expected)} was rated", wrong, facts)


def samples(found: Decimal, kept: tuple[int, Decimal] | None, about: Events, facts: Facts, invoiced: bool) -> Check:
    """The events that count are the samples that the meter keeps: as many, and with the same sum."""
    name = "events"
    if kept is None:
        return unknown(name, "its meters do not add events up; explain the line items of its windows")
    count, total = kept
    what = f"{about.counted:,} event{' reads' if about.counted == 1 else 's read'} {plain(found)}"
    if (about.counted, found) == (count, total):
        return Check(name, EQUAL, f"{what}, as the samples that the meter keeps do")
    says = f"{what}, and the meter keeps {count:,} samples of {plain(total)}"
    if about.note or invoiced:
        return unknown(name, f"{says}; {about.note or 'some may have come after the month was closed'}")
    return _judged(name, says, [Difference("quantity", plain(total), plain(found))], facts)


def fields_of(item: RatedLineItem) -> dict[str, Any]:
    """A line item as it is written."""
    fields: dict[str, Any] = msgspec.json.decode(encode_line_item(item))
    return fields


def differences(stored: dict[str, Any], expected: dict[str, Any], all_fields: bool = False) -> list[Difference]:
    """Fields that are not the same; those of its provenance only if asked for."""
    names = [name for name in dict.fromkeys([*stored, *expected]) if all_fields or name not in PROVENANCE_FIELDS]
    return [Difference(name, _text(stored.get(name)), _text(expected.get(name))) for name in names if stored.get(name) != expected.get(name)]


def _text(value: Any) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)

