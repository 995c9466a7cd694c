"""Ask for known vulnerabilities of every pin of requirements.lock. Run by `make audit`, in an environment of its own (tools/audit.lock).

pip-audit asks the advisory service of the package index. Where that cannot be reached it calls each package "not found" and ends with
status 0, as if all were well; so its answer is read here. Exit status 0: every pin was looked up and nothing is known against it;
1: something is; 3: some or all pins could not be looked up, so nothing is known either way.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Exit status and lines, from what pip-audit writes with `--format json`."""
    dependencies = report["dependencies"]
    skipped = [its for its in dependencies if "skip_reason" in its]
    flawed = [(its, flaw) for its in dependencies for flaw in its.get("vulns", ())]
    lines = [
        f"{its['name']} {its['version']}: {flaw['id']}, fixed in {' or '.join(flaw['fix_versions']) or 'no version yet'}" for its, flaw in flawed
    ]
    if skipped or not dependencies:
        lines.append(
            f"{len(skipped)} of {len(dependencies)} pins could not be looked up ({skipped[0]['skip_reason'] if skipped else 'no pins'}): "
            "is the advisory service of the package index reachable from here? Nothing is known of them"
        )
    lines.append(f"audit: pins={len(dependencies)} looked_up={len(dependencies) - len(skipped)} vulnerabilities={len(flawed)}")
    return VULNERABLE if flawed else UNKNOWN if skipped or not dependencies else CLEAN, lines


def main() -> int:
    """Run pip-audit over the lock and say what came of it."""
    words = ["-r", str(ROOT / "requirements.lock"), "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    done = subprocess.run([sys.executable, "-m", "pip_audit", *words], capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"audit: pip-audit gave no report: {said}; is the network reachable from here? Nothing is known of any pin", file=sys.stderr)
        return UNKNOWN
    status, lines = verdict(report)
    print("\n".join(lines), file=sys.stdout if status == CLEAN else sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
