"""Where the books of a comparison come from: a file, or the topic of prices."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from ..metering.tariff import Tariff
from ..pricing.book import PriceBook
from ..schemas.errors import BadInput
from ..schemas.times import format_time
from ..streams.config import Config
from ..streams.prices_topic import Published, in_force, read_published
from ..streams.topics import Topics
from .prices import read_tariff
from .prices_places import texts_of

__all__ = ["Source", "file_source", "live_source", "published_source"]


class Source(NamedTuple):
    """A price book with its meters, and the file it was read from: for messages."""

    tariff: Tariff
    text: str
    name: str  # of the file, as in `name:line`
    label: str  # in a sentence: "prices.yaml", "the live book (prices.yaml, published …)"
    meters: str = ""  # text of the meters, where they have a file of their own
    meters_name: str = ""

    @property
    def book(self) -> PriceBook:
        """The price book alone."""
        return self.tariff.book


def file_source(file: Path, meters: Path | None = None) -> Source:
    """The book of a file. Raises BadInput, BadPriceBook."""
    tariff = read_tariff(file, meters)
    (text, name), (second, its_name), *_ = [*texts_of(file, meters), ("", "")]
    return Source(tariff, text, name, name, second, its_name)


def live_source(config: Config, or_else: Source | None = None) -> Source:
    """The book in force. or_else: what to take when none was ever published. Raises Unavailable, and BadInput without `or_else`."""
    found = in_force(asyncio.run(read_published(config))).live
    if found is None:
        if or_else is not None:
            return or_else
        raise BadInput(f"{Topics.of(config.kafka).prices}: no price book is published; name the book to compare with by --against FILE")
    return published_source(found, "the live book")


def published_source(found: Published, what: str) -> Source:
    """A published book as a side of a comparison. what: such as "the live book"."""
    record = found.record
    if found.tariff is None:
        raise ValueError("the end of a draft is no book")
    when = format_time(record.published_at_ns // 10**9 * 10**9)
    label = f"{what} ({record.name}, published {when} by {record.author}: {record.reason})"
    return Source(found.tariff, record.text, record.name, label, record.meters, record.meters_name)
