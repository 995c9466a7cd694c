"""The application: every route, every error, and the document that describes them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from . import (
    accounts,
    alerts,
    completeness,
    cost_page,
    costs,
    dead_letters,
    events,
    explanations,
    firehose,
    health,
    line_items,
    links,
    me,
    periods,
    pipeline,
    prices,
    pubsub,
    simulations,
    usage,
)
from .context import RequestContext
from .elastic_view import routes as elastic_view
from .elastic_view.errors import error_response
from .parts import Parts
from .problems import ProblemDetails, add_handlers

__all__ = ["make_app"]

_ABOUT = """Metering and rating: send usage, read what it costs.

Every request but the health checks needs a key (`ratemill tokens create`). A key belongs to an account, or to an operator: what an account's
key sends and reads is that account's alone. Amounts are exact decimals, as texts. Errors are problem details (RFC 9457)."""


class _Application(FastAPI):
    """FastAPI, with what it says of errors replaced by what really comes."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            found = get_openapi(
                title=self.title, version=self.version, openapi_version=self.openapi_version, description=_ABOUT, routes=self.routes
            )  # fmt: skip
            schemas = found.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
            schemas.update(explanations.SCHEMAS)
            for operation in (one for path in found["paths"].values() for one in path.values()):
                answers = operation["responses"]
                if "application/json" in answers.get("422", {}).get("content", {}):
                    del answers["422"]  # FastAPI's own: mistakes in parameters are answered 400 here
            self.openapi_schema = found
        return self.openapi_schema


def make_app(parts: Parts) -> RequestContext:
    """The ASGI application. It opens and closes nothing: `parts` are there before it, and after it."""
    app = _Application(title="Ratemill", version=version("ratemill"), docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.parts = parts
    add_handlers(app, {elastic_view.PREFIX: error_response})
    every = (
        events, firehose, pubsub, costs, usage, line_items, explanations, accounts, elastic_view, prices, simulations, periods, dead_letters,
        pipeline, completeness, alerts, links, me, health, cost_page,
    )  # fmt: skip
    for routes in every:
        app.include_router(routes.router)
    return RequestContext(app, parts.metrics.requests, parts.metrics.seconds)
