"""Which versions of a report there are: the manifests of AWS, Azure and GCP exports, as their providers document them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ...schemas.errors import BadInput, RatemillError, Rejection
from ...schemas.times import NS, parse_naive_utc
from .stores import Store, Stored

__all__ = ["LAYOUTS", "WITHIN", "Layout", "Version"]

WITHIN = "within "  # begins the id of a version without files: a longer period has its days


class Version(NamedTuple):
    """One publication of a report's period.

    id: the provider's name for it, and a hash of the ETags of its files: it is another one as soon as one of them is. start, end: the period,
    seconds since 1970, end exclusive. files: as they were listed, and as they must still be when they are read; none where another period has all of
    this one's usage, which must then not count here too. manifest: what names them.
    """

    report: str
    period: str
    id: str
    start: int
    end: int
    files: tuple[Stored, ...]
    manifest: Stored


Found = Iterator[Version | RatemillError]


class Layout(NamedTuple):
    """How a provider lays out its exports. format: of the rows, a name of schemas.decoders.registry.

    find: the newest version of each period of a report, by its name, and errors in place of those that cannot be made out.
    Raises Unavailable, AccessDenied and BadInput where the store cannot be listed. marks: the file that makes a version one, for people.
    """

    format: str
    find: Callable[[Store, str], Found]
    marks: str


def _document(store: Store, found: Stored) -> dict[str, Any]:
    with store.open(found.name, found.etag) as file:
        raw = file.read()
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{store}/{found.name}: no manifest: {error}; is this the folder of an export?") from None
    if not isinstance(document, dict):
        raise BadInput(f"{store}/{found.name}: no manifest: it is not a JSON object; is this the folder of an export?")
    return document


def _version(
    report: str, period: str, id: str, span: tuple[int, int], names: Iterable[str], listed: Mapping[str, str], manifest: Stored
) -> Version:  # fmt: skip
    files = tuple(Stored(name, listed.get(name, "")) for name in names)
    etags = hashlib.blake2b(" ".join(file.etag for file in (manifest, *files)).encode(), digest_size=8).hexdigest()
    return Version(report, period, f"{id}@{etags}", *span, files, manifest)


def _member(document: dict[str, Any], found: Stored, *path: str) -> Any:
    value: Any = document
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if value in (None, "", []):
        raise BadInput(f"{found.name}: the manifest has no {'.'.join(path)}; this is not the export that was asked for, or its layout has changed")
    return value


def _names(document: dict[str, Any], found: Stored, member: str) -> tuple[str, ...]:
    names = _member(document, found, member)
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise BadInput(f"{found.name}: {member} of the manifest is no list of file names")
    return tuple(names)


def _seconds(text: str, found: Stored) -> int:
    """`20231101T000000.000Z`, or ISO 8601 with or without a zone: UTC."""
    compact = re.fullmatch(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})(?:\.[0-9]+)?Z", text)
    if compact:
        text = "{}-{}-{}T{}:{}:{}".format(*compact.groups())
    try:
        return parse_naive_utc(text.removesuffix("Z")) // NS
    except Rejection as rejection:
        raise BadInput(f"{found.name}: the manifest says a time that cannot be read: {rejection.detail}") from None


def _month(text: str) -> tuple[int, int]:
    """Start and end of `YYYY-MM`, seconds since 1970."""
    year, month = int(text[:4]), int(text[5:7])
    start = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return int(start.timestamp()), int(end.timestamp())


def _pacific_month(text: str) -> tuple[int, int]:
    """The same of Google's months, which begin at midnight in California: 7 hours after UTC's from April to November, else 8.

    Clocks change after the first of March and of November, so no table of time zones is needed.
    """
    start, end = _month(text)
    return start + _PACIFIC_H[int(text[5:7])] * 3_600, end + _PACIFIC_H[int(text[5:7]) % 12 + 1] * 3_600


_PACIFIC_H = {month: 7 if 4 <= month <= 11 else 8 for month in range(1, 13)}
Make = Callable[[re.Match[str], Stored, dict[str, Any], Mapping[str, str]], Version]


def _versions(store: Store, pattern: re.Pattern[str], make: Make) -> Found:
    """What `make` makes of each manifest: (match of its name, itself, its content, ETags of all files); an error for what cannot be read."""
    listed = dict(store.list())
    for name, etag in listed.items():
        if (match := pattern.fullmatch(name)) is not None:
            found = Stored(name, etag)
            try:
                yield make(match, found, _document(store, found), listed)
            except RatemillError as error:
                yield error


def _aws_cur(store: Store, report: str) -> Found:
    """Cost and Usage Report, version 1: `REPORT/YYYYMMDD-YYYYMMDD/REPORT-Manifest.json` names the newest version, also where old ones are kept."""

    def make(match: re.Match[str], found: Stored, said: dict[str, Any], listed: Mapping[str, str]) -> Version:
        start, end = (_seconds(str(_member(said, found, "billingPeriod", edge)), found) for edge in ("start", "end"))
        names = [store.within(name) for name in _names(said, found, "reportKeys")]
        period = datetime.fromtimestamp(start, UTC).strftime("%Y-%m")
        return _version(report, period, str(_member(said, found, "assemblyId")), (start, end), names, listed, found)

    return _versions(store, re.compile(rf"(?:.*/)?{re.escape(report)}/\d{{8}}-\d{{8}}/{re.escape(report)}-Manifest\.json"), make)


def _aws_export(store: Store, report: str) -> Found:
    """Data Exports (CUR 2.0): `EXPORT/metadata/BILLING_PERIOD=YYYY-MM/EXPORT-Manifest.json`."""

    def make(match: re.Match[str], found: Stored, said: dict[str, Any], listed: Mapping[str, str]) -> Version:
        names = [store.within(name) for name in _names(said, found, "dataFiles")]
        return _version(report, match[1], str(_member(said, found, "executionId")), _month(match[1]), names, listed, found)

    name = re.escape(report)
    return _versions(store, re.compile(rf"(?:.*/)?{name}/metadata/BILLING_PERIOD=(\d{{4}}-(?:0[1-9]|1[0-2]))/{name}-Manifest\.json"), make)


def _azure_export(store: Store, report: str) -> Found:
    """Cost Management exports: `EXPORT/YYYYMMDD-YYYYMMDD/…/manifest.json`, one for each run.

    Of a period the longest run counts, and of several the one submitted last: a run that somebody asked for may end before what there is already.
    """
    submitted: dict[str, str] = {}
    folders: set[str] = set()

    def make(match: re.Match[str], found: Stored, said: dict[str, Any], listed: Mapping[str, str]) -> Version:
        folders.add(match[1])
        blobs = _member(said, found, "blobs")
        if not isinstance(blobs, list) or not all(isinstance(blob, dict) and isinstance(blob.get("blobName"), str) for blob in blobs):
            raise BadInput(f"{found.name}: blobs of the manifest is no list of blobs with a blobName")
        start = _seconds(str(_member(said, found, "runInfo", "startDate")), found)
        end = _seconds(str(_member(said, found, "runInfo", "endDate")), found)
        if end % 86_400 == 0:
            end += 86_400  # endDate is the last day of the range, and belongs to it
        # A month to date grows, so its beginning names it.
        period = datetime.fromtimestamp(start, UTC).strftime("%Y-%m" if datetime.fromtimestamp(start, UTC).day == 1 else "%Y-%m-%d")
        run = str(_member(said, found, "runInfo", "runId"))
        version = _version(report, period, run, (start, end), [store.within(blob["blobName"]) for blob in blobs], listed, found)
        submitted[version.id] = str(_member(said, found, "runInfo", "submittedTime"))
        return version

    manifest = re.compile(rf"((?:.*/)?{re.escape(report)})/\d{{8}}-\d{{8}}/(?:.*/)?manifest\.json", re.IGNORECASE)
    versions, errors = dict[str, Version](), list[RatemillError]()
    for one in _versions(store, manifest, make):
        if isinstance(one, RatemillError):
            errors.append(one)
        elif (known := versions.get(one.period)) is None or (known.end, submitted[known.id]) < (one.end, submitted[one.id]):
            versions[one.period] = one
    if len(folders) > 1:  # exports of two subscriptions in one container, say: each would take the place of the other
        errors.append(BadInput(f"{store}: two exports have the name {report}: {' and '.join(sorted(folders))}; let PLACE name the folder of one"))
    # A run that cannot be read may be the newest one, and an older one must not take its place.
    yield from errors or _apart(list(versions.values()))


def _apart(versions: list[Version]) -> Found:
    """Periods of which no day counts twice: runs for chosen days lie in the folder of the export, beside those of whole months."""
    for one in versions:
        around = [other for other in versions if other.period != one.period and other.start < one.end and one.start < other.end]
        if not around:
            yield one
        elif within := next((other for other in around if other.start <= one.start and one.end <= other.end), None):
            yield one._replace(id=f"{WITHIN}{within.period}", files=())
        elif not all(one.start <= other.start and other.end <= one.end for other in around):
            names = ", ".join(other.manifest.name for other in around)
            yield BadInput(f"{one.manifest.name}: its days are in part those of {names}, and would count twice; remove the run that was not meant")
        else:
            yield one


_GCP_FILE = re.compile(r"\.(csv|json|jsonl|ndjson)(\.gz)?$|\.parquet$", re.IGNORECASE)


def _gcp_export(store: Store, report: str) -> Found:
    """Billing export of BigQuery, written by EXPORT DATA to `REPORT/YYYY-MM/`: there is no manifest, so all files of the folder are its version.

    The file `_SUCCESS` is the last one to be written, by whoever runs EXPORT DATA: without it half a version could be read.
    """
    months: dict[str, list[Stored]] = {}  # by their folder
    marks: dict[str, Stored] = {}
    place = re.compile(rf"((?:.*/)?{re.escape(report)}/\d{{4}}-(?:0[1-9]|1[0-2]))/([^/]+)")
    for found in store.list():
        if (match := place.fullmatch(found.name)) is None:
            continue
        if match[2] == "_SUCCESS":
            marks[match[1]] = found
        elif _GCP_FILE.search(match[2]):
            months.setdefault(match[1], []).append(found)
    for folder, mark in marks.items():
        month, files = folder[-7:], dict(sorted(months.get(folder, [])))
        if not files:
            yield BadInput(f"{mark.name}: no file beside it; write the rows of the month as CSV, JSON lines or Parquet")
            continue
        yield _version(report, month, "export", _pacific_month(month), files, files, mark)


LAYOUTS = {
    "aws-cur": Layout("aws-cur", _aws_cur, "{0}/YYYYMMDD-YYYYMMDD/{0}-Manifest.json"),
    "aws-export": Layout("aws-cur", _aws_export, "{0}/metadata/BILLING_PERIOD=YYYY-MM/{0}-Manifest.json"),
    "azure-export": Layout("azure-cost", _azure_export, "{0}/YYYYMMDD-YYYYMMDD/…/manifest.json"),
    "gcp-export": Layout("gcp-billing", _gcp_export, "{0}/YYYY-MM/_SUCCESS"),
}
