"""`ratemill export`: line items of the rated topic in the forms of others."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from ..invoicing import Store
from ..invoicing.focus import FORMATS, VERSIONS, Checked, check, read_rows, row_of, write_rows
from ..invoicing.focus.files import SCALE
from ..pricing.money import plain, use_exact_arithmetic
from ..schemas.errors import RatemillError
from ..streams.config import Config, load_config
from .corrections import with_config
from .dead_letter_topic import on_kafka
from .invoice_run import caught_up, month_of_period, open_store
from .rate import printable

__all__ = ["command"]


@click.group("export")
def command() -> None:
    """Write line items in the forms of others."""


@command.command("focus")
@click.option("--version", "version", required=True, type=click.Choice(VERSIONS), help="Of the FOCUS specification.")
@click.option("--format", "format", default="parquet", show_default=True, type=click.Choice(FORMATS), help="Parquet needs ratemill[parquet].")
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="The file to write.")
@click.option("--period", metavar="YYYY-MM", help="Only this billing month.")
@click.option("--account", help="Only this billing account.")
@click.option("--scale", default=SCALE, show_default=True, type=click.IntRange(0, 38), help="Digits after the point of amounts in Parquet.")
@click.option("--store", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Of `ratemill invoice`: read only what is new.")
@click.option("--check/--no-check", "checked", default=True, show_default=True, help="Read the file back and check every row, exactly.")
@with_config
def focus(
    version: str, format: str, output: Path, period: str | None, account: str | None, scale: int, store: Path | None, checked: bool,
    path: str | None,
) -> None:  # fmt: skip
    """Line items as they stand in the rated topic, as a FOCUS Cost and Usage file: one row each, withdrawn ones left out.

    Every amount is exact: Parquet has decimal128 with --scale digits after the point, and an amount that does not fit is an error. Exit status 1
    when a row breaks a rule of the check: docs/focus.md.

    \b
      ratemill export focus --version 1.2 --period 2026-10 --output 2026-10.parquet
    """
    use_exact_arithmetic()
    month = month_of_period(period) if period is not None else None
    config = load_config(path)
    with ExitStack() as stack:
        kept = _store(stack, store, config)
        on_kafka(config, lambda: caught_up(kept, config))
        rows = (row_of(item, version) for item in kept.line_items(month, account) if not item.x_withdrawn)
        written = write_rows(rows, version, output, format, scale)
    if checked:
        tell(check(read_rows(output, format), version), version, output, written)
    else:
        click.echo(printable(f"{output}: FOCUS {version}, not checked"))


def _store(stack: ExitStack, path: Path | None, config: Config) -> Store:
    """That of the user, or one that is thrown away."""
    if path is None:
        path = Path(stack.enter_context(TemporaryDirectory())) / "store"
    made = open_store(path, config)
    stack.callback(made.close)
    return made


def tell(found: Checked, version: str, output: Path, written: int) -> None:
    """Say what the check found. written: how many rows there must be. Raises RatemillError when there are others, or one breaks a rule."""
    click.echo(printable(f"{output}: FOCUS {version}, {found.rows:,} rows"))
    for currency, billed in sorted(found.billed.items()):
        click.echo(printable(f"  BilledCost {plain(billed)} {currency}"))
    if found.rows != written:
        raise RatemillError(printable(f"{output}: it has {found.rows:,} rows, and {written:,} were written to it; write it again"))
    if not found.breaches:
        click.echo("  checked: ListCost, ContractedCost, EffectiveCost, BilledCost, unit price x quantity and periods are exact on every row")
        return
    for rule, count in found.breaches.most_common():
        click.echo(printable(f"  WRONG in {count:,} rows: {rule}"))
    raise RatemillError(printable(f"{output}: {found.examples[0]}"))
