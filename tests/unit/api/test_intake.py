"""What a request of usage comes to, without Kafka and HTTP: results, records, and bodies within bounds."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import cramjam
import pytest
from ratemill.api.bodies import read_body, unpack
from ratemill.api.intake import FORBIDDEN, Intake, take
from ratemill.api.outbox import Outbox
from ratemill.api.problems import Problem
from ratemill.schemas.decoders.registry import decode
from ratemill.schemas.errors import Reason
from ratemill.schemas.limits import DEFAULT_LIMITS, Limits
from ratemill.schemas.usage_event import UsageEvent

NOW = 1_784_210_400_000_000_000  # 2026-07-16T14:00:00Z
SMALL = Limits(max_record_bytes=400, max_events_per_record=2)


def event(id: str = "1", account: str = "acme", quantity: str = "1.5", time: str = "2026-07-16T13:00:00Z") -> dict[str, Any]:
    data = {"sku": "egress", "quantity": quantity, "unit": "GB"}
    return {"specversion": "1.0", "id": id, "source": "s", "type": "usage", "subject": account, "time": time, "data": data}


def taken(body: Any, account: str | None = None, shape: Any = "json", limits: Limits = DEFAULT_LIMITS, **options: Any) -> Intake:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    options = {"format": "cloudevents", "backfill": "", "most_events": 100} | options
    return take(text, shape, options["format"], account, options["backfill"], limits, options["most_events"], NOW)


def said(found: Intake) -> list[tuple[str, str, str]]:
    return [(result.pointer, result.status, result.reason) for result in found.results]


def sent(found: Intake) -> list[UsageEvent]:
    """Events that the records hold, read as workers read them."""
    entries = [entry for record in found.records for entry in decode(record.value, (), "cloudevents")]
    assert all(isinstance(entry, UsageEvent) for entry in entries)
    return entries  # type: ignore[return-value]


def test_each_event_has_a_result_of_its_own() -> None:
    found = taken([event("1"), event("2", quantity="NaN"), event("1"), event("1", quantity="9"), 7, event("3", time="1999-01-01T00:00:00Z")])
    assert said(found) == [
        ("/0", "accepted", ""), ("/1", "rejected", Reason.BAD_QUANTITY), ("/2", "duplicate", ""), ("/3", "rejected", Reason.CONFLICT),
        ("/4", "rejected", Reason.BAD_FIELD), ("/5", "rejected", Reason.TOO_OLD),
    ]  # fmt: skip
    assert [(e.id, str(e.quantity)) for e in sent(found)] == [("1", "1.5")]
    assert all("\n" not in result.detail for result in found.results)


def test_one_event_has_an_empty_pointer_and_lines_count_from_zero() -> None:
    assert said(taken(event())) == [("", "accepted", "")]
    lines = json.dumps(event("1")).encode() + b"\n\n{broken\n" + json.dumps(event("2")).encode()
    found = said(taken(lines, shape="lines"))
    assert [(pointer, status) for pointer, status, _ in found] == [("/0", "accepted"), ("/2", "rejected"), ("/3", "accepted")]


def test_one_broken_element_takes_no_other_with_it() -> None:
    body = b"[" + json.dumps(event("1")).encode() + b", {oops}, " + json.dumps(event("2")).encode() + b"]"
    assert [status for _, status, _ in said(taken(body))] == ["accepted", "rejected", "accepted"]


def test_an_accounts_token_sends_that_accounts_usage_alone() -> None:
    found = taken([event("1", "acme"), event("2", "globex")], account="acme")
    assert said(found) == [("/0", "accepted", ""), ("/1", "rejected", FORBIDDEN)]
    assert {e.account for e in sent(found)} == {"acme"}


def test_a_record_holds_one_account_and_stays_within_the_limits() -> None:
    found = taken([event(str(n), "acme" if n % 3 else "globex") for n in range(20)], limits=SMALL)
    assert found.count("accepted") == len(sent(found)) == 20
    for record in found.records:
        entries = decode(record.value, (), "cloudevents", SMALL)
        assert {entry.account.encode() for entry in entries if isinstance(entry, UsageEvent)} == {record.key}
    assert [e.id for e in sent(found) if e.account == "acme"] == [str(n) for n in range(20) if n % 3]  # in their order


def test_an_event_that_workers_would_not_read_is_refused() -> None:
    long = event() | {"data": {**event()["data"], "resource": "r" * 500}}
    assert said(taken(long, limits=Limits(max_record_bytes=700))) == [("", "accepted", "")]
    assert said(taken(long, limits=Limits(max_record_bytes=400))) == [("", "rejected", Reason.TOO_LARGE)]


def test_old_usage_is_taken_as_a_declared_backfill_only() -> None:
    old = event(time="2025-01-01T00:00:00Z")
    assert said(taken(old)) == [("", "rejected", Reason.TOO_OLD)]
    assert said(taken(old, backfill="year")) == [("", "accepted", "")]


def test_sending_again_sends_the_same() -> None:
    body = [event("1"), event("2")]
    assert taken(body).records == taken(body).records


@pytest.mark.parametrize(
    ("body", "options", "status", "kind"),
    [
        (b"", {}, 400, "no-events"),
        (b"[]", {}, 400, "no-events"),
        (b" \n\n", {"shape": "lines"}, 400, "no-events"),
        (event(), {"format": "morse"}, 400, "unknown-format"),
        ([event(str(n)) for n in range(101)], {}, 413, "too-many-events"),
    ],
)
def test_a_request_that_is_refused_as_a_whole(body: Any, options: dict[str, Any], status: int, kind: str) -> None:
    with pytest.raises(Problem) as caught:
        taken(body, **options)
    assert (caught.value.status, caught.value.kind) == (status, kind)


# -- bodies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "GZIP", "zstd"])
def test_a_body_comes_out_as_it_went_in(encoding: str) -> None:
    text = b'{"a": 1}' * 1_000
    packed = {"gzip": gzip.compress, "zstd": lambda data: bytes(cramjam.zstd.compress(data))}.get(encoding.lower(), bytes)(text)
    assert unpack(packed, encoding, len(text)) == text
    with pytest.raises(Problem) as caught:
        unpack(packed, encoding, len(text) - 1)
    assert caught.value.status == 413


def test_another_encoding_is_refused() -> None:
    with pytest.raises(Problem) as caught:
        unpack(b"", "br", 1)
    assert caught.value.status == 415


def test_several_gzip_members_are_one_body() -> None:
    assert unpack(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", 4) == b"abcd"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_never_unpacked(encoding: str) -> None:
    zeros = bytes(200 << 20)
    bomb = gzip.compress(zeros, 9) if encoding == "gzip" else bytes(cramjam.zstd.compress(zeros))
    assert len(bomb) < 1 << 20
    with pytest.raises(Problem) as caught:
        unpack(bomb, encoding, 1 << 20)
    assert caught.value.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_what_is_cut_off_or_is_something_else_is_said_so(encoding: str) -> None:
    whole = gzip.compress(b"x" * 5_000) if encoding == "gzip" else bytes(cramjam.zstd.compress(b"x" * 5_000))
    for body in (whole[: len(whole) // 2], b"no such thing"):
        with pytest.raises(Problem) as caught:
            unpack(body, encoding, 10_000)
        assert caught.value.status == 400


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for part in data:
        yield part


async def test_a_body_is_read_no_further_than_allowed() -> None:
    kept: list[int] = []
    assert await read_body(parts(b"ab", b"cd"), "4", 4, kept.append) == b"abcd"
    for declared in (None, "5", "4"):  # said, not said, and said wrongly
        with pytest.raises(Problem) as caught:
            await read_body(parts(b"ab", b"cde"), declared, 4, kept.append)
        assert caught.value.status == 413
    assert sum(kept) == 4 + 2 + 2


async def test_a_body_that_never_ends_is_given_up() -> None:
    async def drops() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    with pytest.raises(Problem) as caught:
        await read_body(drops(), None, 1_000_000, lambda size: None, 0.2)
    assert caught.value.status == 408


def test_requests_under_way_are_bounded() -> None:
    async def nothing() -> None: ...

    outbox = Outbox({}, "topic", nothing, 100)
    with outbox.room() as first, outbox.room() as second:
        first(60)
        second(40)
        with pytest.raises(Problem) as caught:
            second(1)
        assert (caught.value.status, caught.value.headers["retry-after"]) == (429, "1")
    assert outbox.waiting == 0
    with outbox.room() as again:
        again(100)
