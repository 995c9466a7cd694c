"""What is different between two price books, price by price and with the line of the file: for `prices diff`, `history`, `publish`.

Prices are compared as they were read, so formatting changes nothing (`0.10` is `0.1`, widths are bounds). Whatever else a file
holds (meters, adjustments, accounts, exchange rates) is compared as it is written, entry by entry and by its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from ..pricing.book import PriceBook
from ..pricing.book_yaml import Node, Seq, Table
from ..pricing.models import tier_name
from ..pricing.money import money, plain
from ..pricing.price import SINCE_ALWAYS, Price
from ..schemas.times import format_time
from .prices import in_words
from .prices_places import entry_lines, entry_name, sections
from .prices_sources import Source

__all__ = ["Change", "as_json", "changes", "edits_in_place"]

# Not a difference of the definition: the id is what prices are paired by, the version is a digest of the rest, and where a
# price ends is told by itself.
_APART = frozenset({"id", "version", "effective_to"})
SINGULAR = {"meters": "meter", "adjustments": "adjustment", "accounts": "account", "exchange_rates": "exchange rate"}
_LAST = 2**31  # a line behind all lines
EARLIEST_NS = -(2**62)  # before any usage; a price that has held since always holds there too


class Change(NamedTuple):
    """One thing that is different. details: one line each."""

    kind: str  # added | changed | ended | extended | removed
    where: str  # file:line, in the new file unless it is gone from there
    what: str  # "price storage-2026"
    about: str  # "acme.storage, GB-Mo"
    details: tuple[str, ...]


def changes(old: Source, new: Source) -> list[Change]:
    """Everything that is different, in the order of the new file; what is gone comes last."""
    old_lines, new_lines = entry_lines(old.text, old.name), entry_lines(new.text, new.name)
    before = {price.id: price for price in old.book.prices}
    after = {price.id: price for price in new.book.prices}
    found: list[tuple[int, Change]] = []
    for price_id, price in after.items():
        line = new_lines.get(("prices", price_id), 0)
        found += [(line, change) for change in _price_changes(before.get(price_id), price, f"{new.name}:{line}", new.book)]
    found += _other_changes(old, new)
    found.sort(key=lambda pair: pair[0])
    gone = [price for price in before.values() if price.id not in after]
    for price in gone:
        where = f"{old.name}:{old_lines.get(('prices', price.id), 0)}"
        details = (f"begin {_since(price)}, end {_until(price)}", *_amounts(price))
        found.append((_LAST, Change("removed", where, f"price {price.id}", _about(price), details)))
    return [change for _, change in found]


def as_json(change: Change) -> dict[str, Any]:
    """A change as JSON."""
    return change._asdict()


def edits_in_place(old: Source, new: Source, now_ns: int) -> list[str]:
    """Why `new` may not simply follow `old`: what it says of published prices would change what was rated already.

    One line each, `file:line: what; what to do`. Prices that begin later may be added, and a price may get an end that is still
    to come: nothing that was rated changes.
    """
    lines = entry_lines(new.text, new.name)
    after = {price.id: price for price in new.book.prices}
    known = {price.id for price in old.book.prices}
    found = [(lines.get(("prices", price.id), 1), why) for price in old.book.prices if (why := _edit(price, after.get(price.id), now_ns))]
    for price in new.book.prices:
        if price.id in known or price.effective_from >= now_ns:
            continue
        holds = old.book.price_at(price.sku, price.unit, max(price.effective_from, EARLIEST_NS), price.accounts[0] if price.accounts else "")
        if holds is not None:
            what = f"price `{price.id}` begins {_since(price)}, where price `{holds.id}` was published"
            found.append((lines.get(("prices", price.id), 1), f"{what}; let it begin later"))
    return [f"{new.name}:{line}: {what}, or say --restate to have the usage since then rated again" for line, what in sorted(found)]


def _edit(old: Price, new: Price | None, now_ns: int) -> str:
    """What was done to a published price that must not be done, and what to do instead; "" for nothing."""
    name = f"price `{old.id}`"
    begun = old.effective_from < now_ns
    if new is None:
        return f"{name} was published and is gone; put it back, with an effective_to if it is to end" if begun else ""
    if new.effective_from != old.effective_from:
        what = f"{name} was published to begin {_since(old)}, and now begins {_since(new)}"
        return f"{what}; restore it, and give the other one an id of its own" if min(old.effective_from, new.effective_from) < now_ns else ""
    if edited := _differences(old, new):
        return f"{name} was published with another definition ({edited[0]}); restore it, and add a price that begins later"
    # An end that comes from a successor is the successor's matter.
    if new.version != old.version and _end(new) != _end(old) and min(_end(new), _end(old)) < now_ns:
        return f"{name} was published with the end {_until(old)}, and now ends {_until(new)}, which is not to come; restore it"
    return ""


# -- prices ----------------------------------------------------------------------------------------------------------


def _price_changes(old: Price | None, new: Price, where: str, book: PriceBook) -> Iterator[Change]:
    what, about = f"price {new.id}", _about(new)
    if old is None:
        yield Change("added", where, what, about, (f"begin {_since(new)}", *_amounts(new)))
        return
    if differences := _differences(old, new):
        yield Change("changed", where, what, about, tuple(differences))
    if _end(new) != _end(old):
        kind = "ended" if _end(new) < _end(old) else "extended"
        details = [f"end {_until(old)} → {_until(new)}"]
        if follows := [p.id for p in book.prices if (p.sku, p.unit) == (new.sku, new.unit) and p.effective_from == new.effective_to]:
            details.append(f"price {follows[0]} follows")
        yield Change(kind, where, what, about, tuple(details))


def _about(price: Price) -> str:
    return f"{price.sku}, {price.unit}"


def _amounts(price: Price) -> list[str]:
    return in_words(price).splitlines()


def _since(price: Price) -> str:
    return "always" if price.effective_from == SINCE_ALWAYS else format_time(price.effective_from)


def _until(price: Price) -> str:
    return "open" if price.effective_to is None else format_time(price.effective_to)


def _end(price: Price) -> int:
    return 2**63 if price.effective_to is None else price.effective_to


def _differences(old: Price, new: Price) -> list[str]:
    """Each field that differs, old → new."""
    return _arrows(_flat(old), _flat(new))


def _arrows(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """`path old → new` of each value that differs."""
    paths = dict.fromkeys([*before, *after])
    return [f"{path} {before.get(path, 'none')} → {after.get(path, 'none')}".strip() for path in paths if before.get(path) != after.get(path)]


def _flat(price: Price) -> dict[str, str]:
    """Every field of a price, whatever fields a model has: path -> text."""
    fields: dict[str, str] = {}
    for name, value in zip(price._fields, price, strict=True):
        if name == "effective_from":
            fields["begin"] = _since(price)
        elif name == "tiers":
            for index, tier in enumerate(price.tiers):
                for part, content in tier._asdict().items():
                    label = "up_to" if part == "upper" else part
                    _flatten(f"{tier_name(price, index)} {label}", "no bound" if part == "upper" and content is None else content, fields)
        elif name not in _APART:
            _flatten(name, value, fields)
    return fields


def _flatten(path: str, value: Any, fields: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        for key, content in value.items():
            _flatten(f"{path} {key}", content, fields)
    elif isinstance(value, tuple) and hasattr(value, "_asdict"):
        _flatten(path, value._asdict(), fields)
    elif isinstance(value, tuple | list):
        for index, content in enumerate(value, 1):
            _flatten(f"{path} {index}", content, fields)
    elif isinstance(value, bool):
        fields[path] = str(value).lower()
    elif isinstance(value, Decimal):
        fields[path] = plain(value)
    else:
        fields[path] = "none" if value is None or value == "" else str(value)


# -- everything else -------------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """An entry of a section: where it stands, and its values by path."""

    file: str
    line: int
    values: dict[str, str]

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


def _other_changes(old: Source, new: Source) -> list[tuple[int, Change]]:
    """Differences of all sections but the prices, by entries."""
    before, after = _entries(old), _entries(new)
    found: list[tuple[int, Change]] = []
    for section, entry in dict.fromkeys([*before, *after]):
        was, now = before.get((section, entry)), after.get((section, entry))
        # "meters" hold entries named by their ids: one of them is "meter x".
        what = f"{SINGULAR.get(section, section)} {entry}".strip()
        if now is None and was is not None:
            found.append((_LAST, Change("removed", was.where, what, "", ())))
        elif was is None and now is not None:
            found.append((now.line, Change("added", now.where, what, "", tuple(f"{k} {v}".strip() for k, v in now.values.items()))))
        elif was is not None and now is not None and was.values != now.values:
            found.append((now.line, Change("changed", now.where, what, "", tuple(_arrows(was.values, now.values)))))
    return found


def _entries(source: Source) -> dict[tuple[str, str], _Entry]:
    """(section, name of the entry) -> the entry. A section that is one value is an entry by itself."""
    entries: dict[tuple[str, str], _Entry] = {}
    for text, name in ((source.text, source.name), (source.meters, source.meters_name)):
        for section, node in sections(text, name).items():
            if section == "prices":
                continue
            for number, item in enumerate(node.items, 1) if isinstance(node, Seq) else [(0, node)]:
                values: dict[str, str] = {}
                _values("", item, values)
                entries[section, entry_name(item, number) if number else ""] = _Entry(name, item.line, values)
    return entries


def _values(path: str, node: Node, values: dict[str, str]) -> None:
    if isinstance(node, Table):
        for key, (_, content) in node.entries.items():
            _values(f"{path} {key}".strip(), content, values)
    elif isinstance(node, Seq):
        for number, content in enumerate(node.items, 1):
            _values(f"{path} {entry_name(content, number)}".strip(), content, values)
    else:
        try:
            values[path] = plain(money(node.text))
        except ValueError:
            values[path] = node.text
