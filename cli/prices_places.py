"""Where the entries of a tariff stand in their files: for messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..metering.tariff import Remark
from ..pricing.book_yaml import Mistakes, Node, Scalar, Seq, Table, read_yaml

__all__ = ["entry_lines", "entry_name", "placed", "sections", "texts_of"]

# What tells the entries of a list apart: the first of these that an entry has.
_NAMES = (("id",), ("account",), ("currency", "effective_from"), ("currency",))


def texts_of(file: Path, meters: Path | None = None) -> list[tuple[str, str]]:
    """Text and name of a file of prices, and of that of its meters. Both were read before, so that they can be."""
    return [(each.read_text(encoding="utf-8-sig"), str(each)) for each in (file, meters) if each is not None]


def sections(text: str, name: str) -> dict[str, Node]:
    """What stands under each key of a file."""
    root = read_yaml(text, Mistakes(name))
    return {key: node for key, (_, node) in root.entries.items()} if isinstance(root, Table) else {}


def entry_name(item: Node, number: int) -> str:
    """What an entry of a list is called: by its id or account, else by its number."""
    texts = {key: node.text for key, (_, node) in item.entries.items() if isinstance(node, Scalar)} if isinstance(item, Table) else {}
    for name in _NAMES:
        if all(key in texts for key in name):
            return " ".join(texts[key] for key in name)
    return str(number)


def entry_lines(text: str, name: str) -> dict[tuple[str, ...], int]:
    """The line of each entry of each list of a file, by the keys and names that lead to it: ("prices", "storage-2026")."""
    return {path: line for key, node in sections(text, name).items() for path, line in _entries((key,), node)}


def _entries(path: tuple[str, ...], node: Node) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, Table):
        for key, (_, content) in node.entries.items():
            yield from _entries((*path, key), content)
    elif isinstance(node, Seq):
        for number, item in enumerate(node.items, 1):
            its = (*path, entry_name(item, number))
            yield its, item.line
            yield from _entries(its, item)


def placed(remarks: Iterable[Remark], files: Iterable[tuple[str, str]]) -> list[str]:
    """The remarks as `file:line: text`. files: text and name of the file of prices, and of the file of meters if there is one.

    A remark about an entry that is missing stands at the first line of the first file.
    """
    where: dict[tuple[str, ...], str] = {}
    names = []
    for text, name in files:
        names.append(name)
        where |= {entry: f"{name}:{line}" for entry, line in entry_lines(text, name).items()}
    return [f"{where.get(each.entry, f'{names[0]}:1')}: {each.text}" for each in remarks]
