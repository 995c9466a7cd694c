"""Values of the Helm chart are checked before anything is rendered; templates use all of them, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ratemill.streams.config import Config
from unit.helm.chart import CHART, COMPONENTS, NOT_VALUES, ROOT, VALUES, changed, documented, merged, schema, settings

TEMPLATES = {path.name: path.read_text(encoding="utf-8") for path in sorted((CHART / "templates").iterdir())}

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
SAID = {"$schema", "title", "description", "$defs"}  # keywords that check nothing


def wrong(value: Any, node: dict[str, Any], whole: dict[str, Any], where: str = "") -> list[str]:
    """Places that a schema refuses; helm has a complete validator of its own. Raises on a keyword that is not understood here."""
    if "$ref" in node:
        return wrong(value, whole["$defs"][node["$ref"].rsplit("/", 1)[-1]], whole, where)
    known = {"type", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "items", "properties", "required",
             "additionalProperties"}  # fmt: skip
    assert node.keys() <= known | SAID, f"{where}: {node.keys() - known - SAID}"
    kind = node.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [where]
    bad = (
        ("enum" in node and value not in node["enum"])
        or (isinstance(value, str) and not re.search(node.get("pattern", ""), value))
        or (isinstance(value, str) and not node.get("minLength", 0) <= len(value) <= node.get("maxLength", len(value)))
        or ("minimum" in node and value < node["minimum"])
        or ("maximum" in node and value > node["maximum"])
        or ("exclusiveMinimum" in node and value <= node["exclusiveMinimum"])
    )
    found = [where] if bad else []
    if isinstance(value, list):
        found += [each for place, item in enumerate(value) for each in wrong(item, node.get("items", {}), whole, f"{where}[{place}]")]
    if isinstance(value, dict):
        found += [f"{where}.{name}" for name in node.get("required", ()) if name not in value]
        more = node.get("additionalProperties", True)
        for name, each in value.items():
            if name in node.get("properties", {}):
                found += wrong(each, node["properties"][name], whole, f"{where}.{name}")
            elif more is False:
                found.append(f"{where}.{name}")
            elif isinstance(more, dict):
                found += wrong(each, more, whole, f"{where}.{name}")
    return found


def test_the_default_values_and_those_of_the_documentation_fit_the_schema() -> None:
    assert wrong(VALUES, schema(), schema()) == []
    assert wrong(merged(VALUES, documented()), schema(), schema()) == []


WRONG = [
    ("workers", {}), ("worker.replica", 3), ("worker.replicas", 0), ("worker.replicas", "3"), ("worker.replicas", True),
    ("image.pullPolicy", "Sometimes"),
    ("worker.terminationGracePeriodSeconds", 10), ("api.terminationGracePeriodSeconds", 10), ("worker.state.size", "50 GB"),
    ("worker.resources.requests.cpu", 1), ("worker.resources.request", {}), ("config.kafka.partitions", 0), ("config.kafka.partition", 8),
    ("config.kafka.password", "x"), ("config.kafka.security_protocol", "TLS"), ("config.worker.data_dir", "/data"), ("config.api.port", 80),
    ("config.rating.commit_interval_s", 0), ("config.sink", {}), ("config.kafka.raw_topics", [{"name": "a b"}]),
    ("logins.worker.kafkaPassword", "x"), ("logins.worker.kafkaPassword", {"secret": "pass word!", "key": "k"}), ("logins.index", {}),
    ("database.url", "postgresql://a:b@c/d"), ("autoscaling.kind", "vpa"), ("autoscaling.prometheus", "prometheus"),
    ("monitoring.interval", "fast"), ("networkPolicy.apiFrom", {}), ("api.service.port", 0), ("podDisruptionBudget", "yes"),
    ("marketplace.enabled", "yes"), ("marketplace.stripeApiKey", "x"), ("config.marketplace.stripe_api_key", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_a_wrong_value_is_refused_where_it_stands(path: str, value: Any) -> None:
    found = wrong(changed(VALUES, path, value), schema(), schema())
    assert found
    assert all(each.startswith(f".{path}") for each in found)


def test_the_settings_in_the_schema_are_those_of_the_configuration() -> None:
    assert schema()["properties"]["config"] == settings()
    secret = {(name, key) for name, section in Config.model_fields.items() for key, field in section.default.__class__.model_fields.items()
              if "SecretStr" in str(field.annotation)}  # fmt: skip
    assert len(secret) == 6
    assert all(key in NOT_VALUES[name] for name, key in secret)


def test_every_object_of_the_schema_refuses_what_it_does_not_know() -> None:
    def objects(node: Any, where: str) -> Iterator[str]:
        if isinstance(node, dict):
            if "properties" in node and node.get("additionalProperties") is not False and isinstance(node["properties"], dict):
                yield where
            for key, value in node.items():
                yield from objects(value, f"{where}.{key}")

    assert list(objects(schema(), "")) == []


# -- templates and values go together ----------------------------------------------------------------------------------------


PARTS = (*COMPONENTS, "marketplace")


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value and prefix + name != "config":
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def used(templates: dict[str, str]) -> set[str]:
    """Paths of values that templates name: written out, or of a component, a login, or a part that a template is about (`with`)."""
    found = set[str]()
    for text in templates.values():
        found |= set(re.findall(r"\.Values\.([\w.]+)", text))
        found |= {f"{component}.{path}" for component in PARTS for path in re.findall(r"\$values\.([\w.]+)", text)}
        found |= {f"logins.{who}.{path}" for who in VALUES["logins"] for path in re.findall(r"\$login\.([\w.]+)", text)}
        for part in re.findall(r"\{\{- with \.Values\.(\w+) \}\}", text):
            found |= {f"{part}.{path}" for path in re.findall(r"(?<![\w$)])\.([a-z][\w.]+)", text) if path.split(".")[0] in VALUES[part]}
    return found


def unknown(templates: dict[str, str]) -> set[str]:
    """Values that a template names and values.yaml does not have."""

    def is_there(path: str) -> bool:
        at: Any = VALUES
        for name in path.split("."):
            if not isinstance(at, dict) or name not in at:
                return False
            at = at[name]
        return True

    return {path for path in used(templates) if not is_there(path)}


def unused(templates: dict[str, str]) -> set[str]:
    """Values that values.yaml has and no template names, nor a part that they are in as a whole."""
    named = used(templates)
    # A parent that is named counts only where its whole is rendered (toYaml, toToml).
    whole = {"config", *(f"{component}.resources" for component in PARTS)}
    return {leaf for leaf in leaves(VALUES) if leaf not in named and not any(leaf.startswith(f"{each}.") for each in whole & named)}


def test_templates_use_every_value_and_no_other() -> None:
    assert unknown(TEMPLATES) == set()
    assert unused(TEMPLATES) == set()


def test_a_value_that_is_missing_or_unused_is_found() -> None:
    assert unknown({**TEMPLATES, "more.yaml": "{{ .Values.worker.nonsense }}"}) == {"worker.nonsense"}
    assert unused({**TEMPLATES, "disruption.yaml": ""}) == {"podDisruptionBudget"}
    assert unused({**TEMPLATES, "scaling.yaml": ""}) >= {"autoscaling.lagSeconds", "autoscaling.scaleUp.periodSeconds"}


def test_the_chart_says_what_it_is() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert (chart["apiVersion"], chart["name"], chart["type"], chart["appVersion"]) == ("v2", "ratemill", "application", version[1])
    assert re.fullmatch(r"\d+\.\d+\.\d+", chart["version"])
    assert chart["kubeVersion"]
    assert chart["description"]


def test_the_alert_rules_are_those_of_docker() -> None:
    assert (CHART / "files" / "rules.yaml").resolve() == (ROOT / "docker" / "prometheus" / "rules.yaml").resolve()
