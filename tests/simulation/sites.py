"""Where a worker can die: every await of the commit protocol, of restoring, of the lanes and of the sink; and where workers did die."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

import ratemill.sinks
import ratemill.streams

from .scheduler import Process

__all__ = ["Site", "all_sites", "sites_of"]

Site = tuple[str, str, int]  # file, function, line

_STREAMS = Path(ratemill.streams.__path__[0])
_SINKS = Path(ratemill.sinks.__path__[0])
_FILES = (
    *(_STREAMS / name for name in ("ledger.py", "restore.py", "lanes/base.py", "lanes/rate.py", "lanes/normalize.py", "lanes/index.py")),
    *(_STREAMS / name for name in ("lanes/answers.py", "lanes/shadowing.py")),
    _SINKS / "elasticsearch.py",
)
_NAMES = {str(path): f"{path.parent.name}/{path.name}" for path in _FILES}


def sites_of(process: Process) -> set[Site]:
    """The awaits at which the tasks of a process stand now, in the files above."""
    found: set[Site] = set()
    for task in process.tasks:
        if not task.done():
            for frame in _frames(task.get_coro()):
                name = _NAMES.get(frame.f_code.co_filename)
                if name is not None:
                    found.add((name, frame.f_code.co_qualname.replace(".<locals>", ""), _begin(name, frame.f_lineno)))
    return found


def _frames(awaited: Any) -> Iterator[FrameType]:
    """Frames of a suspended coroutine and of what it waits for, outermost first."""
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            yield frame
        if hasattr(awaited, "cr_await"):
            awaited = awaited.cr_await
        elif hasattr(awaited, "ag_await"):
            awaited = awaited.ag_await
        elif type(awaited).__name__ in ("async_generator_asend", "async_generator_athrow", "coroutine_wrapper"):
            awaited = next((held for held in gc.get_referents(awaited) if hasattr(held, "ag_await") or hasattr(held, "cr_await")), None)
        else:
            return


@lru_cache(maxsize=1)
def all_sites() -> dict[str, dict[int, tuple[str, int]]]:
    """{file: {first line of an await: (function, last line)}}."""
    found: dict[str, dict[int, tuple[str, int]]] = {}
    for path, name in _NAMES.items():
        sites: dict[int, tuple[str, int]] = {}
        _walk(ast.parse(Path(path).read_text(encoding="utf-8")), "", sites)
        found[name] = sites
    return found


def _walk(node: ast.AST, where: str, sites: dict[int, tuple[str, int]]) -> None:
    for child in ast.iter_child_nodes(node):
        inner = where
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{where}.{child.name}".lstrip(".")
        if isinstance(child, ast.Await):
            sites[child.lineno] = where, child.end_lineno or child.lineno
        elif isinstance(child, ast.AsyncFor):
            sites[child.iter.lineno] = where, child.iter.end_lineno or child.lineno
        elif isinstance(child, ast.AsyncWith):
            expression = child.items[0].context_expr
            sites.setdefault(expression.lineno, (where, expression.end_lineno or child.lineno))
        _walk(child, inner, sites)


def _begin(name: str, line: int) -> int:
    """The first line of the await that a line belongs to."""
    return next((first for first, (_, last) in all_sites()[name].items() if first <= line <= last), line)
