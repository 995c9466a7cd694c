"""The pictures of docs/live-costs.md: `PYTHONPATH=tests python -m page.pictures ADDRESS`, with the address that a running demo prints."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

from .browsers import FLAGS, browser_path

FOLDER = Path(__file__).parents[2] / "docs" / "images"
WATCHED_MS = 9_000  # until the rate of change says something


def taken(browser: Browser, address: str, name: str, view: str, *, dark: bool = False, width: int = 1280, height: int = 960) -> Page:
    """Open a view of the page, wait until it is live, and keep a picture of it."""
    parts = urlsplit(address)
    context = browser.new_context(color_scheme="dark" if dark else "light", viewport={"width": width, "height": height}, reduced_motion="reduce")
    page = context.new_page()
    page.goto(parts._replace(query=view).geturl())
    expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=30_000)
    expect(page.locator("#legend li")).not_to_have_count(0, timeout=120_000)  # usage may begin to flow only now
    page.wait_for_timeout(WATCHED_MS)
    page.screenshot(path=FOLDER / f"{name}.png")
    return page


def main(address: str) -> None:
    """Four pictures: while usage flows, a month in the dark, a phone, an explanation."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(playwright.chromium), args=FLAGS)
        taken(browser, address, "live-costs", "period=2023-11&by=service")
        taken(browser, address, "live-costs-dark", "period=all&by=service", dark=True)
        taken(browser, address, "live-costs-phone", "period=2023-11&by=provider", width=360, height=780)
        page = taken(browser, address, "live-costs-explained", "period=2023-11&of=aws&sort=-cost")
        for step in ("SKU", "line item"):
            page.locator("#table-body button").first.click()
            expect(page.locator("#table-body tr").first, step).to_be_visible()
            page.wait_for_timeout(1_000)
        expect(page.locator("#explanation-body .badge")).to_be_visible(timeout=60_000)
        page.screenshot(path=FOLDER / "live-costs-explained.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
