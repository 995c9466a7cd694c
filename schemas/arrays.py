"""The elements of a JSON array as the bytes they were written in, also of an array that is broken somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from .errors import UNREADABLE

__all__ = ["split_array"]

_decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
# What matters for where an element ends: texts as a whole (an open one reaches to the end), brackets and commas.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)


def split_array(document: bytes) -> Iterator[tuple[int, bytes, str]]:
    """(line, element, flaw) of each element. flaw: why the rest of the document holds no element; "" for an element."""
    try:
        elements = _decode(document)
    except UNREADABLE:
        yield from _scan(document)
        return
    line, at = 1, 0
    for element in elements:
        value = bytes(element)
        begin = document.find(value, at)  # only blanks and a comma lie between, so the first find is the element
        line += document.count(b"\n", at, begin)
        yield line, value, ""
        at = begin + len(value)
        line += value.count(b"\n")


def _scan(document: bytes) -> Iterator[tuple[int, bytes, str]]:
    """By brackets alone, so that one element that is no JSON does not take its siblings with it."""
    depth, begin, end_seen = 0, 0, False
    line, counted = 1, 0
    for token in _TOKEN.finditer(document):
        mark = token[0]
        if mark in (b"[", b"{"):
            depth += 1
            if depth == 1:
                begin = token.end()
            continue
        if mark[:1] == b'"' or (mark == b"," and depth != 1):
            continue
        if mark == b"," or depth == 1:
            value = document[begin : token.start()]
            first = begin + len(value) - len(value.lstrip())
            line += document.count(b"\n", counted, first)
            counted = first
            if value.strip():
                yield line, value.strip(), ""
            elif mark == b",":
                yield line, value, "nothing stands before a comma of the array"
            begin = token.end()
        if mark != b",":
            depth -= 1
            if depth == 0:
                end_seen = True
                break
    rest = document[begin:].strip()
    line += document.count(b"\n", counted, begin + len(document[begin:]) - len(document[begin:].lstrip()))
    if not end_seen:
        yield line, rest, "the file ends inside the array; it was cut off"
    elif rest:
        yield line, rest, "something stands behind the end of the array"
