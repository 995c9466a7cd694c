"""Who asks: the token of a request, and what it may do. The account comes from here, and never from the request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from .parts import Parts
from .problems import Problem
from .tokens import Principal

__all__ = ["account_of", "any_key", "needs", "needs_operator", "principal_of", "still_allowed", "with_scope"]

_bearer = HTTPBearer(auto_error=False, description="A key made by `ratemill tokens create`.")
_SCHEMES = ("bearer", "apikey")  # the second is what clients of Elastic Cloud say
_WHO = {"www-authenticate": 'Bearer realm="ratemill"'}


async def _principal(request: Request) -> Principal:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in _SCHEMES or not text:
        raise Problem(401, "no-token", "send a key in the header authorization: Bearer rm_…; `ratemill tokens create` makes one", headers=_WHO)
    return await principal_of(request.app.state.parts, text.strip())


async def principal_of(parts: Parts, text: str) -> Principal:
    """The principal of a key. Raises Problem 401 for one that is not valid, Unavailable."""
    principal = await parts.verify(text) if text else None
    if principal is None:
        raise Problem(401, "bad-token", "the key is not valid, or not any more; ask for another one", headers=_WHO)
    return principal


async def any_key(principal: Annotated[Principal, Depends(_principal)], _: Annotated[object, Depends(_bearer)]) -> Principal:
    """A dependency that gives the principal of a request, whatever it may do."""
    return principal


def needs(scope: str) -> Callable[..., Awaitable[Principal]]:
    """A dependency that gives the principal of a request, and refuses one without the scope."""

    async def allowed(principal: Annotated[Principal, Depends(any_key)]) -> Principal:
        return with_scope(scope, principal)

    return allowed


def with_scope(scope: str, principal: Principal) -> Principal:
    """The principal itself. Raises Problem 403 where it lacks the scope."""
    if not principal.may(scope):
        raise Problem(403, "not-allowed", f"the key lacks the scope {scope}; make one that has it", headers={"x-needs-scope": scope})
    return principal


def needs_operator(scope: str) -> Callable[..., Awaitable[Principal]]:
    """The same, and refuses the key of an account: for what is about all of them."""

    # Not by a dependency on needs(scope): an annotation that is a text, as all are here, cannot name a variable of this function.
    async def allowed(principal: Annotated[Principal, Depends(any_key)]) -> Principal:
        if with_scope(scope, principal).account is not None:
            raise Problem(403, "not-allowed", "this is for operators: the key is for one account")
        return principal

    return allowed


async def still_allowed(request: Request, principal: Principal) -> bool:
    """Whether the key of a request that goes on for long is what it was when the request came. Raises Unavailable."""
    try:
        return await _principal(request) == principal
    except Problem:
        return False


def account_of(principal: Principal, asked: str | None) -> str | None:
    """The account that an answer is about; None: all, for an operator. Raises Problem 403 when another one is asked for than the token's own."""
    if principal.account is None:
        return asked
    if asked is not None and asked != principal.account:
        raise Problem(403, "not-allowed", "the key is for another account")
    return principal.account
