"""What users install: the wheel holds what the folders hold, all of it under `ratemill`, and works outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = {".py", ".yaml", ".csv", ".json", ".typed", ".html", ".css", ".js", ".svg", ".txt"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OWN = sorted(PROJECT["tool"]["setuptools"]["package-dir"].values())


def package_of(folder: Path, root: Path) -> str:
    return ".".join(("ratemill", *folder.relative_to(root).parts))


def packages_on_disk(root: Path, tops: Iterable[str]) -> set[str]:
    return {package_of(init.parent, root) for top in tops for init in (root / top).rglob("__init__.py")}


def files_on_disk(root: Path, tops: Iterable[str]) -> set[str]:
    """Every file of the folders that must be in the wheel, by its name there."""
    found = (path for top in tops for path in (root / top).rglob("*") if path.suffix in KINDS and "__pycache__" not in path.parts)
    return {f"ratemill/{path.relative_to(root)}" for path in found if "results" not in path.parts}


def build(source: Path, into: Path, kind: str) -> Path:
    """Build a wheel or an sdist, with the build tools that are here."""
    said = subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(into), str(source)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: building in place leaves files behind that a later build would pick up."""
    folder = tmp_path_factory.mktemp("source")
    for name in OWN:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results", "*.so"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheel"), "wheel")


def listed(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as opened:
        return [name for name in opened.namelist() if not name.endswith("/")]


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    return listed(wheel)


def test_the_sdist_makes_the_same_wheel_and_has_the_loops_to_compile(source: Path, names: list[str], tmp_path: Path) -> None:
    sdist = build(source, tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("ratemill-*")
    assert sorted(listed(build(unpacked, tmp_path / "wheel", "wheel"))) == sorted(names)
    assert (unpacked / "native" / "_hot.pyx").is_file()


def test_every_folder_with_code_is_declared() -> None:
    tops = [init.parent.name for init in ROOT.glob("*/__init__.py")]
    assert sorted(tops) == OWN
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages_on_disk(ROOT, tops)


def test_an_undeclared_folder_is_seen(tmp_path: Path) -> None:
    (tmp_path / "streams" / "new").mkdir(parents=True)
    (tmp_path / "streams" / "__init__.py").touch()
    (tmp_path / "streams" / "new" / "__init__.py").touch()
    assert packages_on_disk(tmp_path, ["streams"]) == {"ratemill.streams", "ratemill.streams.new"}


def test_no_folder_of_code_lacks_its_init() -> None:
    without = {path.parent for top in OWN for path in (ROOT / top).rglob("*.py") if not (path.parent / "__init__.py").exists()}
    assert without == set()


def test_the_wheel_holds_what_the_folders_hold(names: list[str]) -> None:
    inside = {name for name in names if name.startswith("ratemill/") and Path(name).suffix in KINDS}
    assert inside == files_on_disk(ROOT, OWN)


def test_a_missing_data_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "artifacts.json").touch()
    assert files_on_disk(tmp_path, ["local"]) == {"ratemill/local/artifacts.json"}


def test_nothing_but_ratemill_is_installed(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ratemill"}


def test_the_entry_points_are_there(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith("entry_points.txt"))
        text = opened.read(name).decode()
    assert "ratemill = ratemill.cli.main:main" in text
    assert "ratemill = ratemill.streams.transport:Transport" in text


def test_it_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path / "unpacked")
    script = """
import importlib, pkgutil, sys
from pathlib import Path
import ratemill
root = Path(sys.argv[1])
assert [Path(p) for p in ratemill.__path__] == [root / "ratemill"], list(ratemill.__path__)
for found in pkgutil.walk_packages(ratemill.__path__, "ratemill."):
    if not found.name.endswith("__main__"):
        module = importlib.import_module(found.name)
        assert str(root) in module.__file__, module.__file__
"""
    # -S and an explicit path: the editable install of this checkout must not be what is imported.
    libraries = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "unpacked"), *libraries])}
    command = [sys.executable, "-S", "-c", script, str(tmp_path / "unpacked")]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert said.returncode == 0, said.stderr
