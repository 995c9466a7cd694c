"""The `ratemill` command: every subcommand is one module of this folder, imported only when it is used."""

from __future__ import annotations

import importlib
import logging
import sys

import click

from ..schemas.errors import RatemillError

__all__ = ["cli", "main"]

# command -> (module of this folder, one line of help shown without importing it)
COMMANDS = {
    "demo": ("demo", "Rate real AWS, Azure and GCP usage on a local Kafka and Elasticsearch."),
    "local": ("local", "The embedded Kafka and Elasticsearch: up, down, status."),
    "worker": ("worker", "Run the agents: normalize, rate, index."),
    "api": ("api", "Serve the HTTP interface and the live cost page."),
    "watch": ("watch", "Watch costs and sources: fire alerts, deliver them."),
    "publish": ("publish", "Publish usage from a file to the raw topics."),
    "collect": ("collect", "Collect usage from cloud reports, and tell how complete it is."),
    "prices": ("prices", "Check price books, rehearse changes of them, and publish them."),
    "rate": ("rate", "Rate a file of events offline: same code, same line items, no Kafka."),
    "explain": ("explain", "Where a line item comes from: price, arithmetic, revisions, events; recomputed and compared."),
    "costs": ("costs", "Show live costs in a table."),
    "top": ("top", "Show how the pipeline stands: throughput, lag, freshness, by lane and partition."),
    "invoice": ("invoice", "Preview an account's invoice, or write those of a month to files."),
    "export": ("export", "Write line items as FOCUS files."),
    "close": ("close", "Close a billing month: late usage of it becomes a correction."),
    "amend": ("amend", "Let a counted event count as something else."),
    "cancel": ("cancel", "Let a counted event count no longer."),
    "backfill": ("backfill", "Declare old usage, and take it back: open, close, revert, list."),
    "rerate": ("rerate", "Rate again what an account, a SKU or a month holds."),
    "control": ("control", "List and show such requests, and what came of them."),
    "alerts": ("alerts", "List and show alert rules, and try their webhooks."),
    "completeness": ("completeness", "Tell \"no usage\" from \"collector silent\": sources, hour by hour."),
    "marketplace": ("marketplace", "Report usage to AWS, Azure, Google and Stripe: report, status, reconcile, settle."),
    "tokens": ("tokens", "Make, list and revoke the keys of the HTTP API."),
    "links": ("links", "Change the secret that signs links for embedded views."),
    "dead-letters": ("dead_letters", "List, show and replay what could not be counted."),
    "doctor": ("doctor", "Say in words what is wrong with this installation."),
    "reconcile": ("reconcile", "Compare every line item of the rated topic with Elasticsearch."),
    "transactions": ("transactions", "Find and end Kafka transactions that hang."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported on use, so that `ratemill --help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="ratemill", message="ratemill %(version)s")
def cli() -> None:
    """Ratemill turns raw usage into rated line items while it happens: exactly once, explainable, seconds later.

    Start with `ratemill demo`. Every command has --help. Errors are one line: what, where, what to do;
    exit status 2 means bad usage or input, 1 a failure.
    """


def main() -> None:
    """Entry point: turns every expected error into one line and an exit status, never a traceback."""
    # What it would print by itself is in the error that it raises, or is asked for. Workers set logs up anew.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        # Out of standalone mode click returns the status of `ctx.exit(n)`; no command of ours returns anything else.
        status = cli.main(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except RatemillError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
