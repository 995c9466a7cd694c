"""Dead letters for requests: those of `ratemill dead-letters list`, with the beginning of their bytes."""

from __future__ import annotations

import base64
from collections.abc import Awaitable
from typing import Any

from ...api.ports import LetterQuery, Letters, ReadLetters
from ...schemas.dead_letter import DeadLetter
from ...streams.config import Config
from ..dead_letter_topic import Found, Place, scan
from ..dead_letters import SHOWN_BYTES, as_json_, text_of
from .jobs import Jobs

__all__ = ["letter_as_json", "letter_reader"]

WITHIN_S = 60.0


def letter_reader(config: Config, jobs: Jobs) -> ReadLetters:
    """The port of dead letters."""

    def read(query: LetterQuery) -> Awaitable[Letters]:
        return jobs.run(lambda: _read(config, query), WITHIN_S)

    return read


async def _read(config: Config, query: LetterQuery) -> Letters:
    def wanted(letter: DeadLetter) -> bool:
        return query.reason in ("", letter.reason.value) and query.topic in ("", letter.topic)

    before: Place | None = (query.before[0], query.before[1:]) if query.before else None
    found = await scan(config, wanted, newest=query.size + 1, cut_to=SHOWN_BYTES, before=before)
    shown = found.letters[::-1][: query.size]
    more = len(found.letters) > query.size
    after = (shown[-1].letter.rejected_at, *shown[-1].position) if more else None
    return Letters([letter_as_json(each) for each in shown], dict(found.reasons), after)


def letter_as_json(found: Found) -> dict[str, Any]:
    """A letter as `dead-letters list --json` has it, with the first bytes of the record: as base64, and as text where they are some."""
    letter = found.letter
    value = None if letter.value is None else letter.value[:SHOWN_BYTES]
    return {
        **as_json_(found),
        "topic": letter.topic,
        "format": letter.format,
        "raw_base64": None if value is None else base64.b64encode(value).decode(),
        "raw_text": None if value is None else text_of(value),
        "raw_is_whole": value is None or len(value) == found.size,
    }
