"""What a person does with `ratemill marketplace`: look before it is sent, compare, and settle what a marketplace has otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from harness.market import HOUR_S, Bed, guarded
from marketplaces.markets import SINCE
from marketplaces.server import SECRET, TOKEN, Server

NOW = SINCE + HOUR_S + 700
DAY = "2026-11-02"


@contextmanager
def selling(kind: str, folder: Path, now: list[int]) -> Iterator[Bed]:
    """A marketplace of this kind, and 7.5 of a customer's first hour that are to be reported to it. now: its clock."""
    with Server(guarded(kind, now)) as server:
        bed = Bed(folder, kind, server)
        bed.add("a", 1, SINCE, "7.5")
        yield bed


@pytest.mark.parametrize(("kind", "due", "requests"), [("azure", 1, 1), ("stripe", 2, 2)])
def test_a_dry_run_shows_what_is_due_and_sends_nothing(kind: str, due: int, requests: int, tmp_path: Path) -> None:
    now = [NOW + (HOUR_S if kind == "stripe" else 0)]
    with selling(kind, tmp_path, now) as bed:
        assert bed.command(now[0], "report", "--dry-run") == (0, "nothing is due\n")
        if kind == "stripe":
            bed.add("b", 2, SINCE + HOUR_S, "0.5")
        bed.report(now[0], kill="after_freeze")
        asked = len(bed.server.seen)
        for _ in range(2):
            status, said = bed.command(now[0], "report", "--dry-run")
            assert status == 0, said
            assert f"POST {bed.server.url}/" in said
            assert said.endswith(f"\n{due} records are due; nothing was sent\n")  # of all requests, not of the first alone
            assert said.count("POST ") == requests
            assert SECRET not in said
            assert TOKEN not in said
        assert (len(bed.server.seen), bed.billed) == (asked, 0)
        status, said = bed.report(now[0])
        assert (status, bed.billed) == (0, 7 + (due == 2)), said


def test_status_tells_of_usage_that_no_reporter_has_frozen(tmp_path: Path) -> None:
    now = [NOW]
    with selling("azure", tmp_path, now) as bed:
        assert bed.command(SINCE + 11 * HOUR_S, "status")[0] == 0
        status, said = bed.command(SINCE + 12 * HOUR_S, "status")  # it never ran
        assert status == 1
        assert "is not even frozen, from 2026-11-02 23:00 on; the first of it is late at 2026-11-03 22:00" in said
        status, said = bed.report(now[0])
        assert status == 0, said
        assert bed.command(now[0], "status")[0] == 0
        status, said = bed.command(SINCE + 14 * HOUR_S, "status")  # it ran once, and no more
        assert status == 1
        assert "is not even frozen, from 2026-11-03 00:00 on" in said


def test_azure_is_asked_what_it_has_and_a_difference_is_told(tmp_path: Path) -> None:
    now = [NOW]
    with selling("azure", tmp_path, now) as bed:
        status, said = bed.report(now[0])
        assert status == 0, said
        status, said = bed.command(now[0], "reconcile", "--since", DAY)
        assert (status, said.strip()) == (0, "books: balanced; compared with shop: 0 differences")
        # Somebody reported an hour past us: it is in Azure, and not in our books.
        taken = [request for request in bed.server.seen if request.method == "POST"][-1]
        assert b"T23:00" in taken.body
        bed.server.fake.handle(replace(taken, body=taken.body.replace(b"T23:00", b"T22:00")))
        status, said = bed.command(now[0], "reconcile", "--since", DAY)
        assert status == 1, said
        assert "compared with shop: 1 differences" in said
        assert [word for line in said.splitlines() if "guid-acct-1" in line for word in line.split()] == ["guid-acct-1", "gb_hours", DAY, "7", "14"]
        bed.server.answers = [503]
        status, said = bed.command(now[0], "reconcile", "--since", DAY)
        assert status == 1
        assert "Azure does not tell what it has" in said
        assert "Traceback" not in said


