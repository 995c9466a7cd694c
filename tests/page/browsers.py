"""Which browser there is, and how it is started."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from playwright.sync_api import BrowserType

__all__ = ["FLAGS", "MISSING", "browser_path"]

MISSING = "no browser: install Debian's package chromium, or `.venv/bin/playwright install chromium`, or set TESTS_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing but what the page asks for; --no-sandbox, because a browser that root starts has none.
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]  # fmt: skip


def browser_path(kind: BrowserType) -> str:
    """$TESTS_BROWSER, a Chromium of this machine, or Playwright's own; "" if there is none."""
    chosen = os.environ.get("TESTS_BROWSER")
    if chosen:
        return chosen
    found = next((path for name in NAMES if (path := shutil.which(name))), "")
    return found or (kind.executable_path if Path(kind.executable_path).exists() else "")
