"""What is sent, byte by byte as the vendors' examples have it, and what each answer is taken for."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from marketplaces.markets import SINCE, listings_text
from ratemill.pricing.money import money
from ratemill.schemas.errors import Unavailable
from ratemill.sinks.marketplace.http import Answer
from ratemill.sinks.marketplace.listings import Listing, read_listings
from ratemill.sinks.marketplace.reconciling import azure_days, compare
from ratemill.sinks.marketplace.records import Outcome, Record, Verdict, record_id
from ratemill.sinks.marketplace.reporter import MARKETPLACES

NAMES = {
    "aws": {"account_id": "111122223333", "license_arn": "arn:1"}, "aws-legacy": {"identifier": "cust-1"},
    "azure": {"resource_id": "GUID1", "plan_id": "gold"}, "gcp": {"usage_reporting_id": "project_number:1"}, "stripe": {"customer_id": "cus_1"},
}  # fmt: skip


def listing(kind: str) -> Listing:
    return read_listings(listings_text(kind, "2026-11-02T23:00:00Z"), "shop.yaml").listings["shop"]


def record(kind: str, dimension: str = "gb_hours", quantity: int = 17, doubts: int = 0) -> Record:
    return Record(record_id(kind + dimension, SINCE), kind + dimension, "shop", dimension, SINCE, quantity, NAMES[kind], doubts=doubts)


def said(kind: str, status: int, body: Any, *batch: Record, **headers: str) -> list[Verdict]:
    """What an answer means for each record of a batch."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = MARKETPLACES[kind.partition("-")[0]].verdicts(Answer(status, raw, headers), batch)
    return [found[each.id] for each in batch]


def outcomes(kind: str, status: int, body: Any, *batch: Record) -> list[Outcome]:
    return [each.outcome for each in said(kind, status, body, *batch)]


def test_what_is_sent_has_the_form_of_the_published_examples() -> None:
    aws = MARKETPLACES["aws"].request(listing("aws"), [record("aws")])
    assert json.loads(aws.body) == {
        "UsageRecords": [{
            "Timestamp": SINCE, "CustomerAWSAccountId": "111122223333", "LicenseArn": "arn:1", "Dimension": "gb_hours", "QuantityAsDecimal": "17"
        }]
    }  # fmt: skip
    legacy = MARKETPLACES["aws"].request(listing("aws-legacy"), [record("aws-legacy")])
    assert json.loads(legacy.body) == {
        "UsageRecords": [{"Timestamp": SINCE, "Dimension": "gb_hours", "CustomerIdentifier": "cust-1", "Quantity": 17}], "ProductCode": "prod1"
    }  # fmt: skip
    assert (aws.url, aws.headers["x-amz-target"]) == ("https://metering.marketplace.us-east-1.amazonaws.com/", "AWSMPMeteringService.BatchMeterUsage")
    azure = MARKETPLACES["azure"].request(listing("azure"), [record("azure")])
    assert json.loads(azure.body) == {"request": [
        {"resourceId": "GUID1", "quantity": 17, "dimension": "gb_hours", "effectiveStartTime": "2026-11-02T23:00:00", "planId": "gold"}
    ]}  # fmt: skip
    assert azure.url == "https://marketplaceapi.microsoft.com/api/batchUsageEvent?api-version=2018-08-31"
    gcp = MARKETPLACES["gcp"].request(listing("gcp"), [record("gcp")])
    start, end = "2026-11-02T23:00:00Z", "2026-11-03T00:00:00Z"
    assert json.loads(gcp.body) == {"operations": [{
        "operationId": record("gcp").id, "operationName": "usage_report", "consumerId": "project_number:1", "startTime": start, "endTime": end,
        "metricValueSets": [{
            "metricName": "shop.gcpmarketplace.example.com/gb_hours", "metricValues": [{"int64Value": "17", "startTime": start, "endTime": end}]
        }],
    }]}  # fmt: skip
    assert gcp.url == "https://servicecontrol.googleapis.com/v1/services/shop.gcpmarketplace.example.com:report"
    stripe = MARKETPLACES["stripe"].request(listing("stripe"), [record("stripe")])
    assert parse_qs(stripe.body.decode()) == {
        "event_name": ["gb_hours"], "identifier": [record("stripe").id], "timestamp": [str(SINCE)], "payload[stripe_customer_id]": ["cus_1"],
        "payload[value]": ["17"],
    }  # fmt: skip


AWS_A, AWS_B, AWS_C = (record("aws", each) for each in ("a", "b", "c"))


