"""A browser, and pages of it that note all that goes wrong in them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserType, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing but what the page asks for; --no-sandbox, because a browser that root starts has none.
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]  # fmt: skip


def browser_path(kind: BrowserType) -> str:
    """$RATEMILL_BROWSER, a Chromium of this machine, or Playwright's own; "" if there is none."""
    chosen = os.environ.get("RATEMILL_BROWSER")
    if chosen:
        return chosen
    found = next((path for name in NAMES if (path := shutil.which(name))), "")
    return found or (kind.executable_path if Path(kind.executable_path).exists() else "")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = browser_path(playwright.chromium)
        if not path:
            pytest.skip("no browser: install Debian's package chromium, or `.venv/bin/playwright install chromium`, or set RATEMILL_BROWSER")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Noted:
    """What happened in a page."""

    said: list[str] = field(default_factory=list)  # by console and by errors that nobody caught
    asked: list[str] = field(default_factory=list)  # addresses of all requests


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., tuple[Page, Noted]]]:
    """Makes a page in a profile of its own."""
    contexts = []

    def made(*, dark: bool = False, width: int = 1280, height: int = 900, **options: Any) -> tuple[Page, Noted]:
        context = browser.new_context(
            color_scheme="dark" if dark else "light", viewport={"width": width, "height": height}, reduced_motion="reduce", **options
        )
        contexts.append(context)
        page, noted = context.new_page(), Noted()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: noted.said.append(f"{message.type}: {message.text}") if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: noted.said.append(f"uncaught: {error}"))
        page.on("request", lambda request: noted.asked.append(request.url))
        return page, noted

    yield made
    for context in contexts:
        context.close()
