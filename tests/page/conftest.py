"""A browser, and pages of it that note all that goes wrong in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from page.browsers import FLAGS, MISSING, browser_path
from playwright.sync_api import Browser, Page, sync_playwright


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = browser_path(playwright.chromium)
        if not path:
            pytest.skip(MISSING)
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
