"""A matrix gives every entry the first cell that matches it, and a book refuses cells that no entry can reach."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ratemill.pricing import Price, cell_of, entry_price, parse_price_book, period_components, period_cost, tier_quantities
from ratemill.pricing.money import ZERO, money
from ratemill.pricing.selection import ANY, Matrix
from ratemill.schemas.errors import BadPriceBook
from ratemill.schemas.usage_event import canonical_map

INSTANCES = {
    "dimensions": ["region", "dimensions.tier"],
    "cells": [
        {"match": {"region": "eu", "dimensions.tier": "hot"}, "unit_price": "3"},
        {"match": {"region": "eu"}, "unit_price": "2", "sku_price_id": "europe"},
        {"match": {"region": "*", "dimensions.tier": ""}, "unit_price": "7"},
        {"match": {"dimensions.tier": "hot"}, "unit_price": "1"},
    ],
}


def built(fields: dict[str, Any]) -> Price:
    price = {"id": "p", "sku": "s", "unit": "u", "model": "matrix", **fields}
    return parse_price_book(json.dumps({"currency": "USD", "prices": [price]}), "book.yaml").prices[0]


def price_of(price: Price, region: str, **dimensions: str) -> Any:
    """The unit price of an entry, None when it has none."""
    text = canonical_map(dimensions)
    cell = cell_of(price, 0, region, "", text)
    return None if cell is None else entry_price(price, cell, text)


def test_the_first_cell_that_matches_counts() -> None:
    price = built(INSTANCES)
    assert (price_of(price, "eu", tier="hot"), price_of(price, "eu", tier="cold"), price_of(price, "us", tier="hot")) == (3, 2, 1)
    turned = built(INSTANCES | {"cells": [INSTANCES["cells"][3], *INSTANCES["cells"][1:3]]})
    assert price_of(turned, "eu", tier="hot") == 1


def test_an_absent_dimension_matches_the_empty_text_and_the_star() -> None:
    price = built(INSTANCES)
    assert price_of(price, "us") == price_of(price, "us", other="hot") == 7
    assert price_of(price, "eu") == 2


def test_what_no_cell_matches_has_no_price() -> None:
    assert price_of(built(INSTANCES), "us", tier="cold") is None
    assert price_of(built(INSTANCES), "us", tier="hot ") is None, "values are compared as they are"


def test_resource_and_a_dimension_that_is_called_region() -> None:
    cells = [
        {"match": {"resource": "vm-1"}, "unit_price": "1"},
        {"match": {"dimensions.region": "inner"}, "unit_price": "2"},
        {"match": {"region": "outer"}, "unit_price": "3"},
    ]
    price = built({"dimensions": ["resource", "region", "dimensions.region"], "cells": cells})
    assert cell_of(price, 0, "outer", "vm-1", "") == 0
    assert cell_of(price, 0, "outer", "vm-2", canonical_map({"region": "inner"})) == 1
    assert cell_of(price, 0, "outer", "vm-2", "") == 2
    assert cell_of(price, 0, "inner", "vm-2", "") is None


def test_a_matrix_is_charged_by_window_and_has_no_bounds() -> None:
    price = built(INSTANCES)
    assert price.by_window
    assert price.selector
    assert [tier.upper for tier in price.tiers] == [None] * 4
    assert period_components(price, {0: money(5)}, True) == []
    assert period_cost(price, {0: money(5), 3: money("0.5")}) == money("15.5")
    assert tier_quantities(price, {3: money(2)}) == [0, 0, 0, 2]


def test_limits_and_rounding_count_all_cells() -> None:
    price = built(INSTANCES | {"minimum": "5", "maximum": "8", "rounding": {"digits": 1}})
    assert period_cost(price, {0: money(1), 3: money("0.26")}) == 5
    assert period_cost(price, {0: money(2), 3: money("0.26")}) == money("6.3")
    assert period_cost(price, {0: money(2), 3: money("2.5")}) == 8
    assert period_cost(price, {}, used=True) == 5
    assert period_cost(price, {}, used=False) == 0


def test_sku_price_ids_are_named_after_what_a_cell_matches() -> None:
    names = [tier.sku_price_id for tier in built(INSTANCES).tiers]
    assert names == ["s/u/cell/eu/hot", "europe", "s/u/cell/*/", "s/u/cell/*/hot"]
    moved = built(INSTANCES | {"cells": list(reversed(INSTANCES["cells"][2:]))})
    assert [tier.sku_price_id for tier in moved.tiers] == ["s/u/cell/*/hot", "s/u/cell/*/"]


def test_versions_tell_matrices_apart() -> None:
    cells = INSTANCES["cells"]
    other: list[dict[str, Any]] = [
        INSTANCES,
        INSTANCES | {"cells": cells[:3]},
        INSTANCES | {"cells": [*cells[:3], {"match": {"dimensions.tier": "hot"}, "unit_price": "2"}]},
        INSTANCES | {"cells": [*cells[:3], {"match": {"dimensions.tier": "warm"}, "unit_price": "1"}]},
    ]
    assert len({built(fields).version for fields in other}) == len(other)
    assert built(INSTANCES | {"dimensions": ["region", "dimensions.tier"]}).version == built(INSTANCES).version


VALUES = ["a", "b", ""]
MATCHES = st.lists(st.tuples(*[st.sampled_from([ANY, *VALUES])] * 3), min_size=1, max_size=8)
NAMES = ("region", "resource", "dimensions.tier")
# "z" stands for every value that no cell names.
ENTRIES = list(product(["a", "b", "", "z"], repeat=3))


def scan(matches: list[tuple[str, ...]], entry: tuple[str, ...]) -> int | None:
    """The definition: the first cell of which every value is the entry's or a star."""
    for index, values in enumerate(matches):
        if all(value in (ANY, its) for value, its in zip(values, entry, strict=True)):
            return index
    return None


