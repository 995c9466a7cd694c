"""`ratemill prices check` says what a price book holds, or what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from ratemill.cli.prices import command
from ratemill.schemas.errors import BadInput

GOOD = """\
currency: USD
prices:
  - {id: a, sku: "acme.[bold]storage", unit: GB-Mo, model: graduated, free: 100, tiers: [{up_to: 51200, unit_price: 0.023}, {unit_price: 0.021}]}
  - {id: b, sku: acme.requests, unit: Requests, model: package, package_size: 1000, package_price: 5, effective_from: 2026-01-01T00:00:00Z}
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(GOOD)
    return path


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_a_valid_book_is_a_table_that_fits(book: Path, columns: str) -> None:
    result = CliRunner().invoke(command, ["check", str(book)], env={"COLUMNS": columns})
    assert result.exit_code == 0
    assert all(len(line) <= int(columns) for line in result.output.splitlines())
    assert all(line.endswith(tuple("┓┃┩│┘┤")) for line in result.output.splitlines()[1:]), "no column is cut off"
    assert "2 prices in USD" in result.output


def test_names_are_no_markup(book: Path) -> None:
    assert "[bold]" in CliRunner().invoke(command, ["check", str(book)], env={"COLUMNS": "200"}).output


def test_a_valid_book_as_json_keeps_numbers_as_text(book: Path) -> None:
    result = CliRunner().invoke(command, ["check", "--json", str(book)])
    shown = json.loads(result.output)
    assert shown["valid"] is True
    storage, requests = shown["prices"]
    assert [(tier["name"], tier["up_to"], tier["unit_price"]) for tier in storage["tiers"]] == [
        ("free", "100", "0"),
        ("tier-1", "51300", "0.023"),
        ("tier-2", None, "0.021"),
    ]
    assert (storage["effective_from"], requests["effective_from"]) == (None, "2026-01-01T00:00:00Z")
    assert requests["package_price"] == "5"


def test_mistakes_go_to_standard_error_one_per_line(book: Path) -> None:
    book.write_text(GOOD.replace("0.021", "x").replace("1000", "0"))
    result = CliRunner().invoke(command, ["check", str(book)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [f"{book}:3", f"{book}:4"]


def test_mistakes_as_json(book: Path) -> None:
    book.write_text("a: 1\n")
    result = CliRunner().invoke(command, ["check", "--json", str(book)])
    assert result.exit_code == 2
    shown = json.loads(result.stdout)
    assert shown["valid"] is False
    assert shown["mistakes"] == result.stderr.splitlines()


@pytest.mark.parametrize("path", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, path: str) -> None:
    result = CliRunner().invoke(command, ["check", str(tmp_path / path)])
    assert isinstance(result.exception, BadInput)
    assert result.exception.exit_status == 2
    assert "\n" not in str(result.exception)


def test_a_large_book_is_cut_in_the_table_and_says_so(book: Path) -> None:
    book.write_text("currency: USD\nprices:\n" + "".join(f"- {{id: p{n}, sku: s{n}, unit: u, model: unit, unit_price: 1}}\n" for n in range(250)))
    result = CliRunner().invoke(command, ["check", str(book)])
    assert "and 50 more; --json lists all of them" in result.output
