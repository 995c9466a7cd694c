"""Targets that people write by hand: tariffs, expressions of meters, configuration, usage files."""

from __future__ import annotations

import gzip
import os
import random
import re
import tempfile
from collections.abc import Sequence
from decimal import Decimal, localcontext
from functools import lru_cache
from pathlib import Path

from ratemill.cli.offline import decode_piece
from ratemill.collectors.files import MAX_PIECE_BYTES, read_pieces
from ratemill.collectors.publishing import account_of
from ratemill.metering.expression import BadExpression, parse_expression
from ratemill.metering.operations import FLAG, NUMBER, TEXT, Unmeterable
from ratemill.metering.tariff import parse_tariff
from ratemill.pricing.money import EXACT
from ratemill.schemas.decoders import FORMATS
from ratemill.schemas.errors import BadConfig, BadInput, BadPriceBook
from ratemill.schemas.usage_event import UsageEvent
from ratemill.streams.config import load_config

from .checks import check_entries, want
from .mutate import change_bytes, change_text
from .targets import DATA, PRICES, ROOT, Target, examples

__all__ = ["text_targets"]


# -- tariffs -------------------------------------------------------------------------------------------------------------------

_BLOCK = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@lru_cache(maxsize=1)
def _tariffs() -> list[str]:
    texts = [PRICES, *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "examples").glob("*/prices.yaml")))]
    for page in ("pricing.md", "meters.md", "statements.md", "price-changes.md"):
        texts += _BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    # An example file is long: its pieces are changed more to the point than the whole.
    return sorted({text for text in texts if len(text) < 6_000})


@lru_cache(maxsize=1)
def _words() -> list[str]:
    return sorted({word for text in _tariffs() for word in re.findall(r"[A-Za-z_][\w.\-/]*:?|'[^'\n]*'|\"[^\"\n]*\"", text)})


def _make_tariff(dice: random.Random) -> bytes:
    text = dice.choice(_tariffs())
    if dice.random() < 0.2:
        return change_bytes(dice, text.encode(), [other.encode() for other in _tariffs()])
    return change_text(dice, text, _words()).encode("utf-8", "surrogatepass")


def _check_tariff(data: bytes) -> None:
    for meters in (None, data):
        try:
            tariff = parse_tariff(data, "book.yaml", meters, None if meters is None else "meters.yaml")
        except BadPriceBook as error:
            want(error.mistakes, "a price book is refused without a word")
            want(all(re.match(r"(?:book|meters)\.yaml(?::[0-9]+)?: \S", line) for line in error.mistakes), f"not `file:line: what`: {error.mistakes}")
            continue
        again = parse_tariff(data, "other.yaml")
        want(again.digest == tariff.digest, "the same text has another digest")


# -- expressions ---------------------------------------------------------------------------------------------------------------

_PARTS = [
    "quantity", "unit", "region", "resource", "provider", "source", "account", "event", "dimensions.a", 'dimensions["a b"]', "tags.x", "1",
    "0", "2.5", "1e60",
    "1e-60", "1e61", "9" * 60, '"text"', "'text'", '"\\""', "true", "false", "min(1, 2)", "max(quantity, 0)", "round(quantity, 2)",
    "abs(-1)", "floor(1.5)",
    "ceil(quantity)", "has(dimensions.a)", "number(dimensions.n)", "(1)", "not true", "-quantity", "1 / 3", "1 / 0", "[1, 2]", 'unit in ["a", "b"]',
]  # fmt: skip
_BETWEEN = [
    " + ",
    " - ",
    " * ",
    " / ",
    " == ",
    " != ",
    " < ",
    " <= ",
    " > ",
    " >= ",
    " and ",
    " or ",
    " in ",
    ", ",
    ".",
    " ",
    "",
    "(",
    ")",
    "[",
    "]",
    " not ",
]
_EVENT = UsageEvent(
    "acct", "src", "id", "sku", 1_784_210_400_000_000_000, Decimal("12.5"), "GB", "aws", "eu", "i-1",
    '{"a":"x","a b":"y","n":"1.5"}', '{"x":"z"}',
)  # fmt: skip
_EVENTS = [
    _EVENT,
    UsageEvent("a", "s", "i", "k", 0, Decimal("-1E+60"), "u"),
    UsageEvent("a", "s", "i", "k", 0, Decimal("1E-60"), "u", dimensions='{"n":"9e99"}'),
]


def _make_expression(dice: random.Random) -> bytes:
    if dice.random() < 0.01:
        part = dice.choice(["(", "-", "not ", "min(", "[", "1+", "1*", "unit==", '"'])
        return (part * dice.choice([30, 33, 400, 5_000]) + "1").encode()
    count = dice.choice([1, 2, 3, 5, 9])
    text = "".join(part for _ in range(count) for part in (dice.choice(_PARTS), dice.choice(_BETWEEN)))
    text = text if dice.random() < 0.3 else text[: len(text) - 1].rstrip(" +-*/=<>!,.([")
    return change_bytes(dice, text.encode()) if dice.random() < 0.2 else text.encode()


