"""Grafana and Kibana: their files hang together, ask only for what there is, and are mounted where they are looked for. Neither is run here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from loading import load
from ratemill.sinks.templates import Names, mapping

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
GRAFANA = DOCKER / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "ratemill.json").read_text())
SOURCES: list[dict[str, Any]] = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "ratemill.yaml").read_text())["datasources"]
KIBANA = DOCKER / "kibana" / "ratemill.ndjson"
SERVICES: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def fields() -> set[str]:
    """Every field of a line item in Elasticsearch that can be searched or summed."""

    def walk(properties: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, about in properties.items():
            if "properties" in about:
                yield from walk(about["properties"], f"{prefix}{name}.")
            elif about.get("doc_values", True):
                yield prefix + name

    return set(walk(mapping()["properties"]))


def named(part: Any, key: str) -> Iterator[Any]:
    """Every value under this key, at any depth."""
    if isinstance(part, dict):
        yield from (value for name, value in part.items() if name == key)
        for value in part.values():
            yield from named(value, key)
    elif isinstance(part, list):
        for value in part:
            yield from named(value, key)


# -- Grafana -------------------------------------------------------------------------------------------------------------


def test_the_panels_have_places_titles_and_sources() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        squares = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert panel["title"]
        assert panel["description"]
        assert panel["targets"]
        assert place["x"] + place["w"] <= 24
        assert not squares & taken, f"{panel['title']} lies over another"
        taken |= squares
    assert {source["uid"] for source in named(DASHBOARD, "datasource")} == {source["uid"] for source in SOURCES}


def test_the_cost_panels_ask_for_fields_that_there_are() -> None:
    asked = {field for panel in DASHBOARD["panels"] if panel["datasource"]["type"] == "elasticsearch" for field in named(panel["targets"], "field")}
    assert {"SkuId", "RegionId", "x_UsageProvider", "x_Limbs.billed.e0"} <= asked <= fields()
    (items,) = [source for source in SOURCES if source["type"] == "elasticsearch"]
    assert items["jsonData"]["index"] == Names().alias
    assert items["jsonData"]["timeField"] in fields()


def test_the_files_are_mounted_where_grafana_and_prometheus_look() -> None:
    mounts = dict(volume.split(":")[:2] for name in ("grafana", "prometheus") for volume in SERVICES[name]["volumes"])
    (provider,) = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "ratemill.yaml").read_text())["providers"]
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{provider['options']['path']}/ratemill.json"
    config = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yaml").read_text())
    assert f"--config.file={mounts['./prometheus']}/prometheus.yaml" in SERVICES["prometheus"]["command"]
    targets = {job["job_name"]: job["static_configs"][0]["targets"][0] for job in config["scrape_configs"]}
    for job, target in targets.items():
        service, port = target.split(":")
        assert job == f"ratemill-{service}"
        assert any(str(published).endswith(f":{port}") for published in SERVICES[service]["ports"])
    jobs = set(re.findall(r'job="([^"]+)"', (DOCKER / "prometheus" / "rules.yaml").read_text()))
    assert jobs
    assert jobs <= targets.keys()


# -- Kibana --------------------------------------------------------------------------------------------------------------


def kibana() -> list[dict[str, Any]]:
    return [json.loads(line) for line in KIBANA.read_text().splitlines()]


def lacking(objects: list[dict[str, Any]]) -> list[str]:
    """References that lead nowhere, panels without one, charts of fields that there are not, and texts that are no JSON."""
    there = {(each["type"], each["id"]) for each in objects}
    found = [f"{each['id']}: {ref['id']}" for each in objects for ref in each["references"] if (ref["type"], ref["id"]) not in there]
    for each in objects:
        attributes = each["attributes"]
        if each["type"] == "dashboard":
            names = {ref["name"] for ref in each["references"]}
            panels = {f"{panel['panelIndex']}:{panel['panelRefName']}" for panel in json.loads(attributes["panelsJSON"])}
            found += sorted(panels ^ names)
        elif each["type"] == "visualization":
            url = json.loads(json.loads(attributes["visState"])["params"]["spec"])["data"]["url"]
            found += [f"{each['id']}: {field}" for field in named(url["body"]["aggs"], "field") if field not in fields()]
            if url["index"] != Names().alias:
                found.append(f"{each['id']}: {url['index']}")
        json.loads(attributes.get("kibanaSavedObjectMeta", {}).get("searchSourceJSON", "{}"))
    return found


def test_the_saved_objects_hang_together() -> None:
    assert lacking(kibana()) == []
    assert [each["type"] for each in kibana()] == ["index-pattern", *["visualization"] * 3, "dashboard"]
    assert kibana()[0]["attributes"]["timeFieldName"] in fields()


@pytest.mark.parametrize(("text", "other"), [("RegionId", "Region"), ('"id": "ratemill-costs-sku"', '"id": "x"'), ("billed.e0", "billed.units")])
def test_what_leads_nowhere_is_found(text: str, other: str) -> None:
    line = next(line for line in KIBANA.read_text().splitlines() if text in line)
    changed = [json.loads(line.replace(text, other, 1)) if each == json.loads(line) else each for each in kibana()]
    assert lacking(changed)


def test_the_file_is_what_its_tool_writes() -> None:
    tool = load(ROOT / "tools" / "kibana.py", "kibana_tool")
    assert KIBANA.read_text() == tool.text(), "run python tools/kibana.py"


def test_the_dashboard_is_imported_as_kibana_wants_it() -> None:
    command = SERVICES["kibana-dashboards"]["command"]
    assert "http://kibana:5601/api/saved_objects/_import?overwrite=true" in command
    assert "kbn-xsrf: true" in command
    assert SERVICES["kibana-dashboards"]["volumes"] == ["./kibana:/kibana:ro"]
    assert f"file=@/kibana/{KIBANA.name}" in command
