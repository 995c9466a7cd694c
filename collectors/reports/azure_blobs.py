"""A container of Azure Blob Storage, by its REST interface and a shared access signature (SAS) for reading and listing."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree

from ...schemas.errors import AccessDenied, BadInput, Unavailable
from .stored import Body, Changed, Stored

__all__ = ["AzureBlobs"]

_VERSION = "2023-11-03"
_TIMEOUT_S = 60


class AzureBlobs:
    """address: `https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]`, with the SAS as its query, or in AZURE_STORAGE_SAS_TOKEN.

    The signature needs the permissions `r` and `l`. Raises BadInput.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._container, _, self._prefix = parts.path.lstrip("/").partition("/")
        self._sas = parts.query or os.environ.get("AZURE_STORAGE_SAS_TOKEN", "").lstrip("?")
        if not self._container or not re.search(r"(^|&)sig=", self._sas):
            raise BadInput(
                "give https://ACCOUNT.blob.core.windows.net/CONTAINER, and a shared access signature (sv=…&sp=rl&sig=…) in AZURE_STORAGE_SAS_TOKEN"
            )
        self._base = f"{parts.scheme}://{parts.netloc}/{self._container}"

    def __str__(self) -> str:
        return self._base  # never the signature

    def list(self) -> Iterator[Stored]:
        """All blobs under the prefix. Raises Unavailable, AccessDenied."""
        marker = ""
        while True:
            query = {"restype": "container", "comp": "list", "maxresults": "5000", "prefix": self._prefix, "marker": marker}
            with self._ask(f"{self._base}?{urlencode(query)}&{self._sas}", self._base) as answer:
                try:
                    root = ElementTree.fromstring(answer.read())
                except ElementTree.ParseError as error:
                    raise Unavailable(f"{self._base}: the list of blobs is no XML: {error}") from None
            for blob in root.iterfind("Blobs/Blob"):
                yield Stored(blob.findtext("Name", ""), blob.findtext("Properties/Etag", "").strip('"'))
            marker = root.findtext("NextMarker", "") or ""
            if not marker:
                return

    def open(self, name: str, etag: str = "") -> Body:
        """The content of a blob, if it still has this ETag. Raises Changed, Unavailable, AccessDenied."""
        headers = {"if-match": f'"{etag}"'} if etag else {}
        return self._ask(f"{self._base}/{quote(name)}?{self._sas}", f"{self._base}/{name}", headers)

    def within(self, name: str) -> str:
        """Manifests name blobs from the root of their container, with or without its name."""
        path = unquote(urlsplit(name).path).lstrip("/") if "://" in name else name.lstrip("/")
        return path.removeprefix(f"{self._container}/")

    @staticmethod
    def _ask(url: str, where: str, headers: dict[str, str] | None = None) -> Body:
        request = urllib.request.Request(url, headers={"x-ms-version": _VERSION, **(headers or {})})
        try:
            found = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
            length = found.headers.get("content-length")
            return Body(found, None if length is None else int(length), where, (OSError, HTTPException))
        except urllib.error.HTTPError as error:
            code = error.headers.get("x-ms-error-code", error.reason)
            if error.code in (404, 412) and code != "ContainerNotFound":
                raise Changed(f"{where} was replaced or removed while the report was read; it is read again at the next run") from None
            if error.code == 404:
                raise BadInput(f"{where}: there is no such container; see the storage of the export") from None
            if error.code in (401, 403):
                raise AccessDenied(f"{where}: {code}; the SAS must be valid and have the permissions read and list") from None
            raise Unavailable(f"{where}: {error.code} {code}") from None
        except (OSError, HTTPException) as error:
            raise Unavailable(f"{where}: {getattr(error, 'reason', error)}") from None
