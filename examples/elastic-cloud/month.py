"""The month of the three customers on a real stack: Kafka, Elasticsearch and a worker, from price book to invoice and beyond.

    python examples/elastic-cloud/month.py [--write FILE]

Every step is a command as a person would type it, printed with what it said. In between this script only waits until everything that
was published has come through. In the end it compares the line items with those of `ratemill rate` for the same usage. About two
minutes; whatever happens, no process is left. Exit status 0 only if all commands succeeded and both agree to the byte.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from ratemill.demo.pipeline import Pipeline, forget_settings, interruptible
from ratemill.demo.reconcile import Views, differences, read_flow, read_views, statements
from ratemill.streams.config import Config

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "build" / "month"
COMMAND = [sys.executable, "-P", "-c", "from ratemill.cli.main import main; main()"]
LIFETIME_S = 1_200
PATIENCE_S = 300
WIDTH = 140
Item = dict[str, Any]

INTRO = """# A month, from usage to invoice and beyond

This is the real output of `examples/elastic-cloud/month.py`, on Kafka, Elasticsearch and one worker: three customers of
[a hosted search service](../examples/elastic-cloud/README.md), their September of 2026, its close, and what became known only later. The
usage is older than live usage may be, so it is published as a backfill.
"""


def script(name: str) -> ModuleType:
    """Another script of this example."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{HERE / name}.py is missing")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Story:
    """What was done, as text; printed while it happens."""

    def __init__(self, config_file: Path) -> None:
        self.parts = [INTRO]
        self.failed: list[str] = []
        self._environment = {**os.environ, "RATEMILL_CONFIG": str(config_file), "COLUMNS": str(WIDTH), "USER": "billing"}

    def tell(self, text: str) -> None:
        """Words between commands."""
        print(f"\n{text}\n", flush=True)
        self.parts.append(text)

    def show(self, text: str) -> None:
        """Something as it was printed."""
        print(text, flush=True)
        self.parts.append("\n".join(f"    {line}".rstrip() for line in text.splitlines()))

    def run(self, *words: str) -> None:
        """A ratemill command with what it says."""
        typed = f"$ ratemill {shlex.join(words)}"
        said = subprocess.run([*COMMAND, *words], cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        self.show(f"{typed}\n{said.stdout}{said.stderr}".replace(f"{ROOT}/", "").rstrip())
        if said.returncode:
            self.failed.append(f"{typed} ended with {said.returncode}")


def wait_for(what: str, reached: Callable[[], bool], pipeline: Pipeline) -> None:
    """Raises SystemExit when it does not happen in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        pipeline.check()
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not happen within {PATIENCE_S} s; see {pipeline.worker_log}")
        time.sleep(1)


def counted(config: Config, records: int) -> bool:
    """Whether that many records have come through all lanes."""
    flow = asyncio.run(read_flow(config))
    passed = sum(counters.counted for counters in flow.normalized.values())
    return sum(counters.received for counters in flow.normalized.values()) >= records and flow.rated.received >= passed


def settled(config: Config) -> Views | None:
    """The line items, once Elasticsearch has what the rated topic has."""
    views = asyncio.run(read_views(config))
    return views if views.rated_revisions == views.indexed_revisions else None


def find(items: list[Item], **wanted: str) -> str:
    """Id of the first line item, by id, with these values; a value may be the beginning of what stands there."""
    found = sorted(item["x_LineItemId"] for item in items if all(str(item.get(key) or "").startswith(value) for key, value in wanted.items()))
    if not found:
        raise SystemExit(f"no line item has {wanted}")
    return str(found[0])


SEPTEMBER = "2026-09-01"
EXPLAINED: tuple[tuple[str, dict[str, str]], ...] = (
    ("Capacity of the hour in which aurora's hot tier was doubled:",
     {"BillingAccountId": "aurora", "SkuId": "es.capacity", "ResourceId": "prod/hot", "ChargePeriodStart": "2026-09-10T13"}),
    ("Snapshots of cumulus, averaged over the month, in euros:",
     {"BillingAccountId": "cumulus", "SkuId": "es.snapshot.storage", "BillingPeriodStart": SEPTEMBER, "x_Component": "tier-2"}),
    ("The free transfer of aurora:", {"BillingAccountId": "aurora", "x_Adjustment": "transfer-pool", "BillingPeriodStart": SEPTEMBER}),
    ("What is missing to the minimum of borealis's support, due since the close:",
     {"BillingAccountId": "borealis", "x_Adjustment": "support-gold", "x_Component": "minimum", "BillingPeriodStart": SEPTEMBER}),
    ("The credit of aurora that runs out:", {"BillingAccountId": "aurora", "ChargeDescription": "ecu-2026: es.capacity"}),
    ("A fee of cumulus, for 21 of 30 days:", {"BillingAccountId": "cumulus", "x_Adjustment": "fees", "BillingPeriodStart": SEPTEMBER}),
    ("The cent that rounding leaves:", {"BillingAccountId": "aurora", "x_Adjustment": "rounding", "BillingPeriodStart": SEPTEMBER}),
    ("A correction: readings of the closed month that came late:",
     {"BillingAccountId": "borealis", "ChargeClass": "Correction", "SkuId": "es.capacity"}),
    ("A correction: the amended event:",
     {"BillingAccountId": "borealis", "ChargeClass": "Correction", "x_PriceId": "transfer-out-2026"}),
    ("A correction: with less transfer out, the free transfer of borealis covers that between nodes too:",
     {"BillingAccountId": "borealis", "ChargeClass": "Correction", "x_Adjustment": "transfer-pool", "SkuId": "es.transfer.internode"}),
    ("A correction: support of what came late:",
     {"BillingAccountId": "aurora", "ChargeClass": "Correction", "x_Adjustment": "support-enterprise"}),
)  # fmt: skip


def play(pipeline: Pipeline, config: Config, story: Story) -> None:
    """All of it."""
    usage, invoice, data = script("usage"), script("invoice"), FOLDER / "usage"
    data.mkdir(parents=True, exist_ok=True)
    for name, lines in usage.FILES.items():
        (data / name).write_text("".join(json.dumps(line) + "\n" for line in lines()), encoding="utf-8")
    months, late = (len((data / name).read_text(encoding="utf-8").splitlines()) for name in ("month.ndjson", "late.ndjson"))
    amend = next(request for request in usage.requests() if request["control"] == "amend")
    account, source, event, *_ = amend["original"]
    month, after = str((data / "month.ndjson").relative_to(ROOT)), str((data / "late.ndjson").relative_to(ROOT))

    story.tell("## The price book, and the usage of the month")
    story.run("prices", "publish", "examples/elastic-cloud/prices.yaml", "--reason", "prices of 2026")
    pipeline.start_worker()
    dates = ("--from", "2026-09-01", "--to", "2026-10-01")
    story.run("backfill", "open", "september", *dates, "--reason", "the example is of a month long past", "--yes")
    story.run("publish", month, "--backfill", "september")
    wait_for("rating the month", lambda: counted(config, months), pipeline)
    wait_for("showing the month", lambda: settled(config) is not None, pipeline)
    story.run("costs", "--by", "account,service", "--period", "2026-09")

    story.tell("## The close, and what comes after it")
    story.run("close", "2026-09", "--reason", "invoice run of September", "--yes")
    story.run("publish", after, "--backfill", "september")
    wait_for("rating what came late", lambda: counted(config, months + late), pipeline)
    story.run("backfill", "close", "september", "--reason", "all is there", "--yes")
    name = ("--account", account, "--source", source, "--id", event)
    story.run("amend", *name, "--quantity", amend["replacement"][5], "--reason", "bytes were taken for KiB", "--yes")
    wait_for("showing all of it", lambda: settled(config) is not None, pipeline)
    views = settled(config) or Views()

    story.tell("## The invoices")
    story.show("\n".join(invoice.invoices(views.items)).rstrip())
    story.tell("One of them, of the month that is still open, from Elasticsearch:")
    story.run("invoice", "borealis", "2026-10")
    story.tell("## One line item of each kind, explained")
    for words, wanted in EXPLAINED:
        story.tell(words)
        story.run("explain", find(views.items, **wanted), "--events", "3")
    story.tell("## The same offline")
    compare(data, views, story)


def compare(data: Path, views: Views, story: Story) -> None:
    """Line items of `ratemill rate` for the same files beside those of the live pipeline."""
    items = data / "items.ndjson"
    files = ["--events", str(data / "month.ndjson"), "--control", str(data / "requests.ndjson"), "--late", str(data / "late.ndjson")]
    story.run("rate", "--prices", "examples/elastic-cloud/prices.yaml", *files, "--output", str(items), "--top", "0")
    offline = statements(json.loads(line) for line in items.read_text(encoding="utf-8").splitlines())
    wrong = differences(offline, views.rated)
    if wrong:
        story.failed.append(f"{len(wrong):,} line items differ, the first is {wrong[0]}")
    story.tell(f"The live pipeline has {len(views.rated):,} line items, `ratemill rate` has {len(offline):,}; {len(wrong):,} differ.")


def main() -> int:
    parser = argparse.ArgumentParser(description="The month of the example on a real stack.")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write what is printed to FILE, as Markdown")
    options = parser.parse_args()
    forget_settings()
    pipeline, done = Pipeline(FOLDER, 0, 0, LIFETIME_S), False
    with interruptible() as shield, pipeline.locked():
        story = Story(pipeline.config_file)
        try:
            config = pipeline.up(lambda text: print(text, file=sys.stderr))
            play(pipeline, config, story)
            done = not story.failed
        finally:
            shield()
            pipeline.down(wipe=done)  # what failed leaves its logs
    if options.write is not None and not story.failed:
        text = "\n\n".join(story.parts).rstrip() + "\n"
        options.write.write_text(re.sub(r"\n{3,}", "\n\n", text), encoding="utf-8")
    for failure in story.failed:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if story.failed else 0


if __name__ == "__main__":
    sys.exit(main())
