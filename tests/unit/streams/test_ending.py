"""A worker that ends because of an error ends, with the status of the error, whatever a client of it has left behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A worker in a process of its own, as `ratemill worker` runs it; its run ends in an error, and a thread stays.
PROGRAM = """
import sys, threading, time
from types import SimpleNamespace
from ratemill.schemas.errors import BadInput, RatemillError
from ratemill.streams import app, stopping, worker
from ratemill.streams.config import load_config

async def topics(config):
    return 4

class Worker:
    name, metrics, log = "stuck", None, SimpleNamespace(info=lambda *_, **__: None)

    def __init__(self, *_):
        pass

    async def run(self, stop):
        threading.Thread(target=time.sleep, args=(60,)).start()
        stop.begin()
        raise {raised}

stopping.END_S, worker.ensure_topics, app.RatemillWorker = 1.0, topics, Worker
{change}
try:
    worker.run_worker(load_config(environment={{"RATEMILL_WORKER__METRICS_PORT": "0"}}))
except RatemillError as error:
    print(f"error: {{error}}", file=sys.stderr, flush=True)
    sys.exit(error.exit_status)
"""


def run(raised: str, change: str = "") -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(raised=raised, change=change)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=15)


@pytest.mark.parametrize(("raised", "status"), [('BadInput("a newer one wrote it")', 2), ('RuntimeError("a newer one wrote it")', 70)])
def test_it_ends_with_the_status_of_the_error(raised: str, status: int) -> None:
    ended = run(raised)
    assert (ended.returncode, "a newer one wrote it" in ended.stderr) == (status, True), ended.stderr


def test_what_holds_it_up_is_said_with_the_error() -> None:
    (said,) = [line for line in run('BadInput("a newer one wrote it")').stderr.splitlines() if "worker_ends_unfinished" in line]
    assert "a newer one wrote it" in said


def test_without_the_bound_it_stays() -> None:
    """Negative control: a bound for signals alone."""
    with pytest.raises(subprocess.TimeoutExpired):
        run('BadInput("a newer one wrote it")', "stopping.Stop.begin = lambda self: setattr(self, '_began', time.monotonic())")
