"""Compiled twins of the hottest loops (`make native`). Where they have not been built, the same is done in Python.

RATEMILL_NATIVE=0 leaves them out, for a process and what it starts; a path names another build of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

__all__ = ["load"]


def load(event_type: type, identify: Callable[[Any], tuple[bytes, bytes]]) -> Any:
    """The compiled module, working for this type of event; None when there is none, or it was built for another.

    Raises ImportError when RATEMILL_NATIVE names a build that cannot be loaded.
    """
    asked = os.environ.get("RATEMILL_NATIVE", "")
    if asked == "0":
        return None
    hot = _built() if asked in ("", "1") else _at(asked)
    return hot if hot is not None and hot.use(event_type, identify) else None


def _built() -> Any:
    try:
        return import_module("._hot", __name__)
    except ImportError:
        return None


def _at(path: str) -> Any:
    spec = spec_from_file_location(f"{__name__}._hot", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"RATEMILL_NATIVE={path} is neither 0 nor a compiled module")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
