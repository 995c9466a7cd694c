"""Structured logs: one event per line, JSON where nobody watches, readable text on a terminal. Secrets never reach them.

Fields that sound secret are masked, and in each finished line the secrets themselves: libraries print requests at level debug, and
exceptions quote whatever they were given.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog

from .config import Config

__all__ = ["set_up_logs"]

_SECRET = re.compile(r"password|secret|api_?key|token|authorization|sasl_plain", re.IGNORECASE)
_IN_URL = re.compile(r"(://[^/\s:@]*:)[^@\s]+@")
LEAST_CHARACTERS = 4  # a shorter secret would be found in every other word


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if _SECRET.search(key):
            event[key] = "***"
        elif isinstance(value, str) and "://" in value:
            event[key] = _IN_URL.sub(r"\1***@", value)
    return event


class _Masking(structlog.stdlib.ProcessorFormatter):
    def __init__(self, secrets: Iterable[str], **options: Any) -> None:
        super().__init__(**options)
        forms = {form for secret in secrets if len(secret) >= LEAST_CHARACTERS for form in _forms(secret)}
        self._forms = sorted(forms, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for form in self._forms:
            line = line.replace(form, "***")
        return line


def _forms(secret: str) -> Iterable[str]:
    """How a secret looks as it is, in JSON, in the repr of bytes, and in the repr of bytes in JSON."""
    in_bytes = repr(secret.encode())[2:-1]
    return secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], in_bytes, json.dumps(in_bytes)[1:-1]


def _secrets(config: Config) -> list[str]:
    es, password = config.elasticsearch, config.elasticsearch.password.get_secret_value()
    basic = base64.b64encode(f"{es.username}:{password}".encode()).decode() if password else ""
    database = urlsplit(config.api.database.get_secret_value()).password or ""
    return [config.kafka.password.get_secret_value(), es.api_key.get_secret_value(), password, basic, database, unquote(database)]


def set_up_logs(config: Config) -> None:
    """Send our logs and those of the libraries to standard error, in one format."""
    worker = config.worker
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
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, last]
    handler.setFormatter(_Masking(_secrets(config), foreign_pre_chain=shared, processors=processors))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(worker.log_level.upper())
    for chatty in ("faust", "mode", "aiokafka", "elastic_transport", "elasticsearch", "asyncio", "alembic"):
        logging.getLogger(chatty).setLevel(logging.ERROR if worker.log_level != "debug" else logging.DEBUG)
