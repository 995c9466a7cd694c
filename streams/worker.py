"""The worker process: from configuration to running agents, and out again."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from decimal import setcontext

import structlog

from ..pricing.money import EXACT
from ..schemas.errors import RatemillError
from .config import Config
from .logs import set_up_logs
from .serving import serve
from .stopping import Stop
from .topics import ensure_topics

__all__ = ["run_worker"]

COLLECT_EVERY_S = 60.0
CRASHED = 70  # exit status; EX_SOFTWARE of sysexits.h


def run_worker(config: Config) -> int:
    """Run until SIGTERM or SIGINT, and end within stopping.SHUTDOWN_S; returns the exit status. Raises RatemillError for what a person must mend."""
    set_up_logs(config)
    setcontext(EXACT.copy())
    try:
        return asyncio.run(_main(config))
    except RatemillError:
        raise
    except Exception as error:
        structlog.get_logger("ratemill.worker").critical("worker_crashed", detail=repr(error), exc_info=True)
        # Threads of the Kafka client may be stuck with what broke; the supervisor's restart is the retry.
        sys.stderr.flush()
        os._exit(CRASHED)


async def _main(config: Config) -> int:
    stop = Stop()
    stop.listen()
    structlog.get_logger("ratemill.worker").info("checks_topics", kafka=config.kafka.bootstrap)
    from .app import RatemillWorker  # Faust is slow to import, and only workers need it
    from .lean_records import use_lean_records

    use_lean_records()
    partitions = await stop.unless(ensure_topics(config))
    if partitions is None:
        return 0
    worker = RatemillWorker(config, partitions)
    if config.worker.metrics_port:
        serve("worker", config.worker.metrics_host, config.worker.metrics_port, worker.metrics.registry, worker.waits_for)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _print_tasks)
    # What was imported stays: the collector need not look at it again. Batches of millions of young objects make it run
    # often for nothing; reference counting frees them. So it runs by the clock, and by number only should that not be enough.
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000_000, 50, 100)
    collecting = asyncio.ensure_future(_collect())
    worker.log.info("worker_starts", name=worker.name, agents=config.worker.agents, kafka=config.kafka.bootstrap)
    try:
        await worker.run(stop)
    except Exception as error:
        stop.failed(error.exit_status if isinstance(error, RatemillError) else CRASHED, str(error) or repr(error))
        raise
    finally:
        collecting.cancel()
    worker.log.info("worker_stopped", seconds=round(stop.seconds(), 2))
    return 0


async def _collect() -> None:
    """Free young objects that refer to each other, such as errors and tasks: a tenth of a second each minute, at most."""
    while True:
        await asyncio.sleep(COLLECT_EVERY_S)
        gc.collect(1)


def _print_tasks() -> None:
    """On SIGUSR1: what every task waits for, for whoever is on call when a worker seems to hang."""
    for task in asyncio.all_tasks():
        task.print_stack(limit=8, file=sys.stderr)
