"""What must hold for a delivery. Each check raises AssertionError, with what was found and what should have been."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, localcontext

from ratemill.pricing.money import EXACT, ZERO, money
from ratemill.schemas.line_item import RatedLineItem
from ratemill.streams.core.accounts import Account, tally_prefix
from ratemill.streams.core.groups import Group as StoredGroup
from ratemill.streams.core.state import stored_groups
from ratemill.streams.core.store import ENTRY, TALLY
from ratemill.streams.core.sweep import definition, invoiced

from .delivery import Delivery, Items, differences, month_of_item
from .oracle import Group, Oracle, StretchName, stretch_name

__all__ = ["check_accounts", "check_arithmetic", "check_costs", "check_definition", "check_invoiced", "check_tallies"]

def check_definition(delivery: Delivery) -> None:
    """What stands in the topic for the open months is the definition over the store."""
    live = {name: item for name, item in delivery.topic.present().items() if month_of_item(item) > delivery.closed.month}
    wanted = {item.x_line_item_id: item for item in definition(delivery.store, delivery.rates, delivery.closed)}
    assert live == wanted, f"not the definition:\n{differences(live, wanted)}"


def check_invoiced(delivery: Delivery) -> None:
    """What stands in the topic for the closed months is what the core says was invoiced; only after one close."""
    live = {name: item for name, item in delivery.topic.present().items() if month_of_item(item) <= delivery.closed.month}
    wanted = {item.x_line_item_id: item for item in invoiced(delivery.store, delivery.closed)}
    assert live == wanted, f"not what was invoiced:\n{differences(live, wanted)}"


def check_arithmetic(items: Items) -> None:
    """Each line item is quantity x unit price, and has one cost."""
    with localcontext(EXACT):
        for item in items.values():
            assert item.billed_cost == item.effective_cost == item.list_cost == item.contracted_cost, item
            assert item.list_unit_price == item.contracted_unit_price, item
            if item.list_unit_price is None:
                assert item.x_unpriced, item
                assert item.billed_cost == "0", item
                continue
            assert money(item.pricing_quantity or "") * money(item.list_unit_price) == money(item.list_cost), item
            assert not item.list_unit_price.startswith("-"), item


def check_costs(delivery: Delivery, oracle: Oracle) -> None:
    """Σ line items = price(Σ quantity): stretch by stretch in the open months; invoiced and corrected together in closed ones."""
    found: dict[object, Decimal] = {}
    wanted: dict[object, Decimal] = {}
    with localcontext(EXACT):
        for item in delivery.topic.present().values():
            if item.x_adjustment:
                continue
            month, name = month_it_is_about(item), item.x_price_id
            of: object
            if month <= oracle.closed:
                of = item.billing_account_id, item.billing_currency, item.sku_id, month
            else:
                of = _stretch_of(item, month, delivery) if name else ("without a price", item.sku_id)
            found[of] = found.get(of, ZERO) + money(item.billed_cost)
        for stretch, cost in oracle.stretch_costs(oracle.closed).items():
            group = stretch.group
            of = (group.account, _currency(oracle, group.account), group.sku, group.month) if group.month <= oracle.closed else stretch
            wanted[of] = wanted.get(of, ZERO) + cost
    _equal("usage of", found, wanted)


def check_accounts(delivery: Delivery, oracle: Oracle) -> None:
    """Charges of each account and month are those of its statement; of closed months, what was invoiced and corrected together."""
    found: dict[object, Decimal] = {}
    wanted: dict[object, Decimal] = {}
    with localcontext(EXACT):
        for item in delivery.topic.present().values():
            if item.x_adjustment:
                name = item.billing_account_id, item.billing_currency, month_it_is_about(item), item.x_adjustment, item.x_component
                found[name] = found.get(name, ZERO) + money(item.billed_cost)
        for (account, month), made in oracle.statements().items():
            for charge in made.charges:
                wanted[account, _currency(oracle, account), month, charge.adjustment, charge.key] = charge.cost
    _equal("charge", found, wanted)


def month_it_is_about(item: RatedLineItem) -> int:
    """The month that a line item bills or corrects."""
    if item.charge_class != "Correction":
        return month_of_item(item)
    return int(item.x_corrected_period[:4]) * 12 + int(item.x_corrected_period[5:]) - 1


def _currency(oracle: Oracle, account: str) -> str:
    terms = oracle.rates.book.terms_of(account)
    if terms is not None:
        return terms.currency
    return next((one.get("currency", "USD") for one in _accounts_of(oracle) if one["account"] == account), "USD")


def _accounts_of(oracle: Oracle) -> list[dict[str, str]]:
    spec = oracle.world.specs[oracle.rates is oracle.world.rates[1]]
    found: list[dict[str, str]] = spec.get("accounts", [])
    return found


def _stretch_of(item: RatedLineItem, month: int, delivery: Delivery) -> StretchName:
    price = next(price for price in delivery.rates.book.prices if price.id == item.x_price_id)
    group = Group(item.billing_account_id, item.sku_id, price.unit, month)
    return stretch_name(delivery.rates, group, int(datetime.fromisoformat(item.charge_period_start).timestamp()))[0]


def _equal(what: str, found: Mapping[object, Decimal], wanted: Mapping[object, Decimal]) -> None:
    for name in [*found, *(name for name in wanted if name not in found)]:
        one, other = found.get(name, ZERO), wanted.get(name, ZERO)
        assert one == other, f"{what} {name} costs {one}, and should cost {other}"


def check_tallies(delivery: Delivery) -> None:
    """Totals of accounts as they are kept are those made anew from all groups, and nothing is left of other rates."""
    store, rates, closed = delivery.store, delivery.rates, delivery.closed
    anew: dict[str, Account] = {}
    with localcontext(EXACT):
        for prefix, key in stored_groups(store):
            if rates.of(key.account).terms is None:
                continue
            account = anew.setdefault(key.account, Account(key.account, rates, store, closed, empty=True))
            account.note(StoredGroup(key, rates).load(store.scan(ENTRY + prefix)))
            if key.month <= closed.month:
                account.note_invoiced(closed.base(store, key))
        for name, account in anew.items():
            kept = Account(name, rates, store, closed)
            for what, one, other in (("totals", kept._chain, account._chain), ("invoiced totals", kept._invoiced, account._invoiced)):
                ours, theirs = (chain.rows if chain else {} for chain in (one, other))
                assert ours == theirs, f"{what} of {name}: kept {ours}, anew {theirs}"
    for key, value in store.scan(TALLY):
        name = key[8 : key.index(b"\0", 8)].decode()
        assert not value or (TALLY + key).startswith(tally_prefix(rates, name)), f"totals of {name} under other rates are left"
