"""The documentation builds as a site in which every link and anchor leads somewhere, and which loads nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "build" / "docs" / "bin" / "properdocs"


@pytest.fixture(scope="module", autouse=True)
def tool() -> None:
    """Its environment: made once, and kept like the embedded servers."""
    done = subprocess.run(["make", "-s", "build/docs/.installed"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr


def built(tree: Path, site: Path) -> tuple[int, str]:
    """Exit status and what was said; not --quiet, which takes warnings from what --strict looks at."""
    done = subprocess.run(
        [TOOL, "build", "--strict", "--config-file", str(tree / "tools" / "site.yml"), "--site-dir", str(site)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_every_page_is_in_the_menu_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    status, said = built(ROOT, tmp_path / "site")
    assert status == 0, said
    pages = {path.relative_to(tmp_path / "site").as_posix(): path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    for source in (ROOT / "docs").rglob("*.md"):
        assert source.relative_to(ROOT / "docs").with_suffix(".html").as_posix() in pages
    # What a page links to outside of docs/ came along.
    assert "examples/elastic-cloud/index.html" in pages
    assert "CHANGELOG.html" in pages
    loads = re.compile(r'<(?:script|img|iframe|link)[^>]*(?:src|href)="(https?:[^"]*)"')
    assert [url for text in pages.values() for url in loads.findall(text)] == []


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("[here](nowhere.md)", "nowhere.md"),
        ("[here](../examples/nowhere/README.md)", "examples/nowhere"),
        ("[here](pricing.md#no-such-part)", "no-such-part"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, mistake: str, told: str) -> None:
    tree = tmp_path / "tree"
    for folder in ("docs", "examples", "tools"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("images", "__pycache__"))
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tree / name)
    (tree / "docker" / "helm" / "ratemill").mkdir(parents=True)
    shutil.copy(ROOT / "docker" / "helm" / "ratemill" / "values.yaml", tree / "docker" / "helm" / "ratemill")
    with (tree / "docs" / "links.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{mistake}\n")
    status, said = built(tree, tmp_path / "site")
    assert status != 0
    assert told in said