def test_a_report_of_a_marketplace_is_compared_line_by_line(tmp_path: Path) -> None:
    now = [NOW]
    with selling("stripe", tmp_path, now) as bed:
        status, said = bed.report(now[0])
        assert status == 0, said
        file = tmp_path / "theirs.csv"
        words = ("reconcile", "--since", DAY, "--file", str(file))
        file.write_text(f"customer,dimension,time,quantity\ncus_acct-1,gb_hours,{DAY}T23:00:00,4\ncus_acct-1,gb_hours,{DAY},3\n")
        status, said = bed.command(now[0], *words, "--listing", "shop")
        assert (status, said.strip()) == (0, "books: balanced; compared with shop: 0 differences")
        file.write_text(f"customer,dimension,time,quantity\ncus_acct-1,gb_hours,{DAY},6\n")
        status, said = bed.command(now[0], *words, "--listing", "shop")
        assert status == 1
        assert [word for line in said.splitlines() if "cus_acct-1" in line for word in line.split()] == ["cus_acct-1", "gb_hours", DAY, "7", "6"]
        file.write_bytes(f"customer,dimension,time,quantity\ncus_acct-1,gb_hours,{DAY},7\n".encode("utf-8-sig"))  # as spreadsheets write it
        status, said = bed.command(now[0], *words, "--listing", "shop")
        assert status == 0, said
        file.write_bytes(b"customer,dimension,time,quantity\ncus_acct-1,gb_hours,\xe9t\xe9,7\n")
        status, said = bed.command(now[0], *words, "--listing", "shop")
        assert (status, "theirs.csv: it is not UTF-8 (byte " in said, "Traceback" in said) == (2, True, False), said
        status, said = bed.command(now[0], *words, "--listing", "shop", "--until", DAY)
        assert (status, f"--since {DAY} is not before --until {DAY}" in said) == (2, True), said
        for text, expected in (("customer,time\n", "theirs.csv:1: no column dimension, quantity"), ("", "theirs.csv:1: no column customer")):
            file.write_text(text)
            status, said = bed.command(now[0], *words, "--listing", "shop")
            assert status == 2
            assert expected in said
        file.write_text(f"customer,dimension,time,quantity\ncus_acct-1,gb_hours,{DAY},many\n")
        status, said = bed.command(now[0], *words, "--listing", "shop")
        assert status == 2
        assert "theirs.csv:2: " in said
        status, said = bed.command(now[0], *words, "--listing", "market")
        assert status == 2
        assert "--file needs --listing; there are shop" in said


def test_what_a_marketplace_has_otherwise_is_settled_and_the_rest_is_reported_next(tmp_path: Path) -> None:
    now = [NOW]
    with selling("stripe", tmp_path, now) as bed:
        bed.server.answers = [400] * 20
        bed.report(now[0])
        _, said = bed.command(now[0], "status", "--json")
        (record,) = json.loads(said[: said.rindex("}") + 1])["waiting"]
        assert (record["state"], record["quantity"]) == ("rejected", 7)
        status, said = bed.command(now[0], "settle", "no-such-id", "--accepted", "0", "--reason", "none")
        assert status == 2
        assert "no-such-id: there is no such record" in said
        status, said = bed.command(now[0], "settle", record["id"], "--accepted", "2", "--reason", "their page says so")
        assert (status, said) == (0, f"{record['id']} is settled: 2 accepted\n")
        status, said = bed.command(now[0], "settle", record["id"], "--accepted", "2", "--reason", "again")
        assert status == 2
        assert "it is settled, and nothing is to be said of it" in said
        bed.server.answers = []
        now[0] += HOUR_S
        status, said = bed.report(now[0])
        assert (status, bed.billed) == (0, 5), said  # 7.5 counted, 2 are there: 5 now, and 0.5 is carried
        status, said = bed.command(now[0], "status", "--all")
        assert status == 0, said
        assert "0.5" in said
