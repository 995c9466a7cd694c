"""Reading the fields of a map, one by one, each with its own check; a mistake is kept and reading goes on.

Where a field is missing or wrong the reader returns a stand-in: whoever builds something from the fields asks first whether
`mistakes` has grown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from difflib import get_close_matches

from .book_yaml import Mistakes, Node, Scalar, Seq, Table, is_null, kind_of
from .money import DIGITS, EXACT, ZERO, money

__all__ = ["Form", "quoted"]

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})")
UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - datetime.UTC reads worse beside timedelta


def quoted(text: str) -> str:
    """A value for a message: one line, not too long."""
    shown = UNWANTED.sub("?", text)
    return f"`{shown}`" if len(shown) <= 60 else f"`{shown[:57]}...`"


class Form:
    """The fields of one map. `what` names it in messages, such as "price `storage-2026`"."""

    __slots__ = ("mistakes", "table", "what")

    def __init__(self, table: Table, what: str, mistakes: Mistakes) -> None:
        self.table = table
        self.what = what
        self.mistakes = mistakes

    def line(self, key: str) -> int:
        """Line of a field, or of the whole map when the field is absent."""
        entry = self.table.entries.get(key)
        return entry[0] if entry else self.table.line

    def has(self, key: str) -> bool:
        """Whether the field is written, be it empty."""
        return key in self.table.entries

    def wrong(self, key: str, what: str) -> None:
        """Keep a mistake of a field."""
        self.mistakes.add(self.line(key), what)

    def check_keys(self, allowed: Iterable[str], elsewhere: dict[str, str] | None = None) -> None:
        """Refuse every key that is not allowed; elsewhere: why a known key does not go here."""
        if self.table.entries.keys() <= frozenset(allowed):
            return
        names = sorted(allowed)
        for key, (line, _) in self.table.entries.items():
            if key in names:
                continue
            if elsewhere and key in elsewhere:
                self.mistakes.add(line, f"`{key}` does not go with {self.what}: {elsewhere[key]}")
                continue
            close = get_close_matches(key, [*names, *(elsewhere or ())], 1)
            hint = f"did you mean `{close[0]}`?" if close else f"remove it; {self.what} may have {', '.join(names)}"
            self.mistakes.add(line, f"unknown key {quoted(key)}; {hint}")

    def require(self, key: str, example: str) -> bool:
        """Whether a field is there; a mistake if not."""
        if self.has(key):
            return True
        self.mistakes.add(self.table.line, f"{self.what} has no `{key}`; add one, such as `{key}: {example}`")
        return False

    def scalar(self, key: str, example: str) -> str | None:
        """Text of a field as it is written, None when it is absent or not a single value."""
        entry = self.table.entries.get(key)
        if entry is None:
            return None
        node = entry[1]
        if not isinstance(node, Scalar) or is_null(node) or not node.text:
            self.wrong(key, f"`{key}` is {'empty' if isinstance(node, Scalar) else kind_of(node)}; write a value, such as `{key}: {example}`")
            return None
        return node.text

    def text(self, key: str, example: str, default: str = "", limit: int = 256) -> str:
        """A name or a label: no control characters, no blanks around it, at most `limit` characters."""
        text = self.scalar(key, example)
        if text is None:
            return default
        if UNWANTED.search(text):
            self.wrong(key, f"`{key}` holds a line break or another control character; remove it")
        elif text != text.strip():
            self.wrong(key, f"`{key}` begins or ends with a blank, which no usage event would match; remove it")
        elif len(text) > limit:
            self.wrong(key, f"`{key}` has {len(text)} characters; use at most {limit}")
        return text

    def choice(self, key: str, values: Iterable[str], default: str) -> str:
        """One of a few words."""
        if key not in self.table.entries:
            return default
        known = tuple(values)
        text = self.scalar(key, known[0])
        if text is None:
            return default
        if text not in known:
            close = get_close_matches(text, known, 1)
            hint = f"did you mean `{close[0]}`?" if close else f"use one of {', '.join(known)}"
            self.wrong(key, f"`{key}` is {quoted(text)}, which is not known; {hint}")
            return default
        return text

    def flag(self, key: str) -> bool:
        """true or false; false when absent."""
        text = self.scalar(key, "true")
        if text is not None and text not in ("true", "false"):
            self.wrong(key, f"`{key}` is {quoted(text)}; write true or false")
        return text == "true"

    def number(self, key: str, example: str, above_zero: bool = False) -> Decimal | None:
        """An exact number that is not negative, from its digits; None when absent or wrong."""
        text = self.scalar(key, f'"{example}"')
        if text is None:
            return None
        if len(text) > 200 or NUMBER.fullmatch(text) is None:
            self.wrong(key, f'`{key}` is {quoted(text)}, which is not a number; write digits with a point, such as "{example}"')
            return None
        value = money(text)
        if value.is_zero():
            value = ZERO
        elif value.is_signed():
            self.wrong(key, f'`{key}` is {quoted(text)}; it cannot be negative, write "0" or more')
            return None
        else:
            value = value.normalize(EXACT)
        if value.adjusted() >= DIGITS or -int(value.as_tuple().exponent) > DIGITS:
            self.wrong(key, f"`{key}` is {quoted(text)}; use at most {DIGITS} digits before the point and {DIGITS} after it")
            return None
        if above_zero and value.is_zero():
            self.wrong(key, f"`{key}` is 0; it must be above 0")
            return None
        return value

    def time(self, key: str) -> int | None:
        """Nanoseconds since 1970 from an RFC 3339 time with a zone; None when absent, null or wrong."""
        entry = self.table.entries.get(key)
        if entry is None or is_null(entry[1]):
            return None
        text = self.scalar(key, "2026-01-01T00:00:00Z")
        if text is None:
            return None
        parts = TIME.fullmatch(text)
        try:
            if parts is None:
                raise ValueError
            day, clock, fraction, zone = parts.groups()
            moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
            return (moment - EPOCH) // timedelta(seconds=1) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
        except (ValueError, OverflowError):
            self.wrong(key, f"`{key}` is {quoted(text)}, which is not a time with a zone; write it like 2026-01-01T00:00:00Z")
            return None

    def texts(self, key: str, example: str) -> list[str] | None:
        """A list of names, each as `text` wants it; None when it is absent or no list."""
        listed = self.list_of(key, example)
        if listed is None:
            return None
        return [Form(Table(node.line, {key: (node.line, node)}), self.what, self.mistakes).text(key, "acct-1") for node in listed.items]

    def table_of(self, key: str, example: str) -> Table | None:
        """A map, None when absent or something else."""
        node = self._node(key, Table, "a map", example)
        return node if isinstance(node, Table) else None

    def list_of(self, key: str, example: str) -> Seq | None:
        """A list, None when absent or something else."""
        node = self._node(key, Seq, "a list", example)
        return node if isinstance(node, Seq) else None

    def _node(self, key: str, kind: type[Table] | type[Seq], name: str, example: str) -> Node | None:
        entry = self.table.entries.get(key)
        if entry is None:
            return None
        if not isinstance(entry[1], kind):
            self.wrong(key, f"`{key}` is {kind_of(entry[1])}, but must be {name}, such as `{key}: {example}`")
            return None
        return entry[1]
