"""Each provider's exports, as its documents say that they are laid out, in each store: found, read, replaced; and what a store refuses."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

import pyarrow
import pyarrow.parquet
import pytest
from click.testing import CliRunner
from harness.reports import AwsReport, Put, Row, added_up, bucket, counted, folder, real_rows
from ratemill.cli import collect as collect_command
from ratemill.collectors.reports.layouts import LAYOUTS, Version
from ratemill.collectors.reports.run import Collector, Told
from ratemill.collectors.reports.state import ReportState
from ratemill.collectors.reports.stores import S3, Changed, Folder, Store, open_store
from ratemill.schemas.errors import AccessDenied, BadInput, Unavailable
from ratemill.schemas.times import NS, format_time
from ratemill.schemas.usage_event import UsageEvent

DATA = Path(__file__).parents[3] / "demo" / "data"
SAS = "sv=2023-11-03&sp=rl&sig=canary%2Fsignature"


class Sent:
    """What was delivered."""

    def __init__(self, state: Path) -> None:
        self.events: list[UsageEvent] = []
        self._state = state

    def run(self, store: Store, layout: str, report: str) -> list[Told]:
        state = ReportState(self._state)
        try:
            return Collector(store, layout, report, state, self._deliver, lambda: 1_800_000_000).run()
        finally:
            state.close()

    def _deliver(self, events: Sequence[UsageEvent], backfill: str) -> None:
        self.events += events

    def sums(self) -> dict[Any, Fraction]:
        return counted(self.events, format_time)


@pytest.fixture
def sent(tmp_path: Path) -> Sent:
    return Sent(tmp_path / "state")


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[str, Put]]:
    with bucket() as made:
        yield made


def rows_of(name: str) -> list[Row]:
    with (DATA / name).open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def as_csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


# -- AWS -----------------------------------------------------------------------------------------------------------------


def snake(column: str) -> str:
    """`lineItem/UsageAmount` as version 2.0 and Parquet files have it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", column).replace("/", "_").lower()


def as_parquet(rows: Sequence[Row]) -> bytes:
    """As Athena's integration writes them: amounts are doubles, times are timestamps, and what is empty is null."""
    columns: dict[str, Any] = {}
    for column in rows[0]:
        cells = [row[column] or None for row in rows]
        name = snake(column)
        if name in ("line_item_usage_amount", "line_item_unblended_cost"):
            columns[name] = pyarrow.array([None if cell is None else float(cell) for cell in cells], pyarrow.float64())
        elif name in ("line_item_usage_start_date", "line_item_usage_end_date"):
            columns[name] = pyarrow.array([cell and cell.removesuffix("Z") for cell in cells]).cast(pyarrow.timestamp("ms"))
        else:
            columns[name] = pyarrow.array(cells, pyarrow.string())
    tags = [[("user_team", "search"), ("user_none", None)]] * len(rows)
    columns["resource_tags"] = pyarrow.array(tags, pyarrow.map_(pyarrow.string(), pyarrow.string()))
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), out, compression="snappy")
    return out.getvalue()


def export(put: Put, execution: str, rows: Sequence[Row], kind: str = "csv.gz") -> None:
    """Data Exports: overwritten in place, in two files."""
    names = []
    for number in (1, 2):
        part = rows[number - 1 :: 2]
        names.append(f"exports/cur2/data/BILLING_PERIOD=2023-11/cur2-{number:05}.{kind}")
        named = [{snake(column): cell for column, cell in row.items()} for row in part]
        put(names[-1], as_parquet(part) if kind.endswith("parquet") else gzip.compress(as_csv(named)))
    files = [f"s3://reports/{name}" for name in names]
    manifest = {"executionId": execution, "exportArn": "arn:aws:bcm-data-exports:us-east-1:1:export/cur2", "dataFiles": files}
    put("exports/cur2/metadata/BILLING_PERIOD=2023-11/cur2-Manifest.json", json.dumps(manifest).encode())