def aws_result(its: Record, status: str) -> dict[str, Any]:
    own = {"Timestamp": its.hour, "Dimension": its.dimension, "LicenseArn": "arn:1"}
    return {"UsageRecord": own, "Status": status, "MeteringRecordId": "m1"}


def test_aws_answers_record_by_record() -> None:
    body = {
        "Results": [aws_result(AWS_B, "DuplicateRecord"), aws_result(AWS_A, "Success")],
        "UnprocessedRecords": [{"Timestamp": SINCE, "Dimension": "c", "LicenseArn": "arn:1"}],
    }
    assert outcomes("aws", 200, body, AWS_A, AWS_B, AWS_C) == [Outcome.ACCEPTED, Outcome.MISMATCH, Outcome.NOT_NOW]
    assert outcomes("aws", 200, {"Results": [aws_result(AWS_A, "CustomerNotSubscribed")]}, AWS_A, AWS_B) == [Outcome.REJECTED, Outcome.DOUBT]
    assert outcomes("aws", 200, b"{", AWS_A) == [Outcome.DOUBT]


@pytest.mark.parametrize(
    ("name", "status", "of_one", "of_many"),
    [
        ("TimestampOutOfBoundsException", 400, Outcome.EXPIRED, Outcome.APART),
        ("com.amazonaws.x#InvalidUsageDimensionException", 400, Outcome.REJECTED, Outcome.APART),
        ("InvalidLicenseException", 400, Outcome.REJECTED, Outcome.APART),
        ("ThrottlingException", 400, Outcome.NOT_NOW, Outcome.NOT_NOW),
        ("InvalidProductCodeException", 400, Outcome.NOT_NOW, Outcome.NOT_NOW),
        ("UnrecognizedClientException", 403, Outcome.NOT_NOW, Outcome.NOT_NOW),
        ("InternalServiceErrorException", 500, Outcome.DOUBT, Outcome.DOUBT),
        ("Unheard", 400, Outcome.DOUBT, Outcome.DOUBT),
    ],
)
def test_aws_refuses_a_request(name: str, status: int, of_one: Outcome, of_many: Outcome) -> None:
    assert outcomes("aws", status, {"__type": name}, AWS_A) == [of_one]
    assert outcomes("aws", status, {"__type": name}, AWS_A, AWS_B) == [of_many, of_many]


def azure_result(status: str, quantity: Any = None, dimension: str = "gb_hours") -> dict[str, Any]:
    error = None if quantity is None else {"additionalInfo": {"acceptedMessage": {"usageEventId": "e1", "quantity": quantity}}}
    return {"status": status, "resourceId": "guid1", "dimension": dimension, "effectiveStartTime": "2026-11-02T23:30:00", "error": error}


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (azure_result("Accepted"), Outcome.ACCEPTED),
        (azure_result("Duplicate", 17.0), Outcome.ACCEPTED),
        (azure_result("Duplicate", 17), Outcome.ACCEPTED),
        (azure_result("Duplicate", 17.5), Outcome.MISMATCH),
        (azure_result("Duplicate", 1), Outcome.MISMATCH),
        (azure_result("Duplicate"), Outcome.DOUBT),
        (azure_result("Duplicate", True), Outcome.DOUBT),
        (azure_result("Expired"), Outcome.EXPIRED),
        (azure_result("ResourceNotFound"), Outcome.REJECTED),
        (azure_result("ResourceNotAuthorized"), Outcome.REJECTED),
        (azure_result("ResourceNotActive"), Outcome.REJECTED),
        (azure_result("InvalidDimension"), Outcome.REJECTED),
        (azure_result("InvalidQuantity"), Outcome.REJECTED),
        (azure_result("BadArgument"), Outcome.REJECTED),
        (azure_result("Error"), Outcome.DOUBT),
        (azure_result("Accepted", dimension="other"), Outcome.DOUBT),
    ],
)
def test_azure_answers_event_by_event(result: dict[str, Any], outcome: Outcome) -> None:
    assert outcomes("azure", 200, {"count": 1, "result": [result]}, record("azure")) == [outcome]


def test_azure_says_what_it_has_instead() -> None:
    assert said("azure", 200, {"result": [azure_result("Duplicate", 1.5)]}, record("azure"))[0].accepted == "1.5"


