"""YAML with line numbers: a text becomes plain nodes, and every mistake is kept with its line.

Scalars stay text (a price never passes through a float). Only what a price book needs is read: maps with plain keys, lists
and scalars. Anchors, aliases and tags are refused: a few bytes of aliases can stand for gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

__all__ = ["MAX_BOOK_BYTES", "Mistakes", "Node", "Scalar", "Seq", "Table", "is_null", "kind_of", "read_yaml"]

MAX_BOOK_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 16  # a price book nests 6 deep; far below what nested brackets could do to the parser

# The parser in C is ten times faster; PyYAML may be built without it.
Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Mistakes:
    """What is wrong in one file, in any order; `sorted_lines` gives `file:line: what`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._found: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, line: int, what: str) -> None:
        """Keep one mistake; `what` says what is wrong and what to do."""
        self._found.append((line, what))

    def sorted_lines(self) -> list[str]:
        """All mistakes, by line and then in the order found."""
        return [f"{self.name}:{line}: {what}" for line, what in sorted(self._found, key=lambda found: found[0])]


class Scalar(NamedTuple):
    """A value as it is written; plain: without quotes."""

    line: int
    text: str
    plain: bool


class Seq(NamedTuple):
    """A list."""

    line: int
    items: list[Node]


class Table(NamedTuple):
    """A map: key -> (line of the key, value)."""

    line: int
    entries: dict[str, tuple[int, Node]]


Node = Scalar | Seq | Table


class TooBroken(Exception):
    """Nothing more can be read from this text; the mistake is kept already."""


def is_null(node: Node) -> bool:
    """Whether the value is YAML's null: nothing, ~ or null, without quotes."""
    return isinstance(node, Scalar) and node.plain and node.text in ("", "~", "null", "Null", "NULL")


def kind_of(node: Node) -> str:
    """What a node is, in words."""
    if is_null(node):
        return "empty"
    return {Scalar: "a single value", Seq: "a list", Table: "a map"}[type(node)]


def read_yaml(text: str | bytes, mistakes: Mistakes) -> Node | None:
    """The one document of a text, or None when it is empty or cannot be read; what is wrong goes to `mistakes`."""
    try:
        source = _decoded(text, mistakes)
        try:
            return _compose(yaml.parse(source, Loader), mistakes)
        except yaml.reader.ReaderError as error:
            line = source.encode("utf-8", "surrogatepass")[: error.position].count(b"\n") + 1
            mistakes.add(line, f"the character U+{_code(error.character):04X} cannot be in a YAML file; remove it")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f" ({error.context})" if error.context else ""
            what = f"not YAML: {error.problem or 'it ends too early'}{where}; correct this line or the one above it"
            mistakes.add((mark.line if mark else 0) + 1, what)
    except TooBroken:
        pass
    return None


def _code(character: Any) -> int:
    """Code point of what ReaderError names, which is an int, a string or bytes."""
    return character if isinstance(character, int) else ord(character[:1])


def _decoded(text: str | bytes, mistakes: Mistakes) -> str:
    """The text of a file of bearable size, without byte order mark."""
    if len(text) > MAX_BOOK_BYTES or (isinstance(text, str) and len(text.encode("utf-8", "replace")) > MAX_BOOK_BYTES):
        mistakes.add(1, f"the file has more than {MAX_BOOK_BYTES // 2**20} MiB; split it, or leave out prices that have ended")
        raise TooBroken
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        mistakes.add(text[: error.start].count(b"\n") + 1, f"not UTF-8: byte 0x{text[error.start]:02x}; save the file as UTF-8")
        raise TooBroken from None


def _compose(events: Iterator[Any], mistakes: Mistakes) -> Node | None:
    """Nodes from the parser's events, without recursion: the nesting of the input is not that of the program."""
    root: Node | None = None
    # Containers that are open; a map's pending key is kept beside it.
    open_nodes: list[Seq | Table] = []
    keys: list[tuple[int, str] | None] = []
    for event in events:
        kind = type(event)
        line = event.start_mark.line + 1
        if kind is yaml.ScalarEvent:
            node: Node = Scalar(line, event.value, not event.style)  # "" from the parser in C, None from the other
        elif kind is yaml.MappingStartEvent:
            node = Table(line, {})
        elif kind is yaml.SequenceStartEvent:
            node = Seq(line, [])
        elif kind is yaml.AliasEvent:
            mistakes.add(line, f"aliases (*{event.anchor}) are not accepted; write the value out")
            node = Scalar(line, "", True)
        elif kind in (yaml.MappingEndEvent, yaml.SequenceEndEvent):
            open_nodes.pop()
            keys.pop()
            continue
        elif kind is yaml.DocumentStartEvent and root is not None:
            mistakes.add(line, "a second document begins here; keep one price book per file")
            raise TooBroken
        else:
            continue
        if kind is not yaml.AliasEvent:
            _refuse_decoration(event, line, mistakes)
        if open_nodes:
            _put(node, open_nodes[-1], keys, mistakes)
        else:
            root = node
        if not isinstance(node, Scalar):
            if len(open_nodes) == MAX_DEPTH:
                mistakes.add(line, f"nested more than {MAX_DEPTH} deep; a price book needs 6 levels")
                raise TooBroken
            open_nodes.append(node)
            keys.append(None)
    return root


def _refuse_decoration(event: Any, line: int, mistakes: Mistakes) -> None:
    if event.anchor is not None:
        mistakes.add(line, f"anchors (&{event.anchor}) are not accepted; write the value out where it is needed")
    if event.tag is not None:
        mistakes.add(line, f"tags ({event.tag}) are not accepted; remove it")


def _put(node: Node, parent: Seq | Table, keys: list[tuple[int, str] | None], mistakes: Mistakes) -> None:
    """Add a node to its parent; in a map, keys and values alternate."""
    if isinstance(parent, Seq):
        parent.items.append(node)
        return
    pending = keys[-1]
    if pending is None:
        if not isinstance(node, Scalar):
            mistakes.add(node.line, f"a key must be a name, and this is {kind_of(node)}; put quotes around it if it is text")
            raise TooBroken
        keys[-1] = (node.line, node.text)
        return
    keys[-1] = None
    line, key = pending
    if key in parent.entries:
        mistakes.add(line, f"`{key}` is given twice, first in line {parent.entries[key][0]}; keep one of them")
    else:
        parent.entries[key] = (line, node)
