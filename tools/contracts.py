"""Write docs/contracts: what the public topics hold, for people without Python. Run by `make contracts`; `--release` also makes it the last release.

JSON Schemas (2020-12) of records, made from the code that reads and writes them, and an AsyncAPI 3.0 document that says which topic has which.
docs/contracts/released holds what the last release promised; `breaking` tells what a change would break, and a test refuses that.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from ratemill.schemas.control import ControlRecord
from ratemill.schemas.decoders.registry import FORMATS
from ratemill.schemas.errors import Reason
from ratemill.schemas.line_item import RatedLineItem
from ratemill.schemas.plain_form import EVENT, EVENT_SCHEMA
from ratemill.streams.config import Config
from ratemill.streams.prices_topic import PublishedBook
from ratemill.streams.topics import Topics, wanted_topics

FOLDER = Path(__file__).parents[1] / "docs" / "contracts"
Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FORMAT = "application/schema+json;version=2020-12"
_DECIMAL = {"pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
_TIME = {"pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", "format": "date-time"}
_AMOUNTS = re.compile(r".*(Cost|Price|Quantity|ExchangeRate)")
_TIMES = re.compile(r".*Period(Start|End)")

# Who writes the records of a schema: collectors ("others"), of whom no more may be asked, or Ratemill ("us"), whose readers must find what they did.
SIDES = {"usage-event": "others", "raw-headers": "others", "line-item": "us", "dead-letter-headers": "us", "price-book": "us", "control": "us"}


def schemas() -> dict[str, Schema]:
    """Every schema by its name."""
    return {
        "usage-event": _named("usage-event", "What collectors send", {
            "description": "One usage event, or several as an array; newline-delimited events are read too. See docs/inputs.md.",
            "oneOf": [{"$ref": "#/$defs/UsageEvent"}, {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/UsageEvent"}}],
            "$defs": {"UsageEvent": EVENT_SCHEMA}, "examples": [EVENT],
        }),
        "raw-headers": _named("raw-headers", "Headers of a record of a raw topic", {
            "type": "object",
            "properties": {
                "ratemill-format": {"enum": sorted(FORMATS), "description": "Format of the record; without it, it is seen from the record."},
                "ratemill-backfill": {"type": "string", "maxLength": 1024, "description": "Name of a declared backfill, for usage of any age."},
            },
        }),
        "line-item": _named("line-item", "A rated line item", _open(_line_item())),
        "dead-letter-headers": _named("dead-letter-headers", "Headers of a dead letter; its value is the rejected record as it was", _dead_letter()),
        "price-book": _named("price-book", "A published price book", _open(msgspec.json.schema(PublishedBook))),
        "control": _named("control", "A request, or what a partition made of it", _open(msgspec.json.schema(ControlRecord))),
    }  # fmt: skip


def _named(name: str, title: str, schema: Schema) -> Schema:
    return {"$schema": _DIALECT, "$id": f"urn:ratemill:schema:{name}", "title": title, **{k: v for k, v in schema.items() if k != "title"}}


def _open(schema: Any) -> Any:
    """Readers must pass over members that they do not know, so that there can be more of them one day. Texts on one line each."""
    if isinstance(schema, list):
        return [_open(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _open(each) for name, each in schema.items() if not (name == "additionalProperties" and each is False) and name != "discriminator"}
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split())
    return found


def _line_item() -> Schema:
    schema = msgspec.json.schema(RatedLineItem)
    (found,) = schema["$defs"].values()
    for name, said in found["properties"].items():
        more = _DECIMAL if _AMOUNTS.fullmatch(name) and name != "x_PriceId" else _TIME if _TIMES.fullmatch(name) else {}
        for each in said.get("anyOf", [said]):
            if each.get("type") == "string" and each.get("default") is None:
                each.update(more)
    return found


def _dead_letter() -> Schema:
    number = {"type": "string", "pattern": "^-?[0-9]+$"}
    text = {"type": "string"}
    properties = {
        "ratemill-reason": {**text, "description": "There may be more of them one day.", "examples": sorted(Reason)},
        "ratemill-detail": text, "ratemill-format": text,
        "ratemill-rejected-at": {**number, "description": "Nanoseconds since 1970, UTC."}, "ratemill-origin-topic": text,
        "ratemill-origin-partition": number, "ratemill-origin-offset": number,
        "ratemill-origin-index": {**number, "description": "Place of the event in the record, from 0; -1 when the record as a whole is meant."},
        "ratemill-key": {**text, "description": "The original key; absent when there was none."},
        "ratemill-held-by": {**number, "description": "Index of the letter of the same record that holds its bytes; they are not here."},
        "ratemill-cut": {**number, "description": "Bytes of the whole record, of which only the first ones are here."},
        "ratemill-null": {"enum": ["1"], "description": "The original value was null."},
        "ratemill-originals": {**text, "description": "Names and values of more than 100 original headers, as MessagePack."},
    }  # fmt: skip
    always = ["reason", "detail", "format", "rejected-at", "origin-topic", "origin-partition", "origin-offset", "origin-index"]
    return {
        "description": "Values are UTF-8 texts. Every original header stands beside these as ratemill-original-NAME.",
        "type": "object", "required": [f"ratemill-{name}" for name in always], "properties": properties,
        "patternProperties": {"^ratemill-original-": {}},
    }  # fmt: skip


def asyncapi() -> Schema:
    """The document that says which topic holds what."""
    config = Config()
    topics = Topics.of(config.kafka)
    settings = {topic.name: topic.topic_configs for topic in wanted_topics(config, topics)}
    account = {"type": "string", "description": "The account, as UTF-8: Kafka's default partitioner (murmur2) then keeps it in one partition."}
    messages = {
        "usage": _message("Usage in the plain form of CloudEvents", "usage-event", headers="raw-headers", key=account),
        "providerUsage": {**_message("Usage in a provider's own format; see docs/inputs.md", None, headers="raw-headers"), "payload": {}},
        "lineItem": _message("One revision of a line item; the highest x_Revision of an x_LineItemId counts. Read with read_committed.", "line-item",
                             key={"type": "string", "description": "x_LineItemId"}),
        "deadLetter": {
            **_message("A record, or an event of it, that could not be counted", None, headers="dead-letter-headers",
                       key={"type": "string", "description": "topic/partition/offset/index of its origin"}),
            "contentType": "application/octet-stream", "payload": {},
        },
        "priceBook": _message("A price book, or a draft, as it was published", "price-book", key={"type": "string"}),
        "control": _message("A request of an operator, or a partition's receipt", "control", key={"type": "string", "description": "Its id"}),
    }  # fmt: skip
    channels, operations = {}, {}
    for name, address, held, action in _channels(topics):
        channels[name] = {
            "address": address, "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in held},
            "bindings": {"kafka": {"topic": address, "topicConfiguration": _topic_configuration(settings[address]), "bindingVersion": "0.5.0"}},
        }  # fmt: skip
        operations[f"{action}{name[0].upper()}{name[1:]}"] = {"action": action, "channel": {"$ref": f"#/channels/{name}"}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Ratemill's public topics", "version": version("ratemill"), "license": {"name": "Apache-2.0"},
            "description": "Ratemill receives raw usage and sends the rest. Names are those without kafka.topic_prefix. Everything else in Kafka"
                           " (usage.events, ratemill.state.*, ratemill.shadow) is internal and may change with any release.",
        },
        "defaultContentType": "application/json",
        "channels": channels, "operations": operations, "components": {"messages": messages},
    }  # fmt: skip


def _channels(topics: Topics) -> Iterator[tuple[str, str, list[str], str]]:
    """(name, address, messages, what Ratemill does) of each public topic."""
    for address, provider in topics.raw.items():
        yield f"raw{provider.capitalize()}", address, ["usage"] if provider == "cloudevents" else ["usage", "providerUsage"], "receive"
    yield "rated", topics.rated, ["lineItem"], "send"
    yield "deadLetter", topics.dead_letter, ["deadLetter"], "send"
    yield "prices", topics.prices, ["priceBook"], "send"
    yield "control", topics.control, ["control"], "send"


def _message(summary: str, schema: str | None, headers: str | None = None, key: Schema | None = None) -> Schema:
    found: Schema = {"summary": summary}
    for member, name in (("payload", schema), ("headers", headers)):
        if name is not None:
            found[member] = {"schemaFormat": _FORMAT, "schema": {"$ref": f"./{name}.schema.json"}}
    if key is not None:
        found["bindings"] = {"kafka": {"key": key, "bindingVersion": "0.5.0"}}
    return found


def _topic_configuration(settings: dict[str, str]) -> Schema:
    found: Schema = {"cleanup.policy": [settings["cleanup.policy"]]} if "cleanup.policy" in settings else {}
    return found | {name: int(settings[name]) for name in ("retention.ms", "max.message.bytes") if name in settings}


# -- what a change breaks --------------------------------------------------------------------------------------------------

_LOWER, _UPPER = ("minLength", "minItems", "minimum", "minProperties"), ("maxLength", "maxItems", "maximum", "maxProperties")
# What is compared below, and what says nothing about which records are valid. Of anything else nobody knows whether a change of it breaks others.
_COMPARED = frozenset({
    *_LOWER, *_UPPER, "pattern", "format", "type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems",
    "anyOf", "oneOf", "$ref", "$defs", "$schema", "$id", "title", "description", "examples", "default", "$comment", "deprecated",
})  # fmt: skip
_TYPES = frozenset({"string", "integer", "number", "boolean", "null", "object", "array"})
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def breaking(old: Schema, new: Schema, side: str) -> list[str]:
    """What breaks for those on the other side, one line each: readers of what we write ("us"), writers of what others do ("others")."""
    return list(_Change(old, new, side).compare("$", old, new))


class _Change:
    """What is written must fit into what is read: new records into old readers, or old writers' records into the new reader."""

    def __init__(self, old: Schema, new: Schema, side: str) -> None:
        self._old, self._new, self._ours = old, new, side == "us"

    def compare(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        old, new = _resolved(self._old, old), _resolved(self._new, new)
        for name in sorted((old.keys() | new.keys()) - _COMPARED):
            if old.get(name) != new.get(name):
                yield f"{path}: {name} has changed, and what that breaks is not known"
        olds, news = _alternatives(self._old, old), _alternatives(self._new, new)
        if len(olds) > 1 or len(news) > 1:
            yield from self._compare_alternatives(path, olds, news)
            return
        old, new = {**old, **olds[0]}, {**new, **news[0]}
        written, read = (new, old) if self._ours else (old, new)
        if more := sorted(_types(written) - _types(read)):
            yield f"{path}: {', '.join(more)} may be written and was not to be read" if self._ours else f"{path}: {', '.join(more)} is no longer read"
        values, known = _values(written), _values(read)
        if known is not None and (values is None or not values <= known):
            yield f"{path}: values outside {sorted(map(str, known))}"
        yield from self._compare_bounds(path, written, read)
        yield from self._compare_objects(path, old, new)
        yield from self._compare_arrays(path, old, new)

    def _compare_alternatives(self, path: str, olds: list[Schema], news: list[Schema]) -> Iterator[str]:
        before, after = {_kind(each): each for each in olds}, {_kind(each): each for each in news}
        yield from (f"{path}: {kind} is gone" for kind in before if kind not in after)
        yield from (f"{path}: {kind} is new, and readers do not know it" for kind in after if kind not in before and self._ours)
        for kind in before.keys() & after.keys():
            yield from self.compare(f"{path}<{kind}>", before[kind], after[kind])

    @staticmethod
    def _compare_bounds(path: str, written: Schema, read: Schema) -> Iterator[str]:
        for bounds, sign in ((_LOWER, 1), (_UPPER, -1)):
            for bound in bounds:
                if bound in read and (bound not in written or sign * written[bound] < sign * read[bound]):
                    yield f"{path}: {bound} {read[bound]} is not kept"
        for rule in ("pattern", "format"):
            if rule in read and written.get(rule) != read[rule]:
                yield f"{path}: {rule} {read[rule]} is not kept"

    def _compare_objects(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        yield from (f"{path}.{name}: removed" for name in before if name not in after)
        required, still = set(old.get("required", ())), set(new.get("required", ()))
        if self._ours:
            yield from (f"{path}.{name}: no longer always there" for name in sorted(required - still))
        else:
            yield from (f"{path}.{name}: now required" for name in sorted(still - required))
        rest, now = old.get("additionalProperties", True), new.get("additionalProperties", True)
        yield from self._compare_others(path, ".*", "members", rest, now)
        for name in before.keys() & after.keys():
            yield from self.compare(f"{path}.{name}", before[name], after[name])

    def _compare_arrays(self, path: str, old: Schema, new: Schema) -> Iterator[str]:
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(after) < len(before):
            yield f"{path}: has {len(after)} places, had {len(before)}"
        for at, (one, other) in enumerate(zip(before, after, strict=False)):
            yield from self.compare(f"{path}[{at}]", one, other)
        yield from self._compare_others(path, "[]", "elements", old.get("items", True), new.get("items", True))

    def _compare_others(self, path: str, suffix: str, what: str, old: Any, new: Any) -> Iterator[str]:
        """Members or elements beyond those that have a schema of their own: true, false, or the schema of all of them."""
        written, read = (new, old) if self._ours else (old, new)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from self.compare(f"{path}{suffix}", old, new)
        elif read is not True and written is not False:
            yield f"{path}: other {what} may be written, and are not read"


def _resolved(root: Schema, schema: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def _alternatives(root: Schema, schema: Schema) -> list[Schema]:
    return [_resolved(root, each) for each in schema.get("anyOf") or schema.get("oneOf") or [{}]]


def _kind(schema: Schema) -> str:
    """What tells an alternative from its siblings."""
    return str(schema.get("title") or schema.get("type") or sorted(_types(schema)))


def _values(schema: Schema) -> set[Any] | None:
    return {schema["const"]} if "const" in schema else set(schema["enum"]) if "enum" in schema else None


def _types(schema: Schema) -> frozenset[str]:
    said, values = schema.get("type"), _values(schema)
    found = {said} if isinstance(said, str) else set(said) if said else {_NAMES[type(value)] for value in values} if values else set(_TYPES)
    return frozenset(found | ({"integer"} if "number" in found else set()))


def breaking_topics(old: Schema, new: Schema) -> list[str]:
    """What a change of the AsyncAPI document breaks."""
    found = []
    for name, channel in old["channels"].items():
        now = new["channels"].get(name)
        if now is None:
            found.append(f"channel {name}: removed")
            continue
        if now["address"] != channel["address"]:
            found.append(f"channel {name}: its topic is {now['address']}, was {channel['address']}")
        found += [f"channel {name}: message {each} is gone" for each in channel["messages"] if each not in now["messages"]]
        before, after = (each["bindings"]["kafka"]["topicConfiguration"].get("cleanup.policy") for each in (channel, now))
        if before != after:
            found.append(f"channel {name}: cleanup.policy is {after}, was {before}")
    for name, message in old["components"]["messages"].items():
        now = new["components"]["messages"].get(name, {})
        found += [f"message {name}: another {part}" for part in ("payload", "headers", "contentType") if message.get(part) != now.get(part)]
        found += [f"message {name}: another key"] if _key_type(message) != _key_type(now) else []
    return found


def _key_type(message: Schema) -> Any:
    return message.get("bindings", {}).get("kafka", {}).get("key", {}).get("type")


def written() -> dict[str, str]:
    """Every file of the folder, by its name."""
    files = {f"{name}.schema.json": schema for name, schema in schemas().items()} | {"asyncapi.json": asyncapi()}
    return {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in files.items()}


if __name__ == "__main__":
    for name, text in written().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        if "--release" in sys.argv[1:]:
            (FOLDER / "released").mkdir(exist_ok=True)
            shutil.copy(FOLDER / name, FOLDER / "released" / name)
