"""`ratemill dead-letters` without Kafka: what it accepts, what it shows, and what a replay would publish."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from ratemill.cli.dead_letter_topic import Found, Scan, holds_cloudevent, marked, marker, origin_of, outgoing
from ratemill.cli.dead_letters import SHOWN_BYTES, command, in_full, listing, parse_origin, parse_since, shown_bytes
from ratemill.schemas.dead_letter import DeadLetter, from_kafka, to_kafka
from ratemill.schemas.errors import BadInput, Reason
from ratemill.schemas.packed import as_cloudevent
from ratemill.schemas.quantity import parse_quantity
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.config import Config
from ratemill.streams.topics import Topics, partition_of

NOW = datetime(2026, 2, 1, tzinfo=UTC)
CONFIG = Config.model_validate({"kafka": {"raw_topics": [{"name": "raw", "provider": "aws"}, {"name": "keyed", "keyed_by": "account"}]}})
EVENT = UsageEvent("acct", "s", "1", "sku", 1_767_225_600_000_000_000, parse_quantity("1.5"), "GB")


LETTER = DeadLetter(Reason.BAD_FIELD, "what is wrong", "raw", 3, 14, 0, b"{}", 10**18, key=b"k", headers=(("h", b"v"),))


def letter(reason: Reason = Reason.BAD_FIELD, **other: Any) -> DeadLetter:
    return replace(LETTER, reason=reason, **other)


def seen(*letters: DeadLetter) -> Scan:
    scan = Scan()
    scan.letters = [Found((0, at), each, len(each.value or b""), replayed=at == 1) for at, each in enumerate(letters)]
    scan.reasons.update(each.reason.value for each in letters)
    return scan


@pytest.mark.parametrize("index", [0, 7, -1])
def test_an_origin_is_read_back(index: int) -> None:
    assert parse_origin(origin_of(letter(index=index))) == ("raw", 3, 14, index)


@pytest.mark.parametrize("text", ["", "raw/1/2", "raw/1/2/3/4", "raw/-1/2/3", "raw/1/2/-2", "a b/1/2/3", "raw/1/2/x", "raw/1/99999999999999999999/0"])
def test_what_is_no_origin_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="is no origin"):
        parse_origin(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", datetime(2026, 1, 31, 22, 30, tzinfo=UTC)),
        ("7d", datetime(2026, 1, 25, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_since(text: str, moment: datetime) -> None:
    assert parse_since(text, NOW) == int(moment.timestamp()) * 10**9


@pytest.mark.parametrize("text", ["yesterday", "7w", "-1d", "2026-13-01"])
def test_what_is_no_time_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="--since"):
        parse_since(text, NOW)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_listing_fits_the_terminal_and_never_cuts_an_origin(width: int) -> None:
    found = seen(letter(detail="long " * 100), letter(Reason.CONFLICT, topic="usage.raw.cloudevents"))
    lines = listing(found, width)
    assert all(len(line) <= width for line in lines)
    assert all(any(origin_of(each.letter) in line for line in lines) for each in found.letters)
    assert sum("replayed: " in line for line in lines) == 1


def test_a_pipe_gets_every_character() -> None:
    assert "long " * 99 in "\n".join(listing(seen(letter(detail="long " * 100)), None))


def test_control_characters_do_not_reach_the_terminal() -> None:
    bad = letter(detail="\x1b[31m", value=b"text \x1b[31m \xc2\x9b", key=b"\x1b", headers=(("\x1b", b"\x1b\xff"),))
    assert "\x1b" not in "\n".join([*listing(seen(bad), None), *in_full(seen(bad).letters[0])])


def test_bytes_are_shown_as_text_where_they_are_text() -> None:
    assert shown_bytes('{"a": "ä"}\n{}'.encode()) == ['{"a": "ä"}', "{}"]
    assert shown_bytes(b"\xff\x00A")[0].split() == ["00000000", "ff", "00", "41", "..A"]
    assert shown_bytes(b"") == []


def test_a_cut_through_a_character_is_still_text() -> None:
    value = b"x" + "ä".encode() * SHOWN_BYTES
    (line,) = shown_bytes(value[:SHOWN_BYTES])
    assert line.endswith("ä")


def test_a_long_value_is_cut_and_says_so() -> None:
    text = in_full(Found((0, 0), letter(value=b"x" * 10_000), 10_000))
    assert "10,000 bytes, the first 4,096 of them here; --raw writes all" in "\n".join(text)
    assert max(map(len, text)) == SHOWN_BYTES


def test_a_replay_publishes_the_same_bytes_key_and_headers() -> None:
    assert outgoing(letter(value=b"\xff"), CONFIG, "") == ("raw", None, b"k", b"\xff", [("h", b"v")])


def test_a_null_stays_a_null() -> None:
    record = outgoing(from_kafka(*to_kafka(letter(value=None))), CONFIG, "")
    assert record is not None
    assert record.value is None


def test_a_backfill_is_declared_once() -> None:
    record = outgoing(letter(headers=(("ratemill-backfill", b"old"), ("h", b"v"))), CONFIG, "new")
    assert record is not None
    assert record.headers == [("h", b"v"), ("ratemill-backfill", b"new")]


def test_a_conflict_found_behind_the_hop_says_its_format() -> None:
    # The letter holds the event in the plain form, its topic is one of AWS formats.
    record = outgoing(letter(Reason.CONFLICT, value=as_cloudevent(EVENT), key=None, headers=()), CONFIG, "")
    assert record is not None
    assert record.headers == [("ratemill-format", b"cloudevents")]


@pytest.mark.parametrize(
    "other",
    [
        letter(Reason.CONFLICT, value=as_cloudevent(EVENT), headers=()),  # has a key: the raw record
        letter(Reason.CONFLICT, value=b'{"specversion": "1.0", "type": "x"}', key=None, headers=()),
        letter(Reason.CONFLICT, value=b"[]", key=None, headers=()),
        letter(Reason.CONFLICT, value=b"\xff", key=None, headers=()),
        letter(Reason.BAD_FIELD, value=as_cloudevent(EVENT), key=None, headers=()),
    ],
)
def test_a_raw_record_keeps_its_format(other: DeadLetter) -> None:
    assert not holds_cloudevent(other)


def test_what_was_misplaced_is_keyed_by_its_account() -> None:
    record = outgoing(letter(Reason.MISPLACED, topic="keyed", value=as_cloudevent(EVENT), key=b"wrong", headers=()), CONFIG, "")
    assert record is not None
    assert (record.key, record.partition) == (b"acct", None)  # placed by Kafka's own partitioner, as accounts are
    assert partition_of("acct", 4) in range(4)


def test_a_record_without_key_on_a_keyed_topic_stays_in_its_partition() -> None:
    record = outgoing(letter(topic="keyed", key=None), CONFIG, "")
    assert record is not None
    assert record.partition == 3


def test_packed_events_stay_in_their_partition() -> None:
    record = outgoing(letter(topic=Topics.of(CONFIG.kafka).events), CONFIG, "")
    assert record is not None
    assert record.partition == 3


def test_line_items_and_foreign_topics_are_never_published() -> None:
    assert outgoing(letter(topic=Topics.of(CONFIG.kafka).rated), CONFIG, "") is None
    assert outgoing(letter(topic="other"), CONFIG, "") is None


def test_a_marker_is_no_dead_letter_and_a_dead_letter_no_marker() -> None:
    class Record:
        def __init__(self, headers: list[tuple[str, bytes]]) -> None:
            self.headers = headers

    key, value, headers = marker("raw/1/2/0", 1)
    assert marked(Record(headers)) == "raw/1/2/0"
    assert marked(Record(to_kafka(letter())[2])) is None
    with pytest.raises(BadInput, match="not a dead letter"):
        from_kafka(key, value, headers)


CONTRADICTIONS = [[], ["--all", "--reason", "conflict"], ["raw/1/2/3", "--all"], ["--all", "--backfill", " "], ["--reason", "nope"]]


@pytest.mark.parametrize("arguments", CONTRADICTIONS)
def test_a_replay_must_say_what(arguments: list[str]) -> None:
    assert CliRunner().invoke(command, ["replay", *arguments]).exit_code == 2
