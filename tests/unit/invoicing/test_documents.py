"""Invoices as files: all digits, in one order, with foreign names made harmless, and the same bytes each time."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from random import Random

import pytest
from ratemill.invoicing import AccountInvoice
from ratemill.invoicing.documents import FORMATS, file_name, shown
from ratemill.invoicing.invoice import account_invoice
from ratemill.schemas.line_item import RatedLineItem

ODD = '<script>alert("x")</script> & Söhne'


def item(number: int, cost: str, **more: object) -> RatedLineItem:
    base = RatedLineItem(
        x_line_item_id=f"{number:032x}", x_revision=number, billing_account_id="acct", billing_currency="USD",
        billing_period_start="2026-09-30T22:00:00Z", billing_period_end="2026-10-31T23:00:00Z", charge_period_start="2026-10-03T00:00:00Z",
        charge_period_end="2026-10-03T01:00:00Z", sku_id="store", billed_cost=cost, effective_cost=cost, list_cost=cost, contracted_cost=cost,
        charge_category="Usage", charge_class=None, charge_description=None, pricing_quantity="1", pricing_unit="GB", service_name="Store",
        service_category="Storage", provider_name="Acme", publisher_name="Acme", invoice_issuer_name="Acme", list_unit_price=cost,
    )  # fmt: skip
    for name, value in more.items():
        setattr(base, name, value)
    return base


ITEMS = [
    item(1, "1234567.0000000000000000005", sku_id="ram"),
    item(2, "0.25", sku_id="ram"),
    item(3, "0", sku_id="egress", x_unpriced=True),
    item(4, "-1.5", sku_id="egress", charge_category="Credit", x_adjustment="pool", pricing_quantity="-100"),
    item(5, "-2.25", sku_id="ram", x_corrected_period="2026-09", charge_class="Correction"),
    item(6, "9.5", sku_id=ODD, billing_currency="EUR", billing_account_name=ODD),
    item(7, "0", sku_id="gone", x_withdrawn=True),
]


def invoice(items: list[RatedLineItem] = ITEMS) -> AccountInvoice:
    return account_invoice("acct", "2026-10", items, 7, "2026-11-03T08:00:00Z")


def test_the_parts_add_up_and_currencies_stay_apart() -> None:
    euros, dollars = json.loads(FORMATS["json"](invoice()))["invoices"]
    assert (euros["total"], dollars["total"]) == ("9.5", "1234563.5000000000000000005")
    assert [part["cost"] for part in (dollars["usage"], dollars["adjustments"], dollars["corrections"])] == [
        "1234567.2500000000000000005", "-1.5", "-2.25",
    ]  # fmt: skip
    assert [(line["sku"], line["quantity"], line["line_items"]) for line in dollars["usage"]["lines"]] == [("egress", "1", 1), ("ram", "2", 2)]
    assert (dollars["line_items"], dollars["unpriced"]) == (5, 1)


def test_every_document_says_what_is_not_in_it_and_whether_it_is_final() -> None:
    document = json.loads(FORMATS["json"](invoice()))
    assert document["not_included"] == ["taxes", "payments", "credit notes"]
    assert (document["status"], document["version"], document["closed_at"]) == ("final", 7, "2026-11-03T08:00:00Z")
    page = FORMATS["html"](invoice()).decode()
    assert "Not included: taxes, payments, credit notes" in page
    assert "final, version 7" in page
    estimate = account_invoice("acct", "2026-10", ITEMS)
    assert (estimate.status, estimate.version, estimate.closed_at) == ("estimate", 6, "")
    assert "<h1>Estimate</h1>" in FORMATS["html"](estimate).decode()


@pytest.mark.parametrize("suffix", list(FORMATS))
def test_the_order_in_which_line_items_come_changes_no_byte(suffix: str) -> None:
    wanted = FORMATS[suffix](invoice())
    for seed in range(20):
        shuffled = list(ITEMS)
        Random(seed).shuffle(shuffled)
        assert FORMATS[suffix](invoice(shuffled)) == wanted
    assert FORMATS[suffix](invoice(ITEMS[1:])) != wanted


def test_the_table_has_all_lines_with_all_digits() -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](invoice()).decode())))
    assert [(row["currency"], row["section"], row["sku"], row["cost"]) for row in rows] == [
        ("EUR", "usage", ODD, "9.5"),
        ("USD", "usage", "egress", "0"),
        ("USD", "usage", "ram", "1234567.2500000000000000005"),
        ("USD", "adjustments", "egress", "-1.5"),
        ("USD", "corrections", "ram", "-2.25"),
    ]


class Seen(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_foreign_names_are_text_in_the_page() -> None:
    seen = Seen(FORMATS["html"](account_invoice(ODD, "2026-10", ITEMS, 7, "")).decode())
    assert "script" not in seen.tags
    assert seen.text.count(ODD) >= 3
    assert "1,234,563.5000000000000000005" in seen.text
    assert "1 of 5 line items have no price" in seen.text


def test_what_is_shown_is_rounded_and_no_zero_is_below_zero() -> None:
    amounts = {"0": "0.00", "-0.0000001": "0.000000", "-0.0000006": "-0.000001", "1234567.5": "1,234,567.50", "-5": "-5.00", "0.0000025": "0.000002"}
    assert {amount: shown(amount) for amount in amounts} == amounts


def test_file_names_are_plain_short_and_differ() -> None:
    accounts = ["acct", "../../etc/passwd", ".", "..", "a/b", "a%2Fb", "ä" * 200, "ä" * 199 + "b", "x" * 1_024, "x" * 1_023 + "y", "CON\\:*?\0",
                "x", "x.estimate", ".estimate", "x.estimate.estimate"]  # fmt: skip
    names = [file_name(account, suffix) for account in accounts for suffix in ("json", "estimate.json")]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) <= 134
        assert not name.startswith(".") or name in (".json", ".estimate.json")  # hidden, of the account without a name alone
        assert not set(name) & set('/\\:*?"<>|\0')
