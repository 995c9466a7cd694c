"""House rules that a machine can check. Each rule is a function, and each function is shown a breach that it must find."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest
from ratemill.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(init.parent.name for init in ROOT.glob("*/__init__.py"))
SOURCES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

LINES_OF_MODULE, LINES_OF_FUNCTION = 400, 70

# What a folder may import of ours; the folders that are not named here may import everything.
ALLOWED = {
    "native": set[str](),
    "schemas": {"native"},
    "pricing": {"schemas"},
    "metering": {"schemas", "pricing"},
    "store": {"schemas"},
    "sinks": {"schemas", "pricing", "store"},
    "streams": {"schemas", "pricing", "metering", "sinks"},
    "collectors": {"schemas", "sinks"},
    "invoicing": {"schemas", "pricing"},
    "api": {"schemas", "pricing", "sinks", "store", "invoicing"},
    "local": {"schemas"},
}
# A stack that `ratemill local up` left here is used without being named: only the configuration knows of it.
EXCEPTIONS = {("streams/config.py", "local")}

EXACT = ("schemas/", "pricing/", "metering/", "streams/core/", "sinks/", "invoicing/")
INDEPENDENT = "bench"  # its oracle must share nothing with what it checks
DECIMAL_DOORS = {"pricing/money.py", "schemas/quantity.py"}
PURE = ("pricing/", "metering/", "streams/core/")
IMPURE_MODULES = {"aiokafka", "faust", "mode", "elasticsearch", "time", "random", "socket", "asyncio", "requests", "aiohttp"}
CLOCKS = {"now", "utcnow", "today", "time_ns", "monotonic", "perf_counter"}


def tree_of(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def our_imports(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """(line, folder of ours) of every import in a module, relative or not, at the top or in a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = [*path.parts[: len(path.parts) - node.level], *(node.module or "").split(".")]
            yield from ((node.lineno, name) for name in ([target[0]] if target[0] else [alias.name for alias in node.names]))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ratemill":
            yield node.lineno, [*(node.module or "").split("."), node.names[0].name][1]
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[1]) for alias in node.names if alias.name.startswith("ratemill."))


def wrong_directions(tree: ast.AST, path: Path) -> list[str]:
    own = path.parts[0]
    if own not in ALLOWED:
        return []
    return [
        f"{path}:{line}: {own} imports {folder}"
        for line, folder in our_imports(tree, path)
        if folder != own and folder not in ALLOWED[own] and (str(path), folder) not in EXCEPTIONS
    ]


def absolute_imports(tree: ast.AST, path: Path) -> list[str]:
    """Folders import each other relatively: the packaging contract (see CONTRIBUTING.md)."""
    ours = {"ratemill", *FOLDERS}
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in ours]
    return [f"{path}:{node.lineno}: absolute import of {node.module}" for node in nodes]


def too_long(text: str, path: Path) -> list[str]:
    lines = text.count("\n")
    found = [f"{path}: {lines} lines, at most {LINES_OF_MODULE}"] if lines > LINES_OF_MODULE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (length := (node.end_lineno or 0) - node.lineno + 1) > LINES_OF_FUNCTION:
            found.append(f"{path}:{node.lineno}: {node.name} has {length} lines, at most {LINES_OF_FUNCTION}")
    return found


