"""The reference of the documentation, from the code: docs/reference/*.md.

    .venv/bin/python tools/reference.py          writes the pages; tests/unit/test_reference.py compares them

Commands are asked for their help. Metrics and problems are read from the source, so that nothing has to be started to know them.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from ratemill.cli.main import cli
from ratemill.schemas import errors
from ratemill.streams.config import Config
from ratemill.streams.topics import Topics, wanted_topics

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
_WIDTH = 100
_MADE = "<!-- Made from the code by tools/reference.py; not to be edited. -->\n\n"

# Where a metric comes from, by the longest path that fits.
PROCESSES = {
    "streams/": "`ratemill worker`",
    "api/": "`ratemill api`",
    "api/watcher.py": "`ratemill watch`",
    "cli/reconcile.py": "`ratemill reconcile --metrics`",
    "sinks/marketplace/": "`ratemill marketplace report`",
}

# Topic -> key, what is in it, who writes it, who may read it.
TOPICS = {
    "raw": ("any", "usage as collectors send it ([inputs](../inputs.md))", "collectors, `ratemill api`, `ratemill publish`", "normalize"),
    "events": ("account", "usage events, many in a record", "normalize", "rate; internal"),
    "rated": ("`x_LineItemId`", "rated line items, the newest revision of each counts", "rate", "**anyone**, with read_committed"),
    "dead_letter": ("of the record", "what could not count, and why ([errors](errors.md))", "every agent", "`ratemill dead-letters`, anyone"),
    "prices": ("digest", "price books", "`ratemill prices publish`", "every worker"),
    "control": ("request", "closes, corrections, backfills, and their receipts", "`ratemill close`, `amend`, …, rate", "rate; `ratemill control`"),
    "windows": ("account, SKU, month, window", "changelog: usage of each window", "rate", "rate; internal"),
    "dedupe": ("identity", "changelog: identities of counted events", "rate", "rate; internal"),
    "progress": ("lane", "offsets and counters of each lane", "every agent", "workers, `ratemill top`; internal"),
    "shadow": ("account", "costs under the live price book and under a draft", "rate", "`ratemill prices variance`"),
}


def commands() -> str:
    """Every command with its help."""
    parts = ["# Commands\n\n" + _MADE + "What `ratemill COMMAND --help` prints. Exit status 0: done; 1: a failure; 2: bad usage or input.\n"]
    for path, command in _all(cli, "ratemill"):
        settings: dict[str, Any] = {**cli.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
        context = click.Context(command, info_name=path, **settings)
        command._help_option = None  # click keeps the one of whoever asked first, whatever it was called there
        parts.append(f"\n## {path}\n\n" + "".join(f"    {line}".rstrip() + "\n" for line in command.get_help(context).splitlines()))
    return "".join(parts)


def _all(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            if (found := command.get_command(context, name)) is not None and not found.hidden:
                yield from _all(found, f"{path} {name}")


def metrics() -> str:
    """Every metric: name, labels, kind, text, and the process that has it."""
    rows = []
    for path in sorted(ROOT.glob("[a-z]*/**/*.py")):
        place = path.relative_to(ROOT).as_posix()
        if place.startswith(("tests/", "build/", "bench/", "docs/", "tools/")):
            continue
        for kind, name, text, labels in _metrics_in(ast.parse(path.read_text(encoding="utf-8"))):
            process = PROCESSES[max((prefix for prefix in PROCESSES if place.startswith(prefix)), key=len)]
            rows.append((process, name, kind, labels, text))
    intro = "In Prometheus' format. A counter's name ends in `_total`; a histogram has `_bucket`, `_sum` and `_count`.\n"
    parts = ["# Metrics\n\n" + _MADE + intro]
    for process in dict.fromkeys(PROCESSES.values()):
        parts.append(f"\n## {process}\n\n| metric | kind | labels | what it says |\n|---|---|---|---|\n")
        parts += [f"| `{name}` | {kind} | {', '.join(labels)} | {text} |\n" for its, name, kind, labels, text in sorted(rows) if its == process]
    return "".join(parts)


def _metrics_in(tree: ast.AST) -> Iterator[tuple[str, str, str, list[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            values, kind = node.args, ast.unparse(node.func).rpartition(".")[2].removesuffix("MetricFamily").lower()
        elif isinstance(node, ast.Tuple):
            values, kind = node.elts, "gauge"
        else:
            continue
        name, text = (_text(value) for value in [*values, None, None][:2])
        if name and text and re.fullmatch(r"ratemill_[a-z_]+", name):
            named = [key.value for key in getattr(node, "keywords", []) if key.arg in ("labels", "labelnames")]
            listed = next((value for value in [*values[2:3], *named] if isinstance(value, ast.List)), None)
            yield kind, name, text, [str(_text(label)) for label in listed.elts] if listed else []


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def topics() -> str:
    """Every topic of the default configuration, with the settings that it is made with."""
    config = Config()
    names = Topics.of(config.kafka)
    made = {topic.name: topic for topic in wanted_topics(config, names)}
    fields: dict[str, str] = dict.fromkeys(names.raw, "raw") | {name: field for field, name in names._asdict().items() if isinstance(name, str)}
    parts = [
        "# Topics\n\n" + _MADE + "As `ratemill worker` makes them by default; existing ones are taken as they are, if they have as many partitions.\n"
        "Records of topics that are written in transactions must be read with `isolation.level=read_committed`.\n\n"
        "| topic | partitions | key | what is in it | written by | read by | settings |\n|---|---|---|---|---|---|---|\n"
    ]
    for name, topic in made.items():
        settings = ", ".join(f"`{key}={value}`" for key, value in (topic.topic_configs or {}).items())
        parts.append(f"| `{name}` | {topic.num_partitions} | {' | '.join(TOPICS[fields[name]])} | {settings} |\n")
    return "".join(parts)


def errors_page() -> str:
    """Exit statuses, reasons of dead letters, and problems of the HTTP interface."""
    parts = ["# Errors\n\n" + _MADE + "An error is one line: what, where, what to do.\n\n"]
    parts.append("## Exit statuses\n\n| error | status | what it is |\n|---|---|---|\n")
    for name in errors.__all__:
        its = getattr(errors, name)
        if inspect.isclass(its) and issubclass(its, errors.RatemillError):
            parts.append(f"| {name} | {its.exit_status} | {inspect.getdoc(its).splitlines()[0]} |\n")  # type: ignore[union-attr]
    parts.append("\n## Reasons of dead letters\n\n| reason | why |\n|---|---|\n")
    parts += [f"| `{code}` | {why} |\n" for code, why in re.findall(r'[A-Z_]+ = "([a-z_]+)"  # (.+)', inspect.getsource(errors.Reason))]
    parts.append("\n## Problems of the HTTP interface\n\nThe `type` of a problem (RFC 9457) is `urn:ratemill:problem:` and its name.\n\n")
    parts.append("| name | status |\n|---|---|\n")
    parts += [f"| `{kind}` | {', '.join(map(str, sorted(statuses)))} |\n" for kind, statuses in sorted(_problems().items())]
    return "".join(parts)


def _problems() -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for path in sorted((ROOT / "api").glob("**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.args[0], ast.Constant) and (kind := _text(node.args[1])):
                status: Any = node.args[0].value
                if ast.unparse(node.func).endswith(("Problem", "problem_response")) and isinstance(status, int):
                    found.setdefault(kind, set()).add(status)
    return found


PAGES = {"commands.md": commands, "metrics.md": metrics, "topics.md": topics, "errors.md": errors_page}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
