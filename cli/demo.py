"""`ratemill demo`: real usage of three clouds through the whole pipeline, on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["command"]

_ONCE_LIFETIME_S = 1_800.0
_LIFETIME_S = 43_200.0


@click.command("demo")
@click.option("--once", is_flag=True, help="End when all is visible, and print the reconciliation; exit status 0 only if it balances.")
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=Path(".ratemill/demo"), show_default=True, help="Folder of the demo."
)
@click.option("--kafka-port", type=click.IntRange(0, 65535), default=0, help="Port of Kafka.  [default: any free one]")
@click.option("--elasticsearch-port", type=click.IntRange(0, 65535), default=0, help="Port of Elasticsearch.  [default: any free one]")
@click.option("--keep", is_flag=True, help="Leave data and logs in the folder at the end; the next demo there removes them.")
def command(once: bool, folder: Path, kafka_port: int, elasticsearch_port: int, keep: bool) -> None:
    """Rate real usage rows of AWS, Azure and GCP on a local Kafka and Elasticsearch.

    Starts both and a worker, publishes the rows in their own formats with a price book derived from their own rates, shows the
    costs live, here and in the browser, and compares them with what the providers printed. Ctrl-C ends everything; no process is left.
    """
    from ..demo.run import Options, run_demo

    lifetime = _ONCE_LIFETIME_S if once else _LIFETIME_S
    sys.exit(run_demo(Options(once, folder, kafka_port, elasticsearch_port, keep, lifetime)))
