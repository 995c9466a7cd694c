"""The scripts of the examples as commands: help is help and nothing else, and a mistake is one line that says what is wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.glob("*/*.py"))


def run(script: Path | str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(EXAMPLES / script), *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def is_one_line(said: subprocess.CompletedProcess[str], name: str, *words: str) -> bool:
    """Whether a command failed with a single line of its own that has these words."""
    lines = said.stderr.splitlines()
    return said.returncode == 1 and len(lines) == 1 and lines[0].startswith(f"{name}: ") and all(word in lines[0] for word in words)


@pytest.fixture
def derive(tmp_path: Path) -> Path:
    """derive.py with sources of its own, to be broken."""
    own = tmp_path / "examples" / "aws"
    shutil.copytree(EXAMPLES / "aws-s3-lambda", own)
    report = ROOT / "demo" / "data" / "aws_cur_2023-11.csv"
    (tmp_path / "demo" / "data").mkdir(parents=True)
    shutil.copy(report, tmp_path / "demo" / "data")
    return own / "derive.py"


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_printed_and_nothing_is_done(script: str, tmp_path: Path) -> None:
    said = run(script, tmp_path, "--help")
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(f"usage: {Path(script).name}")
    assert not said.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_option_that_is_not_there_is_refused(script: str, tmp_path: Path) -> None:
    said = run(script, tmp_path, "--no-such-option")
    assert said.returncode == 2
    assert "error: " in said.stderr.splitlines()[-1]
    assert "Traceback" not in said.stderr
    assert not list(tmp_path.iterdir())


def test_usage_is_not_written_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    assert is_one_line(run("elastic-cloud/usage.py", tmp_path, "taken"), "usage.py", "taken", "another folder")
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"
    assert not is_one_line(run("elastic-cloud/usage.py", tmp_path, "free"), "usage.py")
    assert len(list((tmp_path / "free").iterdir())) == 3


@pytest.mark.parametrize("text", ["no JSON", "[]", "1", "{}", '{"SkuId": "a"}', b"\xff"])
def test_an_invoice_of_something_else_is_refused(text: str | bytes, tmp_path: Path) -> None:
    (tmp_path / "items").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert is_one_line(run("elastic-cloud/invoice.py", tmp_path, "items"), "invoice.py", "items", "line items")


def test_an_invoice_of_nothing_is_refused(tmp_path: Path) -> None:
    assert is_one_line(run("elastic-cloud/invoice.py", tmp_path, "items"), "invoice.py", "items", "No such file")


def test_whoever_reads_the_events_may_stop(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / "aws-s3-lambda/usage.py")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as sent:
        assert sent.stdout is not None
        assert sent.stderr is not None
        assert sent.stdout.readline().startswith(b'{"specversion"')
        sent.stdout.close()
        assert sent.stderr.read() == b""
        assert sent.wait(60) == 0


def test_derive_checks_its_own_copy(derive: Path, tmp_path: Path) -> None:
    book = derive.with_name("prices.yaml")
    text = book.read_text(encoding="utf-8")
    assert run(derive, tmp_path, "--check").returncode == 0
    book.write_text(text.replace("0.023", "0.024"), encoding="utf-8")
    assert run(derive, tmp_path, "--check").returncode == 1
    assert run(derive, tmp_path).returncode == 0
    assert book.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (b"", "no line begins with SKU"),
        (b"\n\nname,price\n", "no line begins with SKU"),
        (b"SKU,OfferTermCode\nABCDEFGHIJKLMNOP,1\n", "'RateCode'"),
        (b"SKU,OfferTermCode\nABCDEFGHIJKLMNOP\n", "shorter"),
        (b"\xff\xfe", "decode"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(derive: Path, tmp_path: Path, content: bytes | None, words: str) -> None:
    prices, listed = derive.with_name("prices.yaml"), derive.with_name("AmazonS3.csv")
    before = prices.read_bytes()
    if content is None:
        listed.unlink()
    else:
        listed.write_bytes(content)
    said = run(derive, tmp_path)
    assert is_one_line(said, "derive.py", "AmazonS3.csv", words), said.stderr
    assert prices.read_bytes() == before
