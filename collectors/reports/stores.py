"""Where the files of a report are. A store lists them with their ETags, and opens one only as long as it is the one that was listed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ...schemas.errors import AccessDenied, BadInput, Unavailable
from .azure_blobs import AzureBlobs
from .stored import Body, Changed, Readable, Stored

__all__ = ["S3", "Changed", "Folder", "Store", "Stored", "open_store"]


class Store(Protocol):
    """Files by name."""

    def list(self) -> Iterator[Stored]:
        """All of them. Raises Unavailable, AccessDenied."""

    def open(self, name: str, etag: str = "") -> Readable:
        """The content. etag: it must still be this one. Raises Changed where it is not, or is gone; Unavailable; AccessDenied."""

    def within(self, name: str) -> str:
        """The name within this store of a file as a manifest names it. Raises BadInput where it lies elsewhere."""


class Folder:
    """A folder of this machine: what `aws s3 sync`, `azcopy` or `gcloud storage rsync` keep, or a mounted bucket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def list(self) -> Iterator[Stored]:
        if not self._path.is_dir():
            raise BadInput(f"{self._path}: no folder; give the one that the provider writes the report to, or that it is copied to")
        for path in sorted(self._path.rglob("*")):
            if path.is_file():
                yield Stored(path.relative_to(self._path).as_posix(), self._etag(path))

    def open(self, name: str, etag: str = "") -> Readable:
        path = self._path / name
        try:
            if etag and self._etag(path) != etag:
                raise Changed(f"{path} was replaced while the report was read; it is read again at the next run")
            return path.open("rb")
        except FileNotFoundError:
            raise Changed(f"{path} is not there; the manifest names it: is the report complete, or being replaced?") from None
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror}; is it there, and may we read it?") from error

    def within(self, name: str) -> str:
        """A manifest names files from the root of its bucket; the folder may be a copy of any part of it."""
        parts = [part for part in urlsplit(name).path.split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            if (self._path / "/".join(parts[start:])).is_file():
                return "/".join(parts[start:])
        return "/".join(parts)

    @staticmethod
    def _etag(path: Path) -> str:
        found = path.stat()
        return hashlib.blake2b(f"{found.st_size} {found.st_mtime_ns} {found.st_ino}".encode(), digest_size=8).hexdigest()


class S3:
    """A bucket of S3, or of what speaks its protocol (Google Cloud Storage with HMAC keys, MinIO). Credentials are those that boto3 finds."""

    def __init__(self, bucket: str, prefix: str = "", endpoint: str = "", client: Any = None) -> None:
        self._bucket, self._prefix = bucket, prefix
        self._client = client if client is not None else _s3_client(endpoint)

    def __str__(self) -> str:
        return f"s3://{self._bucket}"

    def list(self) -> Iterator[Stored]:
        token: dict[str, str] = {}
        while True:
            said = self._ask(self._client.list_objects_v2, f"s3://{self._bucket}/{self._prefix}", Bucket=self._bucket, Prefix=self._prefix, **token)
            for one in said.get("Contents", ()):
                yield Stored(one["Key"], one["ETag"].strip('"'))
            if not said.get("IsTruncated"):
                return
            token = {"ContinuationToken": said["NextContinuationToken"]}

    def open(self, name: str, etag: str = "") -> Readable:
        match = {"IfMatch": f'"{etag}"'} if etag else {}
        where = f"s3://{self._bucket}/{name}"
        said = self._ask(self._client.get_object, where, Bucket=self._bucket, Key=name, **match)
        return Body(said["Body"], said["ContentLength"], where, _broken())

    def within(self, name: str) -> str:
        if "://" not in name:
            return name
        parts = urlsplit(name)
        if (parts.scheme, parts.netloc) != ("s3", self._bucket):
            raise BadInput(f"the manifest names {name}, which is not in {self}; give the bucket that the report is delivered to")
        return parts.path.lstrip("/")

    @staticmethod
    def _ask(call: Any, where: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            return call(**arguments)
        except ClientError as error:
            code, status = str(error.response["Error"].get("Code")), error.response["ResponseMetadata"].get("HTTPStatusCode")
            if code in ("PreconditionFailed", "NoSuchKey", "404", "412"):
                raise Changed(f"{where} was replaced or removed while the report was read; it is read again at the next run") from None
            if code == "NoSuchBucket":
                raise BadInput(f"{where}: there is no such bucket; see the delivery options of the report") from None
            if status in (401, 403):
                raise AccessDenied(f"{where}: {code}; the role needs s3:ListBucket on the bucket and s3:GetObject on the report") from None
            raise Unavailable(f"{where}: {code}: {error.response['Error'].get('Message', '')}") from None
        except NoCredentialsError:
            raise AccessDenied(f"{where}: no AWS credentials; set AWS_PROFILE, or the keys, or run with a role") from None
        except BotoCoreError as error:
            raise Unavailable(f"{where}: {' '.join(str(error).split())}") from None


def _broken() -> tuple[type[BaseException], ...]:
    from botocore.exceptions import BotoCoreError

    return (OSError, BotoCoreError)


def _s3_client(endpoint: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise BadInput("reading from S3 needs boto3: pip install 'ratemill[aws]'") from None
    more: dict[str, Any] = {}
    if endpoint:  # others that speak the protocol know no checksums of the newer kinds
        more = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    config = Config(retries={"max_attempts": 5, "mode": "standard"}, connect_timeout=10, read_timeout=60, **more)
    try:
        return boto3.client("s3", endpoint_url=endpoint or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise BadInput(f"S3: {' '.join(str(error).split())}; see AWS_PROFILE, AWS_REGION and --endpoint") from None


def open_store(place: str, endpoint: str = "") -> Store:
    """`s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, the https address of an Azure container, or a folder. Raises BadInput."""
    parts = urlsplit(place)
    if parts.scheme in ("s3", "gs") and parts.netloc:
        default = "https://storage.googleapis.com" if parts.scheme == "gs" else ""
        return S3(parts.netloc, parts.path.lstrip("/"), endpoint or default)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")):
        return AzureBlobs(place)
    if parts.scheme and len(parts.scheme) > 1:
        raise BadInput(f"{parts.scheme}: is no place that reports are read from; give s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, https://… or a folder")
    return Folder(Path(place))
