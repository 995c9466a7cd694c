"""What is different between two price books, price by price and with the line of the file: for `prices diff`, `history`, `publish`.

Prices are compared as they were read, so formatting changes nothing (`0.10` is `0.1`, widths are bounds). Whatever else a file
holds (meters, adjustments, accounts, exchange rates) is compared as it is written, entry by entry and by its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from ..pricing.book import PriceBook
from ..pricing.book_yaml import Mistakes, Node, Scalar, Seq, Table, read_yaml
from ..pricing.models import tier_name
from ..pricing.money import money, plain
from ..pricing.price import SINCE_ALWAYS, Price
from .prices import in_words, time_text

__all__ = ["Change", "Source", "as_json", "changes", "edits_in_place", "lines_of"]

# Not a difference of the definition: the id is what prices are paired by, the version is a digest of the rest, and where a
# price ends is told by itself.
_APART = frozenset({"id", "version", "effective_to"})
# What tells the entries of a list apart, the first that an entry has.
_NAMES = ("id", "account", "currency", "effective_from")


class Source(NamedTuple):
    """A price book, and the file it was read from: for messages."""

    book: PriceBook
    text: str
    name: str  # of the file, as in `name:line`
    label: str  # in a sentence: "prices.yaml", "the live book (prices.yaml, published by …)"


class Change(NamedTuple):
    """One thing that is different. details: one line each."""

    kind: str  # added | changed | ended | extended | removed
    where: str  # file:line, in the new file unless it is gone from there
    what: str  # "price storage-2026"
    about: str  # "acme.storage, GB-Mo"
    details: tuple[str, ...]


def changes(old: Source, new: Source) -> list[Change]:
    """Everything that is different, in the order of the new file; what is gone comes last."""
    old_lines, new_lines = lines_of(old.text, old.name), lines_of(new.text, new.name)
    before = {price.id: price for price in old.book.prices}
    after = {price.id: price for price in new.book.prices}
    found: list[tuple[int, Change]] = []
    for price_id, price in after.items():
        line = new_lines.get(price_id, 0)
        found += [(line, change) for change in _price_changes(before.get(price_id), price, f"{new.name}:{line}", new.book)]
    found += _other_changes(old, new)
    found.sort(key=lambda pair: pair[0])
    gone = [price for price in before.values() if price.id not in after]
    removed = [
        Change("removed", f"{old.name}:{old_lines.get(p.id, 0)}", f"price {p.id}", _about(p), (f"begin {_since(p)}, end {_until(p)}", *_amounts(p)))
        for p in gone
    ]
    return [change for _, change in found] + removed


def as_json(change: Change) -> dict[str, Any]:
    """A change as JSON."""
    return change._asdict()


def edits_in_place(old: Source, new: Source, now_ns: int) -> list[str]:
    """Why `new` may not simply follow `old`: published prices that it holds with another definition, or not at all.

    One line each, `file:line: what; what to do`. A price may get an end that lies in the future: nothing that was rated changes.
    """
    new_lines = lines_of(new.text, new.name)
    after = {price.id: price for price in new.book.prices}
    wrong: list[tuple[int, str]] = []
    for price in old.book.prices:
        successor, line = after.get(price.id), new_lines.get(price.id, 1)
        if successor is None:
            what = f"price `{price.id}` was published and is gone; put it back (give it an effective_to if it is over)"
        elif successor.effective_from != price.effective_from:
            what = f"price `{price.id}` was published as beginning {_since(price)} and now begins {_since(successor)}; give the new one another id"
        elif edited := _differences(price, successor):
            what = f"price `{price.id}` was published with another definition ({edited[0]}); restore it, and add a price that begins later"
        elif _end(successor) != _end(price) and min(_end(successor), _end(price)) < now_ns:
            what = f"price `{price.id}` was published with the end {_until(price)}, now {_until(successor)}: that changes the past; restore it"
        else:
            continue
        wrong.append((line, f"{new.name}:{line}: {what}, or say --restate: line items since then are restated"))
    return [text for _, text in sorted(wrong)]


def lines_of(text: str, name: str) -> dict[str, int]:
    """Line of each price of a file by its id."""
    listed = _sections(text, name).get("prices")
    lines: dict[str, int] = {}
    for node in listed.items if isinstance(listed, Seq) else ():
        entry = node.entries.get("id") if isinstance(node, Table) else None
        if entry is not None and isinstance(entry[1], Scalar):
            lines[entry[1].text] = node.line
    return lines


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
    return "always" if price.effective_from == SINCE_ALWAYS else time_text(price.effective_from)


def _until(price: Price) -> str:
    return "open" if price.effective_to is None else time_text(price.effective_to)


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


def _sections(text: str, name: str) -> dict[str, Node]:
    root = read_yaml(text, Mistakes(name))
    return {key: node for key, (_, node) in root.entries.items()} if isinstance(root, Table) else {}


def _other_changes(old: Source, new: Source) -> list[tuple[int, Change]]:
    """Differences of all sections but the prices, by entries."""
    before, after = _entries(old), _entries(new)
    found: list[tuple[int, Change]] = []
    for key in dict.fromkeys([*before, *after]):
        (section, entry), (line, was), (new_line, now) = key, before.get(key, (0, None)), after.get(key, (0, None))
        if was == now:
            continue
        what = f"{section} {entry}".strip()
        if now is None:
            found.append((2**31, Change("removed", f"{old.name}:{line}", what, "", ())))
        elif was is None:
            found.append((new_line, Change("added", f"{new.name}:{new_line}", what, "", tuple(f"{k} {v}".strip() for k, v in now.items()))))
        else:
            found.append((new_line, Change("changed", f"{new.name}:{new_line}", what, "", tuple(_arrows(was, now)))))
    return found


def _entries(source: Source) -> dict[tuple[str, str], tuple[int, dict[str, str]]]:
    """(section, name of the entry) -> its line, and its values by path. A section that is one value is an entry by itself."""
    entries: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}
    for section, node in _sections(source.text, source.name).items():
        if section == "prices":
            continue
        for number, item in enumerate(node.items, 1) if isinstance(node, Seq) else [(0, node)]:
            values: dict[str, str] = {}
            _values("", item, values)
            entries[section, _name(item, number) if number else ""] = item.line, values
    return entries


def _name(item: Node, number: int) -> str:
    texts = {key: node.text for key, (_, node) in item.entries.items() if isinstance(node, Scalar)} if isinstance(item, Table) else {}
    if "id" in texts:
        return texts["id"]
    return " ".join(texts[key] for key in _NAMES if key in texts) or str(number)


def _values(path: str, node: Node, values: dict[str, str]) -> None:
    if isinstance(node, Table):
        for key, (_, content) in node.entries.items():
            _values(f"{path} {key}".strip(), content, values)
    elif isinstance(node, Seq):
        for number, content in enumerate(node.items, 1):
            _values(f"{path} {_name(content, number)}".strip(), content, values)
    else:
        try:
            values[path] = plain(money(node.text))
        except ValueError:
            values[path] = node.text
