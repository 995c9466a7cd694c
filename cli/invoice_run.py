"""Invoices of a month as files, from the rated topic."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import click

from ..invoicing import AccountInvoice, InvoiceJob, Store
from ..invoicing.documents import ESTIMATE, FORMATS, file_name
from ..invoicing.job import Topics as Read
from ..schemas.control import month_number
from ..schemas.errors import BadInput, RatemillError, Unavailable
from ..streams.config import Config, load_config
from ..streams.reach import client_settings, not_allowed
from ..streams.topics import Topics, existing_topics
from .corrections import bar
from .counting import counted
from .dead_letter_topic import on_kafka
from .rate import printable

__all__ = ["Run", "caught_up", "month_of_period", "open_store", "topics_of", "write_invoices"]


class Run(NamedTuple):
    """What the command line said."""

    period: str
    account: str | None
    output: Path
    formats: list[str]
    estimate: bool
    store: Path | None
    config: str | None
    keep: int | None = None  # months up to this one whose line items stay in the store; None: all


def month_of_period(period: str) -> int:
    """As `month_number`, of what somebody typed. Raises BadInput."""
    try:
        return month_number(period)
    except ValueError as error:
        raise BadInput(str(error)) from error


def topics_of(config: Config) -> Read:
    """Where line items and closes are, by the configuration."""
    topics = Topics.of(config.kafka)
    return Read(topics.rated, topics.control)


def open_store(path: Path, config: Config) -> Store:
    """The store at this path, its folder made where there is none. Raises BadInput, Unavailable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path.parent}: {error.strerror}; name another folder") from error
    return Store(path, topics_of(config).rated)


async def caught_up(store: Store, config: Config) -> int:
    """Read all there is as of now; returns how many partitions there are. Raises Unavailable, AccessDenied."""
    topics = topics_of(config)
    if missing := set(topics) - set(await existing_topics(config, topics)):
        raise Unavailable(f"topic {min(missing)} is not there; start `ratemill worker`: the first one makes it")
    try:
        async with InvoiceJob(store, client_settings(config.kafka), topics) as job:
            with bar(topics.rated) as tell:
                await job.catch_up(tell)
            return job.partitions
    except Unavailable as error:
        raise not_allowed(config.kafka, error.__cause__) or error from error


def write_invoices(run: Run) -> None:
    """Bring the store up to date, write the files, confirm what was due. Raises RatemillError when not every partition has closed the month."""
    month, config = month_of_period(run.period), load_config(run.config)
    store = open_store(run.store or run.output / ".invoicing.sqlite", config)
    folder = run.output / run.period
    try:
        partitions = on_kafka(config, lambda: caught_up(store, config))
        final = store.final(month, run.account)
        for handover in final:
            _write(folder, handover.invoice, run.formats)
            store.delivered(handover)
        estimates = store.estimates(month, run.account)
        for invoice in estimates if run.estimate else ():
            _write(folder, invoice, run.formats)
        closed = sum(store.final_through(number) >= month for number in range(partitions))
        if run.keep is not None and closed == partitions:
            store.forget(month - run.keep, partitions)
    finally:
        store.close()
    click.echo(printable(_told(run, folder, len(final), "final")))
    if run.estimate:
        click.echo(printable(_told(run, folder, len(estimates), "estimated")))
    elif closed < partitions and not (run.account and final):
        raise RatemillError(
            f"{run.period} is closed in {closed} of {partitions} partitions: accounts left out: {len(estimates):,}; "
            f"first `ratemill close {run.period}`, or say --estimate"
        )


def _told(run: Run, folder: Path, count: int, kind: str) -> str:
    if not count:
        return f"{run.period}: no {kind} invoices"
    return f"{run.period}: {counted(count, f'{kind} invoice')} in {folder}: {', '.join(run.formats)}"


def _write(folder: Path, invoice: AccountInvoice, formats: Iterable[str]) -> None:
    """The files of one invoice, each whole or not there. What is final takes the place of its estimate."""
    for suffix in formats:
        estimate = folder / file_name(invoice.account, f"{ESTIMATE[1:]}.{suffix}")
        path = folder / file_name(invoice.account, suffix) if invoice.status == "final" else estimate
        part = path.with_name(f".{path.name}.part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(FORMATS[suffix](invoice))
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            if path != estimate:
                estimate.unlink(missing_ok=True)
        except OSError as error:
            raise RatemillError(f"{path}: {error.strerror}; what was written stays, run it again") from error
