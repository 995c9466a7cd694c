"""Line items written from templates are the bytes that encoding the same line item gives."""

from __future__ import annotations

from decimal import Decimal, localcontext

from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.metering.calendar import calendar
from ratemill.pricing.book import parse_price_book
from ratemill.pricing.money import EXACT
from ratemill.schemas.line_item import encode_line_item
from ratemill.streams.core.items import GroupKey, Names, WindowWriter, entry_key, group_prefix, window_item

HOURS = calendar("hour")
NAMES = Names("USD", 'Pro "vider" 100%', "Pub\\lisher", "%b %s")
BOOK = parse_price_book(
    """
currency: USD
prices:
  - id: "p%b"
    sku: "s%d"
    unit: "u%"
    model: graduated
    tiers: [{up_to: "5", unit_price: "0.3"}, {unit_price: "0.1"}]
""",
    "book.yaml",
)
texts = st.one_of(st.just(""), st.sampled_from(["%b", "%", "eu-1", 'q"uote', "back\\slash", "é漢🙂", "%%d", '{"a":"100%"}']), st.text(
    alphabet=st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), max_size=8))  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(texts.filter(bool), texts, texts, texts, texts, st.decimals(-1000, 1000, places=4), st.integers(0, 1), st.booleans(), st.integers(1, 10**9))
def test_a_template_gives_the_bytes_of_the_encoder(
    account: str, region: str, resource: str, provider: str, dimensions: str, quantity: Decimal, tier: int, priced: bool, revision: int
) -> None:
    """Whatever the texts hold: quotes, percent signs, other scripts; with and without a price."""
    group = GroupKey(account, "s%d", "u%", 2026 * 12)
    prefix, key = group_prefix(group), entry_key(1_767_225_600, region, resource, dimensions)
    price = BOOK.price_at("s%d", "u%", 0) if priced else None
    tier = tier if priced else 0
    with localcontext(EXACT):
        item = window_item(NAMES, HOURS, group, prefix, key, price, tier, quantity, provider)
        item.x_revision = revision
        writer = WindowWriter(NAMES, lambda sku, unit: HOURS).at(revision)
        for _ in range(2):  # the second time from the remembered form
            identity, value = writer.write(group, prefix, key, price, tier, quantity, provider)
            assert identity == item.x_line_item_id.encode()
            assert value == encode_line_item(item)
