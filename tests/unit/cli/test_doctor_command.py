"""`ratemill doctor` without Kafka and Elasticsearch: what it finds, and how it says it."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from ratemill.cli.doctor import folder_checks, installation_checks, line, required_packages
from ratemill.cli.doctor_kafka import Seen, balance, price_findings, setting_mistakes
from ratemill.cli.findings import ok, problem
from ratemill.streams.config import Config
from ratemill.streams.prices_topic import PublishedBook
from ratemill.streams.progress import Counters, Progress
from ratemill.streams.topics import Topics, lanes_of

module = importlib.import_module("ratemill.cli.doctor")
NOWHERE = {"RATEMILL_KAFKA__BOOTSTRAP": "127.0.0.1:1", "RATEMILL_ELASTICSEARCH__URL": "http://127.0.0.1:1"}


def doctor(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RATEMILL_")}
    command = [sys.executable, "-m", "ratemill.cli.main", "doctor", *arguments]
    return subprocess.run(command, cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=120, check=False)


def test_nothing_there_is_said_in_one_line_each(tmp_path: Path) -> None:
    said = doctor(tmp_path, **NOWHERE)
    assert said.returncode == 1
    problems = [text for text in said.stdout.splitlines() if text.startswith("problem")]
    assert [text.split()[1] for text in problems] == ["kafka:", "elasticsearch:"]
    assert all("ratemill local up" in text for text in problems)
    assert "Traceback" not in said.stderr


def test_json(tmp_path: Path) -> None:
    said = doctor(tmp_path, "--json", **NOWHERE)
    answer = json.loads(said.stdout)
    assert (said.returncode, answer["problem"]) == (1, 2)
    assert {check["check"] for check in answer["checks"]} >= {"python", "packages", "configuration", "data folder", "kafka", "elasticsearch"}


def test_every_mistake_of_the_configuration_is_a_problem(tmp_path: Path) -> None:
    said = doctor(tmp_path, RATEMILL_KAFKA__PARTITIONS="x", RATEMILL_NONSENSE="1")
    assert said.returncode == 1
    assert said.stdout.count("problem  configuration: ") == 2
    assert "data folder" not in said.stdout  # nothing can be checked without a configuration


def test_this_installation_is_complete() -> None:
    assert [finding.status for finding in installation_checks()] == ["ok", "ok"]
    assert {"aiokafka", "click", "elasticsearch"} <= set(required_packages())
    assert "pytest" not in required_packages()


def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "required_packages", lambda: ["click", "surely-not-installed"])
    assert [(finding.status, "surely-not-installed" in finding.text) for finding in installation_checks()] == [("ok", False), ("problem", True)]


def test_an_old_python_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_PYTHON", (9, 0))
    assert [finding.status for finding in installation_checks()] == ["problem"]


def config(folder: Path) -> Config:
    return Config.model_validate({"worker": {"data_dir": str(folder)}})


def test_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.status for finding in folder_checks(config(tmp_path / "not" / "yet"))] == ["ok"]
    assert not (tmp_path / "not").exists()  # a check changes nothing
    (tmp_path / "file").touch()
    assert [finding.status for finding in folder_checks(config(tmp_path / "file"))] == ["problem"]
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 1 << 80)
    assert [finding.status for finding in folder_checks(config(tmp_path))] == ["warning"]


def test_a_finding_is_one_printable_line() -> None:
    text = line(problem("prices", "by \x1b[31mme\nand", "do this"))
    assert text == "\x1b[31mproblem \x1b[0m prices: by \ufffd[31mme\ufffdand -> do this"
    assert line(ok("a", "b")).endswith("a: b")


@pytest.mark.parametrize(
    ("actual", "grave"),
    [
        ({"cleanup.policy": "delete", "retention.ms": "100"}, []),
        ({"cleanup.policy": "delete", "retention.ms": "-1"}, []),
        ({"cleanup.policy": "delete", "retention.ms": "99"}, [True]),
        ({"cleanup.policy": "delete"}, [True]),
        ({"cleanup.policy": "compact,delete", "retention.ms": "100"}, [True]),
    ],
)
def test_topic_settings(actual: dict[str, str], grave: list[bool]) -> None:
    assert [each for _, each in setting_mistakes({"cleanup.policy": "delete", "retention.ms": "100"}, actual)] == grave


def test_small_messages_are_a_warning_and_a_limit_where_none_should_be_a_problem() -> None:
    assert [each for _, each in setting_mistakes({"max.message.bytes": "100"}, {"max.message.bytes": "99"})] == [False]
    assert [each for _, each in setting_mistakes({"retention.ms": "-1"}, {"retention.ms": "604800000"})] == [True]


def test_conservation() -> None:
    good = {"rate-0": Progress("rate-0", sources={"t": Counters(10, 7, 2, 1)})}
    assert balance(good).status == "ok"
    assert "10 received = 7 counted + 2 duplicates + 1 dead-lettered" in balance(good).text
    bad = {**good, "rate-1": Progress("rate-1", sources={"t": Counters(10, 7, 2, 0)})}
    assert balance(bad).status == "problem"
    assert "rate-1 from t" in balance(bad).text


def test_every_source_has_its_lane() -> None:
    settings = Config.model_validate({"kafka": {"raw_topics": [{"name": "raw"}, {"name": "keyed", "keyed_by": "account"}]}})
    topics = Topics.of(settings.kafka)
    lanes = lanes_of(topics, {"raw": 1, "keyed": 2, topics.events: 2, topics.rated: 2})
    assert sorted((lane, tp.topic) for lane, tp in lanes) == [
        ("index-0", "usage.rated"), ("index-1", "usage.rated"), ("normalize-raw-0", "raw"), ("rate-0", "keyed"), ("rate-0", "usage.events"),
        ("rate-1", "keyed"), ("rate-1", "usage.events"),
    ]  # fmt: skip


@pytest.mark.parametrize("apart", [False, True])
def test_a_published_tariff_with_meters_is_the_book_of_the_lanes(apart: bool) -> None:
    book = 'currency: USD\nprices: [{id: a, sku: ram, unit: GB-h, model: unit, unit_price: "1"}]\n'
    meters = "meters: [{id: m, event: e, aggregation: sum, sku: ram, unit: GB-h}]\n"
    record = PublishedBook(book if apart else book + meters, "b.yaml", "ada", "why", 0, False, meters if apart else "", "m.yaml" if apart else "")
    digest = record.tariff().digest

    def found(of_lane: str) -> list[str]:
        lanes = {"rate-0": Seen(Progress("rate-0", book=of_lane), 0), "index-0": Seen(Progress("index-0"), 0)}
        return [finding.status for finding in price_findings("ratemill.prices", msgspec.json.encode(record), lanes, 3_600 * 10**9)]

    assert found(digest) == ["ok"]
    assert found("another") == ["ok", "warning"]
    broken = msgspec.json.encode(PublishedBook("currency: X", "b.yaml", "ada", "why", 0))
    assert [finding.status for finding in price_findings("ratemill.prices", broken, {}, 0)] == ["problem"]
