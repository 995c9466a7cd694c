"""Coverage-guided fuzzing of one target: inputs that reach new lines are kept and changed further. `make guided` runs every target.

    PYTHONPATH=../../build/atheris python -m fuzzing.guided TARGET -runs=20000 -seed=1 FOLDER

The options are libFuzzer's. What fails is written to FOLDER's parent by libFuzzer, and reproduced by `python -m fuzzing --replay`.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

INSTRUMENTED = ["ratemill.schemas", "ratemill.metering", "ratemill.pricing", "ratemill.collectors", "ratemill.streams.lanes"]

with atheris.instrument_imports(include=INSTRUMENTED):
    from .run import TARGETS, attempt

EXAMPLES = 60  # inputs of the other way of fuzzing to begin with


def main() -> None:
    """Seed the corpus folder, then hand over to libFuzzer, which ends the process."""
    target, folder = TARGETS[sys.argv[1]], Path(sys.argv[-1])
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(EXAMPLES):
        data = target.make(random.Random(f"guided:{number}"))
        if len(data) < 8_192:
            (folder / f"example-{number}").write_bytes(data)

    def one(data: bytes) -> None:
        failure = attempt(target, data)
        if failure is not None:
            raise RuntimeError(f"{failure.target}: {failure.said} ({failure.where})")

    words = [sys.argv[0], "-max_len=8192", "-timeout=30", "-rss_limit_mb=2048", f"-artifact_prefix={folder.parent}/{target.name}--", *sys.argv[2:]]
    atheris.Setup(words, one)
    atheris.Fuzz()


main()
