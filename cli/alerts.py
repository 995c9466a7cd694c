"""`ratemill alerts`: list and show alert rules, and send a sample of what one sends."""

from __future__ import annotations

import asyncio
import json
import time

import click
import msgspec

from ..api.alerting.evaluation import periods_of, sample
from ..api.alerting.rules import Rule
from ..api.alerting.signing import new_id
from ..api.alerting.store import Alerts, Delivery
from ..api.alerting.webhooks import Answer, Sender
from ..schemas.errors import BadInput, Unavailable
from ..schemas.times import NS
from ..store.database import open_database
from ..streams.config import Config, load_config
from .corrections import time_text, with_config
from .dead_letters import printable
from .tables import print_table

__all__ = ["command"]

_MOST = 10_000


@click.group()
def command() -> None:
    """List and show alert rules, and try their webhooks. They are made over HTTP (POST /v1/alerts), and fired by `ratemill watch`.

    \b
      ratemill alerts list --account acct-1
      ratemill alerts show 4k2mzq7w3hxd
      ratemill alerts test 4k2mzq7w3hxd
    """


@command.command("list")
@with_config
@click.option("--account", metavar="ID", help="Only this account's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: str | None, account: str | None, as_json: bool) -> None:
    """List alert rules."""
    found = _alerts(load_config(path)).list(account, "", _MOST)
    if as_json:
        click.echo(json.dumps({"alerts": [msgspec.to_builtins(rule) for rule in found]}, ensure_ascii=False, indent=1))
        return
    if not found:
        click.echo("no alert rules")
        return
    print_table(("Id", "Account", "Name", "Watches", "At", "State"), [
        (rule.id, rule.account, rule.name, _watched(rule), " ".join(rule.definition.thresholds), _state(rule)) for rule in found
    ])  # fmt: skip


@command.command()
@with_config
@click.argument("id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(path: str | None, id: str, as_json: bool) -> None:
    """Show a rule, and what came of its firings."""
    alerts = _alerts(load_config(path))
    rule = _found(alerts, id)
    deliveries = alerts.deliveries(rule.id)
    if as_json:
        click.echo(json.dumps({**msgspec.to_builtins(rule), "deliveries": msgspec.to_builtins(deliveries)}, ensure_ascii=False, indent=1))
        return
    click.echo(printable(f"{rule.id} ({rule.name}), {rule.account}: {_watched(rule)} at {' '.join(rule.definition.thresholds)}; {_state(rule)}"))
    click.echo(printable(f"goes to {rule.url}"))
    if not deliveries:
        click.echo("nothing has fired")
        return
    print_table(("Month", "At", "Fired", "Status", "Tries", "Last error", "Id"), [
        (each.period, each.threshold, time_text(each.fired_at * NS), _status(each), str(each.attempts), each.last_error, each.id)
        for each in deliveries
    ])  # fmt: skip


@command.command()
@with_config
@click.argument("id")
def test(path: str | None, id: str) -> None:
    """Send a signed sample to a rule's address, once, and say what it answered. Nothing of it is stored."""
    config = load_config(path)
    alerts = _alerts(config)
    rule = _found(alerts, id)
    now = int(time.time())
    answer = asyncio.run(_send(config, rule, sample(rule, periods_of(now)[1], now), alerts.keys(rule.id), now))
    if answer.error:
        raise Unavailable(f"the sample was not taken: {answer.error}; see that the receiver runs, and what its log says")
    click.echo(f"the receiver answered {answer.status}")


async def _send(config: Config, rule: Rule, body: str, keys: tuple[str, ...], now: int) -> Answer:
    async with Sender(config.watch.webhook_timeout_s, config.api.allow_private_webhooks) as sender:
        return await sender.send(rule.url, new_id(), body, keys, now)


def _alerts(config: Config) -> Alerts:
    return Alerts(open_database(config.api.database.get_secret_value()))


def _found(alerts: Alerts, id: str) -> Rule:
    rule = alerts.get(id, None)
    if rule is None:
        raise BadInput(f"no alert rule has the id {printable(id)[:40]!r}; `ratemill alerts list` shows those there are")
    return rule


def _watched(rule: Rule) -> str:
    definition = rule.definition
    of = " ".join(f"{name} {value}" for name in ("sku", "service") if (value := getattr(definition, name)))
    budget = f", budget {definition.budget}" if definition.budget else ""
    return f"{definition.what} in {definition.unit or definition.currency}{f' of {of}' if of else ''}{budget}"


def _state(rule: Rule) -> str:
    return "enabled" if rule.disabled_at is None else f"disabled {time_text(rule.disabled_at * NS)}: the receiver answered 410"


def _status(delivery: Delivery) -> str:
    return delivery.status if delivery.due_at is None else f"next try {time_text(delivery.due_at * NS)}"
