"""One simulation, in a process of its own: `python -m ratemill.cli.serving.rating`, a `Task` on standard input, a `Result` on standard output.

A tariff that somebody sends can ask for any amount of computing (one sample of a meter may fill a thousand windows), and a thread
cannot be stopped. A process can: its memory and its processor time are limited by the system.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from typing import Any

import msgspec

from ...collectors.files import Piece
from ...metering.alignment import misaligned
from ...metering.tariff import Tariff, parse_tariff
from ...pricing.money import plain, use_exact_arithmetic
from ...schemas.errors import BadPriceBook
from ...schemas.limits import Limits
from ...schemas.usage_event import UsageEvent
from ..offline import OfflineRating, Rejected
from ..prices_places import placed

__all__ = ["OUT_OF_MEMORY", "Result", "Task", "simulate"]

MOST_BYTES = 64 << 20  # of an answer
OUT_OF_MEMORY = 3  # exit status
_TOO_LONG = f"the line items have more than {MOST_BYTES >> 20} MiB; send fewer events"


class Task(msgspec.Struct):
    """prices, meters: YAML, with the names of their files. draft: it is no published book, and checked as `ratemill rate` does. cpu_s: seconds
    of processor time, memory: bytes of address space, both at most. Else see `ports.Simulation`.
    """

    prices: str
    prices_name: str
    meters: str
    meters_name: str
    draft: bool
    events: list[bytes]
    account: str | None
    window_s: int
    limits: Limits
    cpu_s: int = 20
    memory: int = 1 << 30


class Result(msgspec.Struct):
    """One of three: the answer as JSON; the mistakes of the price book; why it would be too much."""

    answer: bytes = b""
    mistakes: list[str] = []
    too_much: str = ""


def simulate(task: Task) -> Result:
    """Rate the events as `ratemill rate` does. The caller's decimal context must be exact."""
    try:
        tariff = parse_tariff(task.prices, task.prices_name, task.meters or None, task.meters_name or None)
        if task.draft and (wrong := misaligned(tariff, task.window_s)):
            raise BadPriceBook(placed(wrong, [(task.prices, task.prices_name)]))
    except BadPriceBook as error:
        return Result(mistakes=error.mistakes)
    return _rated(task, tariff)


def _rated(task: Task, tariff: Tariff) -> Result:
    rejections: list[dict[str, Any]] = []

    def tell(piece: Piece, reason: str, detail: str) -> None:
        rejections.append({"pointer": f"/events/{piece.line}", "reason": reason, "detail": detail})

    def reject(rejected: Rejected) -> None:
        tell(rejected.piece, rejected.rejection.reason.value, rejected.rejection.detail)

    def own(piece: Piece, _: int, event: UsageEvent) -> bool:
        if task.account is None or event.account == task.account:
            return True
        tell(piece, "forbidden_account", "the key is for another account")
        return False

    rating = OfflineRating(tariff, task.window_s, reject, task.limits)
    rating.add((Piece("events", number, event) for number, event in enumerate(task.events)), "cloudevents", own)
    items, size = list[msgspec.Raw](), 0
    for _, line in rating.line_items():
        items.append(msgspec.Raw(line))
        size += len(line)
        if size > MOST_BYTES:
            return Result(too_much=_TOO_LONG)
    totals = rating.totals
    answer = {
        "digest": tariff.digest,
        "events": {name: getattr(totals, name) for name in ("received", "counted", "duplicates", "rejected")},
        "rejections": rejections,
        "totals": [
            {"currency": currency, "billed_cost": plain(total.cost), "line_items": total.line_items, "unpriced": total.unpriced}
            for currency, total in totals.by_currency().items()
        ],
        "open_periods": totals.open_months(0),
        "line_items": items,
    }
    return Result(msgspec.json.encode(answer))


def _limit(task: Task) -> None:
    for what, most in ((resource.RLIMIT_AS, task.memory), (resource.RLIMIT_CPU, task.cpu_s), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # a system that has no such limit, or a lower one
            resource.setrlimit(what, (most, most))


def main() -> None:
    """Read the task, write the result."""
    use_exact_arithmetic()
    try:
        task = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Task)
        _limit(task)
        result = simulate(task)
        sys.stdout.buffer.write(msgspec.msgpack.encode(result))
        sys.stdout.buffer.flush()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
