"""Requests made from the OpenAPI document, against a running `ratemill api` with a real Kafka and Elasticsearch. Run by `make contract`.

schemathesis (in an environment of its own, tools/contract.lock) makes requests that the document allows and such that it does not. It
wants no 5xx, no status, media type or body that the document does not name, nothing accepted that it forbids, and nothing answered
without a key. One check is left out: that everything the document allows is accepted. Whether an event is too old, or a cursor is one
of ours, no schema says. Nor is the stream of costs asked for, which does not end: its question is that of `GET /v1/costs`.

Exit status: that of schemathesis.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ratemill.local.stack import Stack

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "build" / "contract" / "bin" / "schemathesis"
COMMAND = (sys.executable, "-m", "ratemill.cli.main")
LISTENS_WITHIN_S = 60


def main() -> int:
    """Start everything, ask, end everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--examples", type=int, default=300, help="requests to each operation (default: 300)")
    parser.add_argument("--seed", type=int, help="the same requests again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ratemill-contract-") as name:
        folder = Path(name)
        stack = Stack(folder / "stack", max_lifetime=3_600)
        stack.up(lambda line: print(line, file=sys.stderr))
        try:
            return _asked(folder, stack, given.examples, given.seed)
        finally:
            stack.down(wipe=True)


def _asked(folder: Path, stack: Stack, examples: int, seed: int | None) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")} | {
        "RATEMILL_KAFKA__BOOTSTRAP": stack.kafka,
        "RATEMILL_ELASTICSEARCH__URL": stack.elasticsearch,
        "RATEMILL_API__DATABASE": f"sqlite:///{folder}/api.db",
    }
    made = subprocess.run([*COMMAND, "tokens", "create", "--name", "contract", "--scope", "admin"], env=environment, capture_output=True, check=True)
    log = folder / "api.log"
    with log.open("wb") as output:
        api = subprocess.Popen([*COMMAND, "api", "--port", "0"], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        url = _address(log, api)
        words = ["run", f"{url}/openapi.json", "--checks", "all", "--exclude-checks", "positive_data_acceptance", "--continue-on-failure"]
        words += ["--exclude-path", "/v1/costs/stream"]
        words += ["--max-examples", str(examples), "-H", f"Authorization: Bearer {made.stdout.decode().strip()}"]
        words += ["--seed", str(seed)] if seed is not None else []
        hooks = {"SCHEMATHESIS_HOOKS": "contract_hooks", "PYTHONPATH": str(ROOT / "tools"), "NO_PROXY": "127.0.0.1"}
        status = subprocess.run([str(TOOL), *words], cwd=folder, env=environment | hooks, check=False).returncode
        if "Traceback" in (said := log.read_text(errors="replace")):
            print(said, file=sys.stderr)
            return status or 1
        return status
    finally:
        api.terminate()
        api.wait(30)


def _address(log: Path, api: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + LISTENS_WITHIN_S
    while (found := re.search(r"listening on (http://\S+)", log.read_text(errors="replace"))) is None:
        if api.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"ratemill api does not listen:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)
    return found[1]


if __name__ == "__main__":
    sys.exit(main())
