"""A worker as it runs in its container: as a user without privileges, everything read-only but its data folder."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from harness.commands import COMMAND, Commands
from harness.jobs import do_a_job, write_job
from ratemill.local.stack import Stack

UID = 10_001
# A namespace of its own for mounts takes root, or a user namespace in which we are.
NAMESPACE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
LOCK = """
set -e
mount --make-rprivate /
[ -z "$1" ] || mount --bind "$1" "$1"
for place in / /dev /dev/shm /tmp /run /var/tmp /home; do mountpoint -q $place && mount -o remount,bind,ro $place; done || true
shift
"""
BECOME = f"setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all"


def locked(writable: str, *command: str) -> list[str]:
    """A command in such a place; writable: the only folder it can write to, "" for none."""
    return [*NAMESPACE, "bash", "-c", f'{LOCK}exec {BECOME if os.geteuid() == 0 else ""} "$@"', "locked", writable, *command]


def can_lock() -> bool:
    return subprocess.run(locked("", sys.executable, "-c", "import ratemill"), check=False, capture_output=True).returncode == 0


pytestmark = [pytest.mark.integration, pytest.mark.skipif(not can_lock(), reason="this machine lets us make no namespace for mounts")]


@pytest.fixture
def commands(stack: Stack, tmp_path: Path) -> Commands:
    name = f"ro{uuid.uuid4().hex[:8]}"
    for folder in [tmp_path, *(parent for parent in tmp_path.parents if parent.name.startswith(("pytest-", "popen-")))]:
        folder.chmod(0o755)  # those of pytest, and of its processes, are for their owner only
    settings = {
        "KAFKA__BOOTSTRAP": stack.kafka, "KAFKA__TOPIC_PREFIX": f"{name}.", "KAFKA__PARTITIONS": "2", "ELASTICSEARCH__URL": stack.elasticsearch,
        "ELASTICSEARCH__INDEX_PREFIX": name, "RATING__COMMIT_INTERVAL_S": "0.2",
    }  # fmt: skip
    write_job(tmp_path)
    return Commands(tmp_path, settings, [])


def test_a_worker_needs_nothing_but_its_data_folder(commands: Commands, tmp_path: Path) -> None:
    data = tmp_path / "w"
    data.mkdir()
    if os.geteuid() == 0:
        os.chown(data, UID, UID)
    with commands.worker(command=locked(str(data), *COMMAND, "worker"), WORKER__DATA_DIR=str(data)) as worker:
        do_a_job(commands, worker)
    assert worker.process.returncode == 0, worker.text[-2000:]
    assert list(data.iterdir())  # it did write there


def test_without_its_data_folder_it_says_so(commands: Commands, tmp_path: Path) -> None:
    """Negative control: the place really is locked."""
    with commands.worker(command=locked("", *COMMAND, "worker"), WORKER__DATA_DIR=str(tmp_path / "w")) as worker:
        said = worker.ended()
    assert said.status != 0
    assert "Read-only file system" in said.last or "Permission denied" in said.last
    assert "set worker.data_dir" in said.last


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_is_nobody_in_particular() -> None:
    said = subprocess.run(locked("", "cat", "/proc/self/status"), check=True, capture_output=True, text=True).stdout
    status = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert status["Uid"].split() == [str(UID)] * 4
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapInh")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
