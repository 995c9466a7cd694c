"""The live cost page at `/`, its files at `/page/…`: the same for everybody. What they show, they ask the API for, with the reader's key."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import Response

from .links import frame_policy
from .problems import Problem

__all__ = ["POLICY", "router"]

router = APIRouter(include_in_schema=False)

# Nothing but what this server has: no other origin, nothing inline, and no form that the browser sends itself. Frames: api.frame_ancestors.
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'"
_HEADERS = {"referrer-policy": "no-referrer", "cache-control": "no-cache"}
_TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class _File:
    body: bytes
    media_type: str
    tag: str  # changes with the body


def _read() -> dict[str, _File]:
    """By name, the vendored ones too. No name of a request ever becomes a path."""
    folder = files(__package__) / "page"
    found = {}
    for entry in (*folder.iterdir(), *(folder / "vendor").iterdir()):
        suffix = entry.name[entry.name.rfind(".") :]
        if suffix in _TYPES:
            body = entry.read_bytes()
            found[entry.name] = _File(body, _TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found


_FILES = _read()


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    """The page."""
    return _answer(request, "index.html")


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
async def file(request: Request, name: str) -> Response:
    """A script, a style or an image of it."""
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    found = _FILES.get(name)
    if found is None:
        raise Problem(404, "not-found", "the page has no such file")
    headers = {**_HEADERS, "content-security-policy": f"{POLICY}; {frame_policy(request.app.state.parts)}", "etag": found.tag}
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=found.media_type)
