"""The configurations for Telegraf, Vector and the OpenTelemetry Collector: what they make, Ratemill reads as it was meant.

None of the three programs is run here; tests/integration/test_collector_programs.py runs Telegraf and the Collector where it finds them. The
expressions of Telegraf and of Vector were evaluated (tests/data/collectors); what the Collector makes of its is put together below as its
documentation says it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from ratemill.schemas.decoders.registry import decode_record
from ratemill.schemas.times import parse_time
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.config import KafkaConfig

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "collectors"
CONTRACT = Draft202012Validator(json.loads((ROOT / "docs" / "contracts" / "usage-event.schema.json").read_text(encoding="utf-8")))
START, END = "2026-11-27T10:00:00Z", "2026-11-27T11:00:00Z"
TELEGRAF = tomllib.loads((FOLDER / "telegraf.conf").read_text(encoding="utf-8"))["outputs"]
VECTOR = yaml.safe_load((FOLDER / "vector.yaml").read_text(encoding="utf-8"))
OTEL = yaml.safe_load((FOLDER / "otel-collector.yaml").read_text(encoding="utf-8"))


def read(document: Any) -> list[UsageEvent]:
    """The usage events in a record without headers, as a worker reads it; it keeps to the contract."""
    assert [error.message for error in CONTRACT.iter_errors(document)] == []
    found = decode_record("cloudevents", json.dumps(document).encode(), ())
    assert all(isinstance(event, UsageEvent) for event in found), found
    return [event for event in found if isinstance(event, UsageEvent)]


def test_telegraf() -> None:
    made = json.loads((ROOT / "tests" / "data" / "collectors" / "telegraf.json").read_text(encoding="utf-8"))
    programs = [TELEGRAF[name][0]["json_transformation"] for name in ("kafka", "http")]
    assert [each["program"] for each in made] == [programs[0], programs[1], programs[1]]
    for each in made:
        metrics = each["input"].get("metrics", [each["input"]])
        events = read(each["output"])
        assert [(e.account, e.sku, e.unit, e.resource, float(e.quantity)) for e in events] == [
            (m["tags"]["account"], m["name"], m["tags"]["unit"], m["tags"]["resource"], m["fields"]["usage"]) for m in metrics
        ]
        assert {e.time for e in events} == {parse_time(START)}
        assert len({(e.source, e.id) for e in events}) == len(events)
    assert type(made[-1]["output"]) is list, "one metric of a batch is a batch"


READING = {"account": "acme", "resource": "disk-7", "sku": "storage", "amount": "12.5", "unit": "GB-Mo", "window_start": START, "window_end": END}


def expected_event(source: str, kind: str, id: str) -> dict[str, Any]:
    return {
        "specversion": "1.0", "type": kind, "source": source, "id": id, "subject": "acme", "time": START,
        "data": {"sku": "storage", "quantity": "12.5", "unit": "GB-Mo", "resource": "disk-7"},
    }  # fmt: skip


def literal(text: str, mine: str) -> dict[str, Any]:
    """The object that a program writes down, with what it reads from a reading put in. mine: pattern of how it does that."""
    found = re.sub(mine, lambda match: json.dumps(READING[match[1]]), text)
    return dict(json.loads(found))


def test_vector() -> None:
    made = json.loads((ROOT / "tests" / "data" / "collectors" / "vector.json").read_text(encoding="utf-8"))
    source = VECTOR["transforms"]["usage"]["source"]
    assert {each["program"] for each in made} == {source}
    named = re.findall(r"\.(\w+)", re.search(r"encode_json\((.*)\)", source)[1])  # type: ignore[index]
    for each in made:
        window = json.dumps([each["input"][name] for name in named], separators=(",", ":"))
        assert each["output"]["id"] == hashlib.sha256(window.encode()).hexdigest()
        (event,) = read(each["output"])
        told = each["input"]
        assert (event.account, event.sku, event.unit, event.resource) == (told["account"], told["sku"], told["unit"], told["resource"])
        assert (str(event.quantity), event.time) == (str(told["amount"]), parse_time(START))
    assert made[0]["input"] == READING
    assert made[0]["output"] == expected_event("vector/edge", "vector.usage", made[0]["output"]["id"])


def test_the_opentelemetry_collector() -> None:
    (statement,) = OTEL["processors"]["transform/usage"]["log_statements"][0]["statements"]
    parts = re.search(r'SHA256\(Concat\(\[(.*?)\], "\|"\)\)', statement)
    assert parts is not None
    id = hashlib.sha256("|".join(READING[name] for name in re.findall(r'attributes\["(\w+)"\]', parts[1])).encode()).hexdigest()
    text = statement[statement.index("{") : statement.rindex("}") + 1].replace(parts[0], json.dumps(id))
    made = literal(text, r'log\.attributes\["(\w+)"\]')
    assert made == expected_event("otel/edge", "otel.usage", id)
    assert len(read(made)) == 1
    assert OTEL["exporters"]["kafka"]["logs"]["encoding"] == "raw", "the body alone, as JSON; the other encodings are OTLP, which is not read"


@pytest.mark.parametrize("document", [
    {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "x"}}]}]}]},
    {"fields": {"usage": 1}, "name": "storage", "tags": {"account": "acme"}, "timestamp": 1},
])  # fmt: skip
def test_without_these_settings_nothing_would_count(document: dict[str, Any]) -> None:
    """OTLP in JSON, and Telegraf's own form."""
    assert not any(isinstance(event, UsageEvent) for event in decode_record("cloudevents", json.dumps(document).encode(), ()))


def test_topics_are_those_that_any_partitioner_may_write_to() -> None:
    topics = {TELEGRAF["kafka"][0]["topic"], VECTOR["sinks"]["kafka"]["topic"], OTEL["exporters"]["kafka"]["logs"]["topic"]}
    assert topics <= {raw.name for raw in KafkaConfig().raw_topics if raw.provider == "cloudevents" and not raw.keyed_by}
