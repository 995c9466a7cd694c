"""Usage of September 2026 for three made-up customers of a hosted search service: the same bytes every time.

    python examples/elastic-cloud/usage.py FOLDER

writes into the folder:

    month.ndjson     CloudEvents that arrive in time, one of which is wrong
    requests.ndjson  what is asked for after the month: its close, and that the wrong event counts with the right quantity
    late.ndjson      CloudEvents that a collector sends only after the close

    aurora    prepaid credits that run out in the middle of the month; its hot tier is doubled on the 10th at 13:20
    borealis  a contract with other prices from the 15th; for three hours of the 7th nothing was heard of its nodes
    cumulus   pays in euros; deletes its cluster on the 22nd at 09:40 and goes on with a serverless project

Collectors send what they see: the RAM of every node group each half hour, the storage used each hour, bytes, requests and VCU-hours of
each hour, and every run of a browser test. What is charged is made of it by the meters in prices.yaml.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

START = datetime(2026, 9, 1, tzinfo=UTC)  # a Tuesday
HOURS = 720
MINUTES = HOURS * 60
SAMPLE = 30  # minutes between two readings of RAM
# Load by hour of the day in percent of the average, UTC.
DAY = (40, 32, 28, 28, 34, 48, 70, 94, 112, 122, 130, 134, 136, 134, 130, 126, 124, 128, 142, 158, 166, 154, 118, 112)

AURORA, BOREALIS, CUMULUS = "aurora", "borealis", "cumulus"
# region -> provider
PROVIDERS = {"us-east-1": "aws", "eu-central-1": "aws", "europe-west1": "gcp", "eastus2": "azure"}


class Nodes(NamedTuple):
    """A node group. sizes: (minute of the month, MiB of RAM per zone from then on); 0 is: stopped."""

    account: str
    resource: str
    region: str
    instance_type: str
    zones: int
    sizes: tuple[tuple[int, int], ...]


def at(day: int, hour: int = 0, minute: int = 0) -> int:
    """Minute of the month."""
    return ((day - 1) * 24 + hour) * 60 + minute


def office_hours(size: int) -> tuple[tuple[int, int], ...]:
    """Running from 07:00 to 19:00 on working days."""
    days = [day for day in range(1, 31) if (START + timedelta(days=day - 1)).weekday() < 5]
    return tuple(change for day in days for change in ((at(day, 7), size), (at(day, 19), 0)))


NODES = (
    Nodes(AURORA, "prod/hot", "us-east-1", "aws.es.datahot.c6gd", 2, ((0, 30_720), (at(10, 13, 20), 61_440))),
    Nodes(AURORA, "prod/warm", "us-east-1", "aws.es.datawarm.d3", 2, ((0, 15_360),)),
    Nodes(AURORA, "prod/ml", "us-east-1", "aws.es.ml.c5d", 1, ((0, 4_096),)),
    Nodes(AURORA, "prod/kibana", "us-east-1", "aws.kibana.c6gd", 1, ((0, 2_048),)),
    Nodes(BOREALIS, "logs/hot", "europe-west1", "gcp.es.datahot.n2.68x10x45", 2, ((0, 15_360),)),
    Nodes(BOREALIS, "logs/kibana", "europe-west1", "gcp.kibana.n2.68x32x45", 1, ((0, 1_024),)),
    Nodes(BOREALIS, "staging/hot", "eastus2", "azure.es.datahot.ddv4", 1, office_hours(8_192)),
    Nodes(CUMULUS, "shop/hot", "eu-central-1", "aws.es.datahot.c6gd", 3, ((0, 8_192), (at(22, 9, 40), 0))),
    Nodes(CUMULUS, "shop/kibana", "eu-central-1", "aws.kibana.c6gd", 1, ((0, 1_024), (at(22, 9, 40), 0))),
)
UNHEARD = ("logs/hot", range(at(7, 2), at(7, 5)))  # sent late


class Hourly(NamedTuple):
    """Something of which each hour has one event. Quantities are whole numbers of 10^-digits."""

    account: str
    resource: str
    region: str
    sku: str
    unit: str
    first: int
    growth: int = 0  # what each hour adds
    digits: int = 0
    dimensions: tuple[tuple[str, str], ...] = ()
    wave: bool = True  # follows the load of the day


def transfer(account: str, resource: str, region: str, direction: str, megabytes: int, growth: int = 0) -> Hourly:
    return Hourly(account, resource, region, "data.transfer", "B", megabytes * 10**6, growth, dimensions=(("direction", direction),))


def vcus(kind: str, thousandths: int) -> Hourly:
    return Hourly(CUMULUS, "search-project", "eu-central-1", "serverless.vcu", "VCU-h", thousandths, 1, 3, (("kind", kind),))


HOURLY = (
    transfer(AURORA, "prod", "us-east-1", "in", 4_100),
    transfer(AURORA, "prod", "us-east-1", "out", 1_250, 150_000),
    transfer(AURORA, "prod", "us-east-1", "internode", 4_400, 400_000),
    transfer(BOREALIS, "logs", "europe-west1", "out", 70),
    transfer(BOREALIS, "logs", "europe-west1", "internode", 52),
    transfer(BOREALIS, "staging", "eastus2", "internode", 240),  # waived on Azure
    transfer(CUMULUS, "shop", "eu-central-1", "out", 310),
    transfer(CUMULUS, "shop", "eu-central-1", "internode", 160),
    Hourly(AURORA, "prod", "us-east-1", "snapshot.storage", "GB", 1_900_000, 420, 3, wave=False),
    Hourly(BOREALIS, "logs", "europe-west1", "snapshot.storage", "GB", 78_500, 10, 3, wave=False),
    Hourly(AURORA, "prod", "us-east-1", "snapshot.requests", "Requests", 3_100),
    Hourly(BOREALIS, "logs", "europe-west1", "snapshot.requests", "Requests", 95),
    Hourly(CUMULUS, "shop", "eu-central-1", "snapshot.requests", "Requests", 210),
    vcus("search", 8_600),
    vcus("index", 4_150),
    vcus("ml", 700),
    Hourly(CUMULUS, "search-project", "eu-central-1", "serverless.storage", "GB", 212_000, 90, 3, wave=False),
)
# The worked example of the vendor: 100 GB for 10 days, then 130 GB for 20 days, are 120 GB of that month.
SNAPSHOTS_OF_CUMULUS = (100, at(11), 130)
BROWSER_RUNS = 24  # of cumulus, a day

WRONG = (BOREALIS, "data.transfer/logs/out", 11 * 24 + 10)  # the 12th at 10:00: bytes were taken for KiB
FACTOR = 1_024
LATE_REPLICA = range(27 * 24, 28 * 24)  # the 28th: a replica of aurora whose collector was cut off


def noise(*key: object) -> int:
    """A number that only looks random: 0 to 2^32."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:4], "big")


