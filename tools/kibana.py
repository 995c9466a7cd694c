"""Writes docker/kibana/ratemill.ndjson, the saved objects of the Kibana dashboard: python tools/kibana.py

The charts are Vega: Lens would need a formula over limbs in a form that only Kibana writes. What they add up is
right to nine digits after the point and added in floating point: for shapes, not for invoices.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[1] / "docker" / "kibana" / "ratemill.ndjson"
ALIAS, TIME = "ratemill-line-items", "ChargePeriodStart"
CHARTS = {"provider": "x_UsageProvider", "region": "RegionId", "sku": "SkuId"}


def spec(title: str, field: str) -> dict[str, Any]:
    """A chart of billed costs over time, stacked by a field, a facet for each currency: they are never added."""
    limbs = {limb: {"sum": {"field": f"x_Limbs.billed.{limb}"}} for limb in ("e0", "m9")}
    over_time = {"date_histogram": {"field": TIME, "interval": {"%autointerval%": True}}}
    by = {"terms": {"field": field, "size": 10, "missing": "none"}}
    currency = {"terms": {"field": "BillingCurrency", "size": 5}}
    nested = {"currency": currency | {"aggs": {"by": by | {"aggs": {"time": over_time | {"aggs": limbs}}}}}}
    query = {
        "must": ["%dashboard_context-must_clause%", {"range": {TIME: {"%timefilter%": True}}}],
        "must_not": ["%dashboard_context-must_not_clause%", {"term": {"x_Withdrawn": True}}],
        "filter": ["%dashboard_context-filter_clause%"],
    }
    body = {"size": 0, "query": {"bool": query}, "aggs": nested}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": title,
        "data": {
            "url": {"index": ALIAS, "body": body},
            "format": {"property": "aggregations.currency.buckets"},
        },
        "transform": [
            {"flatten": ["by.buckets"], "as": ["by"]},
            {"flatten": ["by.time.buckets"], "as": ["time"]},
            {"calculate": "datum.time.e0.value + datum.time.m9.value / 1e9", "as": "cost"},
            {"calculate": "datum.by.key", "as": "name"},
            {"calculate": "datum.time.key", "as": "at"},
        ],
        "facet": {"row": {"field": "key", "type": "nominal", "title": "currency"}},
        "spec": {
            "mark": {"type": "bar", "tooltip": True},
            "encoding": {
                "x": {"field": "at", "type": "temporal", "title": "charge period"},
                "y": {"field": "cost", "type": "quantitative", "stack": True, "title": "billed cost"},
                "color": {"field": "name", "type": "nominal", "title": field},
            },
        },
    }


def saved(kind: str, id: str, version: str, attributes: dict[str, Any], references: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """A saved object as Kibana exports it."""
    versions = {"coreMigrationVersion": "8.8.0", "typeMigrationVersion": version}
    return {"type": kind, "id": id, "attributes": attributes, "references": references or [], **versions}


def objects() -> list[dict[str, Any]]:
    """The data view, a chart for each dimension, and the dashboard of them."""
    found = [saved("index-pattern", ALIAS, "8.0.0", {"title": ALIAS, "name": "Line items", "timeFieldName": TIME})]
    panels, references = [], []
    for at, (name, field) in enumerate(CHARTS.items()):
        title, id = f"Costs by {name}", f"ratemill-costs-{name}"
        state = {"title": title, "type": "vega", "aggs": [], "params": {"spec": json.dumps(spec(title, field), indent=1)}}
        source = {"searchSourceJSON": json.dumps({"query": {"query": "", "language": "kuery"}, "filter": []})}
        found.append(saved("visualization", id, "8.5.0", {
            "title": title, "description": "For shapes, not for invoices: `ratemill costs` is exact.", "uiStateJSON": "{}", "version": 1,
            "visState": json.dumps(state), "kibanaSavedObjectMeta": source,
        }))  # fmt: skip
        grid = {"x": 0, "y": 14 * at, "w": 48, "h": 14, "i": str(at)}
        panels.append({"type": "visualization", "panelIndex": str(at), "gridData": grid, "embeddableConfig": {}, "panelRefName": f"panel_{at}"})
        references.append({"type": "visualization", "id": id, "name": f"{at}:panel_{at}"})
    found.append(saved("dashboard", "ratemill-costs", "8.9.0", {
        "title": "Ratemill: costs", "description": "Costs over time by provider, region and SKU.",
        "timeRestore": True, "timeFrom": "now-30d", "timeTo": "now", "panelsJSON": json.dumps(panels), "version": 1,
        "optionsJSON": json.dumps({"useMargins": True, "hidePanelTitles": False}),
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps({"query": {"query": "", "language": "kuery"}, "filter": []})},
    }, references))  # fmt: skip
    return found


def text() -> str:
    """The file."""
    return "".join(json.dumps(each, sort_keys=True) + "\n" for each in objects())


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
