"""Inputs that are almost right: real examples with something changed, as documents or as bytes. All from one seeded generator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["as_json", "change_bytes", "change_document", "change_text"]

HUGE = 1 << 20  # bytes; what a record may have
RARE = 0.002  # share of inputs that are made large: each costs as much as a hundred others

# Written into a document as they are: JSON that no serializer would write.
RAW = [
    "NaN", "Infinity", "-Infinity", "1e400", "-1e-400", "1e999999999", "1e-999999999", "0e0", "-0", "-0.0", "1E+60", "1e61", "00", "+1",
    ".5", "1.", "0x10",
    "1_000", "9" * 60, "9" * 61, "1" + "0" * 400, "0." + "0" * 59 + "1", "0." + "0" * 60 + "1", '"\\ud800"', '"\\udfff\\ud800"',
    '"\\u0000"', '"\\u001b[2J"',
    '"\\""', '"\\\\"', '"1.5"', '" 1"', '"1e400"', '"NaN"', "{", "}", "[", "]", "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40, "", ",", "'a'",
    "tru", "null", "True", '"\x7f"', '"\x85"', '"\t"', "// c\n1", '{"a":1,"a":2}',
]  # fmt: skip
TEXTS = [
    "", " ", "a", "\x00", "\n", "\x7f", "\x85", "\u2028", "\ufeff", "\ud800", "😀", "é" * 1024, "x" * 1024, "x" * 1025, "2026-07-16T14:00:00Z",
    "2026-07-16T14:00:60Z", "2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z", "0000-00-00T00:00:00Z", "2026-07-16T14:00:00.123456789Z",
    "2026-07-16T14:00:00.1234567890Z", "2026-07-16T14:00:00+23:59", "2026-07-16T14:00:00+99:99", "07/16/2026", "13/45/2026", "1", "-1",
    "1.5", "1e400", "NaN",
    "Infinity", "0x1F", "1_0", "٣", "../../etc/passwd", "%s%n", "{}", "[]", "null", "{'a': 'b'}", "[{'key': 'a', 'value': 'b'}]", "=cmd()", "a\0b",
    "eyJza3UiOiAiYSJ9", "e30=", "bnVsbA==", "W1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tb", "====",
]  # fmt: skip
NAMES = [
    "id",
    "source",
    "subject",
    "time",
    "data",
    "sku",
    "quantity",
    "unit",
    "dimensions",
    "tags",
    "specversion",
    "records",
    "message",
    "labels",
    "value",
]
_MARK = "\ue000%d\ue001"


def _leaf(dice: random.Random, raw: list[str]) -> Any:
    kind = dice.randrange(8)
    if kind < 3:
        raw.append(dice.choice(RAW))
        return _MARK % (len(raw) - 1)
    if kind < 6:
        return dice.choice(TEXTS)
    return dice.choice([None, True, False, 0, -1, 1.5, 1 << 63, 10**30, {}, [], [[]], {"a": {"b": {}}}])


def _places(node: Any, found: list[tuple[Any, Any]]) -> None:
    for key, item in list(node.items()) if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        found.append((node, key))
        _places(item, found)


def change_document(dice: random.Random, document: Any, times: int) -> bytes:
    """JSON of the document (which is changed) with that many changes."""
    holder, raw = [document], list[str]()
    for _ in range(times):
        places: list[tuple[Any, Any]] = []
        _places(holder, places)
        node, key = dice.choice(places)
        kind = dice.randrange(12)
        if kind < 5:
            node[key] = _leaf(dice, raw)
        elif kind == 5:
            del node[key]
            if not holder:
                holder.append(None)
        elif kind == 6:
            node[key] = [node[key]] * dice.choice([0, 1, 2, 7])
        elif kind == 7:
            node[key] = {dice.choice(NAMES): node[key]}
        elif kind == 8:
            node[key] = json.dumps(node[key])
        elif kind == 9 and isinstance(node, dict):
            node[dice.choice([*NAMES, *TEXTS, key.upper(), key + " "])] = node[key] if dice.random() < 0.5 else _leaf(dice, raw)
        elif kind == 10 and isinstance(node[key], (list, dict)):
            _grow(dice, node[key], raw)
        else:
            other, at = dice.choice(places)
            node[key] = json.loads(json.dumps(other[at] if at in other or (isinstance(other, list) and at < len(other)) else None))
    return as_json(dice, holder[0], raw)


def _grow(dice: random.Random, node: Any, raw: list[str]) -> None:
    count = dice.choice([2, 63, 64, 65, 200])
    if dice.random() < RARE * 10:
        count = dice.choice([2_000, 2_001, 10_000, 10_001])
    if isinstance(node, list):
        item = node[0] if node else _leaf(dice, raw)
        node.extend([item] * count)
    else:
        node.update({f"k{at}": dice.choice(TEXTS[:12]) for at in range(count)})


def as_json(dice: random.Random, document: Any, raw: Sequence[str] = ()) -> bytes:
    """JSON of a document in one of several spellings. raw: texts that stand for the marks in it."""
    separators = dice.choice([(",", ":"), (", ", ": ")])
    text = json.dumps(document, ensure_ascii=dice.random() < 0.5, separators=separators, indent=2 if dice.random() < 0.05 else None)
    for at, said in enumerate(raw):
        mark = _MARK % at
        for spelt in (f'"{mark}"', '"' + mark.encode("ascii", "backslashreplace").decode() + '"'):
            text = text.replace(spelt, said)
    if dice.random() < 0.02:
        at = text.find("{") + 1
        text = f'{text[:at]}"{dice.choice(NAMES)}":1,{text[at:]}'  # a key twice, perhaps
    return text.encode("utf-8", "surrogatepass")


def _flip(dice: random.Random, value: bytearray) -> None:
    for _ in range(dice.choice([1, 1, 2, 8])):
        value[dice.randrange(len(value))] = dice.choice([dice.randrange(256), 0, 0x22, 0x5C, 0x5B, 0x7B, 0x0A, 0xFF, 0xC2])


def _cut(dice: random.Random, value: bytearray) -> None:
    del value[dice.randrange(len(value)) :]


def _remove(dice: random.Random, value: bytearray) -> None:
    at = dice.randrange(len(value))
    del value[at : at + dice.choice([1, 4, 64])]


def _repeat(dice: random.Random, value: bytearray) -> None:
    at = dice.randrange(len(value))
    part = bytes(value[at : at + dice.choice([1, 3, 17, 300])])
    value[at:at] = part * (min(HUGE // len(part), 100_000) if part and dice.random() < RARE else dice.choice([1, 2, 40]))


def _insert(dice: random.Random, value: bytearray) -> None:
    said = dice.choice(
        [
            dice.choice(RAW).encode("utf-8", "surrogatepass"),
            dice.choice(TEXTS).encode("utf-8", "surrogatepass"),
            dice.randbytes(dice.choice([1, 4, 30])),
        ]
    )
    at = dice.randrange(len(value) + 1)
    value[at:at] = said


def _swap_number(dice: random.Random, value: bytearray) -> None:
    digits = [at for at, byte in enumerate(value[:4_096]) if 48 <= byte < 58]
    if digits:
        at = dice.choice(digits)
        value[at : at + 1] = dice.choice(RAW[:27]).encode()


_CHANGES: list[Callable[[random.Random, bytearray], None]] = [_flip, _flip, _cut, _remove, _repeat, _insert, _insert, _swap_number]


def change_bytes(dice: random.Random, value: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The value with one to three changes of its bytes; perhaps with the end of another one."""
    changed = bytearray(value)
    if others and dice.random() < 0.15:
        other = dice.choice(others)
        changed[dice.randrange(len(changed) + 1) :] = other[dice.randrange(len(other) + 1) :]
    for _ in range(dice.choice([1, 1, 2, 3])):
        if changed:
            dice.choice(_CHANGES)(dice, changed)
    return bytes(changed)


