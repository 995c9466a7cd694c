"""Every rule that a marketplace publishes is one that its fake refuses to see broken: else passing against it would say nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any
from urllib.parse import urlencode

import pytest
from marketplaces.fake import HOUR_S, Fake, Key
from marketplaces.fake_aws import FakeAws
from marketplaces.fake_azure import FakeAzure
from marketplaces.fake_gcp import FakeGcp
from marketplaces.fake_stripe import FakeStripe
from marketplaces.markets import SINCE, fake_for
from ratemill.sinks.marketplace.http import Answer, Request

NOW = SINCE + 2 * HOUR_S
DAY_S = 86_400
ARN = "arn:aws:license-manager::111122223333:license:l-acct-1"


def aws(*records: dict[str, Any], **body: Any) -> Request:
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AWSMPMeteringService.BatchMeterUsage"}
    return Request("POST", "https://metering.marketplace.us-east-1.amazonaws.com/", headers, json.dumps({"UsageRecords": records, **body}).encode())


def record(**fields: Any) -> dict[str, Any]:
    own = {
        "Timestamp": SINCE, "CustomerAWSAccountId": "000000000001", "LicenseArn": ARN, "Dimension": "gb_hours", "QuantityAsDecimal": "3", **fields
    }  # fmt: skip
    return {name: value for name, value in own.items() if value is not None}


def legacy(**fields: Any) -> dict[str, Any]:
    return {"Timestamp": SINCE, "CustomerIdentifier": "cust-acct-1", "Dimension": "gb_hours", "Quantity": 3, **fields}


def refused(answer: Answer) -> str:
    assert answer.status == 400
    return str(json.loads(answer.body)["__type"])


AWS_REFUSES: dict[str, tuple[Request, str]] = {
    "more than 25 records": (aws(*[record()] * 26), "ValidationException"),
    "1 MB or more": (aws(record(Padding="x" * (1 << 20))), "ValidationException"),
    "another operation": (replace(aws(record()), headers={"x-amz-target": "AWSMPMeteringService.MeterUsage"}), "UnknownOperationException"),
    "another content type": (
        replace(aws(record()), headers={**aws().headers, "content-type": "application/json"}), "SerializationException"
    ),
    "a quantity of both kinds": (aws(record(Quantity=3)), "ValidationException"),
    "a decimal that is a number": (aws(record(QuantityAsDecimal=3.5)), "ValidationException"),
    "a decimal below zero": (aws(record(QuantityAsDecimal="-1")), "ValidationException"),
    "a fraction as a whole number": (aws(legacy(Quantity=1.5), ProductCode="prod1"), "ValidationException"),
    "more than 2147483647": (aws(legacy(Quantity=2**31), ProductCode="prod1"), "ValidationException"),
    "below zero": (aws(legacy(Quantity=-1), ProductCode="prod1"), "ValidationException"),
    "24 hours ago": (aws(record(Timestamp=NOW - DAY_S)), "TimestampOutOfBoundsException"),
    "in the future": (aws(record(Timestamp=NOW + 1)), "TimestampOutOfBoundsException"),
    "no such dimension": (aws(record(Dimension="x")), "InvalidUsageDimensionException"),
    "no such license": (aws(record(LicenseArn="x")), "InvalidLicenseException"),
    "a license of another account": (aws(record(CustomerAWSAccountId="000000000002")), "InvalidLicenseException"),
    "a license and a product": (aws(record(), ProductCode="prod1"), "ValidationException"),
    "no such product": (aws(legacy(), ProductCode="x"), "InvalidProductCodeException"),
    "no such customer": (aws(legacy(CustomerIdentifier="x"), ProductCode="prod1"), "InvalidCustomerIdentifierException"),
}


@pytest.fixture
def fake_aws() -> FakeAws:
    fake = fake_for("aws", lambda: NOW)
    assert isinstance(fake, FakeAws)
    fake.products = {"prod1": {"cust-acct-1": True, "cust-gone": False}}
    return fake


@pytest.mark.parametrize("name", AWS_REFUSES)
def test_aws_refuses(fake_aws: FakeAws, name: str) -> None:
    request, kind = AWS_REFUSES[name]
    assert refused(fake_aws.handle(request)) == kind
    assert fake_aws.billed == []


def test_aws_refuses_a_batch_whole_for_one_of_its_records(fake_aws: FakeAws) -> None:
    assert refused(fake_aws.handle(aws(record(), record(Timestamp=NOW - DAY_S)))) == "TimestampOutOfBoundsException"
    assert fake_aws.billed == []


def test_aws_refuses_the_last_month_six_hours_into_the_next(fake_aws: FakeAws) -> None:
    first = 1_793_491_200  # 2026-11-01T00:00:00Z
    fake_aws.clock = lambda: first + 6 * HOUR_S
    assert refused(fake_aws.handle(aws(record(Timestamp=first - HOUR_S)))) == "TimestampOutOfBoundsException"
    fake_aws.clock = lambda: first + 6 * HOUR_S - 1
    assert fake_aws.handle(aws(record(Timestamp=first - HOUR_S))).status == 200


def test_aws_takes_the_first_quantity_of_an_hour_and_no_other(fake_aws: FakeAws) -> None:
    def status(**fields: Any) -> str:
        return str(json.loads(fake_aws.handle(aws(record(**fields))).body)["Results"][0]["Status"])

    assert [status(), status(QuantityAsDecimal="3.00"), status(QuantityAsDecimal="4"), status(Timestamp=SINCE + 60, QuantityAsDecimal="4")] == [
        "Success", "Success", "DuplicateRecord", "DuplicateRecord"
    ]  # fmt: skip
    assert [quantity for _, quantity in fake_aws.billed] == [3]


def test_aws_says_who_is_not_subscribed_and_what_it_left_out(fake_aws: FakeAws) -> None:
    said = json.loads(fake_aws.handle(aws(legacy(CustomerIdentifier="cust-gone"), ProductCode="prod1")).body)
    assert said["Results"][0]["Status"] == "CustomerNotSubscribed"
    fake_aws.unprocessed = lambda: True
    said = json.loads(fake_aws.handle(aws(record())).body)
    assert (said["Results"], len(said["UnprocessedRecords"]), fake_aws.billed) == ([], 1, [])
    fake_aws.signed = True
    assert refused(fake_aws.handle(aws(record()))) == "MissingAuthenticationTokenException"


# -- Azure ---------------------------------------------------------------------------------------------------------------


def azure(*events: dict[str, Any], version: str = "2018-08-31", **headers: str) -> Request:
    url = f"https://marketplaceapi.microsoft.com/api/batchUsageEvent?api-version={version}"
    return Request("POST", url, {"content-type": "application/json", **headers}, json.dumps({"request": events}).encode())


def usage(**fields: Any) -> dict[str, Any]:
    return {
        "resourceId": "guid-acct-1", "quantity": 5.0, "dimension": "gb_hours", "effectiveStartTime": "2026-11-02T23:00:00", "planId": "gold", **fields
    }  # fmt: skip


@pytest.fixture
def fake_azure() -> FakeAzure:
    fake = fake_for("azure", lambda: NOW)
    assert isinstance(fake, FakeAzure)
    return fake


def statuses(answer: Answer) -> list[str]:
    assert answer.status == 200
    return [each["status"] for each in json.loads(answer.body)["result"]]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "Accepted"),
        ({"quantity": 0}, "InvalidQuantity"),
        ({"quantity": -1}, "InvalidQuantity"),
        ({"quantity": "5"}, "InvalidQuantity"),
        ({"dimension": "x"}, "InvalidDimension"),
        ({"resourceId": "x"}, "ResourceNotFound"),
        ({"planId": "silver"}, "BadArgument"),
        ({"effectiveStartTime": "yesterday"}, "BadArgument"),
        ({"effectiveStartTime": "2026-11-03T02:00:00"}, "BadArgument"),
        ({"effectiveStartTime": "2026-11-02T00:59:59"}, "Expired"),
    ],
)
def test_azure_answers_each_event(fake_azure: FakeAzure, fields: dict[str, Any], status: str) -> None:
    assert statuses(fake_azure.handle(azure(usage(**fields), usage(dimension="requests")))) == [status, "Accepted"]
    assert len(fake_azure.billed) == (2 if status == "Accepted" else 1)


def test_azure_takes_one_event_an_hour_and_shows_it_to_the_next(fake_azure: FakeAzure) -> None:
    said = json.loads(fake_azure.handle(azure(usage(), usage(quantity=6, effectiveStartTime="2026-11-02T23:59:59"))).body)["result"]
    assert [each["status"] for each in said] == ["Accepted", "Duplicate"]
    assert said[1]["error"]["additionalInfo"]["acceptedMessage"]["quantity"] == 5.0
    assert [quantity for _, quantity in fake_azure.billed] == [5]


def test_azure_refuses_a_batch(fake_azure: FakeAzure) -> None:
    assert fake_azure.handle(azure(*[usage()] * 26)).status == 400
    assert fake_azure.handle(azure(usage(), version="2020-01-01")).status == 400
    fake_azure.inactive = frozenset({"guid-acct-1"})
    assert statuses(fake_azure.handle(azure(usage()))) == ["ResourceNotActive"]
    fake_azure.tokens = frozenset({"right"})
    assert fake_azure.handle(azure(usage(), authorization="Bearer wrong")).status == 401
    assert fake_azure.billed == []


# -- Google --------------------------------------------------------------------------------------------------------------


def operation(**fields: Any) -> dict[str, Any]:
    value = {"int64Value": fields.pop("int64Value", "7")}
    metric = fields.pop("metricName", "shop.gcpmarketplace.example.com/gb_hours")
    return {
        "operationId": "one", "operationName": "usage_report", "consumerId": "project_number:1", "startTime": "2026-11-02T23:00:00Z",
        "endTime": "2026-11-03T00:00:00Z", "metricValueSets": [{"metricName": metric, "metricValues": [value]}], **fields,
    }  # fmt: skip


def gcp(*operations: dict[str, Any], service: str = "shop.gcpmarketplace.example.com", **headers: str) -> Request:
    url = f"https://servicecontrol.googleapis.com/v1/services/{service}:report"
    return Request("POST", url, {"content-type": "application/json", **headers}, json.dumps({"operations": operations}).encode())


@pytest.fixture
def fake_gcp() -> FakeGcp:
    fake = fake_for("gcp", lambda: NOW)
    assert isinstance(fake, FakeGcp)
    return fake


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, None),
        ({"consumerId": "project_number:9"}, 5),
        ({"metricName": "shop.gcpmarketplace.example.com/x"}, 3),
        ({"startTime": "2026-11-02T22:00:00Z", "endTime": "2026-11-02T23:59:59Z"}, 3),
        ({"endTime": "2026-11-03T01:00:01Z"}, 3),
    ],
)
def test_google_answers_each_operation(fake_gcp: FakeGcp, fields: dict[str, Any], code: int | None) -> None:
    answer = fake_gcp.handle(gcp(operation(**fields), operation(operationId="two", metricName="shop.gcpmarketplace.example.com/requests")))
    errors = json.loads(answer.body).get("reportErrors", [])
    assert [(each["operationId"], each["status"]["code"]) for each in errors] == ([("one", code)] if code else [])
    assert len(fake_gcp.billed) == (1 if code else 2)


def test_google_counts_an_operation_once(fake_gcp: FakeGcp) -> None:
    assert [fake_gcp.handle(gcp(operation())).status for _ in range(2)] == [200, 200]
    assert [quantity for _, quantity in fake_gcp.billed] == [7]


@pytest.mark.parametrize("fields", [{"int64Value": 7}, {"int64Value": "-7"}, {"int64Value": str(2**63)}, {"operationId": ""}, {"startTime": "x"},
                                    {"startTime": "2026-11-03T00:00:00Z"}])  # fmt: skip
def test_google_refuses_a_request_for_what_is_no_operation(fake_gcp: FakeGcp, fields: dict[str, Any]) -> None:
    assert fake_gcp.handle(gcp(operation(operationId="two"), operation(**fields))).status == 400
    assert fake_gcp.billed == []


def test_google_refuses_another_service_a_large_request_and_strangers(fake_gcp: FakeGcp) -> None:
    assert fake_gcp.handle(gcp(operation(), service="other.example.com")).status == 404
    assert fake_gcp.handle(gcp(operation(userLabels={"x": "x" * (1 << 20)}))).status == 400
    fake_gcp.tokens = frozenset({"right"})
    assert fake_gcp.handle(gcp(operation())).status == 401
    assert fake_gcp.billed == []


# -- Stripe --------------------------------------------------------------------------------------------------------------


def stripe(**fields: str) -> Request:
    own = {
        "event_name": "gb_hours", "identifier": "one", "timestamp": str(SINCE), "payload[stripe_customer_id]": "cus_acct-1", "payload[value]": "25",
        **fields,
    }  # fmt: skip
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Request("POST", "https://api.stripe.com/v1/billing/meter_events", headers, urlencode(own).encode())


@pytest.fixture
def fake_stripe() -> FakeStripe:
    fake = fake_for("stripe", lambda: NOW)
    assert isinstance(fake, FakeStripe)
    return fake


@pytest.mark.parametrize(
    "fields",
    [
        {"event_name": "x"}, {"payload[stripe_customer_id]": "x"}, {"payload[value]": "1.5"}, {"identifier": "x" * 101},
        {"timestamp": str(NOW - 35 * DAY_S - 1)}, {"timestamp": str(NOW + 301)},
    ],
)  # fmt: skip
def test_stripe_refuses(fake_stripe: FakeStripe, fields: dict[str, str]) -> None:
    assert fake_stripe.handle(stripe(**fields)).status == 400
    assert fake_stripe.billed == []


def test_stripe_knows_an_identifier_for_a_day(fake_stripe: FakeStripe) -> None:
    assert [fake_stripe.handle(stripe()).status for _ in range(2)] == [200, 400]
    fake_stripe.clock = lambda: NOW + DAY_S
    assert fake_stripe.handle(stripe()).status == 200
    assert len(fake_stripe.billed) == 2
    fake_stripe.keys = frozenset({"right"})
    assert fake_stripe.handle(stripe(identifier="two")).status == 401


# -- all -----------------------------------------------------------------------------------------------------------------


def test_what_is_there_twice_is_billed_twice() -> None:
    fake = Fake(lambda: NOW)
    key = Key("a", "b", 0)
    fake.billed = [(key, Fraction(1)), (key, Fraction(2))]
    assert fake.quantity_of(key) == 3
