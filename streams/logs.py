"""Structured logs: one event per line, JSON where nobody watches, readable text on a terminal. Secrets never reach them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from .config import WorkerConfig

__all__ = ["set_up_logs"]

_SECRET = re.compile(r"password|secret|api_?key|token|authorization|sasl_plain", re.IGNORECASE)
_IN_URL = re.compile(r"(://[^/\s:@]*:)[^@\s]+@")


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if _SECRET.search(key):
            event[key] = "***"
        elif isinstance(value, str) and "://" in value:
            event[key] = _IN_URL.sub(r"\1***@", value)
    return event


def set_up_logs(worker: WorkerConfig) -> None:
    """Send our logs and those of the libraries to standard error, in one format."""
    text = worker.log_format == "text" or (worker.log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), _redact]
    last: Any = structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer(sort_keys=False)
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(worker.log_level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(worker.log_level.upper())
    for chatty in ("faust", "mode", "aiokafka", "elastic_transport", "elasticsearch", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.ERROR if worker.log_level != "debug" else logging.DEBUG)
