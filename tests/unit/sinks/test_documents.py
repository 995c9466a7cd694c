"""The lines of a bulk request, and what cannot be sent at all."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import orjson
import pytest
from ratemill.schemas.errors import BadInput
from ratemill.schemas.line_item import RatedLineItem, encode_line_item
from ratemill.sinks.documents import chunks, encode, read_items
from ratemill.sinks.limbs import LIMBS
from ratemill.sinks.templates import AMOUNTS, Names, mapping

Make = Callable[..., RatedLineItem]
NAMES = Names()


def test_bytes_and_struct_give_the_same_lines(line_item: Make) -> None:
    item = line_item(1, billed="-0.05", effective_cost="0.1", consumed_quantity="0")
    (from_struct,), _, _ = read_items([item])
    (from_bytes,), _, _ = read_items([encode_line_item(item)])
    action, document = encode(from_bytes, NAMES).splitlines()
    assert encode(from_struct, NAMES).splitlines() == [action, document]
    assert orjson.loads(action) == {
        "index": {"_index": "ratemill-write-2026.09", "_id": "li-1", "version": 1, "version_type": "external"}
    }
    expected = orjson.loads(encode_line_item(item))
    expected["x_Limbs"] = {"billed": {"m9": -50_000_000}, "effective": {"m9": 100_000_000}, "pricing": {"e0": 12, "m9": 500_000_000}}
    assert orjson.loads(document) == expected


def test_layout_of_the_json_does_not_break_the_lines(line_item: Make) -> None:
    laid_out = msgspec.json.format(encode_line_item(line_item(1)), indent=2) + b"\n\n"
    (entry,), _, _ = read_items([laid_out])
    assert encode(entry, NAMES).count(b"\n") == 2
    assert orjson.loads(encode(entry, NAMES).splitlines()[1])["x_Limbs"]["billed"] == {"e0": 1, "m9": 500_000_000}


def test_an_id_is_escaped(line_item: Make) -> None:
    (entry,), _, _ = read_items([line_item(1, x_line_item_id='a"\n\\é')])
    assert orjson.loads(encode(entry, NAMES).splitlines()[0])["index"]["_id"] == 'a"\n\\é'


def test_only_the_newest_revision_of_an_id_is_sent_and_the_first_of_equals(line_item: Make) -> None:
    entries, refused, superseded = read_items([line_item(1, 2), line_item(1, 5, "5"), line_item(1, 5, "6"), line_item(1, 3), line_item(2, 1)])
    assert [(entry.id, entry.revision) for entry in entries] == [("li-1", 5), ("li-2", 1)]
    assert entries[0].limbs.startswith(b'{"billed":{"e0":5}')
    assert (refused, superseded) == ([], 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"x_line_item_id": ""}, "1 to 512 bytes"),
        ({"x_line_item_id": "é" * 257}, "1 to 512 bytes"),
        ({"x_revision": -1}, "x_Revision"),
        ({"x_revision": 2**63}, "x_Revision"),
        ({"billing_period_start": "2026-13-01T00:00:00Z"}, "BillingPeriodStart"),
        ({"billing_period_start": "../../x"}, "BillingPeriodStart"),
        ({"billed_cost": "1e3"}, "not a plain decimal"),
        ({"effective_cost": "0." + "1" * 200}, "digits after the point"),
        ({"pricing_quantity": "NaN"}, "not a plain decimal"),
    ],
)
def test_what_elasticsearch_could_not_take_is_refused_with_a_reason(line_item: Make, changes: dict[str, object], reason: str) -> None:
    entries, (refused,), _ = read_items([encode_line_item(line_item(1, **changes))])
    assert entries == []
    assert reason in refused.reason
    assert refused.status == 0


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b"\xff", b'{"x_LineItemId":1}', b"null"])
def test_junk_is_refused_as_it_came(junk: bytes) -> None:
    _, (refused,), _ = read_items([junk])
    assert refused.item is junk
    assert refused.reason.startswith("not a line item")


def test_chunks_keep_both_limits_and_lose_nothing(line_item: Make) -> None:
    entries, _, _ = read_items([line_item(n, charge_description="x" * (n % 7) * 100) for n in range(50)])
    made = list(chunks(entries, NAMES, 8, 6_000))
    assert [entry for chunk, _ in made for entry in chunk] == entries
    assert all(len(chunk) <= 8 and len(body) <= 6_000 for chunk, body in made)
    assert b"".join(body for _, body in made) == b"".join(encode(entry, NAMES) for entry in entries)
    assert [len(chunk) for chunk, _ in chunks(entries[:3], NAMES, 8, 10)] == [1, 1, 1]


def test_the_mapping_names_every_field_of_a_line_item_and_every_limb() -> None:
    properties = mapping()["properties"]
    fields = {field.encode_name for field in msgspec.structs.fields(RatedLineItem)}
    assert set(properties) == fields | {"x_Limbs"}
    assert {name: set(limbs["properties"]) for name, limbs in properties["x_Limbs"]["properties"].items()} == {
        name: set(LIMBS) for name in AMOUNTS.values()
    }
    assert mapping()["dynamic"] == "strict"


@pytest.mark.parametrize("prefix", ["", "Upper", "-a", "a*", "a/b", "a b", "a,b", "x" * 62, "a\n"])
def test_a_prefix_elasticsearch_would_refuse_is_bad_input(prefix: str) -> None:
    with pytest.raises(BadInput, match="prefix"):
        Names(prefix)
