"""Which Elasticsearch a command reads, and how: by options, or as configured."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from elasticsearch import AsyncElasticsearch

from ..schemas.errors import BadInput, Unavailable
from ..sinks.elasticsearch import connect

__all__ = ["Source", "reading", "source_of"]


class Source(NamedTuple):
    """url and index prefix; access: how to log in, as `connect` takes it."""

    url: str
    prefix: str
    access: Mapping[str, Any]


def source_of(url: str | None, prefix: str | None, config_path: str | None) -> Source:
    """What the options leave open comes from the configuration; with a url no configuration is needed. Raises BadInput."""
    if url and not config_path:
        return Source(url, prefix or "ratemill", {})
    # The address is checked together with the credentials that go there.
    overrides = {"elasticsearch": {"url": url}} if url else None
    config = importlib.import_module("..streams.config", __package__).load_config(config_path, overrides=overrides)
    found: Any = config.elasticsearch
    return Source(found.url, prefix or found.index_prefix, found.access)


@asynccontextmanager
async def reading(source: Source) -> AsyncIterator[AsyncElasticsearch]:
    """A client, closed at the end. Raises BadInput for a wrong address; Unavailable, also of what is read in it, names the address."""
    try:
        client = connect(source.url, **source.access)
    except ValueError as error:  # not repeated: there may be a password in it
        raise BadInput(f"Elasticsearch address: {error}") from error
    try:
        yield client
    except Unavailable as error:
        address = urlsplit(source.url)
        raise Unavailable(f"{error} (at {address.hostname}:{address.port}); is it running? see `ratemill doctor`") from error
    finally:
        await client.close()