def looked_up(matches: list[tuple[str, ...]], entry: tuple[str, ...]) -> int | None:
    region, resource, tier = entry
    return Matrix(NAMES, tuple(matches)).cell_of(region, resource, canonical_map({"tier": tier} if tier else {}))


@settings(max_examples=100, deadline=None)
@given(MATCHES)
def test_looking_up_finds_what_a_scan_finds(matches: list[tuple[str, ...]]) -> None:
    assert [looked_up(matches, entry) for entry in ENTRIES] == [scan(matches, entry) for entry in ENTRIES]


def test_a_scan_in_another_order_finds_something_else() -> None:
    matches: list[tuple[str, ...]] = [("a", ANY, "b"), (ANY, "b", ANY), ("a", ANY, ANY)]
    last_first = [len(matches) - 1 - (scan(matches[::-1], entry) or 0) for entry in ENTRIES]
    assert [looked_up(matches, entry) for entry in ENTRIES] != last_first


@settings(max_examples=100, deadline=None)
@given(MATCHES)
def test_a_cell_is_refused_if_and_only_if_no_entry_reaches_it(matches: list[tuple[str, ...]]) -> None:
    cells = [{"match": dict(zip(NAMES, values, strict=True)), "unit_price": "1"} for values in matches]
    reached = {scan(matches, entry) for entry in ENTRIES}
    never = [number for number in range(1, len(matches) + 1) if number - 1 not in reached]
    try:
        built({"dimensions": list(NAMES), "cells": cells})
        refused: list[str] = []
    except BadPriceBook as error:
        refused = error.mistakes
    assert [int(mistake.split("cell ")[1].split(" ")[0]) for mistake in refused] == never


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ENTRIES), st.integers(-5, 20)), max_size=20))
def test_cells_partition_the_entries(used: list[tuple[tuple[str, ...], int]]) -> None:
    """Every entry with a price is in one cell; what the cells cost is what the entries cost one by one."""
    cells = [{"match": {"region": "a", "tier": "b"}, "unit_price": "0.5"}, {"match": {"region": "a"}, "unit_price": "0.3"}]
    price = built({"dimensions": ["region", "tier"], "cells": [*cells, {"match": {"tier": "a"}, "unit_price": "0.7"}]})
    quantities: dict[int, Any] = {}
    entries = unpriced = ZERO
    for (region, resource, tier), number in used:
        dimensions = canonical_map({"tier": tier} if tier else {})
        cell = cell_of(price, 0, region, resource, dimensions)
        if cell is None:
            unpriced += money(number)
            continue
        quantities[cell] = quantities.get(cell, ZERO) + money(number)
        entries += money(number) * entry_price(price, cell, dimensions)
    assert period_cost(price, quantities) == entries
    assert sum(quantities.values(), ZERO) + unpriced == sum(number for _, number in used)


