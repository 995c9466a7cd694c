"""Files of any size and shape take bounded memory, and lines come out as they stand in the file."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
from ratemill.collectors import files, tables
from ratemill.collectors.files import read_pieces
from ratemill.schemas.errors import BadInput


def pieces(path: Path, content: bytes, format: str = "cloudevents") -> list[files.Piece]:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return list(read_pieces(str(path), format))


@pytest.mark.parametrize("layout", ["[%b]", "[\n%b\n]", "[%b]\n\n"])
@pytest.mark.parametrize("name", ["usage.json", "usage.json.gz"])
def test_an_array_that_is_too_large_to_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, name: str) -> None:
    monkeypatch.setattr(files, "MAX_ARRAY_BYTES", 3 << 20)
    content = layout.encode() % (b'{"a":1},' * 300_000 + b'{"a":1}')
    assert len(pieces(tmp_path / name, content)) == 300_001
    with pytest.raises(BadInput, match=r"the array has more than 3 MiB; write an event per line"):
        pieces(tmp_path / name, layout.encode() % (b'{"a":1},' * 500_000 + b'{"a":1}'))


@pytest.mark.parametrize("begin", [b"", b'{"a":\n', b'{"a": 1}\n', b"[1,\n", b"[1]\n", b"\xef\xbb\xbf{}\n", b"\n\n \n"])
def test_lines_come_out_as_they_stand(tmp_path: Path, begin: bytes) -> None:
    dice = random.Random(begin)
    lines = [b'{"n":%d,"x":"%b"}' % (n, b"y" * dice.choice([0, 10, 3_000])) for n in range(2_000)]
    content = begin + b"\n".join(lines) + b"\n"
    found = [piece for piece in pieces(tmp_path / "usage.ndjson", content) if not piece.flaw]
    values = [piece.value for piece in found]
    assert values[-1_990:] == lines[-1_990:] or begin == b"[1,\n"  # an array that is broken ends the records there are
    by_number = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert all(by_number[piece.line - 1].strip() == piece.value for piece in found if b"\n" not in piece.value) or begin == b"[1,\n"


def test_a_quote_that_is_never_closed_does_not_swallow_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROW_BYTES", 4_000)
    good = b"a,b\n1,2\n"
    bad = b'"' + b"x\n" * 4_000
    found = pieces(tmp_path / "usage.csv", good + bad + b"3,4\n", "aws-cur")
    assert "more than 4000 bytes" in next(piece.flaw for piece in found if piece.flaw)
    assert all(len(piece.value) < 5_000 for piece in found)
    assert found[0].line == 2
    assert b'"3"' in found[-1].value
    assert found[-1].line == 4_003
