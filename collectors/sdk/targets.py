"""What a publisher delivers to: Kafka or the HTTP API. Each has a module of its own, so that nobody needs the libraries of the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from ...schemas.errors import BadInput
from .spool import Refused, Row

__all__ = ["Outcome", "Sender", "Target", "target_of"]


class Outcome(NamedTuple):
    """What became of some rows.

    done: acknowledged, apart from those of their events that are in `refused`. failure: why the others are not, "" when all are done;
    wait_s: how long the other side asks us to wait, 0 when it does not say.
    """

    done: list[Row]
    refused: list[Refused]
    failure: str = ""
    wait_s: float = 0


class Sender(Protocol):
    """A connection. It is used by one thread, and a failure leaves it usable."""

    def deliver(self, rows: Sequence[Row]) -> Outcome:
        """Send rows and wait for their acknowledgement."""

    def close(self) -> None:
        """End the connection."""


class Target(Protocol):
    """Where to deliver to."""

    def connect(self) -> Sender:
        """A sender; it reaches for the other side when it is first used. Raises BadInput for settings that cannot work."""


def target_of(url: str) -> Target:
    """The target that an address names: `kafka://host:port[,host:port]/topic`. Raises BadInput."""
    parts = urlsplit(url)
    if parts.scheme == "kafka":
        from .kafka_target import KafkaTarget  # it needs what is defined here

        return KafkaTarget(parts.netloc, topic=parts.path.strip("/"))
    raise BadInput("the target is not known; give kafka://host:port/topic, a KafkaTarget, or an HttpTarget, which needs a key")
