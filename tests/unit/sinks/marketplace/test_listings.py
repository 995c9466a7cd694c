"""The file with listings and customers, its mistakes with their lines, and which line item counts where."""

from __future__ import annotations

import pytest
from marketplaces.markets import KINDS, SINCE, listings_text
from ratemill.schemas.errors import BadConfig
from ratemill.schemas.line_item import RatedLineItem
from ratemill.schemas.times import NS, format_time
from ratemill.sinks.marketplace.listings import read_listings
from ratemill.sinks.marketplace.mapping import Left, contribution_of
from ratemill.sinks.marketplace.records import HOUR_S, Contribution

TIME = "2026-11-02T23:00:00Z"
GOOD = listings_text("stripe", TIME)


def item(hour: int = SINCE, hours: int = 1, **fields: str) -> RatedLineItem:
    start, end = format_time(hour * NS), format_time((hour + hours * HOUR_S) * NS)
    own = {"billing_account_id": "acct-1", "sku_id": "storage", "consumed_quantity": "1.5", "consumed_unit": "GB-h", "billed_cost": "0.25", **fields}
    return RatedLineItem(
        x_line_item_id="i", x_revision=4, billing_currency=own.pop("billing_currency", "USD"), billing_period_start=start, billing_period_end=end,
        charge_period_start=start, charge_period_end=end, effective_cost="0", list_cost="0", contracted_cost="0", charge_category="Usage",
        charge_class=None, charge_description=None, pricing_quantity=None, pricing_unit=None, service_name="", service_category="",
        provider_name="", publisher_name="", invoice_issuer_name="", **own,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_listing_of_every_kind_is_read(kind: str) -> None:
    found = read_listings(listings_text(kind, TIME), "shop.yaml")
    assert {each.dimension for each in found.targets()} == {"gb_hours", "requests", "fee_cents"}
    assert len({each.id for each in found.targets()}) == 6
    assert all(each.since == SINCE for each in found.targets())


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("marketplace: stripe", "marketplace: strip", 2, "did you mean `stripe`?"),
        ("marketplace: stripe", "marketplace: stripe, region: x", 2, "unknown key `region`"),
        ("marketplace: stripe", "marketplace: stripe, url: http://api.example.com", 2, "must be https"),
        ("marketplace: stripe", "marketplace: gcp", 2, "has no `service`"),
        ("sku: storage, unit: GB-h", "sku: storage", 3, "counts a `unit` or a `currency`"),
        ("sku: storage, unit: GB-h", "unit: GB-h", 3, "of no SKU"),
        ("sku: storage, unit: GB-h", "sku: calls, unit: call", 4, "another one counts the same already"),
        ('factor: "0.001"', 'factor: "0"', 4, "must be above 0"),
        ("customer_id: cus_acct-1", "identifier: x", 7, "has no `customer_id`"),
        (f'account: acct-2, listing: shop, since: "{TIME}"', f'account: acct-2, listing: x, since: "{TIME}"', 8, "no listing `x`"),
        (f'account: acct-2, listing: shop, since: "{TIME}"', 'account: acct-2, listing: shop, since: "2026-11-02T23:30:00Z"', 8, "full hour"),
        ("account: acct-2", "account: acct-1", 8, "has a listing at that time"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    with pytest.raises(BadConfig) as raised:
        read_listings(GOOD.replace(old, new), "shop.yaml")
    assert any(each.startswith(f"shop.yaml:{line}: ") and said in each for each in raised.value.mistakes), raised.value.mistakes


def test_a_subscription_may_have_another_plan_from_some_hour_on() -> None:
    text = listings_text("azure", "2026-11-01T00:00:00Z", ("acct-1",))
    line = text.splitlines()[-1]
    moved = line.replace('since: "2026-11-01T00:00:00Z"', "since: 2026-11-10T00:00:00Z").replace("plan_id: gold", "plan_id: platinum")
    first = line.replace("listing: shop", "listing: shop, until: 2026-11-10T00:00:00Z")
    (target,) = (each for each in read_listings(f"{text.replace(line, first)}{moved}\n", "shop.yaml").targets() if each.dimension == "requests")
    assert (target.since, target.until, target.customer["plan_id"]) == (1_793_491_200, 0, "platinum")  # it goes on, open


def test_a_license_and_a_product_code_do_not_go_together() -> None:
    text = listings_text("aws", TIME).replace("region: us-east-1", "region: us-east-1, product_code: p")
    with pytest.raises(BadConfig, match="`identifier` goes with"):
        read_listings(text, "shop.yaml")


@pytest.mark.parametrize(
    ("line_item", "expected"),
    [
        (item(), ("gb_hours", SINCE, "1.5")),
        (item(SINCE + HOUR_S + 60), ("gb_hours", SINCE + HOUR_S, "1.5")),
        (item(sku_id="calls", consumed_unit="call", consumed_quantity="2500"), ("requests", SINCE, "2.500")),
        (item(sku_id="support"), ("fee_cents", SINCE, "25")),
        (item(consumed_unit="TB-h"), ("fee_cents", SINCE, "25")),  # another unit is never added; what it costs is
        (item(SINCE - 48 * HOUR_S, hours=720), ("gb_hours", SINCE, "1.5")),  # a charge of a month that had begun before
        (item(SINCE - HOUR_S), Left.NOT_SOLD),
        (item(billing_account_id="acct-9"), Left.NOT_SOLD),
        (item(sku_id="free"), Left.IGNORED),
        (item(sku_id="support", billing_currency="EUR"), Left.UNMAPPED),
    ],
)
def test_which_target_a_line_item_counts_for(line_item: RatedLineItem, expected: tuple[str, int, str] | Left) -> None:
    found = contribution_of(line_item, read_listings(GOOD, "shop.yaml"))
    if isinstance(expected, Left):
        assert found == expected
    else:
        assert isinstance(found, Contribution)
        assert (found.target.rpartition(" ")[2], found.hour, str(found.quantity), found.revision) == (*expected, 4)
