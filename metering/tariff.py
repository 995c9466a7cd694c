"""The tariff: price book and meters together, from one YAML file or from two, and in agreement with each other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

from ..pricing.book import EMPTY_BOOK, PriceBook, read_book
from ..pricing.book_form import quoted
from ..pricing.book_yaml import Mistakes, Table, read_yaml
from ..pricing.price import Price
from ..schemas.errors import BadPriceBook
from .meter import EMPTY_METERS, Meter, Meters, make_meters
from .meters_form import Draft, meters_node, read_drafts

__all__ = ["EMPTY_TARIFF", "Remark", "Tariff", "make_tariff", "parse_tariff"]

LENGTHS = ("minute", "hour", "day", "month")


class Tariff(NamedTuple):
    """What decides about line items. digest: over book and meters; that of the book when there are no meters."""

    book: PriceBook
    meters: Meters
    digest: str


class Remark(NamedTuple):
    """What is to be said of an entry of a tariff. entry: the keys and ids that lead to it, as ("accounts", "acct-1", "credits", "g1")."""

    entry: tuple[str, ...]
    text: str


def make_tariff(book: PriceBook, meters: Meters = EMPTY_METERS) -> Tariff:
    """A tariff of parts that agree."""
    if not meters.all:
        return Tariff(book, meters, book.digest)
    return Tariff(book, meters, hashlib.sha256(json.dumps([book.digest, meters.digest]).encode()).hexdigest())


EMPTY_TARIFF = make_tariff(EMPTY_BOOK)


def parse_tariff(text: str | bytes, name: str, meters_text: str | bytes | None = None, meters_name: str | None = None) -> Tariff:
    """Read a tariff, its meters optionally from a second file. name, meters_name: the files, for messages.

    Raises BadPriceBook with every mistake of both at once, by file and line.
    """
    mistakes = Mistakes(name)
    of_meters = mistakes
    root = read_yaml(text, mistakes)
    node = None
    if isinstance(root, Table) and "meters" in root.entries:
        line, node = root.entries["meters"]
        root = Table(root.line, {key: value for key, value in root.entries.items() if key != "meters"})
        if meters_text is not None:
            mistakes.add(line, f"`meters` stand here and in {meters_name or 'a file of their own'}; keep one of them")
    if meters_text is not None:
        of_meters = Mistakes(meters_name or "meters")
        node = meters_node(read_yaml(meters_text, of_meters), of_meters)
    book = read_book(root, mistakes)
    drafts = [] if node is None else read_drafts(node, of_meters)
    if book is not None and not mistakes and not of_meters:
        for draft in drafts:
            _check_prices(draft, book, of_meters)
    found = mistakes.sorted_lines() + (of_meters.sorted_lines() if of_meters is not mistakes else [])
    if found or book is None:
        raise BadPriceBook(found)
    return make_tariff(book, make_meters(draft.meter for draft in drafts))


def _check_prices(draft: Draft, book: PriceBook, mistakes: Mistakes) -> None:
    """The prices of a meter's SKU are in its unit, and ask for nothing that its windows and groups leave out."""
    meter = draft.meter
    units = book.units_of(meter.sku)
    if meter.unit and units and meter.unit not in units:
        what = f"meter {quoted(meter.id)} gives {quoted(meter.sku)} in {quoted(meter.unit)}, and it has prices in {_listed(units)} only"
        mistakes.add(draft.unit_line, f"{what}; convert to the unit of the price, or correct one of them")
    for price in book.prices:
        if price.sku == meter.sku and meter.unit in ("", price.unit):
            _check_price(draft, meter, price, mistakes)


def _check_price(draft: Draft, meter: Meter, price: Price, mistakes: Mistakes) -> None:
    window = "hour" if meter.calendar is None else str(meter.calendar.window)
    what = f"meter {quoted(meter.id)} has windows of a {window}, and price {quoted(price.id)} of its SKU"
    if LENGTHS.index(window) > LENGTHS.index(price.accumulate):
        mistakes.add(draft.line, f"{what} accumulates by the {price.accumulate}; give the meter shorter windows")
    if price.schedule is not None and window in ("day", "month"):
        mistakes.add(draft.line, f"{what} goes by the time of day; give the meter shorter windows")
    missing = [name for name in _needed(price) if not _grouped(meter, name)]
    if missing:
        what = f"price {quoted(price.id)} asks for {_listed(missing)}, by which meter {quoted(meter.id)} does not group"
        mistakes.add(draft.line, f"{what}; add it to `group_by`")


def _needed(price: Price) -> list[str]:
    """What a price looks at in an entry: region, resource, dimensions.x."""
    names = [] if price.matrix is None else list(price.matrix.dimensions)
    return [*names, f"dimensions.{price.price_field}"] if price.price_field else names


def _grouped(meter: Meter, name: str) -> bool:
    group = meter.group_by
    if name in ("region", "resource"):
        return group.region if name == "region" else group.resource
    return group.dimensions is None or name.removeprefix("dimensions.") in group.dimensions


def _listed(names: Iterable[str]) -> str:
    return ", ".join(quoted(name) for name in sorted(names))
