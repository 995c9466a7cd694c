"""The documentation's site shows files from outside of docs/ too: whatever a page there links to (an example and its files, the changelog).

A link is written as it works in the repository, and is turned here into one that works in the site. One that leads nowhere stays
as it is, and `strict` of site.yml refuses it.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from properdocs.structure.files import File, Files

_REPOSITORY = Path(__file__).parents[1]
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_SHOWN = ("CHANGELOG.md", "CONTRIBUTING.md")  # in the menu, and at the root of the repository


def on_files(files: Files, config: Any) -> Files:
    """Add what the pages lead to outside of docs/, and what these lead to."""
    waiting = [_home(file.src_uri) for file in files if file.src_uri.endswith(".md")]
    waiting += _SHOWN
    seen: set[str] = set()
    while waiting:
        at = waiting.pop()
        if at in seen or not (_REPOSITORY / at).is_file():
            continue
        seen.add(at)
        if _page(at) not in files.src_uris:
            files.append(File.generated(config, _page(at), abs_src_path=str(_REPOSITORY / at)))
        if at.endswith(".md"):
            text = (_REPOSITORY / at).read_text(encoding="utf-8")
            waiting += [normpath(join(dirname(at), link)) for _, link, _, _ in _LINK.findall(text) if ":" not in link]
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let links lead to the pages of the site."""
    here = page.file.src_uri
    home = _home(here)

    def turned(match: re.Match[str]) -> str:
        opening, link, anchor, closing = match.groups()
        if ":" in link:
            return match[0]
        there = normpath(join(dirname(home), link))
        if not (_REPOSITORY / there).is_file():
            return match[0]
        return f"{opening}{relpath(_page(there), dirname(here) or '.')}{anchor or ''}{closing}"

    return _LINK.sub(turned, markdown)


def _home(page: str) -> str:
    """Where a page of the site lies in the repository."""
    inside = f"docs/{page}"
    return inside if (_REPOSITORY / inside).is_file() else page


def _page(home: str) -> str:
    """What a file of the repository is called in the site."""
    return home.removeprefix("docs/")
