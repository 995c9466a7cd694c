"""Invoices from line items: one per account and month, with corrections of closed months beside what the month itself cost.

    python examples/elastic-cloud/invoice.py ITEMS.ndjson

ITEMS are line items as `ratemill rate` writes them. Sums are exact; what is shown of them are four digits, of a total two.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

Item = dict[str, Any]


class Line(NamedTuple):
    """What an invoice adds up. corrects: the closed month, or ""."""

    corrects: str
    adjustment: str
    what: str
    unit: str


def line_of(item: Item) -> Line:
    """The line of the invoice to which a line item belongs."""
    adjustment = item.get("x_Adjustment") or ""
    # Adjustments are one line each, however many SKUs they are about; credits are one line per credit.
    words = item["ChargeDescription"].split(": ")[0] if adjustment else item["SkuId"]
    return Line(item.get("x_CorrectedPeriod") or "", adjustment, words, "" if adjustment else item["PricingUnit"])


def amount(value: Fraction, digits: int) -> str:
    """Rounded for people, with separators of thousands."""
    units = round(value * 10**digits)
    text = f"{abs(units):0{digits + 1}d}"
    return f"{'-' if units < 0 else ''}{int(text[:-digits]):,}.{text[-digits:]}"


def invoices(items: Iterable[Item]) -> Iterator[str]:
    """The lines of text of all invoices, by account and month."""
    found: dict[tuple[str, str, str], dict[Line, list[Fraction]]] = defaultdict(dict)
    for item in items:
        sums = found[item["BillingAccountId"], item["BillingPeriodStart"][:7], item["BillingCurrency"]].setdefault(line_of(item), [Fraction(0)] * 2)
        sums[0] += Fraction(item["PricingQuantity"] or 0)
        sums[1] += Fraction(item["BilledCost"])
    for (account, month, currency), lines in sorted(found.items()):
        yield f"{account}, {month}, {currency}"
        shown = ""
        for line, (quantity, cost) in sorted(lines.items()):
            if not cost:
                continue
            if line.corrects != shown:
                shown = line.corrects
                yield f"  corrections of {shown}"
            what = f"{'  ' if line.corrects else ''}{line.what}"
            measured = f"{amount(quantity, 3)} {line.unit}" if line.unit else ""
            yield f"  {what:<46}{measured:>24}{amount(cost, 4):>14}"
        yield f"  {'total':<70}{amount(sum((cost for _, cost in lines.values()), Fraction(0)), 2):>12}"
        yield ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path, metavar="ITEMS.ndjson", help="line items, as `ratemill rate --output` writes them")
    path: Path = parser.parse_args().items
    try:
        with path.open(encoding="utf-8") as file:
            lines = list(invoices(json.loads(text) for text in file))
    except OSError as error:
        print(f"invoice.py: cannot read {path}: {error.strerror}", file=sys.stderr)
        return 1
    except (ValueError, KeyError, TypeError, AttributeError):
        print(f"invoice.py: {path} does not hold line items; make them with `ratemill rate --output`", file=sys.stderr)
        return 1
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # whoever reads has seen enough; Python must not try again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
