"""The real examples of each provider through their decoders (tests/data/provider_events/README.md names their sources)."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from ratemill.schemas.decoders import FORMATS, annotate_rows, decode, decode_record, detect
from ratemill.schemas.errors import Reason, Rejection
from ratemill.schemas.times import format_time
from ratemill.schemas.usage_event import UsageEvent

EXAMPLES = Path(__file__).parents[2] / "data" / "provider_events"


def raw(name: str) -> bytes:
    return (EXAMPLES / f"{name}.json").read_bytes()


def events(provider: str, value: bytes, format: str) -> list[UsageEvent]:
    assert detect(provider, value, ()) == format
    found = decode_record(provider, value, ())
    assert found == decode(value, (), format)
    kept = [entry for entry in found if isinstance(entry, UsageEvent)]
    assert len(kept) == len(found), found
    return kept


def rejection(provider: str, value: bytes) -> Rejection:
    (found,) = decode_record(provider, value, ())
    assert isinstance(found, Rejection)
    return found


def brief(e: UsageEvent) -> tuple[str, ...]:
    return (e.account, e.sku, str(e.quantity), e.unit, format_time(e.time), e.provider, e.region, e.resource)


def test_cloudwatch_metric_stream() -> None:
    (e,) = events("aws", raw("aws_cloudwatch_metric_stream"), "aws-cloudwatch")
    assert brief(e) == ("1234567890", "AWS/EC2/DiskWriteOps", "20.0", "Seconds", "2021-01-29T14:14:58Z", "aws", "us-east-1", "")
    assert e.source == "aws:cloudwatch"
    assert e.id == 'cloudwatch:["us-east-1","AWS/EC2","DiskWriteOps","{\\"InstanceId\\":\\"i-123456789012\\"}","2021-01-29T14:14:58Z"]'
    assert e.dimensions == '{"InstanceId":"i-123456789012"}'


def test_cloudwatch_lines_in_one_record() -> None:
    point = json.loads(raw("aws_cloudwatch_metric_stream"))
    lines = [json.dumps({**point, "timestamp": point["timestamp"] + 60_000 * n, "metric_stream_name": f"stream-{n}"}) for n in range(3)]
    assert len({e.id for e in events("aws", "\n".join([*lines, ""]).encode(), "aws-cloudwatch")}) == 3
    found = decode_record("aws", "\n".join([lines[0], '{"account_id": nonsense}', lines[2]]).encode(), ())
    assert [type(entry) for entry in found] == [UsageEvent, Rejection, UsageEvent]
    assert rejection("aws", "\n".join([*lines, lines[0][:40]]).encode()).reason is Reason.NOT_DECODABLE  # cut in the middle: as a whole


def test_cloudwatch_identity_has_no_amount_and_no_stream() -> None:
    point = json.loads(raw("aws_cloudwatch_metric_stream"))
    changed = {**point, "metric_stream_name": "other", "value": {"sum": 1}}
    (a,), (b,) = (events("aws", json.dumps(p).encode(), "aws-cloudwatch") for p in (point, changed))
    assert (a.account, a.source, a.id) == (b.account, b.source, b.id)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value": {"count": 1}}, Reason.MISSING_FIELD),
        ({"timestamp": "2021"}, Reason.BAD_TIME),
        ({"timestamp": 1.5}, Reason.BAD_TIME),
        ({"account_id": None}, Reason.MISSING_FIELD),
    ],
)
def test_cloudwatch_mistakes(change: dict[str, Any], reason: Reason) -> None:
    assert rejection("aws", json.dumps({**json.loads(raw("aws_cloudwatch_metric_stream")), **change}).encode()).reason is reason


def test_eventbridge() -> None:
    found = rejection("aws", raw("aws_eventbridge_envelope"))
    assert (found.reason, "sku, quantity and unit" in found.detail) == (Reason.NOT_SUPPORTED, True)
    envelope = json.loads(raw("aws_eventbridge_envelope"))
    detail = {"sku": "build.minutes", "quantity": 3.50, "unit": "minutes"}
    (e,) = events("aws", json.dumps({**envelope, "detail": detail}).encode(), "aws-eventbridge")
    arn = "arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"
    assert brief(e) == ("111122223333", "build.minutes", "3.5", "minutes", "2017-12-22T18:43:48Z", "aws", "us-west-1", arn)
    assert (e.source, e.id) == ("aws.ec2", "6a7e8feb-b491-4cf7-a9f1-bf3703467718")
    (e,) = events("aws", json.dumps({**envelope, "detail": {**detail, "account": "customer-7"}}).encode(), "aws-eventbridge")
    assert e.account == "customer-7"


def test_cur_v1() -> None:
    (e,) = events("aws", raw("aws_cur_v1_row"), "aws-cur")
    assert brief(e) == ("123412340534", "2BG23N2FNX3BKxxx.xxxxxxxxxx.xxx6EN2CT7", "9.052E-7", "GB", "2023-11-04T23:00:00Z", "aws", "us-east-1", "")
    assert e.source == "aws:cur:123412340534"
    assert e.id == 'cur:["cjxa4463xpabcdabcdabcdabcdabcdabcdabcdabci2diiqamka","2023-11-04T00:00:00Z/2023-11-05T00:00:00Z"]'


def test_cur_v2() -> None:
    found = rejection("aws", raw("aws_cur_v2_row"))
    assert (found.reason, "identity_time_interval" in found.detail) == (Reason.MISSING_FIELD, True)  # the example leaves the columns out
    row = {
        **json.loads(raw("aws_cur_v2_row")),
        "identity_time_interval": "2024-09-01T00:00:00Z/2024-09-01T01:00:00Z",
        "line_item_usage_start_date": "2024-09-01T00:00:00.000Z",
        "resource_tags": '{"user_team": "ml"}',
    }
    (e,) = events("aws", json.dumps(row).encode(), "aws-cur")
    assert brief(e)[:6] == (
        "01234567891234",
        "4a524th30q694o538qndh9ucht/USW2-MP:USW2_InputTokenCount-Units/Usage",
        "0.02645",
        "Units",
        "2024-09-01T00:00:00Z",
        "aws",
    )
    assert (e.region, e.source, e.tags) == ("us-west-2", "aws:cur:1234567890", '{"user_team":"ml"}')
    assert e.resource.startswith("arn:aws:bedrock:us-west-2::")


def test_cur_tags_that_differ_in_case_alone_are_two() -> None:
    """Tags of AWS have case, and real reports have a column for each of `Name` and `name`."""
    row = json.loads(raw("aws_cur_v1_row"))
    (e,) = events("aws", json.dumps({**row, "resourceTags/user:Name": "a", "resourceTags/user:name": "b"}).encode(), "aws-cur")
    assert json.loads(e.tags)["user:Name"] == "a"
    assert json.loads(e.tags)["user:name"] == "b"
    (e,) = events("aws", json.dumps({**row, "resource_tags_user_name": "b"}).encode(), "aws-cur")
    assert json.loads(e.tags)["user_name"] == "b", "as Parquet files of version 1 have it"
    assert "two spellings" in rejection("aws", json.dumps({**row, "lineitem/usageamount": "7.25"}).encode()).detail, "one that counts"


def test_cur_shares_of_another_resource_are_not_metered_beside_it() -> None:
    """Split cost allocation adds rows for pods and tasks; the instance that they ran on has its row as before."""
    row = json.loads(raw("aws_cur_v1_row"))
    for column in ("splitLineItem/ParentResourceId", "split_line_item_parent_resource_id"):
        found = rejection("aws", json.dumps({**row, column: "i-0123", "pricing/unit": ""}).encode())
        assert (found.reason, "shares out" in found.detail) == (Reason.NOT_SUPPORTED, True)
        assert len(events("aws", json.dumps({**row, column: ""}).encode(), "aws-cur")) == 1


def test_cur_amounts_and_tags() -> None:
    row = json.loads(raw("aws_cur_v1_row"))
    for amount in ("", "0", None):
        (e,) = events("aws", json.dumps({**row, "lineItem/UsageAmount": amount, "resourceTags/user:Team": "a"}).encode(), "aws-cur")
        assert (str(e.quantity), e.tags) == ("0", '{"user:Team":"a"}')
    for kind in ("Tax", "Fee", "Credit", "RIFee", "Refund", "SavingsPlanNegation"):
        found = rejection("aws", json.dumps({**row, "lineItem/LineItemType": kind}).encode())
        assert (found.reason, kind in found.detail) == (Reason.NOT_SUPPORTED, True)


def rows(name: str) -> list[dict[str, str]]:
    with (EXAMPLES / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decode_rows(table: list[dict[str, Any]], format: str) -> list[tuple[UsageEvent, dict[str, Any]]]:
    found: list[tuple[UsageEvent, dict[str, Any]]] = []
    for row in table:
        (entry,) = decode(json.dumps(row).encode(), (), format)
        if isinstance(entry, UsageEvent):
            found.append((entry, row))
        else:
            assert entry.reason is Reason.NOT_SUPPORTED, entry
    return found


TABLES = [
    ("aws_focus_converters_cur_slice", "aws-cur", 116, "lineItem/UnblendedRate"),
    ("azure_finops_toolkit_EA_ActualCost_Small", "azure-cost", 10, "EffectivePrice"),
    ("azure_finops_toolkit_EA_AmortizedCost_Small", "azure-cost", 28, "EffectivePrice"),
    ("azure_focus_converters_azure_ea_sample", "azure-cost", 27, "EffectivePrice"),
    ("gcp_koku_gcp_2020-11", "gcp-billing", 25, ""),
    ("gcp_koku_gcp_2022-08", "gcp-billing", 9, ""),
]


@pytest.mark.parametrize(("name", "format", "usage", "price"), TABLES)
def test_every_real_row_has_its_own_identity_and_one_price_per_sku(name: str, format: str, usage: int, price: str) -> None:
    table = rows(name)
    found = decode_rows(table, format)
    assert len(found) == usage
    assert len({(e.account, e.source, e.id) for e, _ in found}) == usage
    prices: dict[tuple[str, str], set[str]] = {}
    for e, row in found:
        prices.setdefault((e.sku, e.unit), set()).add(row.get(price, ""))
        assert detect(name.split("_")[0], json.dumps(row).encode(), ()) == format
    assert all(len(values) == 1 for values in prices.values())
    annotated = decode_rows(list(annotate_rows(table, format, "part-1.csv")), format)
    assert [e for e, _ in annotated] == [e for e, _ in found]  # no row of them needs its occurrence


def test_azure_actual_and_amortized_exports_name_one_usage_alike() -> None:
    actual, amortized = (decode_rows(rows(f"azure_finops_toolkit_EA_{kind}Cost_Small"), "azure-cost") for kind in ("Actual", "Amortized"))
    assert {e for e, _ in actual} <= {e for e, _ in amortized}


def test_azure_ea_row() -> None:
    (e,) = events("azure", raw("azure_cost_export_ea_row"), "azure-cost")
    assert brief(e)[:7] == (
        "ed570627-0265-4620-bb42-bae06bcfa914", "aaaef613-418a-4a5f-af72-d224d7dee2c6/AAD-37090", "0.0004", "10K",
        "2023-09-04T00:00:00Z", "azure", "eastus2",
    )  # fmt: skip
    assert e.source == "azure:cost:8611537"
    assert e.id.startswith("azure-cost#")
    assert json.loads(e.tags)["databricks-environment"] == "true"


def test_azure_identity_ignores_amounts_tags_and_case() -> None:
    row = json.loads(raw("azure_cost_export_ea_row"))
    info = '{"VMName":"vm_1","ConsumedQuantity":1.0}'
    (first,) = events("azure", json.dumps({**row, "AdditionalInfo": info}).encode(), "azure-cost")
    later = {
        **row,
        "AdditionalInfo": info.replace("1.0", "2.0"),
        "Quantity": "7",
        "Cost": "9",
        "EffectivePrice": "1",
        "Tags": "",
        "ResourceId": row["ResourceId"].upper(),
    }
    (again,) = events("azure", json.dumps(later).encode(), "azure-cost")
    assert again.id == first.id
    (other,) = events("azure", json.dumps({**row, "AdditionalInfo": info.replace("vm_1", "vm_2")}).encode(), "azure-cost")
    assert other.id != first.id
    mca = {key[0].lower() + key[1:]: value for key, value in row.items()}
    assert events("azure", json.dumps(mca).encode(), "azure-cost")[0] == events("azure", json.dumps(row).encode(), "azure-cost")[0]


def test_equal_rows_of_one_file_are_told_apart_and_a_second_export_is_recognised() -> None:
    row = json.loads(raw("azure_cost_export_ea_row"))
    table = [row, {**row, "Quantity": "2"}, row]
    first = [e for e, _ in decode_rows(list(annotate_rows(table, "azure-cost", "a.csv")), "azure-cost")]
    assert len({e.id for e in first}) == 3
    unlike = {**row, "Date": "09/05/2023"}
    again = [e for e, _ in decode_rows(list(annotate_rows([unlike, *table], "azure-cost", "b.csv")), "azure-cost")]
    assert [e.id for e in again[1:]] == [e.id for e in first]
    plain = [e for e, _ in decode_rows([{**r, "_file": "a.csv", "_row": str(n)} for n, r in enumerate(table)], "azure-cost")]
    assert len({e.id for e in plain}) == 3
    for bad in ("x", "-1", "1.5"):
        assert rejection("azure", json.dumps({**row, "_occurrence": bad}).encode()).reason is Reason.BAD_FIELD


def test_azure_mistakes() -> None:
    row = json.loads(raw("azure_cost_export_ea_row"))
    for change, reason in (
        ({"ChargeType": "Purchase"}, Reason.NOT_SUPPORTED),
        ({"MeterId": ""}, Reason.MISSING_FIELD),
        ({"Date": "30/30/2023"}, Reason.BAD_TIME),
        ({"Quantity": "many"}, Reason.BAD_QUANTITY),
        ({"date": "09/05/2023"}, Reason.BAD_FIELD),
    ):
        assert rejection("azure", json.dumps({**row, **change}).encode()).reason is reason
    (e,) = events("azure", json.dumps({**row, "Tags": "not, tags"}).encode(), "azure-cost")
    assert e.tags == '{"Tags":"not, tags"}'


def test_gcp_billing_row_nested_and_flat_are_one_event() -> None:
    (e,) = events("gcp", raw("gcp_bigquery_billing_export_row"), "gcp-billing")
    assert brief(e) == ("billing-example-00000", "D5A4-0C3E-4DA4", "0.000023198314011096954", "gibibyte", "2020-11-09T23:00:00Z", "gcp", "global", "")
    assert e.source == "gcp:billing:000000-B0BBA4-940A77"
    (flat, _) = decode_rows(rows("gcp_koku_gcp_2020-11"), "gcp-billing")[0]
    assert flat == e


def test_gcp_labels_in_every_spelling() -> None:
    row = json.loads(raw("gcp_bigquery_billing_export_row"))
    label = [{"key": "team", "value": "a's"}, {"key": "b", "value": 'say "x"'}]
    texts: list[Any] = [label, json.dumps(label), repr(label)]
    found = [events("gcp", json.dumps({**row, "labels": text}).encode(), "gcp-billing")[0] for text in texts]
    assert found[0] == found[1] == found[2]
    assert json.loads(found[0].tags) == {"team": "a's", "b": 'say "x"'}
    assert rejection("gcp", json.dumps({**row, "labels": "[{'key': 1}]"}).encode()).reason is Reason.BAD_FIELD
    assert rejection("gcp", json.dumps({**row, "cost_type": "tax"}).encode()).reason is Reason.NOT_SUPPORTED


def test_service_control() -> None:
    fee, storage = events("gcp", raw("gcp_service_control_report"), "gcp-service-control")
    prefix = "my-product.gcpmarketplace.example.com"
    assert brief(fee) == ("project_number:123456789012", f"{prefix}/usage_fee", "1250", "1", "2026-07-16T14:00:00Z", "gcp", "us", "")
    assert brief(storage)[1:3] == (f"{prefix}/storage", "42.5")
    assert fee.id == f'operation:["3f2a1c8e-0000-4000-8000-000000000001","{prefix}/usage_fee",1]'
    assert fee.source == "gcp:service-control"
    assert rejection("gcp", raw("gcp_service_control_report_response")).reason is Reason.NOT_SUPPORTED


def test_monitoring() -> None:
    (e,) = events("gcp", raw("gcp_monitoring_time_series"), "gcp-monitoring")
    assert brief(e) == ("your-project-id", "logging.googleapis.com/log_entry_count", "0", "1", "2019-10-29T13:53:00Z", "gcp", "us-central1", "0")
    assert e.id.startswith("series:[") or e.id.startswith("series#")
    series = json.loads(raw("gcp_monitoring_time_series"))["timeSeries"][0]
    for kind in ("CUMULATIVE", "GAUGE"):
        found = rejection("gcp", json.dumps({**series, "metricKind": kind}).encode())
        assert (found.reason, "meters" in found.detail) == (Reason.NOT_SUPPORTED, True)
    points = [{**series["points"][0], "value": value} for value in ({"int64Value": "1"}, {"boolValue": True}, {"doubleValue": 0.5})]
    found_all = decode_record("gcp", json.dumps({**series, "points": points}).encode(), ())
    assert [type(entry) for entry in found_all] == [UsageEvent, Rejection, UsageEvent]


def test_pubsub_pull_and_push() -> None:
    (e,) = events("gcp", raw("gcp_pubsub_pull"), "gcp-pubsub")
    assert brief(e)[:6] == ("acct-1", "compute.googleapis.com/instance/uptime", "60", "s", "2026-07-16T14:00:00Z", "gcp")
    assert (e.source, e.id) == ("gcp:pubsub", "3f2a1c8e")
    found = rejection("gcp", raw("gcp_pubsub_push"))
    assert (found.reason, "message.data" in found.detail) == (Reason.NOT_DECODABLE, True)


def push(payload: Any, **message: Any) -> bytes:
    data = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(
        {**json.loads(raw("gcp_pubsub_push")), "message": {"messageId": "207", "publishTime": "2021-02-26T19:13:55.749Z", "data": data, **message}}
    ).encode()


def test_pubsub_payloads() -> None:
    plain = {"sku": "s", "quantity": 1, "unit": "u", "account": "a"}
    (e,) = events("gcp", push(plain), "gcp-pubsub")
    assert (e.account, e.id, e.source, format_time(e.time)) == ("a", "207", "gcp:pubsub", "2021-02-26T19:13:55.749Z")
    attributes = {"ce-id": "9", "ce-source": "/s", "ce-subject": "b", "ce-time": "2021-01-01T00:00:00Z"}
    (e,) = events("gcp", push(plain, attributes=attributes), "gcp-pubsub")
    assert (e.account, e.id, e.source, format_time(e.time)) == ("b", "9", "/s", "2021-01-01T00:00:00Z")
    event = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "subject": "c", "time": "2021-01-01T00:00:00Z", "data": plain}
    assert [e.account for e in events("gcp", push([event, event]), "gcp-pubsub")] == ["c", "c"]
    for name in ("gcp_service_control_report", "gcp_monitoring_time_series", "gcp_bigquery_billing_export_row"):
        inner = json.loads(raw(name))
        assert events("gcp", push(inner), "gcp-pubsub") == [
            e for e in decode_record("gcp", json.dumps(inner).encode(), ()) if isinstance(e, UsageEvent)
        ]
    for message, reason in (({"data": None}, Reason.NOT_SUPPORTED), ({"data": "*"}, Reason.NOT_DECODABLE), ({"data": 1}, Reason.BAD_FIELD)):
        assert rejection("gcp", push(plain, **message)).reason is reason
    assert rejection("gcp", push({**plain, "account": ""})).reason is Reason.MISSING_FIELD
    assert rejection("gcp", push({"a": 1})).reason is Reason.NOT_SUPPORTED


def test_event_hubs_records_fan_out() -> None:
    first, second = events("azure", raw("azure_event_hub_metric_records"), "azure-event-hubs")
    subscription = "00000000-0000-0000-0000-000000000000"
    resource = f"/subscriptions/{subscription}/resourcegroups/rg/providers/microsoft.network/loadbalancers/lb"
    assert brief(second) == (subscription, "microsoft.network/loadbalancers/withzeros", "10", "1", "2025-07-14T12:45:00Z", "azure", "", resource)
    assert second.id == f'metric:["{resource}","withzeros","2025-07-14T12:45:00Z","PT1M"]'
    assert (first.sku, str(first.quantity)) == ("microsoft.insights/components/dependencies/duration", "12292.1382")
    records = json.loads(raw("azure_event_hub_metric_records"))["records"]
    del records[0]["total"]
    broken, kept = decode_record("azure", json.dumps({"records": records}).encode(), ())
    assert isinstance(broken, Rejection)
    assert broken.reason is Reason.MISSING_FIELD
    assert kept == second
    assert rejection("azure", b'{"records": [{"category": "AuditEvent"}]}').reason is Reason.NOT_SUPPORTED
    assert rejection("azure", b'{"records": []}').reason is Reason.NOT_SUPPORTED


def test_event_grid() -> None:
    assert rejection("azure", raw("azure_event_grid_cloudevent")).reason is Reason.NOT_SUPPORTED
    event = {**json.loads(raw("azure_event_grid_cloudevent")), "subject": "tenant-1", "data": {"sku": "blob.put", "quantity": 1, "unit": "calls"}}
    (e,) = events("azure", json.dumps(event).encode(), "azure-event-grid")
    assert brief(e)[:6] == ("tenant-1", "blob.put", "1", "calls", "2019-11-18T15:13:39.4589254Z", "azure")
    assert e.id == "9aeb0fdf-c01e-0131-0922-9eb54906e209"
    found = rejection("azure", b'[{"eventType": "a", "topic": "/x", "id": "1", "data": {}}]')
    assert (found.reason, "CloudEvents" in found.detail) == (Reason.NOT_SUPPORTED, True)


def test_cloudevents_examples_of_the_specification() -> None:
    assert [str(entry)[:13] for entry in decode_record("cloudevents", raw("cloudevents_json_batch"), ())] == ["not_supported"] * 2
    for name in ("cloudevents_kafka_binary", "cloudevents_kafka_structured"):
        record = json.loads(raw(name))
        headers = [(key, value.encode()) for key, value in record["headers"].items()]
        value = record["value"] if isinstance(record["value"], str) else json.dumps(record["value"])
        (found,) = decode_record("cloudevents", value.encode(), headers)
        assert isinstance(found, Rejection)
        assert (found.reason, "data of type" in found.detail) == (Reason.NOT_SUPPORTED, True)


USAGE_RECORD: dict[str, Any] = {
    "id": "endpoint-1-2026-07-16T14",
    "usage_timestamp": "2026-07-16T14:00:00.000Z",
    "creation_timestamp": "2026-07-16T14:05:00.000Z",
    "usage": {"type": "security_solution_endpoint", "sub_type": "cloud", "quantity": 3, "period_seconds": 1800, "metadata": {"agent": "x"}},
    "source": {"id": "task-1", "instance_group_id": "project-1", "metadata": {"tier": "complete"}},
}


def test_usage_record_v2() -> None:
    (e,) = events("cloudevents", json.dumps(USAGE_RECORD).encode(), "usage-record")
    assert brief(e) == ("project-1", "security_solution_endpoint/cloud", "3", "1", "2026-07-16T14:00:00Z", "", "", "project-1")
    assert (e.source, e.id) == ("task-1", "endpoint-1-2026-07-16T14")
    assert (e.dimensions, e.tags) == ('{"agent":"x","tier":"complete"}', '{"period_seconds":"1800"}')
    (again,) = events("aws", json.dumps([{**USAGE_RECORD, "creation_timestamp": "2026-07-16T15:00:00Z"}]).encode(), "usage-record")
    assert again == e
    source = {**USAGE_RECORD["source"], "account": "org-1", "provider": "aws", "region": "us-east-1"}
    (e,) = events("gcp", json.dumps({**USAGE_RECORD, "source": source}).encode(), "usage-record")
    assert (e.account, e.provider, e.region, e.resource) == ("org-1", "aws", "us-east-1", "project-1")


def test_what_is_of_no_known_format_says_so() -> None:
    for name in (
        "aws_marketplace_batch_meter_usage_2026",
        "aws_cloudwatch_metric_stream_otlp",
        "gcp_ubbagent_report",
        "azure_marketplace_batch_usage_event",
    ):
        provider = name.split("_")[0]
        assert detect(provider, raw(name), ()) is None
        found = rejection(provider, raw(name))
        assert (found.reason, "ratemill-format" in found.detail) == (Reason.NOT_SUPPORTED, True)
    assert rejection("aws", b'{"detail-type": ').reason is Reason.NOT_DECODABLE


def test_every_format_refuses_other_shapes() -> None:
    for format in FORMATS:
        for value in (None, b"", b"{}", b"[]", b"[{}]", b"1", b'"x"', b"null", b"\xff", b'{"a":1,"a":2}', b"{}\n{}"):
            found = decode(value, (), format)
            assert found
            assert all(isinstance(entry, Rejection) for entry in found)
