"""The Helm chart, for its tests: values, schema, and helm itself where it is.

`python tests/unit/helm/chart.py` writes the settings of ratemill.toml in values.schema.json anew.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ratemill.streams.config import Config

ROOT = Path(__file__).parents[3]
CHART = ROOT / "docker" / "helm" / "ratemill"
SCHEMA = CHART / "values.schema.json"
# By JSON, so that what YAML writes once (logins) is not one object in several places.
VALUES: dict[str, Any] = json.loads(json.dumps(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))))
PAGE = ROOT / "docs" / "scale.md"
HELM = shutil.which("helm") or shutil.which("helm", path=ROOT / "build" / "helm")

helm_needed = pytest.mark.skipif(HELM is None, reason="no helm: put it on the PATH, or into build/helm")
COMPONENTS = ("worker", "index", "api", "watch")  # always; `marketplace` only if it is switched on

LISTINGS = """listings:
  shop: {marketplace: stripe, dimensions: [{dimension: gb_hours, sku: storage, unit: GB-h}]}
customers:
  - {account: acct-1, listing: shop, since: "2026-11-01T00:00:00Z", customer: {customer_id: cus_1}}
"""

# What the chart decides itself, and what comes from Secrets.
NOT_VALUES = {
    "kafka": {"username", "password", "ca_file", "cert_file", "key_file"},
    "elasticsearch": {"username", "password", "api_key", "ca_file"},
    "worker": {"agents", "data_dir", "name", "metrics_port", "metrics_host"},
    "api": {"host", "port", "database"},
    "watch": {"metrics_port", "metrics_host"},
    "marketplace": {"listings", "azure_client_secret", "stripe_api_key", "gcp_access_file", "metrics_port", "metrics_host"},
}


def settings() -> dict[str, Any]:
    """JSON Schema of ratemill.toml as far as it is a value of the chart: from the configuration itself, so that it cannot drift."""
    whole = Config.model_json_schema()

    def plain(node: Any) -> Any:
        """Without titles and defaults, and with what is referred to in its place."""
        if isinstance(node, list):
            return [plain(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return plain(whole["$defs"][node["$ref"].rsplit("/", 1)[-1]])
        return {
            key: {name: plain(each) for name, each in value.items()} if key == "properties" else plain(value)
            for key, value in node.items()
            if key not in ("title", "default")
        }

    sections: dict[str, Any] = plain(whole)["properties"]
    for name, section in sections.items():
        section["properties"] = {key: value for key, value in section["properties"].items() if key not in NOT_VALUES.get(name, ())}
    return {"type": "object", "additionalProperties": False, "required": list(sections), "properties": sections}


def schema() -> dict[str, Any]:
    return json.loads(SCHEMA.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The same values with another one at a.b.c."""
    result = copy.deepcopy(values)
    *folders, name = path.split(".")
    at = result
    for folder in folders:
        at = at.setdefault(folder, {})
    at[name] = value
    return result


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Values over those of the chart, as helm does it."""
    both = [name for name in values.keys() & more.keys() if isinstance(values[name], dict) and isinstance(more[name], dict)]
    return {**values, **more, **{name: merged(values[name], more[name]) for name in both}}


def documented() -> dict[str, Any]:
    """The values of the example in docs/scale.md."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return yaml.safe_load(text)  # type: ignore[no-any-return]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(HELM), *arguments], cwd=CHART, capture_output=True, text=True, timeout=120, check=False)


def template(values: Path) -> subprocess.CompletedProcess[str]:
    # With a version of Kubernetes: a helm that was built from its source by hand takes a very old one.
    return helm("template", "shop", ".", "--namespace", "billing", "--kube-version", "1.33.0", "--values", str(values))


def rendered(folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that helm makes of the chart with these values."""
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    said = template(path)
    assert said.returncode == 0, said.stderr
    return [found for found in yaml.safe_load_all(said.stdout) if found]


def value_sets() -> dict[str, dict[str, Any]]:
    """What the documentation shows, and everything that can be switched on beside it, in both ways."""
    plain = documented()
    del plain["autoscaling"], plain["monitoring"]
    peer = [{"namespaceSelector": {"matchLabels": {"name": "edge"}}}]
    some = {
        "monitoring": {"podMonitor": True, "rules": True, "labels": {"prometheus": "main"}},
        "imagePullSecrets": ["registry"],
        "networkPolicy": {"enabled": True, "apiFrom": peer, "metricsFrom": peer},
        "worker": {"replicas": 16, "nodeSelector": {"disk": "nvme"}, "tolerations": [{"operator": "Exists"}], "state": {"storageClassName": "nvme"}},
        "api": {"service": {"annotations": {"a": "b"}}},
    }
    sold = {
        "config": {**plain["config"], "marketplace": {"settle_s": 900, "azure_tenant": "t", "azure_client_id": "c"}},
        "logins": {**plain["logins"], "marketplace": {"kafkaUsername": "reporter", "kafkaPassword": {"secret": "ratemill-marketplace"}}},
        "marketplace": {
            "enabled": True, "listings": LISTINGS, "azureClientSecret": {"secret": "ratemill-azure"}, "stripeApiKey": {"secret": "ratemill-stripe"},
            "serviceAccountName": "seller",
        },
    }  # fmt: skip
    no_user = {"kafkaUsername": "", "kafkaPassword": {"secret": ""}}
    certificates = {who: {**login, **no_user, "kafkaCertificate": {"secret": f"cert-{who}"}} for who, login in plain["logins"].items()}
    topics = [{"name": "metering", "keyed_by": "account"}]
    kafka = {**plain["config"]["kafka"], "security_protocol": "SSL", "sasl_mechanism": "", "raw_topics": topics}
    return {
        "documented": documented(),
        "plain": {**plain, "podDisruptionBudget": False},
        "hpa": {**plain, **some, "autoscaling": {"kind": "hpa", "minReplicas": 4, "maxReplicas": 16}},
        "keda": {**plain, **some, "autoscaling": {"kind": "keda", "prometheus": "http://prometheus:9090", "lagSeconds": 90}},
        "certificates": {**plain, "logins": certificates, "config": {**plain["config"], "kafka": kafka, "rating": {"commit_events": 2_000_000}}},
        "closed": {**plain, **sold, "networkPolicy": {"enabled": True}},
    }


def write() -> None:
    """Bring the settings in values.schema.json up to date."""
    whole = schema()
    whole["properties"]["config"] = settings()
    SCHEMA.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
