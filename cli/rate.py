"""`ratemill rate`: rate files of events offline, with the code of the live pipeline."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..collectors.files import read_pieces, size_of
from ..metering.alignment import misaligned
from ..pricing.money import plain, round_to, use_exact_arithmetic
from ..schemas.decoders.registry import FORMATS
from ..schemas.errors import BadInput, BadPriceBook, RatemillError
from ..schemas.line_item import RatedLineItem, decode_line_item
from .offline import OfflineRating, Rejected, SkuTotal, Totals
from .prices import read_tariff
from .prices_places import placed, texts_of
from .requests_file import read_requests

__all__ = ["byte_progress", "command", "printable"]

_PRINTED = 20  # rejected events; all of them go to --dead-letters
_TOP = 15  # rows of the summary
_MONTHS_NAMED = 3  # of those that are open
_LARGE = 8 << 20  # bytes from which a progress bar is worth it
_COLUMNS = [f.encode_name for f in msgspec.structs.fields(RatedLineItem)]


@click.command("rate")
@click.option("--prices", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Price book in YAML.")
@click.option("--events", required=True, multiple=True, metavar="FILE", help="NDJSON, a JSON array or CSV, also .gz; - is stdin. May be repeated.")
@click.option("--meters", type=click.Path(path_type=Path), metavar="FILE", help="Meters in YAML, if they do not stand in the price book.")
@click.option("--control", type=click.Path(path_type=Path), metavar="FILE", help="Requests (close, amend, backfill) as NDJSON, behind all events.")
@click.option("--late", multiple=True, metavar="FILE", help="Events that come behind the requests. May be repeated.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Line items: NDJSON, or CSV if it ends in .csv.  [default: stdout]")
@click.option("--format", "format", type=click.Choice(sorted(FORMATS)), default="cloudevents", show_default=True, help="Format of the events.")
@click.option("--dead-letters", type=click.Path(path_type=Path), metavar="FILE", help="Write what was rejected here, as NDJSON.")
@click.option("--window", "window_s", type=click.IntRange(1), default=3_600, show_default=True, help="Length of a usage window in seconds.")
@click.option("--strict", is_flag=True, help="Exit status 2 if any event was rejected.")
@click.option("--top", type=click.IntRange(0), default=_TOP, show_default=True, help="Rows of the summary.")
def command(
    prices: Path, events: tuple[str, ...], meters: Path | None, control: Path | None, late: tuple[str, ...], output: Path | None, format: str,
    dead_letters: Path | None, window_s: int, strict: bool, top: int,
) -> None:  # fmt: skip
    """Rate a file of events offline: same code, same line items, no Kafka.

    The whole set is seen at once: no event is too old, and the order does not matter. Only of two events with one identity
    and different payloads the first in the file counts. What cannot count is named line by line; the rest is rated.

    A control FILE holds requests as they stand on the topic ratemill.control, one JSON object in a line. Events given by --late
    come behind them: those of a month that was closed become corrections in the month after.
    """
    if 3_600 % window_s:
        raise click.UsageError(f"--window {window_s}: windows must divide an hour, such as 60, 300, 900 or 3600")
    if (*events, *late).count("-") > 1:
        raise click.UsageError("--events -: stdin can be read once only")
    for written in (output, dead_letters):
        if written is not None and any(path != "-" and _same(written, Path(path)) for path in (*events, *late, str(prices))):
            raise BadInput(f"{written}: is an input too; write to another file")
    use_exact_arithmetic()
    tariff = read_tariff(prices, meters)
    if wrong := misaligned(tariff, window_s):
        raise BadPriceBook(placed(wrong, texts_of(prices, meters)))
    with contextlib.ExitStack() as stack:
        letters = stack.enter_context(_written_file(dead_letters)) if dead_letters else None
        rating = OfflineRating(tariff, window_s, _reporter(format, letters, dead_letters))
        for path in events:
            with byte_progress(path) as progress:
                rating.add(read_pieces(path, format, progress), format)
        for request in read_requests(control) if control else ():
            outcome = rating.answer(request)
            click.echo(printable(f"{request.reason}: {outcome.text}"), err=True)
        for path in late:
            with byte_progress(path) as progress:
                rating.add(read_pieces(path, format, progress), format)
        if output is None:
            _write_items(rating, sys.stdout.buffer, False)
        else:
            with _written_file(output) as file:
                _write_items(rating, file, output.suffix.lower() == ".csv")
    if rating.totals.rejected > _PRINTED:
        rest = "" if dead_letters is None else f"; all are in {dead_letters}"
        hint = "" if dead_letters is not None else "; write all to a file by --dead-letters FILE"
        click.echo(f"and {rating.totals.rejected - _PRINTED:,} more rejected{rest}{hint}", err=True)
    _summary(rating.totals, tariff.book.currency, top, Console(stderr=True), rating.closed_through)
    if strict and rating.totals.rejected:
        sys.exit(2)


def _same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return False


@contextlib.contextmanager
def _written_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that is there as a whole, or not at all. Devices and pipes are written directly."""
    direct = path.exists() and not path.is_file()
    draft = path if direct else path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            yield file
        if not direct:
            draft.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: {(error.strerror or str(error)).lower()}; give the path of a file that can be written") from error
    finally:
        if not direct:
            with contextlib.suppress(OSError):
                draft.unlink()


