"""The wheel of the SDK alone: it holds what the SDK needs, and works where nothing else of Ratemill is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest
from loading import load

from .test_http_target import Server
from .test_light import imported

ROOT = Path(__file__).parents[4]


def builder() -> Any:
    return load(ROOT / "tools" / "collector" / "build.py", "build_collector")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built: Path = builder().build(tmp_path_factory.mktemp("wheel"))
    return built


def test_it_holds_what_the_sdk_imports_and_no_more(wheel: Path) -> None:
    loaded = {name for name in imported("import ratemill.collectors.sdk, ratemill.collectors.sdk.metrics") if name.startswith("ratemill.")}
    with zipfile.ZipFile(wheel) as opened:
        files = {name for name in opened.namelist() if name.endswith(".py")}
        metadata = next(opened.read(name).decode() for name in opened.namelist() if name.endswith("METADATA"))
    assert {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files} == loaded
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]
    assert needs == ["Requires-Dist: msgspec>=0.20"]


PROGRAM = """
import importlib.util, sys
from ratemill.collectors.sdk import BadInput, HttpTarget, KafkaTarget, Publisher, usage
assert not [name for name in ("xxhash", "aiokafka", "faust", "numpy", "pydantic", "ratemill.streams") if importlib.util.find_spec(name)]
try:
    Publisher("kafka://127.0.0.1:1/topic", "other")
except BadInput as error:
    print(error, file=sys.stderr)
with Publisher(HttpTarget(sys.argv[1], key="k"), "spool") as publisher:
    publisher.put(usage(account="acme", source="s", id="1", time="2026-11-27T10:00:00Z", sku="k", quantity=1, unit="u"))
    assert publisher.flush()
"""


def test_it_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True, timeout=120)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    shutil.copytree(Path(sysconfig.get_path("platlib")) / "msgspec", site / "msgspec")
    server = Server()
    try:
        said = subprocess.run([str(python), "-c", PROGRAM, server.url], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    finally:
        server.stop()
    assert said.returncode == 0, said.stderr
    assert "pip install 'ratemill-collector[kafka]'" in said.stderr
    assert [json.loads(line)["id"] for asked in server.asked for line in asked.lines] == ["1"]
