"""Elasticsearch: the home folder it starts from, its command line, and whether it answers."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.request
import zipfile
from pathlib import Path

import orjson

from ..schemas.errors import Unavailable
from .artifacts import Jars
from .ports import HOST

__all__ = ["answers", "command", "prepare"]

MODULE = "transport-netty4"
ANSWER_TIMEOUT = 5.0

# The disk watermarks are off because a laptop's disk is often 90 % full, which would make every index read-only.
SETTINGS = """\
# Written by `ratemill local up`; changes are lost at the next start.
cluster.name: ratemill-local
node.name: n1
discovery.type: single-node
network.host: {host}
http.port: {port}
transport.port: {transport_port}
path.data: {data}
path.logs: {logs}
cluster.routing.allocation.disk.threshold_enabled: false
"""


def prepare(home: Path, port: int, transport_port: int, jars: Jars) -> None:
    """Write the settings and the transport module, in the layout of an installed Elasticsearch."""
    module = home / "modules" / MODULE
    for folder in (module, home / "config", home / "plugins", home / "data", home / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    text = SETTINGS.format(host=HOST, port=port, transport_port=transport_port, data=_yaml(home / "data"), logs=_yaml(home / "logs"))
    (home / "config" / "elasticsearch.yml").write_text(text)
    wanted = _module_files(jars)
    for old in module.iterdir():
        if old.name not in wanted:  # of another version: two of one jar in a module are an error
            old.unlink()
    for name, source in wanted.items():
        if isinstance(source, bytes):
            (module / name).write_bytes(source)
        elif not (module / name).exists():
            shutil.copyfile(source, module / name)


def _yaml(path: Path) -> str:
    return orjson.dumps(str(path)).decode()  # a JSON string is a YAML string, whatever is in the path


def _module_files(jars: Jars) -> dict[str, Path | bytes]:
    """What the module folder holds: its jars that the server does not have already, and its descriptor."""
    of_server = {jar.name for jar in jars.elasticsearch}
    files: dict[str, Path | bytes] = {jar.name: jar for jar in jars.netty if jar.name not in of_server}
    own = next((jar for jar in jars.netty if jar.name.startswith(MODULE)), None)
    if own is None:
        raise Unavailable(f"the cache holds no {MODULE} jar; remove the list of jars from the cache folder and start again")
    inside = f"META-INF/es-plugins/{MODULE}/"
    with zipfile.ZipFile(own) as archive:
        for entry in archive.namelist():
            if entry.startswith(inside) and not entry.endswith("/"):
                data = archive.read(entry)
                if entry.endswith("plugin-descriptor.properties"):
                    # this server runs from the class path and has no Java modules, so the descriptor must not name one
                    data = b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"modulename"))
                files[Path(entry).name] = data
    return files


def command(home: Path, jars: Jars) -> list[str]:
    """The command line of the server process; its home folder makes it recognizable as this stack's."""
    class_path = home / "class-path"  # in a file: it is far longer than a person wants to see in a process list
    class_path.write_text(os.pathsep.join(map(str, jars.elasticsearch)))
    return [sys.executable, "-P", "-m", f"{__package__}.elasticsearch_server", str(home)]


def answers(port: int) -> bool:
    """Whether the cluster says that it is healthy enough to use (its `GET /` answers 405, so health it is)."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never ask a proxy for 127.0.0.1
    try:
        with opener.open(f"http://{HOST}:{port}/_cluster/health", timeout=ANSWER_TIMEOUT) as response:
            health = orjson.loads(response.read())
    except (OSError, ValueError):
        return False
    return isinstance(health, dict) and health.get("status") in ("yellow", "green")
