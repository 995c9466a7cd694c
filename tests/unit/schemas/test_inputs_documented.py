"""Each example in docs/inputs.md is read as the format under whose heading it stands."""

from __future__ import annotations

import re
from pathlib import Path

from ratemill.schemas.decoders import FORMATS, decode, detect
from ratemill.schemas.usage_event import UsageEvent

TEXT = (Path(__file__).parents[3] / "docs" / "inputs.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0].split(":")[0].strip(): part for part in TEXT.split("\n## ")[1:]}


def test_every_format_is_documented_and_its_example_works() -> None:
    for format in FORMATS:
        assert f"| `{format}` |" in TEXT
        section = SECTIONS[format]
        examples = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
        assert examples or format == "azure-event-grid"
        for example in examples:
            value = example.encode()
            provider = format.split("-")[0] if format not in ("cloudevents", "usage-record") else "cloudevents"
            assert detect(provider, value, ()) == format
            found = decode(value, (), format)
            assert all(isinstance(entry, UsageEvent) for entry in found), found
