"""What Ratemill is made of is told in full, in a valid form; and an audit that learnt nothing is not taken for one that found nothing."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loading import load

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "build" / "audit" / "bin" / "python"


@pytest.fixture(scope="module")
def tools() -> None:
    """The environment of the two tools: made once, and kept like the embedded servers."""
    done = subprocess.run(["make", "-s", "build/audit/.installed"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def bill(tools: None) -> dict[str, Any]:
    done = subprocess.run([PYTHON, "tools/sbom.py"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((ROOT / "build" / "sbom.json").read_text(encoding="utf-8"))
    return found


def test_the_bill_of_materials_lists_every_pin_with_version_licence_and_hashes(bill: dict[str, Any]) -> None:
    listed = {(component["name"], component["version"]): component for component in bill["components"] if component["purl"].startswith("pkg:pypi/")}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n(?=[a-z0-9])", lock) if not block.startswith("#")]
    assert len(blocks) == len(listed)
    for block in blocks:
        name, version = re.match(r"([a-z0-9._-]+)==([^ ;\\]+)", block).groups()  # type: ignore[union-attr]
        component = listed[re.sub(r"[._]", "-", name), version]
        assert component["licenses"]
        assert {its["content"] for its in component["hashes"]} == set(re.findall("sha256:([0-9a-f]{64})", block))


def test_it_tells_what_a_worker_needs_from_what_tests_and_the_embedded_stack_need(bill: dict[str, Any]) -> None:
    scopes = {component["name"]: component["scope"] for component in bill["components"]}
    assert {scopes[name] for name in ("aiokafka", "msgspec", "mode-streaming", "typing-extensions", "elastic-transport")} == {"required"}
    assert {scopes[name] for name in ("pytest", "ruff", "mypy", "hypothesis")} == {"excluded"}
    artifacts = json.loads((ROOT / "local" / "artifacts.json").read_text(encoding="utf-8"))
    java = [component for component in bill["components"] if component["purl"].startswith("pkg:maven/")]
    assert {component["hashes"][0]["content"] for component in java} == set(artifacts.values())
    assert {component["scope"] for component in java} == {"optional"}
    direct = next(its["dependsOn"] for its in bill["dependencies"] if its["ref"] == "ratemill")
    names = {reference.removeprefix("pypi:").split("@")[0] for reference in direct}
    assert "aiokafka" in names
    assert "frozenlist" not in names  # a dependency of a dependency
    references = [component["bom-ref"] for component in bill["components"]]
    assert len(set(references)) == len(references)


def test_a_bill_that_is_none_is_found(tools: None, bill: dict[str, Any]) -> None:
    broken = {**bill, "components": [{**bill["components"][0], "type": "sandwich"}]}
    program = "import sys; sys.path.insert(0, 'tools'); import sbom; print(*sbom.mistakes(sys.stdin.read()), sep='\\n')"
    for given, expected in ((bill, False), (broken, True)):
        done = subprocess.run([PYTHON, "-c", program], cwd=ROOT, input=json.dumps(given), capture_output=True, text=True, timeout=120, check=True)
        assert bool(done.stdout.strip()) == expected


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    return load(ROOT / "tools" / "audit.py", "audit")


GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (3)"}


@pytest.mark.parametrize(
    ("dependencies", "status", "said"),
    [
        ([GOOD], 0, "audit: pins=1 looked_up=1 vulnerabilities=0"),
        ([GOOD, BAD], 1, "b 2: PYSEC-2026-1, fixed in 2.1"),
        ([GOOD, SKIPPED], 3, "1 of 2 pins could not be looked up"),
        ([BAD, SKIPPED], 1, "1 of 2 pins could not be looked up"),
        ([], 3, "0 of 0 pins"),
    ],
)
def test_an_audit_that_could_not_look_a_pin_up_does_not_pass(audit: ModuleType, dependencies: list[Any], status: int, said: str) -> None:
    found, lines = audit.verdict({"dependencies": dependencies, "fixes": []})
    assert found == status
    assert any(line.startswith(said) for line in lines)
