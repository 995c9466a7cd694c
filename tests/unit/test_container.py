"""The container files: an unprivileged user, nothing to gain, nothing to write to but the data folder, nothing open to other machines."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ratemill.streams.config import load_config

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
DATA = "/var/lib/ratemill"
OURS, DASHBOARDS = ("worker", "api"), ("prometheus", "grafana", "kibana", "kibana-dashboards")


def mistakes(dockerfile: str, compose: dict[str, Any]) -> list[str]:
    """What is not as docs/security.md says."""
    final = dockerfile[dockerfile.rindex("\nFROM ") :]
    users = re.findall(r"^USER (\S+)", final, re.MULTILINE)
    found = [] if users and re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[-1]) else [f"the image runs as {users}, not as a numbered user above 999"]
    if f"VOLUME {DATA}" not in final or f"WORKER__DATA_DIR={DATA}/" not in final:
        found.append(f"the data folder is not in the volume {DATA}")
    if re.search(r"^(ENV|ARG) .*(PASSWORD|API_KEY|SECRET|TOKEN)", dockerfile, re.MULTILINE):
        found.append("a secret would stay in the image")
    locked: dict[str, Any] = {"cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    for name in OURS:
        wanted = locked | {"read_only": True, "tmpfs": ["/tmp"], "volumes": [f"{name}:{DATA}"], "user": None}
        service = compose["services"][name]
        found += [f"{name}: {key} is {service.get(key)}" for key, value in wanted.items() if service.get(key) != value]
    for name in DASHBOARDS:
        service = compose["services"][name]
        found += [f"{name}: {key} is {service.get(key)}" for key, value in locked.items() if service.get(key) != value]
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", service.get("user", "")):
            found.append(f"{name}: runs as {service.get('user')}")
        if service.get("read_only") is not True and name != "kibana":
            found.append(f"{name}: is not read-only")
        if service.get("profiles") != ["dashboards"]:
            found.append(f"{name}: comes without being asked for")
        found += [f"{name}: {volume} can be written to" for volume in service["volumes"] if volume.startswith(".") and not volume.endswith(":ro")]
    for name, service in compose["services"].items():
        found += [f"{name}: {key} undoes that" for key in ("privileged", "cap_add", "devices", "pid", "network_mode") if key in service]
        found += [f"{name}: port {port} is open to other machines" for port in service.get("ports", []) if not str(port).startswith("127.0.0.1:")]
        found += [f"{name}: {key} is a secret" for key in service.get("environment", {}) if re.search("PASSWORD|API_KEY|SECRET_|TOKEN", key)]
        if service["image"] != "ratemill" and not re.search(r":v?\d+\.\d+\.\d+$", service["image"]):
            found.append(f"{name}: {service['image']} is not one version")
    return found


def left_out(ignored: str) -> set[str]:
    """What the wheel is built from and does not reach the build, by .dockerignore."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {"pyproject.toml", "setup.py", "docker/image.lock", "README.md", "LICENSE", *project["tool"]["setuptools"]["package-dir"].values()}
    return needed - set(re.findall(r"^!(\S+)$", ignored, re.MULTILINE))


def test_the_image_is_built_from_all_that_the_wheel_is() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert left_out(ignored) == set()
    assert left_out(ignored.replace("!metering\n", "")) == {"metering"}


def test_the_container_is_locked_down() -> None:
    assert mistakes(DOCKERFILE, COMPOSE) == []


def change(service: str, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(compose: dict[str, Any]) -> None:
        compose["services"][service][name] = value

    return apply


@pytest.mark.parametrize(
    "apply",
    [
        change("worker", "read_only", False), change("worker", "cap_drop", []), change("worker", "security_opt", []),
        change("worker", "privileged", True), change("worker", "user", "0"), change("worker", "volumes", [f"worker:{DATA}", "/:/host"]),
        change("kafka", "ports", ["9092:9092"]), change("worker", "ports", ["0.0.0.0:9464:9464"]), change("api", "read_only", False),
        change("grafana", "user", "0:0"), change("grafana", "environment", {"GF_SECURITY_ADMIN_PASSWORD": "admin"}),
        change("prometheus", "image", "prom/prometheus:latest"), change("prometheus", "read_only", False), change("kibana", "profiles", []),
        change("kibana-dashboards", "volumes", ["./kibana:/kibana"]), change("kafka", "privileged", True),
    ],
)  # fmt: skip
def test_an_open_door_in_the_services_is_found(apply: Callable[[dict[str, Any]], None]) -> None:
    compose = copy.deepcopy(COMPOSE)
    apply(compose)
    assert len(mistakes(DOCKERFILE, compose)) == 1


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("USER 10001:10001", ""), ("USER 10001:10001", "USER root"), (f"VOLUME {DATA}\n", ""),
        ("STOPSIGNAL", "ENV RATEMILL_KAFKA__PASSWORD=x\nSTOPSIGNAL"),
    ],
)  # fmt: skip
def test_an_open_door_in_the_image_is_found(text: str, other: str) -> None:
    assert text in DOCKERFILE
    assert len(mistakes(DOCKERFILE.replace(text, other), COMPOSE)) == 1


@pytest.mark.parametrize("service", OURS)
def test_the_settings_in_the_services_are_valid_and_their_plaintext_is_meant(service: str) -> None:
    environment = COMPOSE["services"][service]["environment"]
    load_config(environment=environment)
    without = {name: value for name, value in environment.items() if "ALLOW_PLAINTEXT" not in name}
    with pytest.raises(Exception, match="sends everything in the clear to another machine"):
        load_config(environment=without)
