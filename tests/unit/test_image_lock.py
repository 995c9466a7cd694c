"""What the image installs is what was tested, no more than it needs, and all that it needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Imports every module with what the image lacks out of reach. Arguments: names of the distributions that are there.
PROGRAM = """
import importlib, importlib.abc, importlib.metadata, json, sys
here = set(sys.argv[1:]) | {"ratemill", "pip"}
plain = lambda name: name.lower().replace("_", "-").replace(".", "-")
away = {top for top, names in importlib.metadata.packages_distributions().items() if not here & {plain(name) for name in names}}
class Away(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in away:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, Away())
import ratemill
for name in json.loads(sys.stdin.read()):
    importlib.import_module(name)
print(len(away))
"""


def pins(lock: str) -> dict[str, set[tuple[str, frozenset[str]]]]:
    """Name -> versions with their hashes: some have one for older Pythons and one for newer."""
    found = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)[^\n]*\n((?: +--hash=[^\n]*\n)+)", lock, re.MULTILINE)
    pinned: dict[str, set[tuple[str, frozenset[str]]]] = {}
    for name, version, hashes in found:
        pinned.setdefault(name, set()).add((version, frozenset(re.findall("sha256:[0-9a-f]{64}", hashes))))
    return pinned


TESTED = pins((ROOT / "requirements.lock").read_text(encoding="utf-8"))
IMAGE = (ROOT / "docker" / "image.lock").read_text(encoding="utf-8")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = SETTINGS["project"]


def modules() -> list[str]:
    """Names of all modules of the wheel but the benchmarks, which are not run from an image."""
    folders = SETTINGS["tool"]["setuptools"]["package-dir"]
    found: list[str] = []
    for package, folder in folders.items():
        files = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.py")]
        found += [".".join([package, *file.with_suffix("").parts]).removesuffix(".__init__") for file in files]
    return sorted(name for name in found if not name.endswith("__main__") and not name.startswith("ratemill.bench"))


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower()


def untested(lock: str) -> set[str]:
    """Pins that the tests did not run with."""
    return {name for name, pinned in pins(lock).items() if TESTED.get(name) != pinned}


def test_it_is_what_was_tested() -> None:
    assert sum(map(len, pins(IMAGE).values())) == len(re.findall(r"^[a-z0-9]", IMAGE, re.MULTILINE)) > 50
    assert untested(IMAGE) == set()
    ((version, _),) = TESTED["aiokafka"]
    assert untested(IMAGE.replace(f"aiokafka=={version}", "aiokafka==0.1")) == {"aiokafka"}
    ((_, hashes),) = TESTED["orjson"]
    assert untested(IMAGE.replace(min(hashes), "sha256:" + "0" * 64)) == {"orjson"}


def test_no_tool_of_tests_is_in_it() -> None:
    extras = PROJECT["optional-dependencies"]
    runs = {name_of(one) for extra, listed in extras.items() if extra != "test" for one in listed} | {name_of(one) for one in PROJECT["dependencies"]}
    tests = {name_of(one) for one in extras["test"]} - runs
    assert tests >= {"pytest", "ruff", "moto", "playwright"}
    assert runs <= pins(IMAGE).keys()
    assert tests & pins(IMAGE).keys() == set()


@pytest.mark.parametrize("without", ["", "rocksdict"])
def test_every_module_finds_what_it_imports(without: str) -> None:
    there = [re.sub(r"[._]", "-", name) for name in pins(IMAGE) if name != without]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *there], cwd=ROOT, input=json.dumps(modules()), capture_output=True, text=True, timeout=120, check=False
    )
    if without:
        assert done.returncode != 0
        assert f"{without} is not in the image" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 20  # what was out of reach
