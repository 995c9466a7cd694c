"""Where collectors deliver to: the Kafka of the configuration, or an HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from ..collectors.delivering import Delivering
from ..collectors.sdk.http_target import HttpTarget
from ..collectors.sdk.kafka_target import KafkaTarget
from ..collectors.sdk.targets import Target
from ..streams.config import Config
from ..streams.topics import Topics, ensure_topics
from .publish import raw_topic

__all__ = ["delivering", "delivery_options", "target"]

Command = TypeVar("Command", bound=Callable[..., Any])


def delivery_options(function: Command) -> Command:
    """Options that say where to deliver to."""
    for option in (
        click.option("--key-file", default="", metavar="FILE", help="With --api: a key with the scope events:write."),
        click.option("--api", default="", metavar="URL", help="Deliver to this `ratemill api` instead of the Kafka of the configuration."),
        click.option("--topic", metavar="NAME", help="Raw topic.  [default: the one for CloudEvents]"),
    ):
        function = option(function)
    return function


def target(config: Config, topic: str | None, api: str, key_file: str) -> Target:
    """What these options name; makes the topic where it is missing. Raises BadInput, Unavailable, AccessDenied."""
    return HttpTarget(api, key_file=key_file) if api else _kafka(config, topic)


@contextmanager
def delivering(config: Config, topic: str | None, api: str, key_file: str) -> Iterator[Delivering]:
    """A connection to it. Raises as `target`."""
    made = Delivering(target(config, topic, api, key_file))
    try:
        yield made
    finally:
        made.close()


def _kafka(config: Config, topic: str | None) -> Target:
    kafka = config.kafka
    name = raw_topic(Topics.of(kafka), "cloudevents", topic)
    asyncio.run(ensure_topics(config, {name}))
    return KafkaTarget(
        kafka.bootstrap, name, kafka.security_protocol, kafka.allow_plaintext, kafka.sasl_mechanism, kafka.username,
        kafka.password.get_secret_value(), kafka.ca_file, kafka.cert_file, kafka.key_file,
    )  # fmt: skip
