"""A plain table that fits the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .dead_letters import printable

__all__ = ["print_table"]


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows; long cells are folded, but for the column `Id`, which is there to be copied."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title == "Id")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)
