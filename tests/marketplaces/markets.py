"""For each kind of marketplace: a listing of it as the file says it, and the fake that goes with it."""

from __future__ import annotations

from collections.abc import Callable

from .fake import Fake
from .fake_aws import FakeAws
from .fake_azure import FakeAzure
from .fake_gcp import FakeGcp
from .fake_stripe import FakeStripe

__all__ = ["ACCOUNTS", "KINDS", "SINCE", "fake_for", "listings_text"]

SINCE = 1_793_660_400  # 2026-11-02T23:00:00Z; the hour 23:00 is not cut by the end of a month
ACCOUNTS = ("acct-1", "acct-2")
DIMENSIONS = ("gb_hours", "requests", "fee_cents")
SERVICE = "shop.gcpmarketplace.example.com"
ARN = "arn:aws:license-manager::111122223333:license:l-"

_LISTING = {
    "aws": "marketplace: aws, region: us-east-1",
    "aws-legacy": "marketplace: aws, region: us-east-1, product_code: prod1",
    "azure": "marketplace: azure",
    "gcp": f"marketplace: gcp, service: {SERVICE}",
    "stripe": "marketplace: stripe",
}
_CUSTOMER = {
    "aws": lambda account: f'account_id: "{account_id(account)}", license_arn: "{ARN}{account}"',
    "aws-legacy": lambda account: f"identifier: cust-{account}",
    "azure": lambda account: f"resource_id: guid-{account}, plan_id: gold",
    "gcp": lambda account: f'usage_reporting_id: "project_number:{account[-1]}"',
    "stripe": lambda account: f"customer_id: cus_{account}",
}
KINDS = tuple(_LISTING)


def account_id(account: str) -> str:
    return f"00000000000{account[-1]}"


def listings_text(kind: str, since: str, accounts: tuple[str, ...] = ACCOUNTS) -> str:
    """A file with one listing, `shop`, and its customers."""
    lines = [
        "listings:", f"  shop: {{{_LISTING[kind]}, ignore: [free], dimensions: [",
        "    {dimension: gb_hours, sku: storage, unit: GB-h},",
        '    {dimension: requests, sku: calls, unit: call, factor: "0.001"},',
        '    {dimension: fee_cents, currency: USD, factor: "100"}]}',
        "customers:",
    ]  # fmt: skip
    lines += [f'  - {{account: {each}, listing: shop, since: "{since}", customer: {{{_CUSTOMER[kind](each)}}}}}' for each in accounts]
    return "\n".join(lines) + "\n"


def fake_for(kind: str, clock: Callable[[], int]) -> Fake:
    """The marketplace, which knows the customers of ACCOUNTS."""
    if kind == "aws":
        return FakeAws(clock, licenses={ARN + each: account_id(each) for each in ACCOUNTS}, dimensions=frozenset(DIMENSIONS))
    names = frozenset(DIMENSIONS)
    if kind == "aws-legacy":
        return FakeAws(clock, products={"prod1": {f"cust-{each}": True for each in ACCOUNTS}}, dimensions=names)
    if kind == "azure":
        return FakeAzure(clock, plans={f"guid-{each}": "gold" for each in ACCOUNTS}, dimensions=names)
    if kind == "gcp":
        return FakeGcp(clock, service=SERVICE, consumers={f"project_number:{each[-1]}": True for each in ACCOUNTS}, metrics=names)
    assert kind == "stripe"
    return FakeStripe(clock, customers=frozenset(f"cus_{each}" for each in ACCOUNTS), meters=names)


def customer_of(wire: dict[str, str]) -> str:
    """What a fake calls the customer of a record."""
    return next(wire[name] for name in ("license_arn", "identifier", "resource_id", "usage_reporting_id", "customer_id") if name in wire)
