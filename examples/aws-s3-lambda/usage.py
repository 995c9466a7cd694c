"""A month of usage for three accounts, as CloudEvents: the same bytes every time.

    python examples/aws-s3-lambda/usage.py > events.ndjson

June 2026, one event per hour and series. The usage is made up (prices.yaml is not): a video portal whose storage passes the bounds of
50 TB and 500 TB, a photo archive in three regions and four storage classes, and a sensor cloud whose Lambda functions use up the free
tier within three days. One hour is sent twice, as collectors do after a timeout: it must count once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

HOURS = 720  # of June
RESENT = range(393, 394)  # 2026-06-17T09
# Load by hour of the day in percent of the average, UTC.
DAY = (40, 32, 28, 28, 34, 48, 70, 94, 112, 122, 130, 134, 136, 134, 130, 126, 124, 128, 142, 158, 166, 154, 118, 112)
WEEKEND = 70  # percent


class Series(NamedTuple):
    """Usage of one account in one SKU. Quantities are whole numbers of `step` ones: no float comes near them."""

    account: str
    sku: str
    unit: str
    region: str
    resource: str
    first: int  # in the first hour
    growth: int  # what each hour adds to it
    digits: int = 0  # the step is 10^-digits
    wave: bool = True  # follows the load of the day; storage does not


def stored(account: str, sku: str, region: str, resource: str, gigabytes: int, more_per_day: int = 0) -> Series:
    """Storage: the bill's GB-Mo of one hour are the gigabytes stored, divided by the hours of the month."""
    return Series(account, sku, "GB-Mo", region, resource, gigabytes * 10**6 // HOURS, more_per_day * 10**6 // HOURS // 24, 6, wave=False)


VIDEO, PHOTOS, SENSORS = "video-portal", "photo-archive", "sensor-cloud"
IRELAND, CANADA, OREGON, VIRGINIA = "eu-west-1", "ca-central-1", "us-west-2", "us-east-1"
SERIES = (
    stored(VIDEO, "EU-TimedStorage-ByteHrs", IRELAND, "vod-masters", 540_000, 2_000),
    stored(VIDEO, "EU-TimedStorage-SIA-ByteHrs", IRELAND, "vod-old", 88_000, 150),
    Series(VIDEO, "EU-Requests-Tier1", "Requests", IRELAND, "vod-masters", 21_000, 3),
    Series(VIDEO, "EU-Requests-Tier2", "Requests", IRELAND, "vod-masters", 2_400_000, 350),
    Series(VIDEO, "EU-Retrieval-SIA", "GB", IRELAND, "vod-old", 41_500, 0, 3),
    Series(VIDEO, "USE1-EU-AWS-Out-Bytes", "GB", VIRGINIA, "vod-uploads", 6_250, 4, 3),
    stored(PHOTOS, "CAN1-TimedStorage-ByteHrs", CANADA, "albums", 31_000, 220),
    stored(PHOTOS, "USW2-TimedStorage-GlacierByteHrs", OREGON, "albums-cold", 190_000, 900),
    stored(PHOTOS, "EU-TimedStorage-RRS-ByteHrs", IRELAND, "thumbnails", 52_300),
    stored(PHOTOS, "EU-TimedStorage-ZIA-ByteHrs", IRELAND, "previews", 8_400, 10),
    Series(PHOTOS, "CAN1-Requests-Tier1", "Requests", CANADA, "albums", 64_000, 0),
    Series(PHOTOS, "CAN1-Requests-Tier2", "Requests", CANADA, "albums", 910_000, 0),
    Series(PHOTOS, "USW2-Requests-Tier3", "Requests", OREGON, "albums-cold", 35, 0),
    Series(PHOTOS, "CAN1-DataTransfer-Out-Bytes", "GB", CANADA, "albums", 3_900, 2, 3),
    Series(SENSORS, "APS3-Request", "Request", IRELAND, "ingest", 58_000, 20),
    Series(SENSORS, "APS3-Lambda-GB-Second", "Lambda-GB-Second", IRELAND, "ingest", 7_250_000, 2_500, 3),
    Series(SENSORS, "EU-Requests-Tier1", "Requests", IRELAND, "readings", 58_000, 20),
    stored(SENSORS, "EU-TimedStorage-ByteHrs", IRELAND, "readings", 1_900, 35),
    Series(SENSORS, "USW2-DataTransfer-Out-Bytes", "GB", OREGON, "reports", 90, 0, 3),
    Series(SENSORS, "DataTransfer-Out-Bytes", "GB", VIRGINIA, "reports", 75, 0, 3),
)


def steps(series: Series, hour: int) -> int:
    """The quantity of an hour in whole steps."""
    quantity = series.first + series.growth * hour
    if not series.wave:
        return quantity
    noise = 90 + int.from_bytes(hashlib.sha256(f"{series.account}/{series.sku}/{hour}".encode()).digest()[:4], "big") % 21
    quantity = quantity * DAY[hour % 24] * noise // 10_000
    return quantity * WEEKEND // 100 if hour // 24 % 7 in (5, 6) else quantity  # 1 June 2026 is a Monday


def printed(quantity: int, digits: int) -> str:
    """1234 with 3 digits -> "1.234"."""
    if not digits:
        return str(quantity)
    whole, rest = divmod(quantity, 10**digits)
    return f"{whole}.{rest:0{digits}d}"


def events() -> Iterator[str]:
    """The events, one JSON text each."""
    for hour in (*range(HOURS), *RESENT):
        day, clock = divmod(hour, 24)
        time = f"2026-06-{day + 1:02d}T{clock:02d}:00:00Z"
        for series in SERIES:
            event = {
                "specversion": "1.0",
                "id": f"{series.sku}/{series.resource}/{time}",
                "source": f"/collectors/{series.region}",
                "type": "com.example.usage",
                "subject": series.account,
                "time": time,
                "data": {
                    "sku": series.sku,
                    "quantity": printed(steps(series, hour), series.digits),
                    "unit": series.unit,
                    "provider": "aws",
                    "region": series.region,
                    "resource": series.resource,
                },
            }
            yield json.dumps(event)


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        for line in events():
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python must not try again at exit
        if isinstance(error, BrokenPipeError):  # whoever reads has seen enough
            return 0
        print(f"usage.py: cannot write the events: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
