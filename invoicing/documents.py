"""An invoice as JSON, CSV and a page to print: the same bytes for the same invoice, whenever and wherever they are made. Pure.

JSON and CSV have all digits. The page shows six decimals of a line, as `ratemill invoice` does in a terminal, and all of a total.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from html import escape
from urllib.parse import quote

import msgspec

from ..pricing.money import money, round_to
from .invoice import AccountInvoice, Invoice, Line, Part

__all__ = ["ESTIMATE", "FORMATS", "SECTIONS", "file_name", "line_name", "shown"]

_DIGITS = 6  # after the point, of what is shown
ESTIMATE = ".estimate"  # behind the name of an account in that of a file, while its month is open
_LONGEST_NAME = 120  # characters of a file name without its suffix
SECTIONS = {"usage": "usage", "adjustments": "adjustments", "corrections": "corrections of earlier months"}
_COLUMNS = ("account", "period", "status", "version", "currency", "section", *Line.__struct_fields__)


def shown(amount: str) -> str:
    """An amount for people: thousands apart, two to six decimals, half even."""
    digits = max(2, min(len(amount.partition(".")[2]), _DIGITS))
    rounded = round_to(money(amount), digits, "half_even")
    return f"{rounded if rounded else abs(rounded):,f}"  # no zero is below zero


def line_name(line: Line) -> str:
    """SKU, with the adjustment that made the charge, and the month that it corrects."""
    parts = [line.corrected, f"{line.adjustment}:" if line.adjustment and line.adjustment != line.sku else "", line.sku or "-"]
    return " ".join(part for part in parts if part)


def file_name(account: str, suffix: str) -> str:
    """A name for any account that every file system takes, not hidden; accounts that differ have names that differ, but perhaps in case alone."""
    name = quote(account, safe="")
    if name.startswith("."):  # "..": a shell's *.json would not find it
        name = f"%2E{name[1:]}"
    if name.endswith(ESTIMATE):  # of account "x.estimate", beside the estimate of "x"
        name = f"{name.removesuffix(ESTIMATE)}%2E{ESTIMATE[1:]}"
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 33]}-{sha256(account.encode(errors='surrogatepass')).hexdigest()[:32]}"
    return f"{name}.{suffix}"


def _json(document: AccountInvoice) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _csv(document: AccountInvoice) -> bytes:
    """One row a line; what they come to is left to whoever adds them up."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for invoice in document.invoices:
        for section in SECTIONS:
            part: Part = getattr(invoice, section)
            for line in part.lines:
                head = (document.account, document.period, document.status, document.version, invoice.currency, section)
                writer.writerow([*head, *(getattr(line, name) for name in Line.__struct_fields__)])
    return text.getvalue().encode()


def _html(document: AccountInvoice) -> bytes:
    account, period = escape(document.account), escape(document.period)
    final = document.status == "final"
    facts = {
        "From": document.issuer,
        "To": f"{document.account_name} ({document.account})" if document.account_name else document.account,
        "Billing month": document.period,
        "Status": f"final, version {document.version}" if final else "estimate: the month is open",
        **({"Closed": document.closed_at} if final else {}),
    }
    rows = "\n".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items() if text)
    body = "\n".join(_section(invoice) for invoice in document.invoices) or "<p>No line items.</p>"
    left_out = ", ".join(document.not_included)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Invoice of {account} for {period}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{"Invoice" if final else "Estimate"}</h1>
<dl>
{rows}
</dl>
{body}
<footer>
<p>Not included: {left_out}. Whoever issues the invoice adds them.</p>
<p>Lines and sums of a kind are shown with up to {_DIGITS} decimals, totals with all; the JSON and CSV files of this invoice have every digit.</p>
</footer>
</main>
</body>
</html>
"""
    return page.encode()


def _section(invoice: Invoice) -> str:
    """One table: a currency, in parts."""
    currency = escape(invoice.currency)
    parts = [
        *(_part(getattr(invoice, name), title) for name, title in SECTIONS.items()),
        f'<tbody class="total"><tr><th scope="row" colspan="3">Total {currency}</th><td>{money(invoice.total):,f}</td></tr></tbody>',
    ]
    unpriced = f"<p>{invoice.unpriced:,} of {invoice.line_items:,} line items have no price, and cost nothing yet.</p>" if invoice.unpriced else ""
    return f"""<section>
<table>
<caption>{currency}, {invoice.line_items:,} line items</caption>
<thead><tr><th scope="col">Item</th><th scope="col">Quantity</th><th scope="col">Unit</th><th scope="col">Amount {currency}</th></tr></thead>
{"".join(filter(None, parts))}
</table>
{unpriced}
</section>"""


def _part(part: Part, title: str) -> str:
    if not part.lines:
        return ""
    return f"""<tbody>
<tr class="part"><th scope="rowgroup" colspan="4">{title.capitalize()}</th></tr>
{"".join(_rows(part))}<tr class="sum"><th scope="row" colspan="3">Sum of {title}</th><td>{shown(part.cost)}</td></tr>
</tbody>
"""


def _rows(part: Part) -> Iterator[str]:
    for line in part.lines:
        cells = f"<td>{shown(line.quantity)}</td><td>{escape(line.unit)}</td><td>{shown(line.cost)}</td>"
        yield f'<tr><th scope="row">{escape(line_name(line))}</th>{cells}</tr>\n'


_STYLE = """
:root { color-scheme: light; font: 15px/1.45 system-ui, sans-serif; color: #16181d; background: #fff; }
body { margin: 0; }
main { max-width: 50rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.9rem; margin: 0 0 1rem; }
dl { margin: 0 0 2rem; }
dl div { display: flex; gap: 1rem; }
dt { flex: 0 0 8rem; color: #5a6070; }
dd { margin: 0; overflow-wrap: anywhere; }
section { margin-bottom: 2rem; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: #5a6070; padding-bottom: .4rem; }
th, td { padding: .3rem .5rem; text-align: right; vertical-align: top; font-weight: normal; }
th:first-child, td:nth-child(3), thead th:nth-child(3) { text-align: left; }
th:first-child { overflow-wrap: anywhere; padding-left: 0; }
td:last-child, thead th:last-child { padding-right: 0; white-space: nowrap; }
thead th { border-bottom: 1px solid #16181d; font-weight: 600; }
.part th { padding-top: 1rem; font-weight: 600; }
.sum th, .sum td { border-top: 1px solid #c8ccd4; color: #5a6070; }
.total th, .total td { border-top: 2px solid #16181d; font-weight: 700; padding-top: .6rem; }
.total td { white-space: normal; overflow-wrap: anywhere; }
footer { color: #5a6070; font-size: .87rem; }
@media (min-width: 40rem), print { td:nth-child(3) { min-width: 5rem; } }
@media screen and (max-width: 40rem) {
  main { margin: 1rem auto; padding: 0 .75rem; }
  th, td { padding: .3rem .25rem; }
  td:last-child, thead th:last-child { white-space: normal; overflow-wrap: anywhere; }
}
@page { size: A4; margin: 18mm; }
@media print {
  :root { font-size: 10pt; }
  main { max-width: none; margin: 0; padding: 0; }
  thead { display: table-header-group; }
  tr, .total { break-inside: avoid; }
  .part, .part + tr { break-after: avoid; }
  .sum { break-before: avoid; }
}
"""

# suffix -> what makes the file of an invoice
FORMATS: Mapping[str, Callable[[AccountInvoice], bytes]] = {"json": _json, "csv": _csv, "html": _html}
