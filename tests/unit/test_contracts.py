"""docs/contracts: made from the code, valid, kept to by what the SDK makes, and never broken for those who rely on the last release.

tests/integration/test_contracts.py holds records of a running Ratemill against them.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from loading import load
from ratemill.collectors.sdk import usage
from ratemill.schemas.plain_form import EVENT

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "contracts"
contracts = load(ROOT / "tools" / "contracts.py", "contracts")
SCHEMAS: dict[str, dict[str, Any]] = contracts.schemas()
ASYNCAPI: dict[str, Any] = contracts.asyncapi()


def released(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "released" / name).read_text(encoding="utf-8"))
    return found


def test_the_files_are_what_the_code_makes() -> None:
    """make contracts"""
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert on_disk == contracts.written()


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


def test_the_document_is_asyncapi() -> None:
    meta = Draft7Validator(json.loads(gzip.decompress((ROOT / "tests" / "data" / "asyncapi-3.0.0.json.gz").read_bytes())))
    assert [error.message for error in meta.iter_errors(ASYNCAPI)] == []
    for apply in (change("info", remove=True), change("channels", "rated", "topic", to="x"), change("operations", "sendRated", "action", to="emit")):
        broken = copy.deepcopy(ASYNCAPI)
        apply(broken)
        assert not meta.is_valid(broken)


def refs(document: Any) -> list[str]:
    if isinstance(document, list):
        return [ref for each in document for ref in refs(each)]
    if not isinstance(document, dict):
        return []
    return [*([document["$ref"]] if isinstance(document.get("$ref"), str) else []), *(ref for each in document.values() for ref in refs(each))]


def test_what_the_document_refers_to_is_there() -> None:
    found = refs(ASYNCAPI)
    assert {f"./{name}.schema.json" for name in SCHEMAS} == {ref for ref in found if ref.startswith("./")}
    for ref in found:
        at: Any = ASYNCAPI
        for part in ref.removeprefix("#/").split("/") if ref.startswith("#/") else []:
            at = at[part]


EVENTS = Draft202012Validator(SCHEMAS["usage-event"])


def test_what_the_sdk_makes_is_in_the_contract() -> None:
    made = json.loads(usage(
        account="acme", source="s", resource="r", sku="k", quantity="-1.5", unit="u", start="2026-11-27T10:00:00Z", end="2026-11-27T11:00:00Z",
        provider="aws", region="eu", dimensions={"tier": "hot"}, tags={"note": "x"},
    ).body)  # fmt: skip
    for document in (made, EVENT, [made, EVENT]):
        assert [error.message for error in EVENTS.iter_errors(document)] == []


@pytest.mark.parametrize("change", [{"id": ""}, {"id": 7}, {"data": {"sku": "k", "unit": "u"}}, {"specversion": "0.3"}, {"subject": "x" * 1_025}])
def test_what_ratemill_would_not_take_is_not_in_the_contract(change: dict[str, Any]) -> None:
    assert not EVENTS.is_valid(EVENT | change)


# -- nothing is broken for those who rely on the last release --------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_last_release_is_kept_to(name: str) -> None:
    """A change that breaks others needs another topic or another major version, and then `make contracts RELEASE=1`."""
    assert contracts.breaking(released(f"{name}.schema.json"), SCHEMAS[name], contracts.SIDES[name]) == []


def test_no_schema_of_the_last_release_is_gone() -> None:
    assert {path.name for path in (FOLDER / "released").iterdir()} <= {path.name for path in FOLDER.glob("*.json")}


def test_the_topics_of_the_last_release_are_kept() -> None:
    assert contracts.breaking_topics(released("asyncapi.json"), ASYNCAPI) == []


def change(*path: str | int, to: Any = None, remove: bool = False) -> Callable[[Any], None]:
    def apply(document: Any) -> None:
        for part in path[:-1]:
            document = document[part]
        if remove:
            del document[path[-1]]
        else:
            document[path[-1]] = to

    return apply


def unrequire(name: str, *path: str) -> Callable[[Any], None]:
    def apply(document: Any) -> None:
        for part in path:
            document = document[part]
        document["required"].remove(name)

    return apply


def require(name: str, *path: str) -> Callable[[Any], None]:
    def apply(document: Any) -> None:
        for part in path:
            document = document[part]
        document.setdefault("required", []).append(name)

    return apply


DATA = ("$defs", "UsageEvent", "properties", "data")
BREAKING: list[tuple[str, Callable[[Any], None], str]] = [
    ("line-item", change("properties", "ListCost", remove=True), "ListCost: removed"),
    ("line-item", unrequire("ListCost"), "no longer always there"),
    ("line-item", change("properties", "ListCost", "type", to=["string", "null"]), "null may be written"),
    ("line-item", change("properties", "ListCost", "type", to="number"), "number may be written"),
    ("line-item", change("properties", "ListCost", "pattern", remove=True), "pattern"),
    ("line-item", change("properties", "ChargePeriodStart", "pattern", to="^.*$"), "pattern"),
    ("line-item", change("properties", "SkuId", to={"anyOf": [{"type": "string"}, {"type": "null"}]}), "is new"),
    ("control", change("$defs", "Receipt", "properties", "counts", "additionalProperties", "type", to="string"), "string may be written"),
    ("control", change("$defs", "Origin", "prefixItems", to=[{"type": "string"}]), "has 1 places, had 4"),
    ("control", change("anyOf", 0, remove=True), "Close is gone"),
    ("control", change("$defs", "Close", "properties", "control", "enum", to=["close", "shut"]), "values outside"),
    ("dead-letter-headers", change("properties", "ratemill-null", "enum", to=["1", "2"]), "values outside"),
    ("usage-event", require("region", *DATA), "region: now required"),
    ("usage-event", change(*DATA, "properties", "quantity", "type", to="string"), "is no longer read"),
    ("usage-event", change(*DATA, "properties", "tags", remove=True), "tags: removed"),
    ("usage-event", change(*DATA, "properties", "sku", "maxLength", to=100), "maxLength 100"),
    ("usage-event", change(*DATA, "properties", "region", "minLength", to=1), "minLength 1"),
    ("usage-event", change(*DATA, "properties", "region", "pattern", to="^[a-z]+$"), "pattern"),
    ("usage-event", change(*DATA, "additionalProperties", to=False), "other members"),
    ("usage-event", change(*DATA, "properties", "dimensions", "additionalProperties", "maxLength", to=5), "maxLength 5"),
    ("usage-event", change("oneOf", to=[{"$ref": "#/$defs/UsageEvent"}]), "is gone"),
    ("usage-event", change("oneOf", 1, "minItems", to=2), "minItems 2"),
    ("raw-headers", change("properties", "ratemill-format", "enum", to=["cloudevents"]), "values outside"),
    ("usage-event", change(*DATA, "allOf", to=[{"required": ["region"]}]), "allOf has changed"),
    ("usage-event", change(*DATA, "propertyNames", to={"maxLength": 3}), "propertyNames has changed"),
    ("usage-event", change(*DATA, "properties", "quantity", "multipleOf", to=1), "multipleOf has changed"),
    ("line-item", change("patternProperties", to={"^x_": {"type": "string"}}), "patternProperties has changed"),
    ("dead-letter-headers", change("patternProperties", remove=True), "patternProperties has changed"),
]
HARMLESS: list[tuple[str, Callable[[Any], None]]] = [
    ("line-item", change("properties", "x_New", to={"type": "string"})),
    ("line-item", require("RegionId")),
    ("line-item", change("properties", "SkuId", "minLength", to=1)),
    ("line-item", change("properties", "ListCost", "description", to="another")),
    ("control", change("$defs", "Receipt", "properties", "more", to={"type": "integer"})),
    ("usage-event", change(*DATA, "properties", "more", to={"type": "string"})),
    ("usage-event", unrequire("unit", *DATA)),
    ("usage-event", change(*DATA, "properties", "sku", "maxLength", to=2_048)),
    ("usage-event", change(*DATA, "properties", "region", "type", to=["string", "null"])),
    ("raw-headers", change("properties", "ratemill-format", "enum", to=[*SCHEMAS["raw-headers"]["properties"]["ratemill-format"]["enum"], "more"])),
]


@pytest.mark.parametrize(("name", "apply", "said"), BREAKING)
def test_a_change_that_breaks_is_refused(name: str, apply: Callable[[Any], None], said: str) -> None:
    broken = copy.deepcopy(SCHEMAS[name])
    apply(broken)
    found = contracts.breaking(SCHEMAS[name], broken, contracts.SIDES[name])
    assert any(said in line for line in found), found


def test_elements_of_arrays_are_compared_also_where_they_were_free() -> None:
    free, texts = {"type": "array"}, {"type": "array", "items": {"type": "string"}}
    assert [bool(contracts.breaking(old, new, "others")) for old, new in ((free, texts), (texts, free), (free, free))] == [True, False, False]
    assert [bool(contracts.breaking(old, new, "us")) for old, new in ((free, texts), (texts, free), (texts, texts))] == [False, True, False]


@pytest.mark.parametrize(("name", "apply"), HARMLESS)
def test_a_change_that_breaks_nothing_passes(name: str, apply: Callable[[Any], None]) -> None:
    changed = copy.deepcopy(SCHEMAS[name])
    apply(changed)
    assert changed != SCHEMAS[name]
    assert contracts.breaking(SCHEMAS[name], changed, contracts.SIDES[name]) == []


@pytest.mark.parametrize("apply", [
    change("channels", "rated", remove=True), change("channels", "rated", "address", to="rated"),
    change("channels", "rawAws", "messages", "usage", remove=True),
    change("channels", "rated", "bindings", "kafka", "topicConfiguration", to={}), change("components", "messages", "lineItem", "payload", to={}),
    change("components", "messages", "lineItem", "bindings", "kafka", "key", to={"type": "integer"}),
    change("components", "messages", "deadLetter", "contentType", to="application/json"),
])  # fmt: skip
def test_a_topic_that_changes_is_refused(apply: Callable[[Any], None]) -> None:
    broken = copy.deepcopy(ASYNCAPI)
    apply(broken)
    assert len(contracts.breaking_topics(ASYNCAPI, broken)) == 1
