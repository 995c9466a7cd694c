"""Write build/sbom.json: what Ratemill is made of, as CycloneDX 1.6. Run by `make sbom`, in an environment of its own (tools/audit.lock).

Every pin of requirements.lock is a component with its version, its licence and the hash of every file of it that may be installed.
Its scope says what it is for: `required` by the wheel, or `excluded` from it, where only tests and the build need it. The Java
artifacts of the embedded stack (local/artifacts.json) are `optional`: `ratemill local` fetches them, a worker never does.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
# Pins for other platforms or versions of Python, of which nothing is installed to read the licence from; and one that has it as a file alone.
ELSEWHERE = {"colorama": "BSD-3-Clause", "axe-playwright-python": "MIT"}
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0", "BSD License": "BSD", "MIT License": "MIT", "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0", "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC", "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
}  # fmt: skip


def pins(lock: str) -> Iterator[tuple[str, str, list[str]]]:
    """(name, version, SHA-256 of each file) of every pin of a lock."""
    for block in re.split(r"\n(?=[a-z0-9])", lock):
        found = PIN.match(block)
        if found is not None:
            yield str(canonicalize_name(found[1])), found[2], HASH.findall(block)


def licence_of(name: str, installed: dict[str, Distribution]) -> License | None:
    """As the package says it: an SPDX expression, a classifier, or a name. None where nothing says it."""
    factory = LicenseFactory()
    distribution = installed.get(name)
    if distribution is None:
        return factory.make_from_string(ELSEWHERE[name]) if name in ELSEWHERE else None
    meta = distribution.metadata
    said = [
        meta.get("License-Expression"),
        *(CLASSIFIERS.get(c.rpartition(" :: ")[2]) for c in meta.get_all("Classifier") or () if c.startswith("License ::")),
    ]
    named = (meta.get("License") or "").strip().split("\n")[0][:100]
    text = next((text for text in said if text), "") or named
    if not text:
        return factory.make_from_string(ELSEWHERE[name]) if name in ELSEWHERE else None
    try:
        return factory.make_from_string(text)
    except ValueError:
        return DisjunctiveLicense(name=text)


def direct(requirements: Iterable[str], extras: Iterable[str] = ()) -> dict[str, set[str]]:
    """Name -> extras of what is asked for on this platform, with these extras."""
    found: dict[str, set[str]] = {}
    for one in map(Requirement, requirements):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            found.setdefault(str(canonicalize_name(one.name)), set()).update(one.extras)
    return found


def needed(requirements: Iterable[str], installed: dict[str, Distribution]) -> set[str]:
    """Names of what requirements lead to on this platform, step by step."""
    found: set[tuple[str, str]] = set()
    waiting = [(name, extra) for name, extras in direct(requirements).items() for extra in {"", *extras}]
    while waiting:
        step = waiting.pop()
        if step not in found:
            found.add(step)
            if step[0] in installed:
                inner = direct(installed[step[0]].requires or (), [step[1]])
                waiting += [(name, extra) for name, extras in inner.items() for extra in {"", *extras}]
    return {name for name, _ in found}


def bill(project: dict[str, object], lock: str, artifacts: dict[str, str], installed: dict[str, Distribution]) -> Bom:
    """The bill of materials. Raises KeyError for a project without a name."""
    bom = Bom()
    own, licence = str(project["name"]), LicenseFactory().make_from_string(str(project["license"]))
    root = Component(name=own, version=str(project["version"]), type=ComponentType.APPLICATION, bom_ref=own, licenses=[licence])
    bom.metadata.component = root
    required = needed(project["dependencies"], installed)  # type: ignore[arg-type]
    for pin, number, hashes in pins(lock):
        said = licence_of(pin, installed)
        bom.components.add(
            Component(
                name=pin,
                version=number,
                type=ComponentType.LIBRARY,
                bom_ref=f"pypi:{pin}@{number}",
                purl=PackageURL("pypi", None, pin, number),
                scope=ComponentScope.REQUIRED if pin in required else ComponentScope.EXCLUDED,
                licenses=[] if said is None else [said],
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in hashes],
            )
        )
    for path, digest in artifacts.items():
        *group, artifact, number, _ = path.split("/")
        bom.components.add(
            Component(
                name=artifact,
                version=number,
                group=".".join(group),
                type=ComponentType.LIBRARY,
                bom_ref=f"maven:{path}",
                purl=PackageURL("maven", ".".join(group), artifact, number),
                scope=ComponentScope.OPTIONAL,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            )
        )
    # Of a package that is pinned twice, for several versions of Python, what is installed here tells what it needs.
    ours = sorted((c for c in bom.components if c.group is None), key=lambda c: c.name in installed and installed[c.name].version == c.version)
    by_name = {component.name: component for component in ours}
    bom.register_dependency(root, [by_name[its] for its in direct(project["dependencies"]) if its in by_name])  # type: ignore[arg-type]
    for name, component in by_name.items():
        if name in installed:
            bom.register_dependency(component, [by_name[its] for its in direct(installed[name].requires or ()) if its in by_name])
    return bom


def mistakes(text: str) -> list[str]:
    """Where a bill of materials is none by the schema of CycloneDX 1.6."""
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return [] if found is None else [str(found)]


def main() -> int:
    """Write build/sbom.json. Exit status 1 when it would not be valid, or a licence is unknown."""
    site = next((ROOT / ".venv" / "lib").glob("python3*/site-packages"))
    installed = {str(canonicalize_name(one.metadata["Name"])): one for one in distributions(path=[str(site)])}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    artifacts = json.loads((ROOT / "local" / "artifacts.json").read_text(encoding="utf-8"))
    bom = bill(project, lock, artifacts, installed)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    wrong = mistakes(text)
    wrong += [
        f"{c.name} {c.version}: no licence is known; add it to ELSEWHERE in tools/sbom.py"
        for c in bom.components
        if c.group is None and not c.licenses
    ]
    for line in wrong:
        print(f"sbom: {line}", file=sys.stderr)
    if wrong:
        return 1
    target = ROOT / "build" / "sbom.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")
    scopes = [str(component.scope.value if component.scope else "") for component in bom.components]
    counts = ", ".join(f"{scopes.count(scope)} {scope}" for scope in ("required", "excluded", "optional"))
    print(f"sbom: build/sbom.json, {len(scopes)} components: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