MISTAKES: dict[str, tuple[str, list[str]]] = {
    "no dimensions": ("cells: [{match: {}, unit_price: 1}]", ["3: price `a` has no `dimensions`"]),
    "dimensions empty": ("dimensions: [], cells: [{match: {}, unit_price: 1}]", ["4: `dimensions` has 0 names"]),
    "one dimension twice": ("dimensions: [tier, dimensions.tier], cells: [{match: {}, unit_price: 1}]", ["4: `dimensions` names `tier` twice"]),
    "no cells": ("dimensions: [region]", ["3: price `a` has no `cells`"]),
    "cells empty": ("dimensions: [region], cells: []", ["4: `cells` has no cell"]),
    "a cell that is no map": ("dimensions: [region], cells: [\n eu]", ["5: cell 1 is a single value"]),
    "no match": ("dimensions: [region], cells: [\n {unit_price: 1}]", ["5: cell 1 has no `match`; add one, such as `match: {region: eu-west-1}`"]),
    "no price": ("dimensions: [region], cells: [\n {match: {region: eu}}]", ["5: cell 1 has no `unit_price`"]),
    "negative": ("dimensions: [region], cells: [\n {match: {region: eu}, unit_price: -1}]", ["5: `unit_price` is `-1`; it cannot be negative"]),
    "not a dimension": (
        "dimensions: [region], cells: [\n {match: {regoin: eu}, unit_price: 1}]",
        ["5: unknown key `regoin`; did you mean `region`?"],
    ),
    "no value": ("dimensions: [region], cells: [\n {match: {region: }, unit_price: 1}]", ["5: `region` is empty"]),
    "twice the same": (
        "dimensions: [region], cells: [\n {match: {region: eu}, unit_price: 1},\n {match: {region: eu}, unit_price: 2}]",
        ["6: cell 2 is never reached: cell 1 (line 5) matches all that it matches"],
    ),
    "hidden by a wider one": (
        "dimensions: [region, tier], cells: [\n {match: {tier: hot}, unit_price: 1},\n {match: {region: eu, tier: hot}, unit_price: 2}]",
        ["6: cell 2 is never reached: cell 1 (line 5)"],
    ),
    "one SKU price id twice": (
        "dimensions: [region], cells: [\n {match: {region: a}, unit_price: 1, sku_price_id: x},\n {match: {}, unit_price: 2, sku_price_id: x}]",
        ["6: `sku_price_id` `x` is that of another tier"],
    ),
    "free": (
        "free: 5, dimensions: [region], cells: [{match: {}, unit_price: 1}]",
        ["4: `free` does not go with model matrix: it belongs to unit, graduated, volume, package and percentage"],
    ),
    "too many dimensions": (
        "dimensions: [a, b, c, d, e, f, g, h, i], cells: [{match: {}, unit_price: 1}]",
        ["4: `dimensions` has 9 names; name 1 to 8"],
    ),
}


@pytest.mark.parametrize(("fields", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line(fields: str, expected: list[str]) -> None:
    with pytest.raises(BadPriceBook) as caught:
        parse_price_book(f"currency: USD\nprices:\n- {{id: a, sku: s, unit: u, model: matrix,\n {fields}}}\n", "book.yaml")
    found = [mistake.removeprefix("book.yaml:") for mistake in caught.value.mistakes]
    assert len(found) == len(expected), found
    assert all(mistake.startswith(start) for mistake, start in zip(found, expected, strict=True)), found


def test_a_large_matrix_is_read_and_used_at_once() -> None:
    cells = [{"match": {"resource": f"vm-{n}", "region": f"r{n % 50}"}, "unit_price": str(n)} for n in range(5_000)]
    price = built({"dimensions": ["region", "resource"], "cells": [*cells, {"match": {}, "unit_price": "1"}]})
    assert cell_of(price, 0, "r49", "vm-4999", "") == 4_999
    assert cell_of(price, 0, "r48", "vm-4999", "") == 5_000
