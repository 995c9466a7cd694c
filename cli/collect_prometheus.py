"""`ratemill collect prometheus`: usage of infrastructure that only has metrics."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from ..collectors.prometheus.api import Prometheus
from ..collectors.prometheus.meters import read_plan
from ..collectors.prometheus.run import Collected, PrometheusCollector, PrometheusState
from ..collectors.reports.lines import HOUR_S
from ..collectors.sdk.http_target import HttpTarget
from ..collectors.sdk.publisher import Publisher
from ..schemas.errors import RatemillError, Unavailable
from ..schemas.times import NS, format_time
from ..streams.config import load_config
from .collect_delivery import delivery_options, target
from .corrections import moment, with_config
from .dead_letters import printable

__all__ = ["command", "summary", "summary_text"]

_FLUSH_S = 60.0
_HEARTBEAT_S = 600.0  # at least once an hour
_CLOSE_S = 1.0  # what was not delivered by then is in the spool


@click.command("prometheus")
@click.option("--plan", "plan_path", required=True, metavar="FILE", help="What to ask, and what it is billed as (TOML).")
@click.option("--since", metavar="TIME", help="Where a new meter begins: 2026-11-01 or 2026-11-01T12:00:00Z.  [default: the last window]")
@click.option("--state", default=".ratemill/collect/prometheus", show_default=True, metavar="FOLDER", help="How far it came, and what is to be sent.")
@delivery_options
@click.option("--every", type=click.IntRange(min=1), metavar="SECONDS", help="Look again and again.  [default: look once]")
@with_config
def command(
    plan_path: str, since: str | None, state: str, topic: str | None, api: str, key_file: str, every: int | None, path: str | None
) -> None:  # fmt: skip
    """Read metrics of Prometheus, window by window, as usage.

    A counter counts the steps between its samples: exactly what the samples say, and never more than was used. A gauge counts value times seconds.
    Each window of each series has one event, with an id that is made of them, so what is read twice counts once. With --api it says that it lives,
    so that an hour without usage is told from a collector that died. A plan:

    \b
      url = "http://prometheus:9090"
      source = "prometheus/prod"
      [[meters]]
      name = "egress"
      query = 'node_network_transmit_bytes_total{device="eth0"}'
      account_label = "tenant"
      sku = "net.egress"
      unit = "bytes"
    """
    config, plan = load_config(path), read_plan(plan_path)
    begin = None if since is None else moment(since, "--since") // NS
    with ExitStack() as stack:
        kept = PrometheusState(Path(state, "windows.db"))
        stack.callback(kept.close)
        goal = target(config, topic, api, key_file)
        publisher = Publisher(goal, Path(state, "spool.db"))
        stack.callback(publisher.close, _CLOSE_S)
        live_s = config.rating.event_age_s * 6 // 7
        collector = PrometheusCollector(plan, Prometheus(plan), kept, publisher, lambda: int(time.time()), begin, live_s)
        beat = 0.0
        while True:
            try:
                if not collector.run(_tell):
                    click.echo("no window is over that was not read")
                if not publisher.flush(_FLUSH_S):
                    raise Unavailable(f"events wait in {state}/spool.db, and leave when this runs again: {publisher.metrics().failure}")
                if isinstance(goal, HttpTarget) and time.monotonic() >= beat:
                    goal.heartbeat(plan.source)
                    beat = time.monotonic() + _HEARTBEAT_S
            except RatemillError as error:
                if every is None:
                    raise
                click.echo(printable(f"error: {error}"), err=True)
            if every is None:
                return
            time.sleep(every)


def summary(path: Path, now: int) -> list[dict[str, Any]]:
    """How complete each meter of a state is, for `ratemill collect status`. now: seconds since 1970.

    Windows have no gaps between them, so what is missing are samples, and the hours since the collector looked last.
    """
    state = PrometheusState(path, reading=True)
    found = []
    for name, since, until in state.meters():
        windows = state.windows(name, 0)
        length = until - windows[-1].start if windows else HOUR_S
        seen = {hour for w in windows if w.samples for hour in range(w.start - w.start % HOUR_S, w.start + length, HOUR_S)}
        expected = range(max(since, windows[0].start if windows else since) // HOUR_S * HOUR_S, now - now % HOUR_S, HOUR_S)
        found.append(
            {
                "meter": name, "from": format_time(since * NS), "to": format_time(until * NS), "windows": len(windows),
                "hours_expected": len(expected), "hours_seen": len(seen.intersection(expected)),
                "windows_without_series": sum(not window.series for window in windows), "samples_expected": sum(w.expected for w in windows),
                "samples_seen": sum(w.samples for w in windows), "counter_resets": sum(w.resets for w in windows),
            }
        )  # fmt: skip
    state.close()
    return found


def summary_text(one: dict[str, Any]) -> str:
    """The same for a person."""
    text = f"{one['meter']}, {one['windows']:,} windows from {one['from']} to {one['to']}"
    text += f": {one['hours_seen']:,} of {one['hours_expected']:,} hours seen"
    text += f"; {one['samples_seen']:,} of {one['samples_expected']:,} samples seen; counters began anew {one['counter_resets']:,} times"
    return text + (f"; {one['windows_without_series']:,} windows without any series" if one["windows_without_series"] else "")


def _tell(collected: Collected) -> None:
    window = collected.window
    lacking = window.expected - window.samples
    said = f"{window.meter} {format_time(window.start * NS)}: {window.series:,} series, {collected.events:,} events"
    said += f"; {lacking:,} of {window.expected:,} samples are missing" if lacking > 0 else ""
    said += f"; counters began anew {window.resets:,} times" if window.resets else ""
    click.echo(printable(said if window.series else f"{said}: no series was found"))
