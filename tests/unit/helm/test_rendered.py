"""What helm makes of the chart: locked down as the containers of compose.yaml are, and settings that Ratemill takes. Skipped without helm."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ratemill.api.pipeline import gauges_of
from ratemill.schemas.errors import BadConfig
from ratemill.schemas.pipeline import PipelineHealth
from ratemill.sinks.marketplace.listings import read_listings
from ratemill.streams.config import load_config
from unit.helm.chart import COMPONENTS, HELM, PAGE, ROOT, changed, documented, helm, helm_needed, rendered, template, value_sets

Objects = list[dict[str, Any]]
DATA, SECRETS = "/var/lib/ratemill", "/etc/ratemill-secrets"
POD = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001, "fsGroupChangePolicy": "OnRootMismatch",
       "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
CONTAINER = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
COMMANDS = {
    "worker": ["worker", "--agents", "normalize,rate"], "index": ["worker", "--agents", "index"], "api": ["api", "--host", "0.0.0.0"],
    "watch": ["watch"], "marketplace": ["marketplace", "report"],
}  # fmt: skip
PORTS = {"worker": 9464, "index": 9464, "api": 8321, "watch": 9465, "marketplace": 9466}


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
    if name in ("worker", "index") and container["readinessProbe"]["httpGet"]["path"] != "/readyz":
        found.append(f"{name}: ready before it has its partitions")
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
    if ("RATEMILL_API__DATABASE_FILE" in named) != (name in ("api", "watch", "marketplace")):
        found.append(f"{name}: the database is for api, watch and marketplace alone")
    if any("AZURE" in key or "STRIPE" in key for key in named) and name != "marketplace":
        found.append(f"{name}: what marketplaces ask for is for the reporter alone")
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
    wanted = {"podManagementPolicy": "Parallel", "updateStrategy": {"type": "RollingUpdate"}}
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
    assert workloads(made[name]).keys() == {*COMPONENTS, *(["marketplace"] if name == "closed" else [])}
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
    assert len(of_kind(made["closed"], "PodDisruptionBudget")) == len(COMPONENTS) + 1
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


@helm_needed
def test_the_reporter_takes_its_settings_and_its_listings(made: dict[str, Objects], tmp_path: Path) -> None:
    (config,) = of_kind(made["closed"], "ConfigMap")
    pod = workloads(made["closed"])["marketplace"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "seller"
    (container,) = pod["containers"]
    for name, text in config["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    named = {entry["name"]: entry["value"].replace(SECRETS, str(tmp_path)) for entry in container["env"]}
    environment = {name: value.replace("/etc/ratemill/", f"{tmp_path}/") for name, value in named.items()}
    for file in {path for key, path in environment.items() if key.endswith("_FILE")}:
        Path(file).write_text(f"sqlite:///{Path(file).name}", encoding="utf-8")
    path = environment.pop("RATEMILL_CONFIG")
    said = load_config(path, environment)
    its = said.marketplace
    assert (its.settle_s, its.azure_tenant, its.metrics_host, its.metrics_port) == (900, "t", "0.0.0.0", PORTS["marketplace"])
    assert its.azure_client_secret.get_secret_value() == "sqlite:///azure-client-secret"
    assert its.stripe_api_key.get_secret_value() == "sqlite:///stripe-api-key"
    assert said.kafka.username == "reporter"
    assert read_listings(Path(its.listings).read_bytes(), its.listings).listings.keys() == {"shop"}


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
        breach("marketplace", "containers.0.args", ["marketplace"]),
        breach("api", "containers.0.env.0", {"name": "RATEMILL_MARKETPLACE__STRIPE_API_KEY_FILE", "value": "elsewhere"}),
        breach("watch", "containers.0.ports.0.containerPort", 9464), breach("worker", "volumes.0", {"name": "config", "hostPath": {"path": "/"}}),
        breach("worker", "containers.0.env.0", {"name": "RATEMILL_KAFKA__PASSWORD", "value": "x"}),
        breach("worker", "containers.0.env.0", {"name": "X", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}),
        breach("api", "containers.0.env.0", {"name": "X", "value": "/etc/ratemill-secrets/other"}),
        breach("worker", "spec.podManagementPolicy", "OrderedReady"), breach("worker", "spec.updateStrategy", {"type": "OnDelete"}),
        breach("worker", "spec.volumeClaimTemplates.0.metadata.name", "other"), breach("worker", "spec.replicas", None),
        breach("worker", "containers.0.readinessProbe.httpGet.path", "/metrics"),
        breach("index", "containers.0.readinessProbe.httpGet.path", "/metrics"),
        breach("api", "containers.0.volumeMounts.2.mountPath", "/data"), breach("index", "containers.0.volumeMounts.1.readOnly", False),
        breach("worker", "containers.0.env.0", {"name": "RATEMILL_API__DATABASE_FILE", "value": "elsewhere"}),
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
        ("marketplace.enabled", True, "marketplace.listings: give the file"),
        ("marketplace", {"enabled": True, "listings": "x"}, "logins.marketplace.kafkaUsername: security_protocol SASL_SSL needs it"),
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
