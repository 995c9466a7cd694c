"""A collector that can be killed at any moment and goes on from where it was, or one that is broken on purpose: `python collector_main.py JSON`.

JSON: {"target": arguments of a KafkaTarget, or (with "url") of an HttpTarget, "spool", "events", "source", "start", "seed",
"end": a file, "break": ""}. The number of events that were accepted so far is the last line of SPOOL.accepted; a collector writes it down after
it was told so, as one that reads its own source does. Ends once all are delivered and the file "end" is there.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ratemill.collectors.sdk import Event, HttpTarget, KafkaTarget, Publisher, usage
from ratemill.collectors.sdk.delivery import Delivery
from ratemill.collectors.sdk.spool import Spool

ACCOUNTS = 40
SKUS = (("cpu.hours", "Hours"), ("net.egress", "GB"), ("disk.gb", "GB-Hours"))


def quantity_of(n: int) -> str:
    """Of the nth event."""
    return f"{n % 11}.{n % 7 + 1}"


def made(n: int, source: str, start: str) -> Event:
    """The nth event."""
    sku, unit = SKUS[n % len(SKUS)]
    return usage(account=f"account-{n % ACCOUNTS}", source=source, id=f"{n}", time=start, sku=sku, unit=unit, quantity=quantity_of(n))


def settle_first() -> None:
    """The delivered position moves before the acknowledgement."""

    def round_(delivery: Any, waited_s: float) -> float:
        rows = delivery._spool.read(delivery._round_bytes)
        delivery._spool.settle(rows)
        time.sleep(0.02)  # the window in which a kill loses something is there on any machine
        delivery._sender.deliver(rows)
        return 0.0

    Delivery._round = round_  # type: ignore[method-assign]


def accept_first() -> None:
    """`put` returns, and the spool is written a little later."""
    real, held = Spool.append, list[tuple[Spool, Sequence[Event]]]()

    def append(spool: Spool, events: Sequence[Event]) -> int:
        held.append((spool, events))
        if len(held) == 1:
            threading.Thread(target=write, daemon=True).start()
        return spool.last + sum(len(each) for _, each in held)

    def write() -> None:
        time.sleep(0.05)
        while held:
            spool, events = held[0]
            real(spool, events)
            held.pop(0)

    Spool.append = append  # type: ignore[method-assign]


BREAKS = {"settle_first": settle_first, "accept_first": accept_first}


def main() -> None:
    spec = json.loads(sys.argv[1])
    if spec["break"]:
        BREAKS[spec["break"]]()
    spool = Path(spec["spool"])
    marks = spool.with_suffix(".accepted")
    last = marks.read_text().split()[-1] if marks.exists() else "0"
    at, events = int(last), spec["events"]
    target = HttpTarget(**spec["target"]) if "url" in spec["target"] else KafkaTarget(**spec["target"])
    written = os.open(marks, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    rng = random.Random(spec["seed"] + at)
    with Publisher(target, spool, linger_s=0.01, round_bytes=32 << 10) as publisher:
        print(json.dumps({"at": at, "waiting": publisher.metrics().waiting_events}), flush=True)
        while at < events:
            count = min(events - at, rng.choice((1, 20, 100)))
            publisher.put_many([made(n, spec["source"], spec["start"]) for n in range(at, at + count)])
            at += count
            os.write(written, f"{at}\n".encode())
        deadline = time.monotonic() + 120
        while publisher.metrics().waiting_events or not publisher.flush(10):
            assert time.monotonic() < deadline, publisher.metrics()
            time.sleep(0.05)
        assert publisher.metrics().refused_events == 0, publisher.refused(3)
        while not Path(spec["end"]).exists():
            assert time.monotonic() < deadline, "nobody lets it end"
            time.sleep(0.01)


if __name__ == "__main__":
    main()
