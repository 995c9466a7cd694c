"""What the HTTP interface works with; whoever starts it puts these together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from elasticsearch import AsyncElasticsearch
from prometheus_client import CollectorRegistry

from ..schemas.limits import Limits
from ..schemas.pipeline import PipelineHealth
from ..sinks.cost_cache import CostCache
from .live import Live
from .metrics import ApiMetrics

if TYPE_CHECKING:
    from .alerting.store import Alerts
    from .google_tokens import GoogleTokens
    from .outbox import Outbox
    from .ports import Ports
    from .signed_links import Links
    from .sources.store import Sources
    from .tokens import Principal

__all__ = ["Parts"]


@dataclass(frozen=True)
class Parts:
    """verify: the principal of a token, None for one that is not valid. now_ns: wall clock. max_body_bytes: of a request, unpacked.

    public_url: where browsers find the page ("": where the request went). frame_ancestors: who may show it in a frame, as CSP says it.
    pipeline: how it stands; it raises nothing for what is away. google: who may push to /v1/pubsub; None: nobody.
    """

    outbox: Outbox
    elasticsearch: AsyncElasticsearch
    index_prefix: str
    verify: Callable[[str], Awaitable[Principal | None]]
    check_database: Callable[[], Awaitable[None]]
    limits: Limits
    max_body_bytes: int
    max_events: int
    now_ns: Callable[[], int]
    pipeline: Callable[[], Awaitable[PipelineHealth]]
    registry: CollectorRegistry
    links: Links
    public_url: str
    frame_ancestors: str
    ports: Ports
    alerts: Alerts
    sources: Sources
    expected_sources: Sequence[str] = ()
    google: GoogleTokens | None = None
    metrics: ApiMetrics = field(init=False)
    live: Live = field(init=False, default_factory=Live)
    cost_cache: CostCache = field(init=False, default_factory=CostCache)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", ApiMetrics(self.registry))
