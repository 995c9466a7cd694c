"""What the demo prints: the live table, and the reconciliation at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..pricing.money import ZERO, money, plain, round_to
from ..sinks.costs import CostRow
from ..streams.progress import Counters
from .compare import Comparison, Verdict
from .rows import PricedRow

__all__ = ["Report", "costs_line", "costs_view"]

_KINDS = ("matches", "explained", "unverifiable", "duplicate", "not usage", "differs")
_TITLES = ("match", "explained", "cannot tell", "twice", "no usage", "differ")
_SHOWN_DIGITS = 6


def costs_view(rows: Sequence[CostRow], room: int, note: str) -> RenderableType:
    """The live table: costs by account and product, largest first, at most `room` of them."""
    ranked = sorted(rows, key=lambda row: -money(row.billed_cost))
    table = Table(title="Costs, as Elasticsearch has them now", title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("provider", "account", "product"):
        table.add_column(name, overflow="ellipsis", min_width=5)
    amounts = [_amount(row.billed_cost) for row in ranked]
    total = _amount(plain(sum((money(row.billed_cost) for row in ranked), ZERO)))
    # Names are cut in a narrow terminal; an amount never is.
    table.add_column("USD", justify="right", no_wrap=True, min_width=max(map(len, (*amounts[:room], total))))
    table.add_column("items", justify="right", no_wrap=True, min_width=6)
    for row, amount in zip(ranked[:room], amounts, strict=False):
        names = (_name(row.group[name] or "-") for name in ("provider", "account", "service"))
        table.add_row(*names, amount, f"{row.line_items:,}")
    if len(ranked) > room:
        table.add_row(f"+{len(ranked) - room}", style="dim")
    table.add_section()
    table.add_row("total", "", "", total, f"{sum(row.line_items for row in ranked):,}", style="bold")
    return Group(table, Text(note, style="dim"))


def costs_line(rows: Sequence[CostRow]) -> str:
    """The same in one line, where there is no terminal."""
    total = sum((money(row.billed_cost) for row in rows), ZERO)
    accounts = len({row.group["account"] for row in rows})
    return f"{sum(row.line_items for row in rows):,} line items of {accounts} accounts visible, {_amount(plain(total))} USD"


def _name(text: str) -> Text:
    """A name that is cut in a narrow terminal, not folded."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _amount(text: str) -> str:
    return f"{round_to(money(text), _SHOWN_DIGITS, 'half_even'):,f}"


@dataclass
class Report:
    """The reconciliation: checks that hold or do not, and what they are made of."""

    checks: list[tuple[bool, str]] = field(default_factory=list)

    def check(self, holds: bool, text: str) -> None:
        """Note a statement, and whether it is true."""
        self.checks.append((holds, text))

    def conserved(self, name: str, counters: Counters, published: int | None = None) -> None:
        """received = counted + duplicates + dead-lettered, for one source."""
        holds = counters.balanced and published in (None, counters.received)
        before = "" if published is None else f"published {published:,} = "
        self.check(
            holds,
            f"{name}: {before}received {counters.received:,} = counted {counters.counted:,} + duplicates {counters.duplicates:,}"
            f" + dead-lettered {counters.dead_lettered:,}",
        )

    @property
    def holds(self) -> bool:
        """Everything."""
        return all(holds for holds, _ in self.checks)

    def show(self, console: Console) -> None:
        """Print the checks, one a line."""
        for holds, text in self.checks:
            mark = Text("  ok     " if holds else "  WRONG  ", style="green" if holds else "bold red")
            console.print(mark + Text(text), soft_wrap=True)


def show_comparison(comparison: Comparison, rows: Sequence[PricedRow], console: Console) -> None:
    """Rows by provider and verdict, the sums by account and product, and every row that does not simply match."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("provider", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    for title in _TITLES:
        table.add_column(title, justify="right")
    for provider in dict.fromkeys(row.source.provider for row in rows):
        counts = comparison.count(provider)
        table.add_row(provider, f"{counts.total():,}", *(f"{counts[kind]:,}" if counts[kind] else "" for kind in _KINDS))
    console.print(table)
    _show_products(comparison, console)
    for title, verdicts in _by_reason(comparison.verdicts).items():
        console.print(Text(f"{title}: {len(verdicts)} row{'s' if len(verdicts) > 1 else ''}"), soft_wrap=True)
        for file, lines in _lines_by_file(verdicts).items():
            console.print(Text(f"    {file}: {lines}", style="dim"), soft_wrap=True)


def _show_products(comparison: Comparison, console: Console) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("provider", "account", "product"):
        table.add_column(name, overflow="ellipsis", min_width=5)
    cells: list[tuple[tuple[str, ...], tuple[str, ...], bool]] = []
    for (provider, account, name), product in sorted(comparison.products.items()):
        difference = product.ours - product.printed
        numbers: tuple[str, ...] = (_amount(plain(product.ours)), _amount(plain(product.printed)), _small(difference), _small(product.allowed))
        cells.append(((provider, account, name), (str(product.rows), *numbers), product.holds))
    for at, name in enumerate(("rows", "ours", "printed", "differ", "allowed")):
        table.add_column(name, justify="right", no_wrap=True, min_width=max(len(name), *(len(numbers[at]) for _, numbers, _ in cells)))
    for names, row, holds in cells:
        table.add_row(*map(_name, names), *row, style="" if holds else "bold red")
    console.print(table)


def _small(value: Decimal) -> str:
    return f"{value:.1e}" if value else "0"


def _by_reason(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        if verdict.kind == "duplicate":
            groups["duplicates: the same usage stands in another file too, and was counted once"].append(verdict)
        elif verdict.kind != "matches":
            groups[f"{verdict.kind}: {verdict.reason}"].append(verdict)
    return dict(groups)


def _lines_by_file(verdicts: Iterable[Verdict]) -> dict[str, str]:
    lines: dict[str, list[int]] = defaultdict(list)
    for verdict in verdicts:
        lines[verdict.row.source.file].append(verdict.row.line)
    return {file: f"line{'s' if len(found) > 1 else ''} {_ranges(sorted(found))}" for file, found in lines.items()}


def _ranges(numbers: list[int]) -> str:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
