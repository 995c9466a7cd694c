"""`ratemill worker`."""

from __future__ import annotations

import sys
from typing import Any

import click

__all__ = ["command"]


@click.command("worker")
@click.option("--config", "path", metavar="FILE", help="Configuration file (default: ratemill.toml here, then RATEMILL_CONFIG).")
@click.option("--agents", metavar="LIST", help="Comma-separated: normalize, rate, index (default: all).")
@click.option("--data-dir", metavar="DIR", help="Where the local state lives; it may be lost, and is restored from Kafka.")
@click.option("--name", help="Stable name of this worker: it gets its partitions back after a restart.")
@click.option("--metrics-port", type=int, help="Serve Prometheus metrics on this port.")
@click.option("--log-format", type=click.Choice(["auto", "json", "text"]), help="auto: text on a terminal, JSON elsewhere.")
def command(path: str | None, agents: str | None, data_dir: str | None, name: str | None, metrics_port: int | None, log_format: str | None) -> None:
    """Run the agents: normalize (decode raw usage), rate (deduplicate, window, price), index (to Elasticsearch).

    Several workers share the partitions. Stop one with SIGTERM; after kill -9 nothing is lost or counted twice.
    """
    from ..streams.config import load_config
    from ..streams.worker import run_worker

    given: dict[str, Any] = {"data_dir": data_dir, "name": name, "metrics_port": metrics_port, "log_format": log_format}
    worker = {k: v for k, v in given.items() if v is not None}
    if agents is not None:
        worker["agents"] = tuple(a.strip() for a in agents.split(",") if a.strip())
    sys.exit(run_worker(load_config(path, overrides={"worker": worker} if worker else None)))
