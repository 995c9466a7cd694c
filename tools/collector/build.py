"""Build the wheel `ratemill-collector`: the collector SDK and the few modules that it uses. Run by `make collector-wheel`.

What goes in is what `import ratemill.collectors.sdk` loads, and what is imported where it is asked for. It is a wheel of its own because extras can
only add dependencies: whoever installs `ratemill` has Faust, a Java runtime and all.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
MODULES = (
    "collectors/__init__.py", "schemas/__init__.py", "schemas/errors.py", "schemas/limits.py", "schemas/quantity.py", "schemas/texts.py",
    "schemas/times.py", "sinks/__init__.py", "sinks/access.py", "collectors/py.typed", "schemas/py.typed", "sinks/py.typed",
)  # fmt: skip


def build(into: Path) -> Path:
    """The wheel, made in a folder."""
    source = into / "source"
    shutil.rmtree(source, ignore_errors=True)
    for path in [*(ROOT / name for name in MODULES), *(ROOT / "collectors" / "sdk").glob("*.py")]:
        target = source / "ratemill" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    project = (HERE / "pyproject.toml").read_text(encoding="utf-8")
    (source / "pyproject.toml").write_text(re.sub(r"(?m)^version = .*$", f'version = "{version}"', project), encoding="utf-8")
    for path in (HERE / "README.md", ROOT / "LICENSE"):
        shutil.copy(path, source)
    for old in into.glob("*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(into), str(source)]
    subprocess.run(command, check=True, timeout=300)
    (built,) = into.glob("*.whl")
    return built


if __name__ == "__main__":
    print(build(ROOT / "build" / "collector"))