def _reporter(format: str, letters: IO[bytes] | None, path: Path | None) -> Callable[[Rejected], None]:
    """Tell of a rejected event on stderr (the first ones), and write it to the dead letters."""
    printed = 0

    def tell(rejected: Rejected) -> None:
        nonlocal printed
        piece, rejection = rejected.piece, rejected.rejection
        if printed < _PRINTED:
            printed += 1
            place = f"{piece.file}:{piece.line}" + (f" (event {rejected.at + 1} of the record)" if rejected.at > 0 else "")
            click.echo(printable(f"{place}: {rejection.reason}: {rejection.detail}"), err=True)
        if letters is not None:
            letter = {
                "file": piece.file,
                "line": piece.line,
                "index": rejected.at,
                "reason": rejection.reason.value,
                "detail": rejection.detail,
                "format": format,
                "raw_base64": base64.b64encode(piece.value).decode(),
                **({"raw_bytes": piece.size} if piece.size else {}),
            }
            letters.write(json.dumps(letter).encode() + b"\n")

    return tell


def printable(text: str) -> str:
    """Text for a terminal: control characters of foreign data must not reach it, and an error stays one line."""
    return "".join(c if c.isprintable() else "�" for c in text)


def _write_items(rating: OfflineRating, file: IO[bytes], as_csv: bool) -> None:
    try:
        if as_csv:
            _write_csv(rating, file)
        else:
            for _, line in rating.line_items():
                file.write(line + b"\n")
        file.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`). Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _write_csv(rating: OfflineRating, file: IO[bytes]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=False)
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for item, line in rating.line_items():
        found = item or decode_line_item(line)
        rows.writerow([_cell(value) for value in msgspec.structs.astuple(found)])
    text.flush()
    text.detach()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


@contextlib.contextmanager
def byte_progress(path: str, label: str = "reading") -> Iterator[Callable[[int], None]]:
    """A progress bar by bytes of the stored file, on a terminal and for large files only."""
    console = Console(stderr=True)
    total = size_of(path)
    if not console.is_terminal or (total < _LARGE and path != "-"):
        yield lambda position: None
        return
    columns = (TextColumn(f"{label} {printable(Path(path).name)}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total or None)
        yield lambda position: bar.update(task, completed=position)


def _summary(totals: Totals, currency: str, top: int, console: Console, closed: int) -> None:
    """Conservation, and the most expensive (account, sku) pairs, in a table that fits the terminal.

    currency: of the book. closed: the last closed month, 0 for none.
    """
    every = totals.by_currency() or {currency: SkuTotal()}
    if totals.by_sku and top:
        console.print(_table(totals, every, top))
    line = f"received {totals.received:,} = counted {totals.counted:,} + duplicates {totals.duplicates:,} + rejected {totals.rejected:,}"
    unpriced = f", {totals.unpriced:,} of them unpriced (no price for their sku and unit at that time)" if totals.unpriced else ""
    costs = ", ".join(f"{plain(total.cost)} {name}" for name, total in every.items())
    for text in (line, f"{totals.line_items:,} line items{unpriced}", f"total cost: {costs}{_status(totals, closed)}"):
        console.print(text, soft_wrap=True, highlight=False)
    if totals.received != totals.counted + totals.duplicates + totals.rejected:
        raise RatemillError("broken invariant: received is not counted + duplicates + rejected; please report this")


def _status(totals: Totals, closed: int) -> str:
    """Whether the total can change yet: what is due at the end of a month is not in it before its close."""
    months = totals.open_months(closed)
    if not months:
        return ", final" if totals.periods else ""
    named = ", ".join(months) if len(months) <= _MONTHS_NAMED else f"{months[0]} to {months[-1]}"
    return f", an estimate: {named} {'is' if len(months) == 1 else 'are'} open"


def _table(totals: Totals, every: Mapping[str, SkuTotal], top: int) -> Table:
    """The largest rows of each currency first, then one total per currency. every: those totals."""
    ranked = sorted(totals.by_sku.items(), key=lambda row: (row[0][2], -row[1].cost, row[0]))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("account", "sku"):
        table.add_column(name, overflow="ellipsis", min_width=5)
    unpriced, several = bool(totals.unpriced), len(every) > 1
    shown = [_cells(row, currency, unpriced, several) for (_, _, currency), row in ranked[:top]]
    sums = [_cells(row, currency, unpriced, several) for currency, row in every.items()]
    headers = [*(("currency", "cost") if several else every), "items", *(("unpriced",) if unpriced else ())]
    for header, *column in zip(headers, *shown, *sums, strict=True):
        # Names are cut in a narrow terminal; an amount never is.
        side: JustifyMethod = "left" if header == "currency" else "right"
        table.add_column(header, justify=side, no_wrap=True, min_width=max(map(len, (header, *column))))
    for ((account, sku, _), _), cells in zip(ranked, shown, strict=False):
        table.add_row(*(Text(printable(name), no_wrap=True, overflow="ellipsis") for name in (account, sku)), *cells)
    if len(ranked) > top:
        table.add_row(f"+{len(ranked) - top:,} more", style="dim")
    table.add_section()
    for cells in sums:
        table.add_row("total", "", *cells, style="bold")
    return table


def _cells(row: SkuTotal, currency: str, with_unpriced: bool, with_currency: bool) -> list[str]:
    unpriced = [f"{row.unpriced:,}" if row.unpriced else ""] if with_unpriced else []
    head = [currency] if with_currency else []
    return [*head, f"{round_to(row.cost, 6, 'half_even'):,f}", f"{row.line_items:,}", *unpriced]