@pytest.mark.parametrize("kind", ["aws", "azure", "gcp", "stripe"])
def test_overload_credentials_failures_and_silence_are_the_same_everywhere(kind: str) -> None:
    one = record(kind)
    (throttled,) = said(kind, 429, {}, one, **{"Retry-After": "7"})
    assert (throttled.outcome, throttled.wait_s) == (Outcome.NOT_NOW, 7)
    assert [outcomes(kind, status, {}, one)[0] for status in (401, 403, 500, 503, 0)] == [*[Outcome.NOT_NOW] * 2, *[Outcome.DOUBT] * 3]
    marketplace = MARKETPLACES[kind]
    assert marketplace.verdicts(Answer(0, detail="no connection", unsent=True), [one])[one.id].outcome == Outcome.NOT_NOW
    for body in (b"", b"[]", b"[" * 9_000, b"\xff"):  # nothing that can be read is nothing that was said
        assert outcomes(kind, 200, body, one) == [Outcome.DOUBT]


def test_google_takes_what_it_does_not_name() -> None:
    one, two, three = (record("gcp", each) for each in ("a", "b", "c"))
    errors = [{"operationId": two.id, "status": {"code": 5, "message": "not active"}}, {"operationId": three.id, "status": {"code": 14}}]
    assert outcomes("gcp", 200, {"reportErrors": errors}, one, two, three) == [Outcome.ACCEPTED, Outcome.REJECTED, Outcome.DOUBT]
    assert outcomes("gcp", 400, {"error": {"status": "INVALID_ARGUMENT"}}, one, two) == [Outcome.APART, Outcome.APART]
    assert outcomes("gcp", 400, {"error": {"status": "INVALID_ARGUMENT"}}, one) == [Outcome.REJECTED]
    assert outcomes("gcp", 404, {}, one) == [Outcome.NOT_NOW]


def test_stripe_takes_a_duplicate_for_delivered_only_where_a_try_of_ours_has_no_answer() -> None:
    body = {"error": {"message": "An event already exists with identifier x."}}
    assert outcomes("stripe", 400, body, record("stripe", doubts=1)) == [Outcome.ACCEPTED]
    assert outcomes("stripe", 400, body, record("stripe")) == [Outcome.MISMATCH]
    assert outcomes("stripe", 400, {"error": {"code": "timestamp_too_far_in_past"}}, record("stripe")) == [Outcome.EXPIRED]
    assert outcomes("stripe", 400, {"error": {"code": "no_meter"}}, record("stripe")) == [Outcome.REJECTED]
    assert outcomes("stripe", 200, {"identifier": "another"}, record("stripe")) == [Outcome.DOUBT]


def test_azure_ids_are_the_same_in_capital_letters() -> None:
    ours = {("AB-12", "d", "2026-11-02"): money("7")}
    assert compare(ours, {("ab-12", "d", "2026-11-02"): money("7")}, "azure") == []
    assert len(compare(ours, {("ab-12", "d", "2026-11-02"): money("6")}, "azure")) == 1
    assert len(compare(ours, {("ab-12", "d", "2026-11-02"): money("7")}, "stripe")) == 2  # there it is another one


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b'[{"usageDate": "2026-11-02", "usageResourceId": "g", "dimension": "d"}]', "KeyError('processedQuantity')"),
        (200, b'["a row"]', "TypeError"),
        (200, b'[{"usageDate": "soon", "usageResourceId": "g", "dimension": "d", "processedQuantity": 1}]', "soon"),
        (200, b'[{"usageDate": "2026-11-02", "usageResourceId": "g", "dimension": "d", "processedQuantity": "x"}]', "x"),
        (200, b"{}", "Azure does not tell what it has"),
        (200, b"no JSON", "Azure does not tell what it has"),
        (403, b"", "answered 403"),
    ],
)
def test_what_azure_says_it_has_is_understood_or_refused_in_one_line(status: int, body: bytes, told: str) -> None:
    row = b'[{"usageDate": "2026-11-02T00:00:00Z", "usageResourceId": "g", "dimension": "d", "processedQuantity": 1.25}]'
    assert {key: str(value) for key, value in azure_days(Answer(200, row)).items()} == {("g", "d", "2026-11-02"): "1.25"}
    waits = row.replace(b'"processedQuantity": 1.25', b'"processedQuantity": 0.0, "submittedQuantity": 2.5, "reconStatus": "Submitted"')
    assert [str(value) for value in azure_days(Answer(200, waits)).values()] == ["2.5"]
    lost = waits.replace(b'"Submitted"', b'"Rejected"')  # it was taken, and then was not
    assert [str(value) for value in azure_days(Answer(200, lost)).values()] == ["0.0"]
    with pytest.raises(Unavailable) as refused:
        azure_days(Answer(status, body))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
