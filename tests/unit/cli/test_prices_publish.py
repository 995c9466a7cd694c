"""`ratemill prices publish` without Kafka: what it refuses, and how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GOOD = 'currency: USD\nprices:\n  - {id: a, sku: s, unit: GB, model: unit, unit_price: "0.5"}\n'
BAD = 'currency: USDX\nprices:\n  - {id: a, sku: s, unit: GB, model: unitt, unit_price: "0.5"}\n'


def publish(folder: Path, text: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "book.yaml").write_text(text, encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_") and name != "USER"}
    command = [sys.executable, "-m", "ratemill.cli.main", "prices", "publish", *arguments]
    environment = clean | {"RATEMILL_KAFKA__BOOTSTRAP": "127.0.0.1:1"} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_every_mistake_is_one_line_and_nothing_is_published(tmp_path: Path) -> None:
    said = publish(tmp_path, BAD, "book.yaml", "--author", "me", "--reason", "r")
    assert said.returncode == 2
    assert [text.split(": ")[0] for text in said.stderr.splitlines()] == ["book.yaml:1", "book.yaml:3"]


def test_a_missing_file(tmp_path: Path) -> None:
    said = publish(tmp_path, GOOD, "nowhere.yaml", "--author", "me", "--reason", "r")
    assert (said.returncode, len(said.stderr.splitlines())) == (2, 1)


def test_somebody_must_answer_for_it(tmp_path: Path) -> None:
    assert publish(tmp_path, GOOD, "book.yaml", "--author", " ", "--reason", "r").returncode == 2
    assert publish(tmp_path, GOOD, "book.yaml", "--author", "me").returncode == 2
    assert publish(tmp_path, GOOD, "book.yaml", "--author", "me", "--reason", " ").returncode == 2


def test_the_author_is_the_user_by_default_and_kafka_away_is_one_line(tmp_path: Path) -> None:
    said = publish(tmp_path, GOOD, "book.yaml", "--reason", "r", USER="me")
    assert said.returncode == 1
    assert said.stderr.startswith("error: Kafka at 127.0.0.1:1 does not answer")
    assert len(said.stderr.splitlines()) == 1