@pytest.mark.parametrize("kind", ["csv.gz", "snappy.parquet"])
def test_data_exports_in_s3(s3: tuple[str, Put], sent: Sent, kind: str) -> None:
    address, put = s3
    store = open_store("s3://reports/exports", address)
    rows = real_rows()[:300]
    export(put, f"{kind}-1", rows, kind)
    (told,) = sent.run(store, "aws-export", "cur2")
    assert (told.version.period, told.rows) == ("2023-11", 300)
    assert sent.sums() == added_up(rows)
    if kind.endswith("parquet"):
        assert {event.tags for event in sent.events} == {'{"user_team":"search"}'}
    rows[5]["lineItem/UsageAmount"] = "123.0000000001"
    export(put, f"{kind}-2", rows[2:], kind)
    assert sent.run(store, "aws-export", "cur2")[0].applied is not None
    assert sent.sums() == added_up(rows[2:])
    (told,) = sent.run(store, "aws-export", "cur2")
    assert told.applied is None


def parquet(columns: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue()


def test_parquet_of_every_kind_is_read(sent: Sent, tmp_path: Path) -> None:
    """A row without tags has an empty map; version 1 has a column for each tag; texts may be mere bytes; amounts may be decimals."""
    texts, number = pyarrow.string(), len(rows := [row for row in real_rows() if row["lineItem/LineItemType"] == "Usage"][:4])
    columns = {snake(column): pyarrow.array([row[column] or None for row in rows], texts) for column in rows[0]}
    columns["line_item_usage_amount"] = pyarrow.array([Decimal("0.1234567891")] * number, pyarrow.decimal128(38, 10))
    columns["line_item_usage_account_id"] = pyarrow.array([b"000123"] * number, pyarrow.binary())
    columns["resource_tags"] = pyarrow.array([[], None, [("user_a", "b")], []], pyarrow.map_(texts, texts))
    columns["product"] = pyarrow.array([[]] * number, pyarrow.map_(texts, texts))
    columns["resource_tags_user_team"] = pyarrow.array([None, None, None, "search"], texts)
    put = folder(tmp_path / "b")
    put("cur2/data/BILLING_PERIOD=2023-11/cur2-00001.snappy.parquet", parquet(columns))
    manifest = {"executionId": "x", "dataFiles": ["s3://reports/cur2/data/BILLING_PERIOD=2023-11/cur2-00001.snappy.parquet"]}
    put("cur2/metadata/BILLING_PERIOD=2023-11/cur2-Manifest.json", json.dumps(manifest).encode())
    (told,) = sent.run(Folder(tmp_path / "b"), "aws-export", "cur2")
    assert told.rows == number
    assert {event.account for event in sent.events} == {"000123"}
    assert {event.tags for event in sent.events} == {"", '{"user_a":"b"}', '{"user_team":"search"}'}
    assert sum(event.quantity for event in sent.events) == number * Decimal("0.1234567891")


def test_two_reports_of_one_name_do_not_take_each_others_lines_back(sent: Sent, tmp_path: Path) -> None:
    put = folder(tmp_path / "b")
    AwsReport(lambda name, content: put(f"one/{name}", content), name="mine").publish("v0", real_rows()[:20])
    AwsReport(lambda name, content: put(f"two/{name}", content), name="mine").publish("v0", real_rows()[20:40])
    with pytest.raises(BadInput, match=r"one/cur/mine/.* and two/cur/mine/"):
        sent.run(Folder(tmp_path / "b"), "aws-cur", "mine")
    sent.run(Folder(tmp_path / "b" / "two"), "aws-cur", "mine")
    assert sent.sums() == added_up(real_rows()[20:40])
    count = len(sent.events)
    rows = rows_of("azure_ea_actual_2023-09.csv")
    for place in ("one", "two"):
        azure_run(lambda name, content, place=place: put(f"{place}/{name}", content), place, "2023-09-10T02:00:00Z", rows)
        put(f"{place}/billing/2020-11/part-000.csv", as_csv(rows_of("gcp_export_2020-11.csv")))
        put(f"{place}/billing/2020-11/_SUCCESS", b"")
    for layout, name in (("azure-export", "daily"), ("gcp-export", "billing")):
        with pytest.raises(BadInput, match=f"have the name {name}: one/.* and two/"):
            sent.run(Folder(tmp_path / "b"), layout, name)
    assert len(sent.events) == count


def test_other_reports_beside_it_and_old_versions_are_left_alone(s3: tuple[str, Put], sent: Sent) -> None:
    address, put = s3
    rows = real_rows()[:40]
    AwsReport(put, name="other").publish("v0", rows)
    report = AwsReport(put, name="mine")
    report.publish("v0", rows[:20])
    put(f"{report.folder}/v0/mine-Manifest.json", b"not looked at")
    report.publish("v1", rows[20:])
    sent.run(open_store("s3://reports/cur", address), "aws-cur", "mine")
    assert sent.sums() == added_up(rows[20:])
    assert sent.run(open_store("s3://reports/cur", address), "aws-cur", "none") == []


def test_a_manifest_that_cannot_be_read_does_not_hold_up_other_months(sent: Sent, tmp_path: Path) -> None:
    put = folder(tmp_path / "b")
    rows = real_rows()[:20]
    AwsReport(put, name="mine").publish("v0", rows)
    put("cur/mine/20231001-20231101/mine-Manifest.json", b"{")
    with pytest.raises(BadInput, match=r"20231001-20231101/mine-Manifest\.json: no manifest"):
        sent.run(Folder(tmp_path / "b"), "aws-cur", "mine")
    assert sent.sums() == added_up(rows)


def test_an_older_run_does_not_take_the_place_of_one_that_cannot_be_read(sent: Sent, tmp_path: Path) -> None:
    put, store = folder(tmp_path / "b"), Folder(tmp_path / "b")
    rows = rows_of("azure_ea_actual_2023-09.csv")
    azure_run(put, "run-1", "2023-09-10T02:00:00Z", rows)
    azure_run(put, "run-2", "2023-09-11T02:00:00Z", changed(rows, "Quantity"))
    sent.run(store, "azure-export", "daily")
    count = len(sent.events)
    put("exports/daily/20230901-20230930/run-2/manifest.json", b"{")
    with pytest.raises(BadInput, match=r"run-2/manifest\.json"):
        sent.run(store, "azure-export", "daily")
    assert len(sent.events) == count


def test_what_s3_refuses_is_said_in_one_line(s3: tuple[str, Put], sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    address, put = s3
    put("x/file", b"1")
    store = open_store("s3://reports/x", address)
    (found,) = store.list()
    with store.open(*found) as file:
        assert file.read() == b"1"
    put("x/file", b"2")
    for name, etag in (found, ("x/none", "")):
        with pytest.raises(Changed):
            store.open(name, etag)
    with pytest.raises(BadInput, match="no such bucket"):
        list(open_store("s3://none/x", address).list())
    with pytest.raises(Unavailable):
        list(S3("reports", client=None, endpoint="http://127.0.0.1:9").list())
    with pytest.raises(BadInput, match="not in s3://reports"):
        store.within("s3://other/file")

    class Refusing:
        def list_objects_v2(self, **_: Any) -> Any:
            from botocore.exceptions import ClientError

            raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "ListObjectsV2")  # type: ignore[typeddict-item]

    with pytest.raises(AccessDenied, match="s3:ListBucket"):
        list(S3("reports", client=Refusing()).list())
    with pytest.raises(BadInput, match="AWS_PROFILE"):
        open_store("s3://reports/x", "not an address")
    monkeypatch.setenv("AWS_PROFILE", "none")
    with pytest.raises(BadInput, match="AWS_PROFILE"):
        open_store("s3://reports/x", address)
    monkeypatch.delenv("AWS_PROFILE")
    for place in ("ftp://host/x", "https://account.blob.core.windows.net/container", "https://account.blob.core.windows.net/?sig=1"):
        with pytest.raises(BadInput):
            open_store(place)


def test_a_name_or_a_place_that_is_a_slip_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence would look like a report without anything new."""
    AwsReport(folder(tmp_path / "b"), name="mine").publish("v0", real_rows()[:20])
    (tmp_path / "key").write_text("rm_x")
    monkeypatch.chdir(tmp_path)
    for layout, name, more, marks in (
        ("aws-cur", "mien", (), "mien/YYYYMMDD-YYYYMMDD/mien-Manifest.json"), ("aws-cur", "mine", ("--since", "2024-01"), "began before --since"),
        ("aws-export", "mine", (), "mine/metadata/"), ("azure-export", "mine", (), "manifest.json"), ("gcp-export", "mine", (), "_SUCCESS"),
    ):  # fmt: skip
        state = ("--state", f"s-{layout}-{len(more)}", "--api", "http://127.0.0.1:9", "--key-file", "key")
        done = CliRunner().invoke(collect_command.command, [layout, "b", "--report", name, "--new", *state, *more])
        assert isinstance(done.exception, Unavailable), done.output
        assert "b: nothing to take: no " in str(done.exception)
        assert marks in str(done.exception)


# -- Azure ---------------------------------------------------------------------------------------------------------------


def azure_run(put: Put, run: str, submitted: str, rows: Sequence[Row], last: str = "2023-09-30", first: str = "2023-09-01") -> None:
    """A run of a month-to-date export, with file partitioning and gzip, in a folder of its own."""
    place = f"exports/daily/{first.replace('-', '')}-{last.replace('-', '')}/{run}"
    put(f"{place}/part_0_0001.csv.gz", gzip.compress(b"\xef\xbb\xbf" + as_csv(rows)))
    manifest = {
        "manifestVersion": "2024-04-01", "byteCount": 1, "blobCount": 1, "dataRowCount": len(rows),
        "exportConfig": {"exportName": "daily", "type": "ActualCost", "timeFrame": "MonthToDate", "granularity": "Daily"},
        "deliveryConfig": {"partitionData": True, "dataOverwriteBehavior": "CreateNewReport", "fileFormat": "Csv", "compressionMode": "gzip"},
        "runInfo": {
            "executionType": "Scheduled", "submittedTime": submitted, "runId": run, "startDate": f"{first}T00:00:00", "endDate": f"{last}T00:00:00",
        },
        "blobs": [{"blobName": f"{place}/part_0_0001.csv.gz", "byteCount": 1, "dataRowCount": len(rows)}],
    }  # fmt: skip
    put(f"{place}/manifest.json", json.dumps(manifest).encode())


def azure_sums(rows: Sequence[Row]) -> dict[tuple[str, str, str], Fraction]:
    found: dict[tuple[str, str, str], Fraction] = {}
    for row in rows:
        if row["ChargeType"] == "Usage":
            name = row["SubscriptionId"].lower(), row["MeterId"].lower(), row["UnitOfMeasure"]
            found[name] = found.get(name, Fraction(0)) + Fraction(row["Quantity"])
    return {name: amount for name, amount in found.items() if amount}


def by_meter(sums: dict[Any, Fraction]) -> dict[tuple[str, str, str], Fraction]:
    found: dict[tuple[str, str, str], Fraction] = {}
    for (account, sku, unit, _), amount in sums.items():
        name = account, sku.split("/")[0], unit
        found[name] = found.get(name, Fraction(0)) + amount
    return {name: amount for name, amount in found.items() if amount}


def changed(rows: list[Row], column: str) -> list[Row]:
    """Without the last row, and with twice the amount in every third one."""
    found = [dict(row) for row in rows[:-1]]
    for row in found[::3]:
        row[column] = format(Decimal(row[column] or "0") * 2, "f")
    return found


class Blobs:
    """Azure Blob Storage, as far as "List Blobs" and "Get Blob" of its REST reference go, with a SAS; pages of two blobs."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/container"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, name: str, content: bytes) -> None:
        self.blobs[name] = content

    def etag(self, name: str) -> str:
        return f'"0x{hashlib.sha256(self.blobs[name]).hexdigest()[:15]}"'

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.asked.append(unquote(parts.path))
        container, _, name = unquote(parts.path).lstrip("/").partition("/")
        if query.get("sig") != "canary/signature" or not request.headers.get("x-ms-version"):
            return self.error(request, 403, "AuthenticationFailed")
        if container != "container":
            return self.error(request, 404, "ContainerNotFound")
        if (query.get("restype"), query.get("comp")) == ("container", "list"):
            return self.listed(request, query)
        if name not in self.blobs:
            return self.error(request, 404, "BlobNotFound")
        if request.headers.get("if-match") not in (None, self.etag(name)):
            return self.error(request, 412, "ConditionNotMet")
        content = self.blobs[name]
        request.send_response(200)
        request.send_header("content-length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2] if self.cut else content)
        return None

    def listed(self, request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        names = [name for name in sorted(self.blobs) if name.startswith(query["prefix"]) and name >= query["marker"]]
        shown, rest = names[:2], names[2:]
        blobs = "".join(f"<Blob><Name>{escape(n)}</Name><Properties><Etag>{escape(self.etag(n))}</Etag></Properties></Blob>" for n in shown)
        marker = f"<NextMarker>{escape(rest[0])}</NextMarker>" if rest else "<NextMarker />"
        body = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>{blobs}</Blobs>{marker}</EnumerationResults>'.encode()
        request.send_response(200)
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    @staticmethod
    def error(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
        request.send_response(status)
        request.send_header("x-ms-error-code", code)
        request.send_header("content-length", "0")
        request.end_headers()


@pytest.fixture
def blobs() -> Iterator[Blobs]:
    made = Blobs()
    yield made
    made.close()


def test_month_to_date_exports_of_azure_replace_each_other(sent: Sent, blobs: Blobs) -> None:
    rows = rows_of("azure_ea_actual_2023-09.csv")
    store = open_store(f"{blobs.address}?{SAS}")
    assert "canary" not in str(store)
    azure_run(blobs.put, "run-1", "2023-09-10T02:00:00.1Z", rows, last="2023-09-10")
    (told,) = sent.run(store, "azure-export", "daily")
    assert told.version.period == "2023-09"
    assert by_meter(sent.sums()) == azure_sums(rows) != {}
    newer = changed(rows, "Quantity")
    azure_run(blobs.put, "run-0", "2023-09-11T02:00:00.1Z", newer, last="2023-09-11")
    sent.run(store, "azure-export", "daily")
    assert by_meter(sent.sums()) == azure_sums(newer) != azure_sums(rows)
    assert sent.run(store, "azure-export", "daily")[0].applied is None


def test_days_that_somebody_exported_beside_the_month_count_once(sent: Sent, blobs: Blobs, tmp_path: Path) -> None:
    """"Export selected dates" writes into the folder of the export, whenever somebody asks for it."""
    rows = rows_of("azure_ea_actual_2023-09.csv")
    store = open_store(f"{blobs.address}?{SAS}")
    some = changed(rows, "Quantity")[:4]
    azure_run(blobs.put, "days", "2023-09-08T02:00:00Z", some, first="2023-09-05", last="2023-09-07")
    sent.run(store, "azure-export", "daily")
    assert by_meter(sent.sums()) == azure_sums(some) != {}, "all there is so far"
    azure_run(blobs.put, "month", "2023-09-10T02:00:00Z", rows, last="2023-09-09")
    sent.run(store, "azure-export", "daily")
    assert by_meter(sent.sums()) == azure_sums(rows)
    said = json.loads(CliRunner().invoke(collect_command.command, ["status", "--json", "--state", str(tmp_path)]).output)["reports"]
    assert [one["period"] for one in said] == ["2023-09"]
    azure_run(blobs.put, "later", "2023-09-11T02:00:00Z", some, first="2023-09-02", last="2023-09-03")
    azure_run(blobs.put, "first", "2023-09-12T02:00:00Z", some, last="2023-09-04")
    sent.run(store, "azure-export", "daily")
    assert by_meter(sent.sums()) == azure_sums(rows), "neither beside the month nor in its place"
    azure_run(blobs.put, "across", "2023-10-10T02:00:00Z", some, first="2023-09-08", last="2023-10-02")
    with pytest.raises(BadInput, match="count twice"):
        sent.run(store, "azure-export", "daily")
    assert by_meter(sent.sums()) == azure_sums(rows)


def test_an_azure_export_that_was_copied_to_a_folder(sent: Sent, tmp_path: Path) -> None:
    rows = rows_of("azure_ea_actual_2023-09.csv")
    put = folder(tmp_path / "copy")
    azure_run(lambda name, content: put(name.removeprefix("exports/"), content), "run-1", "2023-10-01T02:00:00Z", rows)
    store = Folder(tmp_path / "copy")
    sent.run(store, "azure-export", "daily")
    assert by_meter(sent.sums()) == azure_sums(rows)


def test_what_azure_refuses_is_said_and_half_a_file_is_no_file(sent: Sent, blobs: Blobs) -> None:
    azure_run(blobs.put, "run-1", "2023-09-10T02:00:00Z", rows_of("azure_ea_actual_2023-09.csv"))
    for place, error, said in (
        (f"{blobs.address}?sv=1&sig=wrong", AccessDenied, "AuthenticationFailed"),
        (f"{blobs.address.replace('container', 'none')}?{SAS}", BadInput, "no such container"),
        (f"http://127.0.0.1:9/container?{SAS}", Unavailable, "127.0.0.1:9"),
    ):
        with pytest.raises(error, match=said) as raised:
            list(open_store(place).list())
        assert "canary" not in str(raised.value)
    store = open_store(f"{blobs.address}?{SAS}")
    (first, *_) = list(store.list())
    blobs.put(first.name, b"other")
    for name, etag in (first, ("none", "")):
        with pytest.raises(Changed):
            store.open(name, etag)
    blobs.cut = True
    with pytest.raises(Unavailable, match="connection broke"):
        sent.run(store, "azure-export", "daily")
    assert sent.events == []


# -- GCP -----------------------------------------------------------------------------------------------------------------


def test_a_month_of_a_bigquery_export_counts_once_it_is_whole(sent: Sent, tmp_path: Path) -> None:
    rows = rows_of("gcp_export_2020-11.csv")
    put, store = folder(tmp_path / "b"), Folder(tmp_path / "b")
    put("billing/2020-11/part-000.csv", as_csv(rows[:10]))
    assert sent.run(store, "gcp-export", "billing") == [], "it is being written"
    put("billing/2020-11/part-001.csv.gz", gzip.compress(as_csv(rows[10:])))
    put("billing/2020-11/_SUCCESS", b"")
    sent.run(store, "gcp-export", "billing")
    assert total_by_sku(sent) == gcp_sums(rows) != {}
    newer = [*changed(rows, "usage.amount_in_pricing_units"), {**rows[0], "export_time": "2020-11-12 05:49:32+00:00"}]
    for name in ("part-000.csv", "part-001.csv.gz"):
        (tmp_path / "b" / "billing" / "2020-11" / name).unlink()
    put("billing/2020-11/part-000.json", b"".join(json.dumps(row).encode() + b"\n" for row in newer))
    put("billing/2020-11/_SUCCESS", b"")
    sent.run(store, "gcp-export", "billing")
    assert total_by_sku(sent) == gcp_sums(newer) != gcp_sums(rows)
    put("billing/2020-12/_SUCCESS", b"")
    with pytest.raises(BadInput, match="no file beside it"):
        sent.run(store, "gcp-export", "billing")


@pytest.mark.parametrize(
    ("month", "start", "end"),
    [("2026-03", "2026-03-01T08:00:00Z", "2026-04-01T07:00:00Z"), ("2026-10", "2026-10-01T07:00:00Z", "2026-11-01T07:00:00Z"),
     ("2026-11", "2026-11-01T07:00:00Z", "2026-12-01T08:00:00Z"), ("2026-12", "2026-12-01T08:00:00Z", "2027-01-01T08:00:00Z")],
)  # fmt: skip
def test_months_of_google_begin_in_california(tmp_path: Path, month: str, start: str, end: str) -> None:
    """Otherwise the first hours of each month would be told as missing, and its last ones would not be expected."""
    put = folder(tmp_path / "b")
    put(f"billing/{month}/part-000.csv", as_csv(rows_of("gcp_export_2020-11.csv")))
    put(f"billing/{month}/_SUCCESS", b"")
    (version,) = LAYOUTS["gcp-export"].find(Folder(tmp_path / "b"), "billing")
    assert isinstance(version, Version)
    assert [format_time(at * NS) for at in (version.start, version.end)] == [start, end]
    year, number = int(month[:4]), int(month[5:])
    for at, (its_year, its_month) in ((version.start, (year, number)), (version.end, (year + number // 12, number % 12 + 1))):
        assert datetime(its_year, its_month, 1, tzinfo=ZoneInfo("America/Los_Angeles")).timestamp() == at


def test_labels_of_one_resource_stay_apart(sent: Sent, tmp_path: Path) -> None:
    """A meter may tell usage apart by tags; what a newer version says of one label must not land on another."""
    (row, *_) = rows_of("gcp_export_2020-11.csv")
    put, store = folder(tmp_path / "b"), Folder(tmp_path / "b")

    def labelled(amounts: dict[str, str]) -> None:
        rows = [{**row, "labels": json.dumps([{"key": "team", "value": team}]), "usage.amount_in_pricing_units": n} for team, n in amounts.items()]
        put("billing/2020-11/part-000.csv", as_csv(rows))
        put("billing/2020-11/_SUCCESS", b"")
        sent.run(store, "gcp-export", "billing")

    def by_team() -> dict[str, Decimal]:
        found: dict[str, Decimal] = {}
        for event in sent.events:
            found[event.tags] = found.get(event.tags, Decimal(0)) + event.quantity
        return {tags: amount for tags, amount in found.items() if amount}

    labelled({"a": "2", "b": "3"})
    assert by_team() == {'{"team":"a"}': 2, '{"team":"b"}': 3}
    labelled({"b": "4", "c": "1"})
    assert by_team() == {'{"team":"b"}': 4, '{"team":"c"}': 1}


def test_usage_that_two_months_invoice_counts_in_both_parts(sent: Sent, tmp_path: Path) -> None:
    """A late row of October's last hour is invoiced in November: the same line, in another report."""
    (row, *_) = rows_of("gcp_export_2020-11.csv")
    put, store = folder(tmp_path / "b"), Folder(tmp_path / "b")
    parts = {"2020-11": "2.5", "2020-12": "0.25"}
    for month, amount in parts.items():
        put(f"billing/{month}/part-000.csv", as_csv([{**row, "usage.amount_in_pricing_units": amount}]))
        put(f"billing/{month}/_SUCCESS", b"")
    sent.run(store, "gcp-export", "billing")
    assert total_by_sku(sent) == {row["sku.id"]: Fraction("2.75")}
    put("billing/2020-12/part-000.csv", as_csv([{**row, "usage.amount_in_pricing_units": "0.5"}]))
    sent.run(store, "gcp-export", "billing")
    assert total_by_sku(sent) == {row["sku.id"]: Fraction(3)}


def gcp_sums(rows: Sequence[Row]) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for row in rows:
        if row["cost_type"] in ("", "regular"):
            found[row["sku.id"]] = found.get(row["sku.id"], Fraction(0)) + Fraction(row["usage.amount_in_pricing_units"])
    return {name: amount for name, amount in found.items() if amount}


def total_by_sku(sent: Sent) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for (_, sku, _, _), amount in sent.sums().items():
        found[sku] = found.get(sku, Fraction(0)) + amount
    return {name: amount for name, amount in found.items() if amount}


SPOILED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no blobs": lambda said: said.update(blobs=[]),
    "blobs without names": lambda said: said.update(blobs=[{}]),
    "no run": lambda said: said.pop("runInfo"),
    "a time that is none": lambda said: said["runInfo"].update(startDate="September"),
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_manifest_that_says_something_else_is_named(sent: Sent, tmp_path: Path, how: str) -> None:
    azure_run(folder(tmp_path / "b"), "run-1", "2023-10-01T02:00:00Z", rows_of("azure_ea_actual_2023-09.csv"))
    (path,) = (tmp_path / "b").rglob("manifest.json")
    said = json.loads(path.read_text())
    SPOILED[how](said)
    path.write_text(json.dumps(said))
    with pytest.raises(BadInput, match=r"manifest\.json"):
        sent.run(Folder(tmp_path / "b"), "azure-export", "daily")
