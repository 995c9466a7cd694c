"""An explanation as a page for the terminal. An amount is never cut; long names are folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...schemas.explanation import DIFFERS, EQUAL, UNKNOWN, Arithmetic, Check, Events, Explanation, PriceFacts, Published, Revision, Subject, Terms

__all__ = ["show"]

_MARKS = {EQUAL: ("ok", "green"), UNKNOWN: ("?", "yellow"), DIFFERS: ("DIFFERS", "bold red")}
_STATUS = {"estimate": "yellow", "final": "green", "withdrawn": "dim"}
REVISIONS_SHOWN = 20
Row = tuple[str, ...]


def show(explanation: Explanation, console: Console) -> None:
    """Print it."""
    with console.capture() as captured:
        for part in page(explanation):
            console.print(part, highlight=False)
    text = captured.get()
    if not console.is_terminal:
        text = "\n".join(line.rstrip() for line in text.split("\n"))  # blanks that fill a table up
    console.file.write(text)


def page(explanation: Explanation) -> Iterator[Any]:
    """The page from top to bottom."""
    subject = explanation.line_item
    yield _head(subject)
    yield _facts(_about(subject))
    if explanation.terms is not None:
        yield from _section("Terms of the account", [_facts(_terms(explanation.terms))])
    else:
        yield from _section("Price", [_facts(_price(explanation.price, explanation.unpriced))])
    for arithmetic in explanation.arithmetic:
        yield from _section(f"Arithmetic · {arithmetic.title}", _arithmetic(arithmetic, subject))
    yield from _section("Audit", _audit(explanation.audit))
    yield from _section("Revisions", [_revisions(explanation.revisions), _note(explanation.revisions_note)])
    if explanation.corrections:
        rows = [(each.billing_period, each.quantity, each.cost, each.line_item_id) for each in explanation.corrections]
        yield from _section("Corrections of it", [_table(["billed in", "quantity", "cost", "line item"], rows, right=(1, 2))])
    if explanation.events.scope:
        yield from _section("Events", _events(explanation.events))
    yield _verdict(explanation)


def _head(subject: Subject) -> Text:
    text = Text("Line item ", style="bold")
    text.append(printable(subject.line_item_id), style="bold")
    text.append(f"  revision {subject.revision}  ", style="dim")
    text.append(subject.status, style=_STATUS.get(subject.status, ""))
    return text


def _about(subject: Subject) -> Iterator[Row]:
    yield "account", subject.account
    what = {"window": "usage of one window", "period": "a charge of the whole period", "account": "a charge of the account"}[subject.kind]
    yield "sku", f"{subject.sku}   {subject.component}: {what}" + (f", adjustment {subject.adjustment}" if subject.adjustment else "")
    if subject.description and subject.description != subject.sku:
        yield "description", subject.description
    yield "charged for", f"{subject.charge_period_start} to {subject.charge_period_end}"
    yield "billed in", f"{subject.billing_period}: {subject.status_in_words}"
    if subject.charge_class:
        of = f" of {subject.corrects_period}, line item {subject.corrects_line_item}" if subject.corrects_period else ""
        yield "class", subject.charge_class + of
    for name in ("region", "resource", "dimensions", "provider"):
        if value := getattr(subject, name):
            yield name, value
    unit = f" {subject.unit}" if subject.unit else ""
    if subject.unit_price:
        yield "cost", f"{subject.quantity}{unit} × {subject.unit_price} = {subject.cost} {subject.currency}"
    else:
        yield "cost", f"{subject.quantity}{unit} without a price: {subject.cost} {subject.currency}"
    if subject.pricing_currency:
        yield "currency", f"priced in {subject.pricing_currency}, at {subject.exchange_rate} {subject.currency} per {subject.pricing_currency}"


def _price(price: PriceFacts | None, unpriced: str) -> Iterator[Row]:
    if unpriced:
        yield "unpriced", unpriced
    if price is None:
        if not unpriced:
            yield "", "the line item names no price"
        return
    yield "id", f"{price.id}   version {price.version}"
    yield "model", f"{price.model}, in {price.currency} per {price.unit}, counted per {price.accumulate}"
    yield "in effect", ("always" if price.effective_from == "always" else f"from {price.effective_from}") + (
        f" to {price.effective_to}" if price.effective_to else ""
    )
    yield "amounts", "\n".join(price.in_words)
    if price.introduced is not None:
        yield "published", _published(price.introduced)
    if price.in_force is not None and price.in_force != price.introduced:
        yield "in force" if price.held else "replaced by", _published(price.in_force)


def _terms(terms: Terms) -> Iterator[Row]:
    yield "steps", " → ".join(terms.steps)
    if terms.introduced is not None:
        yield "published", _published(terms.introduced)
    if terms.in_force is not None and terms.in_force != terms.introduced:
        yield "in force", _published(terms.in_force)


def _published(book: Published) -> str:
    return f"{book.published_at} by {book.author or '(nobody)'}: {book.reason}\n{book.name or 'no file'}, book {book.digest[:12]}"


def _arithmetic(arithmetic: Arithmetic, subject: Subject) -> Iterator[Any]:
    if arithmetic.values:
        # Numbers below each other, words beside each other.
        right = (1,) if all(_numeric(value.value) for value in arithmetic.values) else ()
        yield _table(["", "", ""], [(value.name, value.value, value.note) for value in arithmetic.values], right=right, header=False)
    if arithmetic.crossed:
        bounds = ", ".join(arithmetic.crossed)
        yield Text(f"crosses the bound{'s' if len(arithmetic.crossed) > 1 else ''} {bounds}")
    if arithmetic.parts:
        rows = [
            (_here(part.this), part.name, part.range, part.quantity, part.unit_price, part.amount, part.note) for part in arithmetic.parts
        ]
        yield _table(["", "part", "range", "quantity", "unit price", f"amount {subject.currency}", ""], rows, right=(3, 4, 5), marks=True)
    if arithmetic.steps:
        rows_ = [(_here(step.this), step.name, step.amount, step.due, step.note) for step in arithmetic.steps]
        yield _table(["", "step", f"amount {subject.currency}", "due", ""], rows_, right=(2, 3), marks=True)


def _numeric(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()


def _here(this: bool) -> str:
    return "▸" if this else ""


def _audit(checks: Sequence[Check]) -> Iterator[Any]:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for check in checks:
        mark, style = _MARKS[check.verdict]
        table.add_row(Text(mark, style=style), Text(check.name), Text(printable(check.says)))
    yield table
    wrong = [(check.name, each.field, each.stored or "(none)", each.expected or "(none)") for check in checks for each in check.differences]
    if wrong:
        yield _table(["check", "field", "stored", "expected"], wrong)


def _revisions(revisions: Sequence[Revision]) -> Any:
    if not revisions:
        return Text("none")
    shown = revisions[-REVISIONS_SHOWN:]
    rows = [(str(r.revision), r.written_at, r.quantity, "withdrawn" if r.withdrawn else r.cost, r.cause_in_words) for r in reversed(shown)]
    table = _table(["revision", "written", "quantity", "cost", "cause"], rows, right=(0, 2, 3))
    return Group(table, _note(f"the newest {len(shown)} of {len(revisions)}")) if len(revisions) > len(shown) else table


def _events(events: Events) -> Iterator[Any]:
    yield Text(printable(events.scope))
    if not events.looked_for:
        return
    if events.shown:
        rows = [
            (e.time, e.quantity, f"{e.source} {e.id}", f"{e.topic}/{e.partition}/{e.offset}/{e.index}", e.note) for e in events.shown
        ]
        columns = 5 if any(e.note for e in events.shown) else 4
        yield _table(["time", "quantity", "source, id", "raw record", ""][:columns], [row[:columns] for row in rows], right=(1,))
    said = f"{events.counted:,} counted, {events.quantity} in all"
    if events.expected:
        said += f" of {events.expected}"
    said += f"; {events.duplicates:,} duplicates and {events.rejected:,} conflicts left out"
    if events.reverted:
        said += f"; {events.reverted:,} of reverted backfills left out"
    if events.amended:
        said += f"; {events.amended:,} amended"
    if events.pages > 1:
        said += f" · page {events.page} of {events.pages} (--page)"
    yield Text(said)
    if events.note:
        yield _note(events.note)


def _verdict(explanation: Explanation) -> Text:
    style = _MARKS[explanation.verdict][1]
    words = {
        EQUAL: "Everything that can be recomputed is equal to what is stored.",
        UNKNOWN: "Nothing differs, but not everything could be compared: see the audit.",
        DIFFERS: "What is stored differs from what it must be: see the audit.",
    }
    return Text(words[explanation.verdict], style=style)


def _section(title: str, parts: Iterable[Any]) -> Iterator[Any]:
    yield Text()
    yield Text(printable(title), style="bold")
    for part in parts:
        yield Padding(part, (0, 0, 0, 2))


def _note(text: str) -> Text:
    return Text(printable(text), style="dim")


def _facts(rows: Iterable[Row]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(printable(value, keep="\n")))
    return table


def _table(headers: Sequence[str], rows: Sequence[Row], right: Sequence[int] = (), header: bool = True, marks: bool = False) -> Table:
    """A table whose numbers are never cut."""
    table = Table(box=SIMPLE_HEAD if header else None, show_header=header, show_edge=False, pad_edge=False, header_style="bold")
    for at, name in enumerate(headers):
        if at in right:
            table.add_column(name, justify="right", no_wrap=True, min_width=max(len(text) for text in (name, *(row[at] for row in rows))))
        else:
            table.add_column(name, overflow="fold", min_width=1 if marks and at == 0 else None)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row), style="bold" if marks and row[0] else "")
    return table


def printable(text: str, keep: str = "") -> str:
    """Foreign text for the terminal, without control characters except those in `keep`."""
    return "".join(character if character.isprintable() or character in keep else "\ufffd" for character in text)
