"""The page of an invoice: readable by all, on a phone and on paper, and it asks for nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from ratemill.invoicing.documents import FORMATS
from ratemill.invoicing.invoice import AccountInvoice, Line, invoices_of

Open = Callable[..., tuple[Page, Any]]
LONG = "search.eu-west-1.hot-storage-optimised-instances-with-a-name-that-is-longer-than-any-column"
LINES = [
    Line("es.capacity", "GB-hours", "108000.5", "3399.872", "Usage", 4320),
    Line("es.snapshot.storage", "GB", "2476.2565", "64.38267", "Usage", 720),
    Line(LONG, "GB", "0.000001", "123456789.123456789123456789", "Usage", 1, unpriced=1),
    *(Line(f"es.index.{number:03d}", "GB-hours", f"{number}.25", f"{number}.{number:03d}", "Usage", 24) for number in range(60)),
    Line("support", "USD", "3551.34611926464", "710.269223852928", "Adjustment", 1, adjustment="support"),
    Line("es.transfer.out", "charge", "-1", "-3.2", "Adjustment", 1, adjustment="transfer-pool"),
    Line("es.transfer.out", "GB", "-94.02393", "-3.00876576", "Usage", 1, corrected="2026-09"),
]
DOCUMENT = AccountInvoice(
    "acct-1", "2026-10", "final", 4711, "2026-11-03T08:00:00Z", "Aurora <Search> & Söhne", "Example Search Cloud",
    invoices_of([*(("USD", line) for line in LINES), ("EUR", Line("es.capacity", "GB-hours", "12", "0.36", "Usage", 12))]),
)  # fmt: skip


@pytest.fixture
def address(tmp_path: Path) -> str:
    (tmp_path / "invoice.html").write_bytes(FORMATS["html"](DOCUMENT))
    return (tmp_path / "invoice.html").as_uri()


def serious(page: Page) -> list[str]:
    return [one["id"] for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]


def test_it_can_be_read_by_all_and_asks_for_nothing(open_page: Open, address: str) -> None:
    page, noted = open_page()
    page.goto(address)
    assert (noted.said, noted.asked) == ([], [address])
    assert serious(page) == []
    assert page.get_by_role("heading", level=1).inner_text() == "Invoice"
    assert page.get_by_role("rowheader", name="Total USD").count() == 1
    assert "Aurora <Search> & Söhne (acct-1)" in page.locator("dl").inner_text()
    page.evaluate("document.querySelector('dl').style.color = '#ccc'; document.documentElement.lang = ''")
    assert serious(page) != []


@pytest.mark.parametrize("width", [360, 1_280])
def test_nothing_is_wider_than_the_screen(open_page: Open, address: str, width: int) -> None:
    page, _ = open_page(width=width)
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


def test_on_paper_each_sheet_has_the_head_of_the_table_and_nothing_is_cut(open_page: Open, address: str, tmp_path: Path) -> None:
    page, _ = open_page(width=660)  # what A4 leaves between its margins, in CSS pixels
    page.emulate_media(media="print")
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    sheets = page.pdf(path=tmp_path / "invoice.pdf", prefer_css_page_size=True).count(b"/Type /Page\n")
    assert sheets >= 2
    assert page.evaluate("getComputedStyle(document.querySelector('thead')).display") == "table-header-group"
