"""A small job through the real commands: prices, usage, and the costs that must come out."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ratemill.schemas.times import format_time

from .commands import Commands, Worker

__all__ = ["ACCOUNTS", "LANES", "do_a_job", "usage", "write_job"]

ACCOUNTS = 20
LANES = 2 * (4 + 1 + 1)  # with two partitions: four raw topics, rate, index
BOOK = "currency: USD\nprices:\n  - {id: store, sku: store, unit: GB, model: unit, unit_price: '0.10'}\n"


def usage(account: str, identity: str) -> str:
    """One line of a usage file: 10 GB, now."""
    data = {"sku": "store", "quantity": "10", "unit": "GB"}
    when = format_time(time.time_ns() // 10**9 * 10**9)
    event = {"specversion": "1.0", "type": "usage", "source": "test", "id": identity, "subject": account, "time": when, "data": data}
    return json.dumps(event) + "\n"


def write_job(folder: Path) -> None:
    """prices.yaml and usage.ndjson."""
    (folder / "prices.yaml").write_text(BOOK)
    (folder / "usage.ndjson").write_text("".join(usage(f"acct-{n}", f"e{n}") for n in range(ACCOUNTS)))


def do_a_job(commands: Commands, worker: Worker, **reader: str | None) -> None:
    """Publish both, once the worker is ready; each account must be there in Elasticsearch. reader: settings of who looks."""
    worker.wait_for('"partition_owned"', times=LANES)
    said = commands.run("prices", "publish", "prices.yaml", "--author", "me", "--reason", "test")
    assert said.status == 0, said
    said = commands.run("publish", "usage.ndjson")
    assert said.status == 0, said
    found = commands.costs(ACCOUNTS, **reader)
    assert len(found) == ACCOUNTS