def change_text(dice: random.Random, text: str, words: Sequence[str]) -> str:
    """A text of lines with one to three changes: lines moved, repeated or left out, words put in or exchanged."""
    lines = text.split("\n")
    for _ in range(dice.choice([1, 1, 2, 3])):
        at = dice.randrange(len(lines))
        line = lines[at]
        kind = dice.randrange(9)
        if kind == 0:
            del lines[at]
            lines = lines or [""]
        elif kind == 1:
            lines.insert(dice.randrange(len(lines) + 1), line)
        elif kind == 2:
            lines[at] = line[: dice.randrange(len(line) + 1)]
        elif kind == 3:
            lines[at] = " " * dice.choice([1, 2, 3]) + line
        elif kind == 4:
            lines[at] = line.lstrip()
        elif kind == 5:
            cut = dice.randrange(len(line) + 1)
            lines[at] = line[:cut] + dice.choice([*words, *TEXTS, *RAW]) + line[cut:]
        elif kind == 6 and ":" in line:
            lines[at] = line[: line.index(":") + 1] + " " + dice.choice([*words, *TEXTS, *RAW])
        elif kind == 7:
            parts = line.split()
            if parts:
                parts[dice.randrange(len(parts))] = dice.choice([*words, *TEXTS, *RAW])
                lines[at] = line[: len(line) - len(line.lstrip())] + " ".join(parts)
        else:
            cut = dice.randrange(len(line) + 1)
            lines[at] = line[:cut] + chr(dice.choice([0, 9, 34, 39, 92, 123, 38, 42, 0x85, 0xFEFF, 0x1F600])) + line[cut:]
    return "\n".join(lines)