def printed(quantity: int, digits: int) -> str:
    """1234 with 3 digits -> "1.234"."""
    if not digits:
        return str(quantity)
    whole, rest = divmod(quantity, 10**digits)
    return f"{whole}.{rest:0{digits}d}"


def event(
    account: str, series: str, region: str, minute: int, sku: str, quantity: str, unit: str, resource: str, dimensions: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """One CloudEvent. Its id is made of what does not change: the series and the time."""
    time = (START + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "specversion": "1.0",
        "id": f"{series}/{time}",
        "source": f"/collectors/{region}",
        "type": "com.example.usage",
        "subject": account,
        "time": time,
        "data": {
            "sku": sku,
            "quantity": quantity,
            "unit": unit,
            "provider": PROVIDERS[region],
            "region": region,
            "resource": resource,
            "dimensions": dict(dimensions),
        },
    }


def reading(nodes: Nodes, minute: int) -> dict[str, Any]:
    """What a node group has at a minute."""
    size = next((mebibytes for since, mebibytes in reversed(nodes.sizes) if since <= minute), 0)
    dimensions = (("instance_type", nodes.instance_type), ("zones", str(nodes.zones)))
    return event(nodes.account, nodes.resource, nodes.region, minute, "instance.ram", str(size), "MiB", nodes.resource, dimensions)


def readings(late: bool) -> Iterator[dict[str, Any]]:
    """RAM each half hour and whenever it changes. Those that nobody heard in time are the late ones."""
    for nodes in NODES:
        for minute in sorted({*range(0, MINUTES, SAMPLE), *(since for since, _ in nodes.sizes)}):
            if (nodes.resource == UNHEARD[0] and minute in UNHEARD[1]) == late:
                yield reading(nodes, minute)


def hourly(series: Hourly, hour: int, factor: int = 1) -> dict[str, Any]:
    """The event of one hour."""
    quantity = series.first + series.growth * hour
    if series.wave:
        quantity = quantity * DAY[hour % 24] * (90 + noise(series.resource, series.sku, series.dimensions, hour) % 21) // 10_000
    name = "/".join((series.sku, series.resource, *(value for _, value in series.dimensions)))
    return event(
        series.account, name, series.region, hour * 60, series.sku, printed(quantity * factor, series.digits), series.unit, series.resource,
        series.dimensions,
    )  # fmt: skip


def is_wrong(series: Hourly, hour: int) -> bool:
    name = "/".join((series.sku, series.resource, *(value for _, value in series.dimensions)))
    return (series.account, name, hour) == WRONG


def snapshots_of_cumulus() -> Iterator[dict[str, Any]]:
    before, change, after = SNAPSHOTS_OF_CUMULUS
    for minute in range(0, MINUTES, 60):
        size = str(before if minute < change else after)
        yield event(CUMULUS, "snapshot.storage/shop", "eu-central-1", minute, "snapshot.storage", size, "GB", "shop", ())


def browser_runs() -> Iterator[dict[str, Any]]:
    """Each run of a browser test, with its seconds."""
    for number in range(BROWSER_RUNS * 30):
        minute = number * 60 + 7
        seconds = 35 + noise("browser", number) % 120
        yield event(CUMULUS, "checkout-test", "eu-central-1", minute, "synthetics.browser", str(seconds), "s", "checkout-test", ())


def month() -> Iterator[dict[str, Any]]:
    """What arrives in time."""
    yield from readings(late=False)
    for series in HOURLY:
        for hour in range(HOURS):
            yield hourly(series, hour, FACTOR if is_wrong(series, hour) else 1)
    yield from snapshots_of_cumulus()
    yield from browser_runs()


def late() -> Iterator[dict[str, Any]]:
    """What arrives after the close: readings of the three hours, and the traffic of a replica."""
    yield from readings(late=True)
    replica = transfer(AURORA, "prod-replica", "us-east-1", "out", 900)
    for hour in LATE_REPLICA:
        yield hourly(replica, hour)


def usage_event(told: dict[str, Any]) -> list[Any]:
    """An event as requests hold it."""
    data, dimensions = told["data"], json.dumps(told["data"]["dimensions"], separators=(",", ":"))
    time = int(datetime.fromisoformat(told["time"]).timestamp()) * 10**9
    names = [told["subject"], told["source"], told["id"], data["sku"], time, data["quantity"], data["unit"]]
    return [*names, data["provider"], data["region"], data["resource"], dimensions, "", ""]


def requests() -> Iterator[dict[str, Any]]:
    """What `ratemill close` and `ratemill amend` would record."""
    asked = {"author": "billing", "at_ns": int((START + timedelta(days=32)).timestamp()) * 10**9}
    yield {"control": "close", "id": "0" * 31 + "1", "reason": "invoice run", **asked, "period": f"{START:%Y-%m}"}
    series = next(series for series in HOURLY if is_wrong(series, WRONG[2]))
    wrong, right = (usage_event(hourly(series, WRONG[2], factor)) for factor in (FACTOR, 1))
    yield {
        "control": "amend", "id": "0" * 31 + "2", "reason": "bytes were taken for KiB", **asked,
        "original": wrong, "origin": ["usage.raw.cloudevents", 0, 0, 0], "replacement": right,
    }  # fmt: skip


FILES = {"month.ndjson": month, "requests.ndjson": requests, "late.ndjson": late}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where to write the three files; made if it is not there")
    folder: Path = parser.parse_args().folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, events in FILES.items():
            lines = [json.dumps(one) for one in events()]
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
            print(f"{folder / name}: {len(lines):,} lines")
    except OSError as error:
        print(f"usage.py: cannot write to {error.filename or folder}: {error.strerror}; name another folder", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