def _check_expression(data: bytes) -> None:
    text = data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace") if _is_text(data) else data.decode("latin-1")
    for wanted in (NUMBER, TEXT, FLAG):
        for digits in (None, 6):
            try:
                expression = parse_expression(text, wanted, digits)
            except BadExpression as error:
                want(str(error) and "\n" not in str(error), "an expression is refused without a line of its own")
                continue
            for event in _EVENTS:
                with localcontext(EXACT):
                    try:
                        value = expression.run(event)
                    except (Unmeterable, ArithmeticError):
                        continue
                want(isinstance(value, {NUMBER: Decimal, TEXT: str, FLAG: bool}[wanted]), f"{text!r} gives a {type(value)}")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


# -- configuration -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _config() -> str:
    text = (ROOT / "ratemill.example.toml").read_text(encoding="utf-8")
    return "\n".join(line.removeprefix("# ").removeprefix("#") if "=" in line or "[" in line else line for line in text.split("\n"))


def _make_config(dice: random.Random) -> bytes:
    words = [
        "true",
        "1",
        "0",
        "-1",
        "1e9",
        '"a"',
        "[]",
        "{}",
        "[kafka]",
        "[[kafka.raw_topics]]",
        "partitions = 3",
        'sasl_mechanism = "PLAIN"',
        "[rating]",
        "nan",
    ]
    if dice.random() < 0.3:
        return change_bytes(dice, _config().encode())
    return change_text(dice, _config(), words).encode("utf-8", "surrogatepass")


def _check_config(data: bytes) -> None:
    path = _file(data, "ratemill.toml")
    try:
        load_config(str(path), {}).rating.limits  # noqa: B018
    except BadConfig as error:
        want(error.mistakes and all(mistake and "\n" not in mistake for mistake in error.mistakes), f"not a line for each mistake: {error.mistakes}")
    except BadInput as error:
        want("\n" not in str(error), "more than a line")


# -- usage files ---------------------------------------------------------------------------------------------------------------

SHM = Path("/dev/shm")


@lru_cache(maxsize=1)
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fuzz-", dir=SHM if SHM.is_dir() and os.access(SHM, os.W_OK) else None)


def _file(data: bytes, name: str) -> Path:
    path = Path(_folder().name) / f"{os.getpid()}-{name}"
    path.write_bytes(data)
    return path


@lru_cache(maxsize=1)
def _tables() -> list[tuple[str, bytes]]:
    formats = {"aws": "aws-cur", "azure": "azure-cost", "gcp": "gcp-billing"}
    return [(formats[path.name.split("_")[0]], b"".join(path.read_bytes().splitlines(True)[:5])) for path in sorted(DATA.glob("*.csv"))]


_KINDS = (".csv", ".json", ".ndjson", ".csv.gz", ".json.gz", "")


def _make_file(dice: random.Random) -> bytes:
    """Two bytes that choose format and suffix, then the file."""
    suffix = dice.randrange(len(_KINDS))
    if dice.random() < 0.4:
        format, content = dice.choice(_tables())
    else:
        format = dice.choice(sorted(FORMATS))
        lines = [dice.choice(examples()[format]).encode() for _ in range(dice.choice([1, 2, 5]))]
        content = dice.choice([b"\n".join(lines), b"[" + b",".join(lines) + b"]", b"[\n" + b",\n".join(lines) + b"\n]\n"])
    if dice.random() < 0.9:
        content = change_bytes(dice, content, [table for _, table in _tables()])
    if _KINDS[suffix].endswith(".gz") and dice.random() < 0.9:
        content = gzip.compress(content, 1)
        content = change_bytes(dice, content) if dice.random() < 0.3 else content
    return bytes([sorted(FORMATS).index(format), suffix]) + content


def _check_file(data: bytes) -> None:
    if len(data) < 2:
        return
    format = sorted(FORMATS)[data[0] % len(FORMATS)]
    path = _file(data[2:], "usage" + _KINDS[data[1] % len(_KINDS)])
    try:
        line = 0
        for number, piece in enumerate(read_pieces(str(path), format)):
            want(piece.line >= line and (piece.value or piece.flaw or piece.size), f"piece {number} stands on line {piece.line}, behind line {line}")
            want(len(piece.value) <= MAX_PIECE_BYTES, "a piece is larger than any record")
            line = piece.line
            if number < 50:
                check_entries(decode_piece(piece, format))
                account_of(piece.value, format)
    except BadInput as error:
        want("\n" not in str(error), "more than a line")


def text_targets() -> Sequence[Target]:
    """Tariffs, expressions, configuration and files."""
    return [
        Target("tariff", _make_tariff, _check_tariff, 8),
        Target("expression", _make_expression, _check_expression, 6),
        Target("config", _make_config, _check_config, 2),
        Target("file", _make_file, _check_file, 6),
    ]
