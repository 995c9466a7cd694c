"""The Helm chart: values are checked before they are rendered, and what is rendered is locked down as the containers of compose.yaml are.

What needs `helm` is skipped without it. `python tests/unit/test_helm.py` writes the settings of ratemill.toml in values.schema.json anew.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ratemill.api.pipeline import gauges_of
from ratemill.schemas.errors import BadConfig
from ratemill.schemas.pipeline import PipelineHealth
from ratemill.streams.assignor import spread
from ratemill.streams.config import Config, load_config

ROOT = Path(__file__).parents[2]
CHART = ROOT / "docker" / "helm" / "ratemill"
SCHEMA = CHART / "values.schema.json"
# By JSON, so that what YAML writes once (logins) is not one object in several places.
VALUES: dict[str, Any] = json.loads(json.dumps(yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))))
TEMPLATES = {path.name: path.read_text(encoding="utf-8") for path in sorted((CHART / "templates").iterdir())}
PAGE = ROOT / "docs" / "scale.md"
HELM = shutil.which("helm") or shutil.which("helm", path=ROOT / "build" / "helm")

helm_needed = pytest.mark.skipif(HELM is None, reason="no helm: put it on the PATH, or into build/helm")

# What the chart decides itself, and what comes from Secrets.
NOT_VALUES = {
    "kafka": {"username", "password", "ca_file", "cert_file", "key_file"},
    "elasticsearch": {"username", "password", "api_key", "ca_file"},
    "worker": {"agents", "data_dir", "name", "metrics_port", "metrics_host"},
    "api": {"host", "port", "database"},
    "watch": {"metrics_port", "metrics_host"},
}

# -- values ------------------------------------------------------------------------------------------------------------------


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

    sections = plain(whole)["properties"]
    for name, section in sections.items():
        section["properties"] = {key: value for key, value in section["properties"].items() if key not in NOT_VALUES.get(name, ())}
    return {"type": "object", "additionalProperties": False, "required": list(sections), "properties": sections}


def schema() -> dict[str, Any]:
    return json.loads(SCHEMA.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


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
    assert len(secret) == 4
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


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value and prefix + name != "config":
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


COMPONENTS = ("worker", "index", "api", "watch")


def used(templates: dict[str, str]) -> set[str]:
    """Paths of values that templates name: written out, or of a component, a login, or a part that a template is about (`with`)."""
    found = set[str]()
    for text in templates.values():
        found |= set(re.findall(r"\.Values\.([\w.]+)", text))
        found |= {f"{component}.{path}" for component in COMPONENTS for path in re.findall(r"\$values\.([\w.]+)", text)}
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
    whole = {"config", *(f"{component}.resources" for component in COMPONENTS)}
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


# -- what is rendered --------------------------------------------------------------------------------------------------------


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
        "closed": {**plain, "networkPolicy": {"enabled": True}},
    }


Objects = list[dict[str, Any]]
DATA, SECRETS = "/var/lib/ratemill", "/etc/ratemill-secrets"
POD = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "fsGroupChangePolicy": "OnRootMismatch",
       "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
CONTAINER = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
COMMANDS = {
    "worker": ["worker", "--agents", "normalize,rate"], "index": ["worker", "--agents", "index"], "api": ["api", "--host", "0.0.0.0"],
    "watch": ["watch"],
}  # fmt: skip
PORTS = {"worker": 9464, "index": 9464, "api": 8321, "watch": 9465}


def workloads(objects: Objects) -> dict[str, dict[str, Any]]:
    """{component: StatefulSet or Deployment}"""
    return {its["metadata"]["labels"]["app.kubernetes.io/component"]: its for its in objects if its["kind"] in ("StatefulSet", "Deployment")}


def of_kind(objects: Objects, kind: str) -> Objects:
    return [its for its in objects if its["kind"] == kind]


def pod_mistakes(name: str, pod: dict[str, Any]) -> list[str]:
    """What a pod lacks of what compose.yaml gives the container of the same command."""
    found = [f"{name}: securityContext"] if pod.get("securityContext") != POD else []
    found += [f"{name}: {key}" for key in ("hostNetwork", "hostPID", "hostIPC", "initContainers") if key in pod]
    found += [f"{name}: {key}" for key in ("automountServiceAccountToken", "enableServiceLinks") if pod.get(key) is not False]
    if pod["terminationGracePeriodSeconds"] < 15:
        found.append(f"{name}: it needs 10 s to end")
    (container,) = pod["containers"]
    found += [f"{name}: {key}" for key, value in (("securityContext", CONTAINER), ("args", COMMANDS[name])) if container.get(key) != value]
    found += [f"{name}: {probe}" for probe in ("startupProbe", "readinessProbe", "livenessProbe") if "httpGet" not in container.get(probe, {})]
    (port,) = container["ports"]
    asked = {container[probe]["httpGet"]["port"] for probe in container if probe.endswith("Probe")}
    if port["containerPort"] != PORTS[name] or asked != {port["name"]}:
        found.append(f"{name}: port")
    if not container["resources"].get("requests") or "memory" not in container["resources"].get("limits", {}):
        found.append(f"{name}: resources")
    mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
    if mounted["state"]["mountPath"] != DATA or not all(mounted[each].get("readOnly") for each in ("config", "secrets")):
        found.append(f"{name}: volumeMounts")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    # The state of a worker is a claim of its StatefulSet; all others have nothing to keep.
    own = {"config", "secrets", "tmp"} if name == "worker" else {"config", "secrets", "tmp", "state"}
    kinds = {kind for volume in volumes.values() for kind in volume.keys() - {"name"}}
    if volumes.keys() != own or kinds != {"configMap", "projected", "emptyDir"} or "projected" not in volumes["secrets"]:
        found.append(f"{name}: volumes")
    return found


def secret_mistakes(name: str, pod: dict[str, Any]) -> list[str]:
    """Secrets that are not files of Secrets, or that a component gets without needing them."""
    (container,) = pod["containers"]
    (sources,) = (volume["projected"]["sources"] for volume in pod["volumes"] if volume["name"] == "secrets")
    files = {f"{SECRETS}/{item['path']}" for source in sources for item in source["secret"]["items"]}
    named = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    found = [f"{name}: {key} is a secret" for key in named if re.search("PASSWORD|API_KEY|DATABASE", key) and not key.endswith("_FILE")]
    found += [f"{name}: {entry['name']}" for entry in container["env"] if "secretKeyRef" in entry.get("valueFrom", {})]
    if {value for value in named.values() if value.startswith(SECRETS)} != files:
        found.append(f"{name}: files of secrets and their names in the environment differ")
    if ("RATEMILL_API__DATABASE_FILE" in named) != (name in ("api", "watch")):
        found.append(f"{name}: the database is for api and watch alone")
    return found


def mistakes(objects: Objects) -> list[str]:
    """What is not as docs/security.md, docs/operations.md and docs/scale.md say."""
    found = [f"{its['kind']}: holds secrets" for its in objects if its["kind"] == "Secret"]
    for name, workload in workloads(objects).items():
        pod = workload["spec"]["template"]["spec"]
        found += pod_mistakes(name, pod) + secret_mistakes(name, pod)
        if workload["spec"]["selector"]["matchLabels"].items() - workload["spec"]["template"]["metadata"]["labels"].items():
            found.append(f"{name}: it does not select its own pods")
        if "checksum/config" not in workload["spec"]["template"]["metadata"].get("annotations", {}):
            found.append(f"{name}: other settings would not reach it")
    worker = workloads(objects)["worker"]["spec"]
    (claim,) = worker["volumeClaimTemplates"]
    wanted = {"podManagementPolicy": "Parallel", "updateStrategy": {"type": "RollingUpdate"}, "ordinals": {"start": 100}}
    found += [f"worker: {key}" for key, value in wanted.items() if worker.get(key) != value]
    if claim["metadata"]["name"] != "state" or worker["serviceName"] not in {its["metadata"]["name"] for its in of_kind(objects, "Service")}:
        found.append("worker: its state has no volume, or it no Service")
    scaled = [its["spec"]["scaleTargetRef"] for its in objects if "scaleTargetRef" in its.get("spec", {})]
    if bool(scaled) == ("replicas" in worker):
        found.append("worker: its number is given twice, or not at all")
    itself = ("StatefulSet", workloads(objects)["worker"]["metadata"]["name"])
    found += [f"{target}: no such StatefulSet" for target in scaled if (target["kind"], target["name"]) != itself]
    for policy in of_kind(objects, "NetworkPolicy"):
        found += ["NetworkPolicy: open to everybody" for rule in policy["spec"]["ingress"] if not rule.get("from")]
    return found


def test_a_service_link_would_stop_a_pod() -> None:
    """Why enableServiceLinks is off: Kubernetes would set this for the Service of the API, in each pod of the namespace."""
    with pytest.raises(BadConfig, match="RATEMILL_API_PORT: unknown"):
        load_config(environment={"RATEMILL_API_PORT": "tcp://10.0.0.1:80"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Objects]:
    """{name of a set of values: objects}; rendered once."""
    if HELM is None:
        pytest.skip("no helm: put it on the PATH, or into build/helm")
    return {name: rendered(tmp_path_factory.mktemp(name), values) for name, values in value_sets().items()}


@helm_needed
@pytest.mark.parametrize("name", value_sets() if PAGE.is_file() else [])
def test_what_is_rendered_is_locked_down(made: dict[str, Objects], name: str) -> None:
    assert workloads(made[name]).keys() == set(COMPONENTS)
    assert mistakes(made[name]) == []


@helm_needed
def test_each_switch_makes_its_objects(made: dict[str, Objects]) -> None:
    usual = {"ConfigMap", "ServiceAccount", "Service", "StatefulSet", "Deployment"}
    kinds = {name: {its["kind"] for its in objects} for name, objects in made.items()}
    more = {"PodDisruptionBudget", "PodMonitor", "PrometheusRule", "NetworkPolicy"}
    assert kinds["plain"] == usual
    assert kinds["hpa"] == usual | more | {"HorizontalPodAutoscaler"}
    assert kinds["keda"] == usual | more | {"ScaledObject"}
    assert len(of_kind(made["hpa"], "PodDisruptionBudget")) == len(COMPONENTS)
    (closed,) = of_kind(made["closed"], "NetworkPolicy")
    assert closed["spec"]["ingress"] == []


@helm_needed
def test_the_rules_are_whole_and_record_what_the_autoscaler_asks_for(made: dict[str, Objects]) -> None:
    (rules,) = of_kind(made["hpa"], "PrometheusRule")
    groups = {group["name"]: group["rules"] for group in rules["spec"]["groups"]}
    (record,) = groups.pop("ratemill-scaling")
    assert list(groups.values()) == [its["rules"] for its in yaml.safe_load((ROOT / "docker" / "prometheus" / "rules.yaml").read_text())["groups"]]
    (scaler,) = of_kind(made["hpa"], "HorizontalPodAutoscaler")
    (metric,) = scaler["spec"]["metrics"]
    assert metric["external"]["metric"] == {"name": record["record"], "selector": {"matchLabels": record["labels"]}}
    (keda,) = of_kind(made["keda"], "ScaledObject")
    (trigger,) = keda["spec"]["triggers"]
    assert trigger["metadata"]["query"] == record["expr"] == (
        'max(ratemill_lag_seconds{lane=~"normalize|rate",namespace="billing",pod=~"shop-ratemill-api-.*"})'
    )  # fmt: skip
    assert "ratemill_lag_seconds" in {family.name for family in gauges_of(PipelineHealth(status="ok", freshness_s=0))}
    assert (metric["external"]["target"], trigger["metadata"]["threshold"]) == ({"type": "Value", "value": "60"}, "90")


@helm_needed
@pytest.mark.parametrize("name", ["documented", "certificates"])
@pytest.mark.parametrize("component", COMPONENTS)
def test_ratemill_takes_the_settings_that_its_pods_get(made: dict[str, Objects], name: str, component: str, tmp_path: Path) -> None:
    (config,) = of_kind(made[name], "ConfigMap")
    (tmp_path / "ratemill.toml").write_text(config["data"]["ratemill.toml"], encoding="utf-8")
    (container,) = workloads(made[name])[component]["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value", "shop-ratemill-worker-100").replace(SECRETS, str(tmp_path)) for entry in container["env"]}
    for file in {path for key, path in environment.items() if key.endswith("_FILE")}:
        Path(file).write_text("sqlite:///x.db", encoding="utf-8")
    said = load_config(str(tmp_path / "ratemill.toml"), {key: value for key, value in environment.items() if key != "RATEMILL_CONFIG"})
    values = value_sets()[name]
    assert said.kafka.bootstrap == values["config"]["kafka"]["bootstrap"]
    assert (said.kafka.partitions, said.kafka.replication_factor) == (values["config"]["kafka"]["partitions"], 3)
    assert said.elasticsearch.access["api_key"] == "sqlite:///x.db"
    where = said.watch if component == "watch" else said.worker
    assert component == "api" or (where.metrics_host, where.metrics_port) == ("0.0.0.0", PORTS[component])
    if name == "certificates":
        assert [topic.keyed_by for topic in said.kafka.raw_topics] == ["account"]
        assert said.rating.commit_events == 2_000_000
        assert said.kafka.cert_file.endswith("/kafka.crt")


def breach(component: str, path: str, value: Any) -> Callable[[Objects], None]:
    """Another value in the pod of a component ("spec.…": of the workload); a name of digits is a place in a list."""

    def apply(objects: Objects) -> None:
        at: Any = workloads(objects)[component]
        if not path.startswith("spec."):
            at = at["spec"]["template"]["spec"]
        *folders, name = path.split(".")
        for folder in folders:
            at = at[int(folder)] if folder.isdigit() else at[folder]
        if value is None:
            del at[name]
        else:
            at[int(name) if name.isdigit() else name] = value

    return apply


@helm_needed
@pytest.mark.parametrize(
    "apply",
    [
        breach("worker", "securityContext.runAsUser", 0), breach("api", "securityContext.runAsNonRoot", False), breach("watch", "hostNetwork", True),
        breach("index", "containers.0.securityContext.readOnlyRootFilesystem", False), breach("api", "containers.0.securityContext.capabilities", {}),
        breach("worker", "terminationGracePeriodSeconds", 10), breach("api", "enableServiceLinks", True),
        breach("api", "automountServiceAccountToken", True),
        breach("api", "containers.0.livenessProbe", None), breach("worker", "containers.0.resources.limits", {}),
        breach("index", "containers.0.args", ["worker"]),
        breach("watch", "containers.0.ports.0.containerPort", 9464), breach("worker", "volumes.0", {"name": "config", "hostPath": {"path": "/"}}),
        breach("worker", "containers.0.env.0", {"name": "RATEMILL_KAFKA__PASSWORD", "value": "x"}),
        breach("worker", "containers.0.env.0", {"name": "X", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}),
        breach("api", "containers.0.env.0", {"name": "X", "value": "/etc/ratemill-secrets/other"}),
        breach("worker", "spec.podManagementPolicy", "OrderedReady"), breach("worker", "spec.updateStrategy", {"type": "OnDelete"}),
        breach("worker", "spec.volumeClaimTemplates.0.metadata.name", "other"), breach("worker", "spec.replicas", None),
        breach("worker", "spec.ordinals", None),
        breach("index", "spec.template.metadata.annotations", {}), breach("api", "spec.selector.matchLabels.more", "x"),
        lambda objects: objects.append({"kind": "Secret"}),
        lambda objects: of_kind(objects, "NetworkPolicy")[0]["spec"]["ingress"].append({"from": []}),
    ],
)  # fmt: skip
def test_an_open_door_is_found(made: dict[str, Objects], apply: Callable[[Objects], None]) -> None:
    objects = copy.deepcopy(made["closed"])
    apply(objects)
    assert len(mistakes(objects)) == 1


@helm_needed
def test_lint_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(documented()), encoding="utf-8")
    said = helm("lint", "--strict", ".", "--values", str(tmp_path / "values.yaml"))
    assert said.returncode == 0, said.stdout


@helm_needed
@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("config.kafka.bootstrap", "", "config.kafka.bootstrap: say where Kafka is"),
        ("config.elasticsearch.url", "", "config.elasticsearch.url: say where"),
        ("database.secret", "", "database.secret: name a Secret"),
        ("logins.worker.kafkaPassword.secret", "", "logins.worker.kafkaPassword.secret: name the Secret"),
        ("config.kafka.security_protocol", "SSL", "no use for a user and a password"),
        ("autoscaling", {"kind": "none"}, "100 workers for 64 partitions"),
        ("autoscaling", {"kind": "hpa", "minReplicas": 2, "maxReplicas": 65}, "65 workers for 64 partitions"),
        ("autoscaling", {"kind": "hpa", "minReplicas": 9, "maxReplicas": 8}, "minReplicas is more than maxReplicas"),
        ("monitoring.podMonitor", False, "set monitoring.podMonitor"),
        ("autoscaling.prometheus", "", "say where KEDA asks"),
        ("worker.replica", 3, "replica"),
        ("config.kafka.partitions", "many", "partitions"),
        ("worker.terminationGracePeriodSeconds", 5, "terminationGracePeriodSeconds"),
    ],
)
def test_what_cannot_work_is_refused_in_words(tmp_path: Path, path: str, value: Any, words: str) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(changed(changed(documented(), "worker.replicas", 100), path, value)), encoding="utf-8")
    said = template(tmp_path / "values.yaml")
    assert said.returncode != 0
    assert words in said.stderr


# -- docs/scale.md -----------------------------------------------------------------------------------------------------------


def test_the_table_is_what_the_model_says() -> None:
    page = PAGE.read_text(encoding="utf-8")
    (model,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    said = subprocess.run([sys.executable, "-I", "-c", model], capture_output=True, text=True, timeout=60, check=True).stdout
    assert len(said.splitlines()) == 12
    assert said in page
    other = model.replace("DOCUMENTS = 4_000", "DOCUMENTS = 8_000")
    assert subprocess.run([sys.executable, "-I", "-c", other], capture_output=True, text=True, timeout=60, check=True).stdout not in page


def staying(before: list[str], after: list[str], partitions: int = 64) -> float:
    """Share of the partitions that stay with their worker."""

    def owners(names: list[str]) -> dict[int, str]:
        held = spread({"t": range(partitions)}, {name: ["t"] for name in names}, {name: name.encode() for name in names}, frozenset({"t"}))
        return {number: name for name, topics in held.items() for number in topics.get("t", [])}

    old, new = owners(before), owners(after)
    return sum(old[number] == new[number] for number in range(partitions)) / partitions


def test_doubling_the_workers_leaves_half_of_the_state_where_it_is() -> None:
    def pods(count: int, start: int = 100) -> list[str]:
        return [f"shop-ratemill-worker-{number}" for number in range(start, start + count)]

    assert [staying(pods(n), pods(2 * n)) for n in (2, 4, 8, 16)] == [0.5] * 4
    assert [staying(pods(n), pods(n + 1)) for n in (4, 8)] == [0.25, 0.125]
    assert staying(pods(8, 0), pods(16, 0)) == 0.125  # why ordinals do not begin at 0: names are ordered as texts
    away = [staying(pods(16), [name for name in pods(16) if name != gone]) for gone in pods(16)]
    assert (min(away), round(max(away), 2)) == (0, 0.23)


def write() -> None:
    """Bring the settings in values.schema.json up to date."""
    whole = schema()
    whole["properties"]["config"] = settings()
    SCHEMA.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
