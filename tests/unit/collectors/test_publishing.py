"""What a record carries to its topic."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ratemill.cli.publish import _one_by_one, raw_topic
from ratemill.collectors.files import Piece
from ratemill.collectors.publishing import _hash, account_of, headers_of
from ratemill.schemas.errors import BadInput
from ratemill.streams.config import KafkaConfig, RawTopic
from ratemill.streams.topics import Topics, partition_of


def test_a_plain_event_has_no_headers() -> None:
    assert headers_of("cloudevents", "") == []
    assert headers_of("cloudevents", "b") == [("ratemill-backfill", b"b")]
    assert headers_of("aws-cur", "b") == [("ratemill-format", b"aws-cur"), ("ratemill-backfill", b"b")]


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.integers(1, 64))
def test_a_record_goes_where_the_account_is_rated(account: str, partitions: int) -> None:
    assert _hash(account.encode()) % partitions == partition_of(account, partitions)


@pytest.mark.parametrize(
    ("value", "account"),
    [
        (b'{"subject":"a","data":NaN}', None),
        (b'{"subject":"a","other":[1]}', b"a"),
        (b'{"subject":""}', None),
        (b"{cut", None),
        (b"\xff", None),
    ],
)
def test_the_account_is_the_subject(value: bytes, account: bytes | None) -> None:
    assert account_of(value, "cloudevents") == account


def test_a_batch_of_several_accounts_has_no_key() -> None:
    data = {"sku": "s", "quantity": 1, "unit": "u"}
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "2026-03-01T00:00:00Z", "data": data}
    assert account_of(json.dumps([{**event, "subject": "a"}, {**event, "subject": "b"}]).encode(), "cloudevents") is None
    assert account_of(json.dumps([{**event, "subject": "a"}, {**event, "subject": "a"}]).encode(), "cloudevents") == b"a"
    pieces = list(_one_by_one([Piece("f", 3, b'[{"a":1},\n{"b":2}]'), Piece("f", 9, b"{}")]))
    assert [(p.line, p.value) for p in pieces] == [(3, b'{"a":1}'), (4, b'{"b":2}'), (9, b"{}")]


def test_the_topic_follows_from_the_format() -> None:
    topics = Topics.of(KafkaConfig(topic_prefix="x."))
    assert raw_topic(topics, "aws-cur", None) == "x.usage.raw.aws"
    assert raw_topic(topics, "usage-record", None) == "x.usage.raw.cloudevents"
    with pytest.raises(BadInput, match="no raw topic of this configuration"):
        raw_topic(topics, "aws-cur", "usage.rated")
    two = Topics.of(KafkaConfig(raw_topics=(RawTopic(name="a"), RawTopic(name="b", keyed_by="account"))))
    with pytest.raises(BadInput, match="several raw topics"):
        raw_topic(two, "cloudevents", None)
    with pytest.raises(BadInput, match="no raw topic of provider gcp"):
        raw_topic(two, "gcp-billing", None)
