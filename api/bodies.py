"""Request bodies: read and unpacked within bounds, before anything looks at what they say."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import cramjam
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from .problems import Problem

__all__ = ["PATIENCE_S", "read_body", "read_model", "unpack"]

Model = TypeVar("Model", bound=BaseModel)
_MOST_OF_A_MODEL = 64 << 10  # bytes
PATIENCE_S = 30.0  # for a whole body: a client that sends a byte a second holds its memory no longer


async def read_body(
    stream: AsyncIterator[bytes], declared: str | None, most: int, take: Callable[[int], None], patience_s: float = PATIENCE_S
) -> bytes:  # fmt: skip
    """The bytes of a body, as sent. declared: its content-length, if the client gave one. take: told of each part's size before it is kept.

    Raises Problem: 413 beyond `most` bytes, 408 when it takes longer than patience_s seconds, and whatever `take` raises.
    """
    if declared is not None and declared.isdecimal() and int(declared) > most:
        raise _too_large(f"{int(declared):,} bytes", most)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(patience_s):
            async for part in stream:
                size += len(part)
                if size > most:
                    raise _too_large("more", most)
                take(len(part))
                parts.append(part)
    except TimeoutError:
        raise Problem(408, "body-timeout", f"the body did not arrive within {patience_s:g} s; send it again") from None
    return b"".join(parts)


def unpack(body: bytes, encoding: str, most: int) -> bytes:
    """A body without its content encoding: "", identity, gzip or zstd. Never makes or returns more than `most` bytes.

    Raises Problem: 413 beyond them, 415 for another encoding, 400 for bytes that are not in it.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        if len(body) > most:
            raise _too_large(f"{len(body):,} bytes", most)
        return body
    if encoding == "gzip":
        return _gunzip(body, most)
    if encoding == "zstd":
        return _unzstd(body, most)
    raise Problem(415, "unknown-encoding", f"content-encoding {encoding[:40]!r} is not known; use gzip, zstd or none")


def _gunzip(body: bytes, most: int) -> bytes:
    found = b""
    while body:  # a file may hold several members, one behind the other
        unpacking = zlib.decompressobj(31)
        try:
            found += unpacking.decompress(body, most + 1 - len(found))
        except zlib.error:
            raise _not_packed("gzip") from None
        if len(found) > most:
            raise _too_large("more, unpacked", most)
        if not unpacking.eof:
            raise _not_packed("gzip")
        body = unpacking.unused_data
    return found


def _unzstd(body: bytes, most: int) -> bytes:
    room = bytearray(most + 1)
    try:
        size = cramjam.zstd.decompress_into(body, room)
    except cramjam.DecompressionError as error:
        if "whole buffer" in str(error):
            raise _too_large("more, unpacked", most) from None
        raise _not_packed("zstd") from None
    if size > most:
        raise _too_large("more, unpacked", most)
    return bytes(memoryview(room)[:size])


def _too_large(found: str, most: int) -> Problem:
    return Problem(413, "too-large", f"the body has {found}; at most {most:,} bytes are read: send it in several requests")


def _not_packed(encoding: str) -> Problem:
    return Problem(400, "not-decodable", f"the body is not {encoding}, or was cut off; send it again, or without content-encoding")


async def read_model(request: Request, model: type[Model]) -> Model:
    """A small JSON body as a model. Raises Problem (408, 413, 415) and RequestValidationError, which is answered 400."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "unknown-media-type", f"content-type {media_type[:60]!r} is not known; use application/json")
    body = await read_body(request.stream(), request.headers.get("content-length"), _MOST_OF_A_MODEL, lambda _: None)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]) from None
