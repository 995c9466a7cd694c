"""What is added to a request last: who asks. Nothing here is ever part of a log line, an error or a repr."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from ...schemas.errors import BadConfig, Unavailable
from .http import Answer, Request, json_of
from .listings import Listing

__all__ = ["Credentials", "Secrets"]

_SECTION = "configuration: marketplace"
AZURE_RESOURCE = "20e940b3-4c77-4b0b-9a53-9e16a1b010a7"  # Microsoft's id of the marketplace APIs
GCP_METADATA = "http://metadata.google.internal"
_EARLY_S = 120  # a token is fetched anew so long before it ends


class Sends(Protocol):
    """How a token is asked for."""

    async def __call__(self, request: Request) -> Answer:
        """The answer; never raises for what a server does."""


@dataclass(frozen=True)
class Secrets:
    """Settings that log in. AWS has its own: environment, files and roles, as all of its tools read them."""

    azure_tenant: str = ""
    azure_client_id: str = ""
    azure_client_secret: str = field(default="", repr=False)
    azure_login_url: str = "https://login.microsoftonline.com"
    gcp_access_file: str = ""
    gcp_metadata_url: str = GCP_METADATA
    stripe_api_key: str = field(default="", repr=False)


class Credentials:
    """Adds to requests what the listing's marketplace wants. send: for tokens. clock: seconds since 1970."""

    def __init__(self, secrets: Secrets, send: Sends, clock: Callable[[], float] = time.time) -> None:
        self._secrets, self._send, self._clock = secrets, send, clock
        self._tokens: dict[str, tuple[str, float]] = {}  # marketplace -> (token, when it ends)
        self._aws: Any = None

    def check(self, kinds: set[str]) -> None:
        """Raise BadConfig when a marketplace is used and has no credentials."""
        s = self._secrets
        mistakes = []
        if "azure" in kinds and not (s.azure_tenant and s.azure_client_id and s.azure_client_secret):
            mistakes.append(f"{_SECTION}: a listing of azure needs azure_tenant, azure_client_id and azure_client_secret")
        if "stripe" in kinds and not s.stripe_api_key:
            mistakes.append(f"{_SECTION}: a listing of stripe needs stripe_api_key")
        if "aws" in kinds and self._session() is None:
            mistakes.append(f"{_SECTION}: a listing of aws needs credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role")
        if mistakes:
            raise BadConfig(mistakes)

    async def sign(self, listing: Listing, request: Request) -> Mapping[str, str]:
        """Headers of a request with its credentials. Raises Unavailable when there is no token to be had now."""
        kind = listing.marketplace
        if kind == "aws":
            return self._signed(request, listing.settings["region"])
        if kind == "stripe":
            return {**request.headers, "authorization": f"Bearer {self._secrets.stripe_api_key}"}
        return {**request.headers, "authorization": f"Bearer {await self._token(kind)}"}

    def refused(self, listing: Listing) -> None:
        """A token was not accepted: the next request asks for a new one."""
        self._tokens.pop(listing.marketplace, None)

    def _session(self) -> Any:
        """Credentials of AWS, which know how to renew themselves; None: there are none. Raises BadConfig without botocore."""
        if self._aws is None:
            try:
                from botocore.session import get_session
            except ImportError:
                raise BadConfig([f"{_SECTION}: a listing of aws needs botocore, which is not installed; pip install ratemill[aws]"]) from None
            self._aws = get_session().get_credentials()
        return self._aws

    def _signed(self, request: Request, region: str) -> Mapping[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        wanted = AWSRequest(method=request.method, url=request.url, headers=dict(request.headers), data=request.body)
        SigV4Auth(self._session(), "aws-marketplace", region).add_auth(wanted)
        return dict(wanted.headers.items())

    async def _token(self, kind: str) -> str:
        token, ends = self._tokens.get(kind, ("", 0.0))
        if ends - _EARLY_S > self._clock():
            return token
        if kind == "gcp" and self._secrets.gcp_access_file:
            try:
                return Path(self._secrets.gcp_access_file).read_text(encoding="utf-8").strip()  # whoever writes it keeps it fresh
            except OSError as error:
                raise Unavailable(f"the file of marketplace.gcp_access_file cannot be read: {error.strerror}") from error
        answer = await self._send(self._azure() if kind == "azure" else self._metadata())
        found = json_of(answer)
        token, lasts = str(found.get("access_token") or ""), str(found.get("expires_in") or "300")
        if answer.status != 200 or not token or not lasts.isdecimal():
            # Not what it said: an answer to a request with a secret may repeat it.
            where = "login.microsoftonline.com" if kind == "azure" else "the metadata server"
            raise Unavailable(f"{where} gives no token for {kind}: {answer.detail or f'answered {answer.status}'}; see marketplace.{kind}_… settings")
        self._tokens[kind] = (token, self._clock() + int(lasts))
        return token

    def _azure(self) -> Request:
        s = self._secrets
        fields = {
            "grant_type": "client_credentials", "client_id": s.azure_client_id, "client_secret": s.azure_client_secret,
            "scope": f"{AZURE_RESOURCE}/.default",
        }  # fmt: skip
        url = f"{s.azure_login_url.rstrip('/')}/{s.azure_tenant}/oauth2/v2.0/token"
        return Request("POST", url, {"content-type": "application/x-www-form-urlencoded"}, urlencode(fields).encode())

    def _metadata(self) -> Request:
        url = f"{self._secrets.gcp_metadata_url.rstrip('/')}/computeMetadata/v1/instance/service-accounts/default/token"
        return Request("GET", url, {"metadata-flavor": "Google"})
