"""`ratemill marketplace`: report usage, see how that stands, compare it, and settle what a person has to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
from sqlalchemy import Engine

from ..pricing.money import plain, use_exact_arithmetic
from ..schemas.errors import BadConfig, BadInput, Unavailable
from ..schemas.times import NS
from ..sinks.marketplace import reconciling
from ..sinks.marketplace.credentials import Secrets
from ..sinks.marketplace.listings import Listing, Listings, read_listings
from ..sinks.marketplace.outbox import Outbox
from ..sinks.marketplace.reporter import MARKETPLACES, ReporterParts
from ..sinks.marketplace.rules import RULES, Rules
from ..sinks.marketplace.runner import Runner
from ..sinks.marketplace.standing import Standing, Waiting, standing
from ..sinks.marketplace.transport import Transport
from ..store.database import open_database
from ..store.lease import Lease
from ..streams.config import Config, load_config
from ..streams.logs import set_up_logs
from ..streams.rated_reader import read_rated
from ..streams.serving import serve
from .corrections import time_text, with_config
from .tables import print_table

__all__ = ["command"]

LEASE = "marketplace"
T = TypeVar("T")


@click.group()
def command() -> None:
    """Report usage to AWS Marketplace, Azure Marketplace, Google Cloud Marketplace and Stripe: whole numbers, each once.

    \b
      ratemill marketplace report               run until stopped; --once for a cron job
      ratemill marketplace status               what waits, until when, and what needs you
      ratemill marketplace reconcile            the books, and what the marketplace has
      ratemill marketplace settle ID --accepted 0 --reason "…"

    The file with listings and customers is the setting marketplace.listings; docs/marketplaces.md explains it.
    """


@command.command()
@with_config
@click.option("--once", is_flag=True, help="Read what is there, send what is due, and end.")
@click.option("--dry-run", is_flag=True, help="Show the requests that are due now. Nothing is read from Kafka, written or sent.")
def report(path: str | None, once: bool, dry_run: bool) -> None:
    """Read rated line items, freeze each hour that is over, and send it until the marketplace has it.

    Of several processes with the same database one works, and the others wait to take over. It stops on SIGTERM; after kill -9 whatever
    had no answer is sent again, the same.
    """
    config = load_config(path)
    use_exact_arithmetic()
    listings = _listings(config)
    if dry_run:
        _show_due(_open(config), listings)
        return
    set_up_logs(config)
    asyncio.run(_report(config, listings, once))


async def _report(config: Config, listings: Listings, once: bool) -> None:
    settings = config.marketplace
    engine = _open(config)
    try:
        async with Transport(_secrets(config), settings.timeout_s) as transport:
            transport.credentials.check({each.marketplace for each in listings.listings.values()})
            lease = Lease(engine, LEASE, f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}", settings.lease_s)
            parts = ReporterParts(
                outbox=Outbox(engine, lease), lease=lease, listings=listings, send=transport.send, clock=lambda: int(time.time()),
                settle_s=settings.settle_s, ask=_in_thread,
                send_timeout_s=2 * settings.timeout_s,  # before a request a token may have to be asked for
            )  # fmt: skip
            if settings.metrics_port:
                serve("marketplace", settings.metrics_host, settings.metrics_port, parts.metrics.registry)
            look = partial(_standing, engine, listings)
            working = asyncio.ensure_future(Runner(parts, partial(read_rated, config), look, once).run())
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, working.cancel)
            with suppress(asyncio.CancelledError):
                await working
    finally:
        engine.dispose()


async def _in_thread(call: Callable[[], T]) -> T:
    return await asyncio.to_thread(call)


def _show_due(engine: Engine, listings: Listings) -> None:
    outbox = Outbox(engine, Lease(engine, LEASE, "", 1))
    now, count = int(time.time()), 0
    for listing in listings.listings.values():
        for batch in outbox.all_due(listing.name, now, RULES[listing.marketplace].batch):
            request = MARKETPLACES[listing.marketplace].request(listing, batch)
            click.echo(f"{request.method} {request.url}\n{request.body.decode()}")
            count += len(batch)
    click.echo(f"{count} records are due; nothing was sent" if count else "nothing is due")


@command.command()
@with_config
@click.option("--all", "every", is_flag=True, help="Targets with nothing to tell, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(path: str | None, every: bool, as_json: bool) -> None:
    """Show what is not accepted yet, until when the marketplace takes it, and what is carried. Exit status 1 when something is overdue."""
    config = load_config(path)
    use_exact_arithmetic()
    listings = _listings(config)
    found = _standing(_open(config), listings)
    if as_json:
        click.echo(json.dumps(_as_json(found), ensure_ascii=False, indent=1))
    else:
        _print_status(found, every)
    if found.overdue:
        raise Unavailable(f"{len(found.overdue)} records are overdue or need somebody; docs/marketplaces.md says what to do about each state")
    if late := found.behind:
        first = min(late, key=lambda each: each.closes_at)
        raise Unavailable(
            f"usage of {len(late)} targets is not even frozen, from {time_text(min(each.next_hour for each in late) * NS)} on; the first of it is "
            f"late at {time_text(first.closes_at * NS)} ({first.listing}, {first.account}, {first.dimension}): see that `ratemill marketplace "
            "report` runs and reads"
        )


def _print_status(found: Standing, every: bool) -> None:
    counts = [(listing, state, f"{number:,}") for (listing, state), number in sorted(found.counts.items())]
    if counts:
        print_table(("Listing", "State", "Records"), counts)
    else:
        click.echo("no records yet")
    if found.waiting:
        print_table(("Id", "Hour", "Account", "Dimension", "Quantity", "State", "Until", "Says"), [
            (each.id, time_text(each.hour * NS), each.account, each.dimension, str(each.quantity), _state(each), time_text(each.closes_at * NS),
             each.detail)
            for each in found.waiting
        ])  # fmt: skip
    shown = [each for each in found.targets if every or each.behind or each.carry < 0 or each.carry >= 1]
    if shown:
        print_table(("Account", "Dimension", "Next hour", "Carried"), [
            (each.account, each.dimension, time_text(each.next_hour * NS), plain(each.carry)) for each in shown
        ])  # fmt: skip


def _state(each: Waiting) -> str:
    return f"{each.state}, overdue" if each.overdue and each.state in ("pending", "doubtful") else each.state


def _as_json(found: Standing) -> dict[str, object]:
    return {
        "counts": [{"listing": listing, "state": state, "records": number} for (listing, state), number in sorted(found.counts.items())],
        "waiting": [asdict(each) for each in found.waiting],
        "targets": [{**asdict(each), "carry": plain(each.carry)} for each in found.targets],
    }


@command.command()
@with_config
@click.option("--since", required=True, metavar="YYYY-MM-DD", type=click.DateTime(["%Y-%m-%d"]), help="First day, UTC.")
@click.option("--until", metavar="YYYY-MM-DD", type=click.DateTime(["%Y-%m-%d"]), help="Day behind the last one; without it: up to now.")
@click.option("--file", "report_file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="CSV of what the marketplace has: customer, dimension, time, quantity.")  # fmt: skip
@click.option("--listing", "name", metavar="NAME", help="The listing that FILE is about.")
def reconcile(path: str | None, since: datetime, until: datetime | None, report_file: Path | None, name: str | None) -> None:
    """Add the books up, and compare what was accepted with what the marketplace says. Exit status 1 when anything differs.

    Azure is asked; AWS, Google and Stripe have no such call here, so their report is given as FILE, with --listing.
    """
    begin, end = _seconds(since), _seconds(until) if until else int(time.time()) + 1
    if end <= begin:
        raise BadInput(f"--since {_day(begin)} is not before {'--until ' + _day(end) if until else 'now'}: there is nothing to compare")
    config = load_config(path)
    use_exact_arithmetic()
    listings = _listings(config)
    engine = _open(config)
    wrong = [book for book in reconciling.books(engine) if book.difference]
    for book in wrong:
        click.echo(f"{book.target}: counted {plain(book.counted)}, but in the books {plain(book.recorded + book.open + book.carry)}")
    theirs: dict[str, dict[reconciling.Key, Decimal]] = {}
    if report_file is not None:
        if name is None or name not in listings.listings:
            raise BadInput(f"--file needs --listing; there are {', '.join(listings.listings)}")
        theirs[name] = reconciling.read_report(report_file.read_bytes(), str(report_file))
    for listing in listings.listings.values():
        if listing.marketplace == "azure" and listing.name not in theirs:
            theirs[listing.name] = asyncio.run(_ask_azure(config, listing, begin))
    count = 0
    for listing_name, days in theirs.items():
        listing = listings.listings[listing_name]
        ours = reconciling.accepted_by_day(engine, listing, begin, end)
        within = {key: value for key, value in days.items() if _day(begin) <= key[2] <= _day(end - 1)}
        differences = reconciling.compare(ours, within, listing.marketplace)
        count += len(differences)
        if differences:
            print_table(("Customer", "Dimension", "Day", "Accepted here", "There"), [
                (*each.key, plain(each.ours), plain(each.theirs)) for each in differences
            ])  # fmt: skip
    balance = f"{len(wrong)} targets differ" if wrong else "balanced"
    click.echo(f"books: {balance}; compared with {', '.join(theirs) or 'no marketplace'}: {count} differences")
    if wrong or count:
        raise Unavailable("what was reported and what was accepted differ; `ratemill marketplace status` shows the records concerned")


async def _ask_azure(config: Config, listing: Listing, since: int) -> dict[reconciling.Key, Decimal]:
    async with Transport(_secrets(config), config.marketplace.timeout_s) as transport:
        transport.credentials.check({"azure"})
        return reconciling.azure_days(await transport.send(listing, reconciling.azure_request(listing, since)))


@command.command()
@with_config
@click.argument("id")
@click.option("--accepted", required=True, type=click.IntRange(min=0), metavar="N", help="The quantity that the marketplace has; 0: none.")
@click.option("--reason", required=True, metavar="TEXT", help="How you know.")
def settle(path: str | None, id: str, accepted: int, reason: str) -> None:
    """Say what the marketplace has of a record that is mismatched, rejected or unknown. The rest of its quantity goes into the next hour.

    Stop the reporter first: this needs the lease that it holds.
    """
    config = load_config(path)
    use_exact_arithmetic()
    engine = _open(config)
    lease = Lease(engine, LEASE, f"settle-{uuid.uuid4().hex[:8]}", config.marketplace.lease_s)
    until = time.monotonic() + config.marketplace.lease_s + 1  # one that was killed holds it for so long
    while not lease.take():
        if time.monotonic() > until:
            raise Unavailable("a reporter holds the lease; stop it, settle, and start it again")
        time.sleep(config.marketplace.lease_s / 20)
    try:
        wrong = Outbox(engine, lease).resolve(id, accepted, reason, int(time.time()))
    finally:
        lease.release()
    if wrong:
        raise BadInput(f"{id}: {wrong}; `ratemill marketplace status` shows those that can be settled")
    click.echo(f"{id} is settled: {accepted} accepted")


def _listings(config: Config) -> Listings:
    name = config.marketplace.listings
    if not name:
        raise BadConfig(["configuration: marketplace.listings: no file is named; docs/marketplaces.md shows what goes into it"])
    try:
        return read_listings(Path(name).read_bytes(), name)
    except OSError as error:
        raise BadConfig([f"configuration: marketplace.listings: cannot read {name}: {error.strerror}"]) from error


def _open(config: Config) -> Engine:
    return open_database(config.api.database.get_secret_value())


def _standing(engine: Engine, listings: Listings) -> Standing:
    rules: dict[str, Rules] = {name: RULES[each.marketplace] for name, each in listings.listings.items()}
    return standing(engine, int(time.time()), rules, listings.targets())


def _secrets(config: Config) -> Secrets:
    its = config.marketplace
    return Secrets(
        its.azure_tenant, its.azure_client_id, its.azure_client_secret.get_secret_value(), its.azure_login_url, its.gcp_access_file,
        its.gcp_metadata_url, its.stripe_api_key.get_secret_value(),
    )  # fmt: skip


def _seconds(day: datetime) -> int:
    """First second of a day, UTC."""
    return int(day.replace(tzinfo=UTC).timestamp())


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))
