"""Fields that adjustments and accounts have in common, read one by one with the line of what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from ..book_form import Form, quoted
from ..book_yaml import Scalar, Table, is_null
from ..exchange import first_of_month
from ..money import EXACT, money, plain
from .terms import ALWAYS

__all__ = [
    "DUE", "PERCENT_DIGITS", "PRORATE", "Reference", "digits_of", "due_always", "instant", "months", "named", "one_of", "period", "share_of",
]  # fmt: skip

_NS = 1_000_000_000
HUNDRED = money(100)
# Percentages of percentages add digits, and nothing is rounded: so each has few, and an account has a limited number of them.
PERCENT_DIGITS = 6
PRORATE = ("second", "day", "none")
DUE = ("period_end", "always")


class Reference(NamedTuple):
    """A name that must be that of an SKU (or, under `of`, of an adjustment), and where it is written."""

    key: str
    line: int
    name: str


def named(form: Form, key: str, example: str, otherwise: str) -> list[Reference]:
    """A list of different names, each with its line; empty when there is none. otherwise: what to do instead of naming none."""
    listed = form.list_of(key, example)
    found: list[Reference] = []
    if listed is not None and not listed.items:
        form.wrong(key, f"`{key}` names nothing; name something such as `{key}: {example}`, or {otherwise}")
    for node in listed.items if listed else ():
        one = Form(Table(node.line, {key: (node.line, node)}), form.what, form.mistakes)
        name = one.text(key, example.strip("[]").split(", ")[0])
        if name in (reference.name for reference in found):
            one.wrong(key, f"`{key}` names {quoted(name)} twice; keep one of them")
        elif name:
            found.append(Reference(key, node.line, name))
    return found


def share_of(form: Form, key: str, example: str, most: int, above_zero: bool = True) -> Decimal | None:
    """A percentage up to `most`, as a share (10 is 0.1); None when absent or wrong."""
    percent = form.number(key, example, above_zero)
    if percent is None:
        return None
    if percent > most:
        form.wrong(key, f"`{key}` is {plain(percent)}; a percentage here is at most {most}")
        return None
    if -int(percent.as_tuple().exponent) > PERCENT_DIGITS:
        form.wrong(key, f"`{key}` is {plain(percent)}; use at most {PERCENT_DIGITS} digits after the point")
        return None
    return EXACT.divide(percent, HUNDRED)


def one_of(form: Form, keys: tuple[str, str], examples: tuple[str, str]) -> bool:
    """Whether exactly one of two fields is there; a mistake if not."""
    first, second = keys
    if form.has(first) and form.has(second):
        form.wrong(second, f"{form.what} has both `{first}` and `{second}`; keep one of them")
        return False
    if not form.has(first) and not form.has(second):
        what = f"{form.what} has neither `{first}` nor `{second}`"
        form.mistakes.add(form.table.line, f"{what}; add one, such as `{first}: {examples[0]}` or `{second}: {examples[1]}`")
        return False
    return True


def digits_of(form: Form, default: int | None = None) -> int:
    """`digits`: how many stay after the point, 0 to 18. Without a default it is required."""
    if not form.has("digits"):
        if default is None:
            form.require("digits", "2")
        return default or 0
    text = form.scalar("digits", "2")
    if text is None:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= 2 and int(text) <= 18:
        return int(text)
    form.wrong("digits", f"`digits` is {quoted(text)}; write how many digits stay after the point, 0 to 18")
    return 0


def due_always(form: Form) -> bool:
    """`due`: whether what is missing to a minimum is shown while the month runs."""
    return form.choice("due", DUE, "period_end") == "always"


def instant(form: Form, key: str) -> int | None:
    """Seconds since 1970, on a whole minute; None when absent or wrong."""
    time = form.time(key)
    if time is None:
        return None
    if time % (60 * _NS):
        form.wrong(key, f"`{key}` is {quoted(form.scalar(key, '') or '')}, within a minute; usage is only cut at whole minutes, so name one")
        return None
    return time // _NS


def period(form: Form, until_key: str = "effective_to") -> tuple[int, int | None]:
    """`effective_from` and an end, in seconds; ALWAYS and None where they are not written."""
    return _in_order(form, instant(form, "effective_from"), instant(form, until_key), until_key)


def months(form: Form) -> tuple[int, int | None]:
    """`effective_from` and `effective_to` of an adjustment, which holds for whole months, as months; ALWAYS and None where not written."""
    why = "adjustments hold for whole months"
    return _in_order(form, first_of_month(form, "effective_from", why), first_of_month(form, "effective_to", why))


def _in_order(form: Form, since: int | None, until: int | None, until_key: str = "effective_to") -> tuple[int, int | None]:
    """A start and an end, ALWAYS and None where they are not written; a mistake if it ends before it begins."""
    if since is not None and until is not None and until <= since:
        form.wrong(until_key, f"`{until_key}` is not after `effective_from`, so {form.what} would never apply; correct one of them")
    return ALWAYS if since is None else since, until


def is_word(form: Form, key: str, words: Iterable[str]) -> bool:
    """Whether a field is one of some words instead of a list."""
    entry = form.table.entries.get(key)
    return entry is not None and isinstance(entry[1], Scalar) and not is_null(entry[1]) and entry[1].text in words
