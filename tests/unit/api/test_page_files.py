"""The files of the live cost page: nothing inline, nothing from elsewhere, money exact, the vendored library as it was published."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from ratemill.api import cost_page
from ratemill.api.problems import add_handlers

PAGE = Path(cost_page.__file__).with_name("page")
MODULES = sorted(PAGE.glob("*.js"))
LINES_OF_MODULE = 400
INEXACT = re.compile(r"parseFloat|toFixed|Math\.round\([^)]*(cost|amount)|Number\([^)]*(cost|amount|total|quantity|price)", re.IGNORECASE)
ELSEWHERE = re.compile(r"https?://(?!www\.w3\.org/2000/svg)|(?<![\w:/])//[a-z]+\.[a-z]", re.IGNORECASE)


class Inline(HTMLParser):
    """What a document has that a strict policy would not let run or load, and the files that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.files: list[str] = []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        self.found += [f"{tag} {name}" for name, _ in attrs if name == "style" or name.startswith("on")]
        self.files += [value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in in ("script", "style") and data.strip():
            self.found.append(self._in)


def differs(body: bytes) -> bool:
    facts = json.loads((PAGE / "vendor" / "chart.json").read_text())
    return hashlib.sha256(body).hexdigest() != facts["sha256"]


def test_the_chart_library_is_the_published_one() -> None:
    body = (PAGE / "vendor" / "chart.umd.min.js").read_bytes()
    assert not differs(body)
    assert differs(body + b" ")
    facts = json.loads((PAGE / "vendor" / "chart.json").read_text())
    assert f"Chart.js v{facts['version']}".encode() in body[:200]
    assert "MIT" in (PAGE / "vendor" / "chart.LICENSE.txt").read_text()


def test_nothing_is_inline() -> None:
    assert Inline((PAGE / "index.html").read_text()).found == []


@pytest.mark.parametrize("text", ["<script>run()</script>", "<p style='color: red'>x</p>", "<a onclick='run()'>x</a>", "<style>p {}</style>"])
def test_what_is_inline_is_found(text: str) -> None:
    assert len(Inline(text).found) == 1


def test_nothing_is_from_elsewhere() -> None:
    own = [path for path in PAGE.iterdir() if path.is_file()]
    assert [path.name for path in own if ELSEWHERE.search(path.read_text())] == []
    assert ELSEWHERE.search("@import url(https://fonts.example/x.css)")
    assert ELSEWHERE.search('src="//cdn.example/x.js"')


async def test_every_file_that_is_named_is_served() -> None:
    app = FastAPI()
    app.include_router(cost_page.router)
    app.state.parts = SimpleNamespace(frame_ancestors="https://portal.example")
    add_handlers(app, {})
    wanted = f"{cost_page.POLICY}; frame-ancestors https://portal.example"
    assert "default-src 'self'" in wanted
    assert "unsafe" not in wanted
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page")
    named = {file.removeprefix("page/") for file in Inline((PAGE / "index.html").read_text()).files}
    imported = {name for module in MODULES for name in re.findall(r'from "\./([\w-]+\.js)"', module.read_text())}
    assert {"main.js", "chart.umd.min.js"} <= named
    for name in sorted(named | imported):
        assert (await client.get(f"/page/{name}")).headers["content-security-policy"] == wanted, name
    assert (await client.get("/")).text == (PAGE / "index.html").read_text()
    assert (await client.get("/page/no-such.js")).status_code == 404


def test_money_is_exact_and_modules_are_short() -> None:
    for module in MODULES:
        lines = module.read_text().splitlines()
        assert [line for line in lines if INEXACT.search(line) and not line.startswith("export const height")] == [], module.name
        assert len(lines) <= LINES_OF_MODULE, module.name


@pytest.mark.parametrize("line", ["const x = parseFloat(row.billed_cost);", "Number(total.billed_cost) + 1", "cost.toFixed(2)", "Math.round(amount)"])
def test_an_inexact_line_is_found(line: str) -> None:
    assert INEXACT.search(line)
