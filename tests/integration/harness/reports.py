"""Reports of providers as they publish them, to a folder or a bucket, again and again; and what they say, added up by itself."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from ratemill.schemas.usage_event import UsageEvent

__all__ = ["AwsReport", "Put", "added_up", "bucket", "counted", "folder", "real_rows"]

Row = dict[str, str]
Put = Callable[[str, bytes], None]
DATA = Path(__file__).parents[3] / "demo" / "data"
USAGE = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage")


def real_rows(month: str = "2023-11") -> list[Row]:
    """The 1,281 real rows of a Cost and Usage Report, as if they were of this month."""
    text = (DATA / "aws_cur_2023-11.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text.replace("2023-11-", f"{month}-"))))


def folder(root: Path) -> Put:
    """Writes files into a folder."""

    def put(name: str, content: bytes) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".new").write_bytes(content)
        path.with_suffix(".new").rename(path)

    return put


@contextmanager
def bucket(name: str = "reports") -> Iterator[tuple[str, Put]]:
    """(address, writer) of a bucket of moto's S3 server."""
    before = dict(os.environ)
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    try:
        client = boto3.client("s3", endpoint_url=address)
        client.create_bucket(Bucket=name)
        yield address, lambda key, content: client.put_object(Bucket=name, Key=key, Body=content)
    finally:
        server.stop()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
            os.environ.pop(name)
        os.environ |= before


class AwsReport:
    """A Cost and Usage Report, version 1, in a bucket or folder. overwrite: its files are replaced in place."""

    def __init__(self, put: Put, month: str = "2023-11", name: str = "hourly", overwrite: bool = False) -> None:
        self._put, self._month, self._name, self._overwrite = put, month, name, overwrite
        year, number = int(month[:4]), int(month[5:])
        self._start, self._end = f"{year}{number:02}01", f"{year + number // 12}{number % 12 + 1:02}01"

    @property
    def folder(self) -> str:
        """Where its versions lie."""
        return f"cur/{self._name}/{self._start}-{self._end}"

    def write(self, version: str, rows: Sequence[Row], files: int = 2, spoil: Callable[[bytes], bytes] = lambda text: text) -> list[str]:
        """Write the files of a version, without its manifest; their names."""
        names = []
        for number in range(files):
            text = io.StringIO()
            writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[number::files])
            place = self.folder if self._overwrite else f"{self.folder}/{version}"
            names.append(f"{place}/{self._name}-{number + 1:05}.csv.gz")
            self._put(names[-1], gzip.compress(spoil(text.getvalue().encode()), 1))
        return names

    def announce(self, version: str, names: Sequence[str]) -> None:
        """Write the manifest, which makes a version the one that counts."""
        edges = {"start": f"{self._start}T000000.000Z", "end": f"{self._end}T000000.000Z"}
        manifest: dict[str, Any] = {
            "assemblyId": version, "account": "123412340534", "columns": [], "charset": "UTF-8", "compression": "GZIP", "contentType": "text/csv",
            "reportName": self._name, "billingPeriod": edges, "bucket": "reports", "reportKeys": list(names), "additionalArtifactKeys": [],
        }  # fmt: skip
        self._put(f"{self.folder}/{self._name}-Manifest.json", json.dumps(manifest).encode())

    def publish(self, version: str, rows: Sequence[Row], **how: Any) -> None:
        """A whole version."""
        self.announce(version, self.write(version, rows, **how))


def added_up(rows: Sequence[Row]) -> dict[tuple[str, str, str, str], Fraction]:
    """What rows of a Cost and Usage Report say, by account, rate code, unit and hour. Zeros are left out."""
    found: dict[tuple[str, str, str, str], Fraction] = {}
    for row in rows:
        if row["lineItem/LineItemType"] in USAGE:
            sku = row["pricing/RateCode"] or row["product/sku"]
            name = row["lineItem/UsageAccountId"], sku, row["pricing/unit"], row["lineItem/UsageStartDate"][:19]
            found[name] = found.get(name, Fraction(0)) + Fraction(row["lineItem/UsageAmount"] or "0")
    return {name: amount for name, amount in found.items() if amount}


def counted(events: Sequence[UsageEvent], time: Callable[[int], str]) -> dict[tuple[str, str, str, str], Fraction]:
    """What a pipeline that counts each event once makes of what was delivered: the same sums. time: of nanoseconds, as the rows write it.

    Fails on a second delivery with another content: the pipeline would put it into the dead letters.
    """
    known: dict[tuple[str, str, str], UsageEvent] = {}
    found: dict[tuple[str, str, str, str], Fraction] = {}
    for event in events:
        identity = event.account, event.source, event.id
        if identity in known:
            assert known[identity] == event, f"{event.id} came twice, with other content"
            continue
        known[identity] = event
        name = event.account, event.sku, event.unit, time(event.time)[:19]
        found[name] = found.get(name, Fraction(0)) + Fraction(event.quantity)
    return {name: amount for name, amount in found.items() if amount}
