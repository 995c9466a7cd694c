"""The SDK stays light: what is imported with it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "faust", "mode", "elasticsearch", "fastapi", "starlette", "pydantic", "rocksdict", "structlog", "numpy", "xxhash", "cramjam", "orjson", "aiohttp",
    "sqlalchemy", "yaml", "rich", "click", "uvicorn", "prometheus_client", "jpype",
}  # fmt: skip


def imported(statement: str) -> set[str]:
    """Top-level modules, and those of ours, that a fresh interpreter has after a statement."""
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    names = json.loads(said.stdout)
    return {name.partition(".")[0] for name in names} | {name for name in names if name.startswith("ratemill.")}


def test_the_sdk_imports_nothing_heavy() -> None:
    found = imported("import ratemill.collectors.sdk")
    assert "ratemill.collectors.sdk.publisher" in found
    assert found & (HEAVY | {"aiokafka"}) == set()
    ours = {name.split(".")[1] for name in found if name.startswith("ratemill.")}
    assert ours == {"collectors", "schemas", "sinks"}


@pytest.mark.parametrize("statement", ["import ratemill.schemas.usage_event", "import ratemill.collectors.publishing"])
def test_a_heavy_import_is_found(statement: str) -> None:
    assert imported(statement) & HEAVY
