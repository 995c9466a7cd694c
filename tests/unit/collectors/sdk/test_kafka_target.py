"""Settings of the Kafka target, and which rows share a record. tests/integration/test_collector.py delivers to a real Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest
from ratemill.collectors.sdk import BadInput, KafkaTarget, Publisher
from ratemill.collectors.sdk.kafka_target import _packed
from ratemill.collectors.sdk.spool import Row
from ratemill.collectors.sdk.targets import target_of

SASL = {"sasl_mechanism": "PLAIN", "username": "u", "password": "canary-password"}


@pytest.mark.parametrize(("target", "said"), [
    (KafkaTarget("example.com:9092"), "in the clear"), (KafkaTarget("nowhere"), "host:port"), (KafkaTarget("127.0.0.1:9092", ""), "no topic"),
    (KafkaTarget("127.0.0.1:9092", record_bytes=2 << 20), "at most 1,048,576"),
    (KafkaTarget("127.0.0.1:9092", **SASL), "no use for sasl_mechanism"),  # type: ignore[arg-type]
    (KafkaTarget("example.com:9092", security_protocol="SASL_SSL"), "SASL needs"),
    (KafkaTarget("127.0.0.1:9092", ca_file="/nowhere"), "no use for ca_file"),
    (KafkaTarget("example.com:9092", security_protocol="SSL", ca_file="/nowhere"), "cannot read /nowhere"),
    (KafkaTarget("example.com:9092", security_protocol="SSL", cert_file="/nowhere"), "cert_file and key_file go together"),
])  # fmt: skip
def test_settings_that_cannot_work_are_said_at_once(target: KafkaTarget, said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        target.connect()
    assert "canary" not in f"{caught.value}{target!r}"


def test_an_address_names_a_target() -> None:
    assert target_of("kafka://a:1,b:2/usage.raw.direct") == KafkaTarget("a:1,b:2", "usage.raw.direct")


@pytest.mark.parametrize("url", ["https://example.com:443", "a:1/topic", "", "kafka:/topic"])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadInput):
        Publisher(url, tmp_path / "spool")


def test_rows_of_one_account_and_backfill_share_a_record_up_to_its_size() -> None:
    rows = [Row(1, "a", "", 1, b"x" * 40), Row(2, "b", "", 1, b"x" * 40), Row(3, "a", "", 1, b"x" * 40), Row(4, "a", "old", 1, b"x"),
            Row(5, "a", "", 1, b"x" * 40), Row(6, "b", "", 1, b"x" * 200)]  # fmt: skip
    found = sorted([row.seq for row in together] for together in _packed(rows, 100))
    assert found == [[1, 3], [2], [4], [5], [6]]