def inexact(tree: ast.AST, path: Path) -> list[str]:
    """Floats where money and quantities live, and Decimals made anywhere but at their two doors."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "float" and str(path).startswith(EXACT):
                found.append(f"{path}:{node.lineno}: float(")
            if node.func.id == "Decimal" and str(path) not in DECIMAL_DOORS and path.parts[0] != INDEPENDENT:
                found.append(f"{path}:{node.lineno}: Decimal( outside {', '.join(sorted(DECIMAL_DOORS))}")
    return found


def impure(tree: ast.AST, path: Path) -> list[str]:
    """Clocks and services in the parts that must give the same answer every time."""
    if not str(path).startswith(PURE):
        return []
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        found += [f"{path}:{node.lineno}: imports {name}" for name in names if name.split(".")[0] in IMPURE_MODULES]  # type: ignore[attr-defined]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            found.append(f"{path}:{node.lineno}: reads a clock: .{node.func.attr}()")
    return found


# Put together here, so that this file does not match itself.
LEFTOVERS = re.compile("|".join(["FIX" + "ME", "XX" + "X ", "/" + "work/", "/" + "root/", r"/tmp/" + r"[a-z]", "/" + r"home/(?!ratemill)[a-z]"]))


def leftovers(text: str, path: Path) -> list[str]:
    return [f"{path}:{number}: {match[0]}" for number, line in enumerate(text.splitlines(), 1) if (match := LEFTOVERS.search(line))]


def without_help(command: click.Command, name: str, context: click.Context) -> list[str]:
    """Commands that do not say what they do, at every depth."""
    found = [] if (command.help or "").strip() else [f"{name}: no help"]
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            child = command.get_command(context, sub)
            found += [f"{name} {sub}: no such command"] if child is None else without_help(child, f"{name} {sub}", context)
    return found


def tracked() -> Iterable[Path]:
    """Text files of the repository."""
    try:
        said = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in said.stdout.decode().split("\0") if name and not name.startswith("tests/data/") and (ROOT / name).is_file()]


def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def test_dependencies_point_one_way() -> None:
    assert [found for path in SOURCES for found in wrong_directions(tree_of(path), path)] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("schemas/x.py", "from ..pricing.money import ZERO"),
        ("schemas/decoders/x.py", "from ...sinks import costs"),
        ("pricing/models/x.py", "from ...streams.config import Config"),
        ("sinks/x.py", "from .. import streams"),
        ("collectors/x.py", "def f():\n    from ..streams.app import App"),
        ("local/x.py", "import ratemill.pricing.money"),
        ("invoicing/x.py", "from ..streams.topics import Topics"),
        ("streams/x.py", "from ratemill.cli import main"),
        ("streams/lanes/x.py", "from ratemill import api"),
        ("streams/lanes/x.py", "from ...local.stack import read_stack"),
    ],
)
def test_a_wrong_direction_is_found(path: str, source: str) -> None:
    assert len(wrong_directions(parsed(source), Path(path))) == 1


def test_folders_import_each_other_relatively() -> None:
    assert [found for path in SOURCES for found in absolute_imports(tree_of(path), path)] == []


@pytest.mark.parametrize("source", ["from ratemill.schemas.errors import BadInput", "from schemas import errors"])
def test_an_absolute_import_is_found(source: str) -> None:
    assert absolute_imports(parsed(source), Path("streams/x.py"))


def test_modules_and_functions_are_short() -> None:
    assert [found for path in SOURCES for found in too_long((ROOT / path).read_text(encoding="utf-8"), path)] == []


@pytest.mark.parametrize("source", ["x = 1\n" * (LINES_OF_MODULE + 1), "async def f():\n" + "    x = 1\n" * LINES_OF_FUNCTION])
def test_a_long_one_is_found(source: str) -> None:
    assert len(too_long(source, Path("x.py"))) == 1


def test_money_is_exact() -> None:
    assert [found for path in SOURCES for found in inexact(tree_of(path), path)] == []


@pytest.mark.parametrize(("path", "source"), [("sinks/x.py", "float(a)"), ("streams/core/x.py", "Decimal('1')"), ("cli/x.py", "y = [Decimal(1)]")])
def test_an_inexact_line_is_found(path: str, source: str) -> None:
    assert len(inexact(parsed(source), Path(path))) == 1


def test_the_core_knows_no_clock_and_no_service() -> None:
    assert [found for path in SOURCES for found in impure(tree_of(path), path)] == []


IMPURE = ["import time", "from aiokafka.structs import X", "import elasticsearch.helpers", "datetime.now(UTC)", "time.time_ns()", "date.today()"]


@pytest.mark.parametrize("source", IMPURE)
@pytest.mark.parametrize("path", ["pricing/x.py", "streams/core/x.py"])
def test_an_impure_line_is_found(path: str, source: str) -> None:
    assert len(impure(parsed(source), Path(path))) == 1


def test_nothing_is_left_over() -> None:
    found: list[str] = []
    for path in tracked():
        try:
            found += leftovers(path.read_text(encoding="utf-8"), path.relative_to(ROOT))
        except UnicodeDecodeError:
            continue
    assert found == []


@pytest.mark.parametrize("line", ["# FIX" + "ME later", "open('/" + "work/x')", "cd /" + "home/me"])
def test_a_leftover_is_found(line: str) -> None:
    assert len(leftovers(line, Path("x"))) == 1


def test_every_command_has_help() -> None:
    context = click.Context(cli)
    for module, _ in COMMANDS.values():
        importlib.import_module(f"ratemill.cli.{module}")
    assert without_help(cli, "ratemill", context) == []


def test_a_command_without_help_is_found() -> None:
    group = click.Group("g", help="Something.", commands={"bare": click.Command("bare")})
    assert without_help(group, "g", click.Context(group)) == ["g bare: no help"]


def test_the_lock_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    pins = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    assert all(re.match(r"[a-z0-9._-]+==\S+ .*\\$", pin) for pin in pins)
    assert text.count("--hash=sha256:") > len(pins)
