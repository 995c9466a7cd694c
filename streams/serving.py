"""What a process tells over HTTP about itself: its metrics, and whether it is ready."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, start_http_server

from ..schemas.errors import BadConfig

__all__ = ["serve"]


def serve(section: str, host: str, port: int, registry: CollectorRegistry, waits_for: Callable[[], str] | None = None) -> None:
    """Serve the metrics of `registry` from a thread of its own, until the process ends.

    section: of the configuration, for the message. With `waits_for` (called from that thread), `/readyz` answers 200 when it returns nothing, else
    503 and what it returns. Raises BadConfig when nothing can listen there.
    """
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        raise BadConfig([f"{section}.metrics_port = {port} on {host}: {error.strerror}; choose another port or address, or 0 for none"]) from error
    if waits_for is not None:
        server.set_app(_with_readiness(server.get_app(), waits_for))


def _with_readiness(metrics: Any, waits_for: Callable[[], str]) -> WSGIApplication:
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/readyz":
            return metrics(environ, start_response)  # type: ignore[no-any-return]
        waiting = waits_for()
        start_response("503 Service Unavailable" if waiting else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{waiting or 'ready'}\n".encode()]

    return answer
