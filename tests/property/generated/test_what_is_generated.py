"""The generated cases hold what they are meant to hold: every model, option, aggregation, adjustment and kind of history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest
from ratemill.schemas.errors import BadPriceBook

from generated.cases import CASES_PER_WORLD
from generated.chance import Chance
from generated.histories import Close, CloseBackfill, Revert, history_of
from generated.meters_drawn import AGGREGATIONS
from generated.prices_drawn import MODELS
from generated.worlds import PROFILES, World, made, world_of, yaml_of

SEEDS = range(0, 400, CASES_PER_WORLD)

PRICE_FIELDS = {
    "free", "free_units", "bounds", "tier_bounds", "charge_flat_at_zero", "minimum", "maximum", "minimum_due", "rounding", "accumulate", "accounts",
    "currency", "effective_from", "effective_to", "fixed_fee", "floor", "cap", "markup",
}  # fmt: skip
METER_FIELDS = {
    "filter", "quantity", "unique", "group_by", "window", "timezone", "convert", "digits", "per", "gap_limit", "carry_forward", "first_sample",
    "effective_from", "effective_to",
}  # fmt: skip
STEPS = {"allowance", "discount", "minimum_spend", "maximum_spend", "uplift", "rounding", "recurring", "commitment", "credits"}


@lru_cache(maxsize=1)
def worlds() -> dict[tuple[str, int], World]:
    return {(profile.name, seed): world_of(seed // CASES_PER_WORLD, profile.name) for profile in PROFILES for seed in SEEDS}


def members(key: str) -> Iterator[dict[str, Any]]:
    for world in worlds().values():
        for spec in world.specs:
            yield from spec.get(key, ())


def test_every_model_and_option_of_a_price_comes_up() -> None:
    found = Counter(word for price in members("prices") for word in (price["model"], *price))
    assert {*MODELS, *PRICE_FIELDS} <= {word for word, count in found.items() if count >= 5}


def test_every_aggregation_and_option_of_a_meter_comes_up() -> None:
    found = Counter(word for meter in members("meters") for word in (meter["aggregation"], *meter))
    assert {*AGGREGATIONS, *METER_FIELDS} <= {word for word, count in found.items() if count >= 5}


def test_every_adjustment_and_everything_of_an_account_comes_up() -> None:
    found = Counter(step["type"] for step in members("adjustments"))
    assert {step for step, count in found.items() if count >= 5} == STEPS
    kinds = Counter(key for account in members("accounts") for key in account)
    assert {"recurring", "commitments", "credits", "currency"} <= {key for key, count in kinds.items() if count >= 5}


def test_every_kind_of_history_comes_up() -> None:
    found: Counter[str] = Counter()
    for (profile, seed), world in worlds().items():
        history = history_of(Chance(f"case {seed} {profile}"), world)
        closes = [phase.end for phase in history.phases if isinstance(phase.end, Close)]
        found["two closes"] += len(closes) > 1
        found["back to the first tariff"] += any(phase.tariff == 0 for phase in history.phases)
        for phase in history.phases:
            found.update(type(phase.end).__name__ for _ in [0] if phase.end is not None)
            found["tariff"] += phase.tariff is not None
            found["amended twice"] += len({id(a.original) for a in phase.amendments}) < len(phase.amendments)
            found["cancelled"] += any(amendment.now is None for amendment in phase.amendments)
            found["amended before it came"] += any(amendment.original not in phase.events for amendment in phase.amendments)
            found["backfill"] += any(event.backfill for event in phase.events)
            found["reversal"] += any(event.quantity < 0 for event in phase.events)
            found["nothing used"] += any(event.quantity == 0 for event in phase.events)
            found["again"] += bool(phase.again)
    kinds = {kind.__name__ for kind in (Close, Revert, CloseBackfill)} | {"two closes", "back to the first tariff", "tariff", "again"}
    kinds |= {"amended twice", "cancelled", "amended before it came", "backfill", "reversal", "nothing used"}
    assert kinds <= {kind for kind, count in found.items() if count >= 5}


def test_the_same_seed_gives_the_same_case() -> None:
    first = world_of(3, "everything")
    world_of.cache_clear()
    second = world_of(3, "everything")
    assert first is not second
    assert first.specs == second.specs
    assert [history_of(Chance("x"), world) for world in (first, second)].count(history_of(Chance("x"), first)) == 2


def test_a_tariff_that_readers_refuse_is_noticed() -> None:
    """Tariffs go through the readers: none of them may be refused, and a wrong one is."""
    world = world_of(0, "prices")
    wrong = world.specs[0] | {"prices": [*world.specs[0]["prices"], {"id": "x", "sku": "x", "unit": "u", "model": "unit"}]}
    assert "model: unit" in yaml_of(wrong)
    with pytest.raises(BadPriceBook, match="unit_price"):
        made((wrong, wrong), world.feeds, world.accounts, world.window_s)
