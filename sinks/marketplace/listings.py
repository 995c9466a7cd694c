"""The file that says what is reported where: listings (what a marketplace sells, and which SKUs make up its dimensions) and customers.

    read_listings(text, name)     YAML -> Listings, or BadConfig with every mistake as `file:line: what; what to do`

It holds no secrets: those are settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from urllib.parse import urlsplit

from ...pricing.book_form import Form, quoted
from ...pricing.book_yaml import Mistakes, Node, Table, kind_of, read_yaml
from ...pricing.money import money
from ...schemas.addresses import is_here
from ...schemas.errors import BadConfig
from ...schemas.times import NS
from .records import HOUR_S, Target
from .rules import RULES

__all__ = ["Customer", "Dimension", "Listing", "Listings", "read_listings"]

# What a listing must say, besides its dimensions, and what it may; what a customer must be called by, in any one of these ways.
NEEDS: Mapping[str, tuple[str, ...]] = {"aws": ("region",), "azure": (), "gcp": ("service",), "stripe": ()}
MAY: Mapping[str, tuple[str, ...]] = {"aws": ("product_code", "url"), "azure": ("url",), "gcp": ("url",), "stripe": ("url",)}
NAMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "aws": (("account_id", "license_arn"), ("identifier",)),
    "azure": (("resource_id", "plan_id"),),
    "gcp": (("usage_reporting_id",),),
    "stripe": (("customer_id",),),
}
# Of these names, the one that tells customers apart; a plan changes, its subscription does not.
KEYS: Mapping[str, tuple[str, ...]] = {
    "aws": ("license_arn", "identifier"), "azure": ("resource_id",), "gcp": ("usage_reporting_id",), "stripe": ("customer_id",)
}  # fmt: skip
ONE = money(1)


@dataclass(frozen=True, slots=True)
class Dimension:
    """Which usage makes up a dimension: quantities of an SKU in a unit, or costs in a currency (sku "": of all that no other dimension has)."""

    name: str
    sku: str
    unit: str
    currency: str
    factor: Decimal


@dataclass(frozen=True, slots=True)
class Listing:
    """What a marketplace sells. settings: what its API needs to know, by the names of NEEDS and MAY."""

    name: str
    marketplace: str
    settings: Mapping[str, str]
    dimensions: tuple[Dimension, ...]
    ignored: frozenset[str]


@dataclass(frozen=True, slots=True)
class Customer:
    """An account that buys by a listing. since, until: hours, seconds since 1970, UTC; until 0: open."""

    account: str
    listing: Listing
    names: Mapping[str, str]
    since: int
    until: int

    def target(self, dimension: str) -> Target:
        """What a dimension of it is added up for. The id is of what the marketplace knows, so that a listing may change its name."""
        kind = self.listing.marketplace
        key = next(self.names[name] for name in KEYS[kind] if name in self.names)
        scope = self.listing.settings.get("product_code") or self.listing.settings.get("service") or ""
        return Target(f"{kind} {scope} {key} {dimension}", self.listing.name, self.account, dimension, self.names, self.since, self.until)


@dataclass(frozen=True, slots=True)
class Listings:
    """The whole file. digest: of its text."""

    listings: Mapping[str, Listing]
    customers: Mapping[str, tuple[Customer, ...]]  # by account, ascending by since
    digest: str

    def targets(self) -> list[Target]:
        """Every dimension of every customer; where several have one in common, from the first of them on until the end of the last."""
        found: dict[str, Target] = {}
        for its_id, several in self.by_target().items():
            ends = [each.until for each in several]
            found[its_id] = replace(several[-1], since=several[0].since, until=max(ends) if all(ends) else 0)
        return list(found.values())

    def by_target(self) -> Mapping[str, tuple[Target, ...]]:
        """id -> what each of its customers says of it, ascending by since."""
        found: dict[str, tuple[Target, ...]] = {}
        for customer in sorted((each for several in self.customers.values() for each in several), key=lambda each: each.since):
            for dimension in customer.listing.dimensions:
                target = customer.target(dimension.name)
                found[target.id] = (*found.get(target.id, ()), target)
        return found


def read_listings(text: str | bytes, name: str) -> Listings:
    """Listings and customers of a YAML text; name: of the file, for messages. Raises BadConfig with all mistakes."""
    mistakes = Mistakes(name)
    root = read_yaml(text, mistakes)
    listings: dict[str, Listing] = {}
    customers: dict[str, tuple[Customer, ...]] = {}
    if isinstance(root, Table):
        form = Form(root, "the file", mistakes)
        form.check_keys(("listings", "customers"))
        if form.require("listings", "{…}") and (table := form.table_of("listings", "{my-listing: {…}}")):
            for key, (line, node) in table.entries.items():
                if (fields := _form(node, f"listing {quoted(key)}", line, mistakes)) and (listing := _listing(key, fields)):
                    listings[key] = listing
        if form.require("customers", "[…]") and (found := form.list_of("customers", "[{account: …}]")):
            for node in found.items:
                if fields := _form(node, "a customer", node.line, mistakes):
                    _add_customer(fields, listings, customers)
    elif not len(mistakes):
        mistakes.add(1, "the file must be a map with `listings` and `customers`")
    if len(mistakes):
        raise BadConfig(mistakes.sorted_lines())
    data = text.encode() if isinstance(text, str) else text
    return Listings(listings, customers, hashlib.sha256(data).hexdigest())


def _form(node: Node, what: str, line: int, mistakes: Mistakes) -> Form | None:
    if isinstance(node, Table):
        return Form(node, what, mistakes)
    mistakes.add(line, f"{what} is {kind_of(node)}, but must be a map")
    return None


def _listing(name: str, form: Form) -> Listing | None:
    before = len(form.mistakes)
    kind = form.choice("marketplace", RULES, "") if form.require("marketplace", "aws") else ""
    if not kind:
        return None
    form.check_keys(("marketplace", "dimensions", "ignore", *NEEDS[kind], *MAY[kind]))
    settings = {key: form.text(key, "…") for key in (*NEEDS[kind], *MAY[kind]) if (form.require(key, "…") if key in NEEDS[kind] else form.has(key))}
    if "url" in settings:
        _check_url(form, settings["url"])
    dimensions: list[Dimension] = []
    if form.require("dimensions", "[{dimension: gb_hours, sku: storage, unit: GB-h}]") and (found := form.list_of("dimensions", "[{dimension: …}]")):
        for node in found.items:
            if fields := _form(node, f"a dimension of listing {quoted(name)}", node.line, form.mistakes):
                _add_dimension(fields, dimensions)
    ignored = frozenset(form.texts("ignore", "[sku]") or ())
    return Listing(name, kind, settings, tuple(dimensions), ignored) if len(form.mistakes) == before else None


def _check_url(form: Form, url: str) -> None:
    parts = urlsplit(url)
    if "@" in url or not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and is_here(parts.hostname))):
        form.wrong("url", "`url` must be https://HOST, without a user name; http only to this machine")


def _add_dimension(form: Form, dimensions: list[Dimension]) -> None:
    form.check_keys(("dimension", "sku", "unit", "currency", "factor"))
    name = form.text("dimension", "gb_hours", limit=100) if form.require("dimension", "gb_hours") else ""
    sku, unit, currency = form.text("sku", "storage"), form.text("unit", "GB-h"), form.text("currency", "USD")
    if bool(unit) == bool(currency):
        form.wrong("dimension", f"dimension {quoted(name)} counts a `unit` or a `currency`; write one of them")
    elif unit and not sku:
        form.wrong("dimension", f"dimension {quoted(name)} counts {quoted(unit)} of no SKU; add `sku`")
    factor = form.number("factor", "1", above_zero=True)
    if any((each.sku, each.unit, each.currency) == (sku, unit, currency) for each in dimensions):
        form.wrong("dimension", f"dimension {quoted(name)}: another one counts the same already, and usage is reported once")
    dimensions.append(Dimension(name, sku, unit, currency, ONE if factor is None else factor))


def _add_customer(form: Form, listings: Mapping[str, Listing], customers: dict[str, tuple[Customer, ...]]) -> None:
    form.check_keys(("account", "listing", "customer", "since", "until"))
    if not all([form.require("account", "acct-1"), form.require("listing", "my-listing"), form.require("since", "2026-01-01T00:00:00Z"),
                form.require("customer", "{…}")]):  # fmt: skip
        return
    account, name = form.text("account", "acct-1"), form.text("listing", "my-listing")
    since, until = _hour(form, "since"), _hour(form, "until")
    listing = listings.get(name)
    if listing is None:
        form.wrong("listing", f"there is no listing {quoted(name)} without mistakes; those are {', '.join(listings) or 'none'}")
        return
    table = form.table_of("customer", "{customer_id: …}")
    if table is None:
        return
    names = Form(table, f"customer {quoted(account)}", form.mistakes)
    ways = NAMES[listing.marketplace]
    way = next((way for way in ways if names.has(way[-1])), ways[0])
    names.check_keys(way)
    given = {key: names.text(key, "…") for key in way if names.require(key, "…")}
    if listing.marketplace == "aws" and ("identifier" in given) != ("product_code" in listing.settings):
        # Usage under both is billed twice, says AWS.
        form.wrong("customer", "`identifier` goes with a listing that has a `product_code`, and account_id with license_arn with one that has none")
    if until and until <= since:
        form.wrong("until", "`until` must be after `since`")
    customer = Customer(account, listing, given, since, until)
    others = customers.get(account, ())
    if any((not each.until or since < each.until) and (not until or each.since < until) for each in others):
        form.wrong("account", f"account {quoted(account)} has a listing at that time; give the earlier one an `until`: usage is reported once")
    customers[account] = tuple(sorted((*others, customer), key=lambda each: each.since))


def _hour(form: Form, key: str) -> int:
    moment = form.time(key)
    if moment is None:
        return 0
    if moment % (HOUR_S * NS):
        form.wrong(key, f"`{key}` must be at a full hour of UTC, such as 2026-01-01T00:00:00Z")
    return moment // NS
