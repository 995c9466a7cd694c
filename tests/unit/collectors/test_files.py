"""Files become records whatever their layout, and a flaw in one place costs one record."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from ratemill.collectors import files
from ratemill.collectors.files import Piece, read_pieces
from ratemill.schemas.errors import BadInput


def read(path: Path, format: str = "cloudevents") -> list[Piece]:
    return list(read_pieces(str(path), format))


def written(tmp_path: Path, content: bytes, name: str = "events.json") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a":1}\n{"b":2}\n', [(1, b'{"a":1}'), (2, b'{"b":2}')]),
        (b'\n\n{"a":1}\r\n\n{"b":2}', [(3, b'{"a":1}'), (5, b'{"b":2}')]),
        (b'\xef\xbb\xbf{"a":1}\n{"b":2}\n', [(1, b'{"a":1}'), (2, b'{"b":2}')]),
        (b'[{"a":1},{"a":1}]', [(1, b'{"a":1}'), (1, b'{"a":1}')]),
        (b'[\n  {"a": "]}"},\n  {"b":\n 2}, {"c":3}\n]\n', [(2, b'{"a": "]}"}'), (3, b'{"b":\n 2}'), (4, b'{"c":3}')]),
        (b'[{"a":1},{"a":NaN},{"b":2}]', [(1, b'{"a":1}'), (1, b'{"a":NaN}'), (1, b'{"b":2}')]),
        (b'{\n  "records": [\n    1\n  ]\n}\n', [(1, b'{\n  "records": [\n    1\n  ]\n}')]),
        (b'[{"a":1},{"b":2}]\n[{"c":3}]\n', [(1, b'[{"a":1},{"b":2}]'), (2, b'[{"c":3}]')]),
        (b'[[1,2],{"a":[3]}]', [(1, b"[1,2]"), (1, b'{"a":[3]}')]),
        (b'{"a":1\n{"b":2}\n', [(1, b'{"a":1'), (2, b'{"b":2}')]),
        (b"[]", []),
        (b"", []),
        (b"\xff\xfe\n", [(1, b"\xff\xfe")]),
    ],
)
def test_records_and_their_lines(tmp_path: Path, content: bytes, expected: list[tuple[int, bytes]]) -> None:
    pieces = read(written(tmp_path, content))
    assert [(p.line, p.value) for p in pieces] == expected
    assert not any(p.flaw or p.size for p in pieces)


def test_a_gzip_file_holds_the_same_records(tmp_path: Path) -> None:
    content = b'{"a":1}\n{"b":2}\n'
    assert [p.value for p in read(written(tmp_path, gzip.compress(content), "e.ndjson.gz"))] == [b'{"a":1}', b'{"b":2}']


def test_an_array_that_was_cut_off_keeps_its_whole_elements(tmp_path: Path) -> None:
    pieces = read(written(tmp_path, b'[\n{"a":1},\n{"b":2},\n{"c": "x'))
    assert [(p.line, p.value, bool(p.flaw)) for p in pieces] == [(2, b'{"a":1}', False), (3, b'{"b":2}', False), (4, b'{"c": "x', True)]


@pytest.mark.parametrize(("content", "flaw"), [(b'[{"a":1}] {"b":2}', "behind the end"), (b'[{"a":1},,{"b":2}]', "before a comma")])
def test_what_is_no_element_of_an_array_is_named(tmp_path: Path, content: bytes, flaw: str) -> None:
    assert [flaw in p.flaw for p in read(written(tmp_path, content)) if p.flaw] == [True]


def test_a_line_that_fits_no_topic_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_PIECE_BYTES", 5_000)
    content = b'{"a":1}\n{"long":"' + b"x" * 3_000_000 + b'"}\n{"b":2}\n'
    pieces = read(written(tmp_path, content))
    assert [(p.line, p.size) for p in pieces] == [(1, 0), (2, 3_000_011), (3, 0)]
    assert len(pieces[1].value) == 1_024


def test_rows_of_csv_become_objects_that_stay_apart(tmp_path: Path) -> None:
    header = "BillingAccountId,SubscriptionId,Date,MeterId,ChargeType,Quantity,UnitOfMeasure,Note\n"
    row = '1,s,09/01/2023,m,Usage,2,1 Hour,"a\nb"\n'
    path = written(tmp_path, (header + row + row + "1,s,09/01/2023,m,Usa\n" + row).encode(), "export.csv")
    pieces = read(path, "azure-cost")
    assert [(p.line, bool(p.flaw)) for p in pieces] == [(2, False), (4, False), (6, True), (7, False)]
    assert pieces[2].value == b"1,s,09/01/2023,m,Usa\n"
    found = [json.loads(p.value) for p in pieces if not p.flaw]
    assert [f["_occurrence"] for f in found] == ["1", "2", "3"]
    assert found[0]["Note"] == "a\nb"
    assert found[0]["_file"] == "export.csv"


def test_json_rows_keep_their_bytes_and_get_their_place(tmp_path: Path) -> None:
    row = b'{"BillingAccountId":"1","Date":"09/01/2023","MeterId":"m","Quantity":1.50}'
    first, second, odd = read(written(tmp_path, row + b"\n" + row + b"\n[1]\n"), "azure-cost")
    assert first.value.startswith(row[:-1] + b",")
    assert json.loads(second.value)["_occurrence"] == "2"
    assert odd.value == b"[1]"


def test_bytes_of_a_csv_that_are_no_utf8_come_through(tmp_path: Path) -> None:
    (piece,) = read(written(tmp_path, b"identity/LineItemId,x\n\xff,1\n", "cur.csv"), "aws-cur")
    assert b"\xff" in piece.value


@pytest.mark.parametrize(
    ("name", "content", "format", "message"),
    [
        ("a.csv", b"a,b\n1,2\n", "cloudevents", "--format"),
        ("a.csv", b"", "aws-cur", "empty"),
        ("a.csv", b"a,a\n1,2\n", "aws-cur", "twice"),
        ("a.csv", b"a;b\n1;2\n", "aws-cur", "one column"),
        ("a.gz", b"no gzip", "cloudevents", "gzip"),
        ("a.gz", gzip.compress(b'{"a":1}\n' * 9, mtime=0)[:-12], "cloudevents", "end-of-stream"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str, content: bytes, format: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read(written(tmp_path, content, name), format)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(BadInput, match="give the path"):
            read(path)
