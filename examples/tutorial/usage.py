"""Usage of two accounts in 24 hours, as a collector would publish it: one CloudEvent a line.

The id of an event follows from what was measured and when. So whoever reads the meter again sends the same event again, and it counts once.
"""

import argparse
import json
import sys
from datetime import UTC, datetime, timedelta

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--month", action="store_true", help="print the month that it lies in, and nothing else")
only_month = options.parse_args().month

end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
if (end - timedelta(hours=24)).month != end.month:
    end = end.replace(day=1, hour=0)  # all of it in one month

if only_month:
    print(f"{end - timedelta(hours=24):%Y-%m}")
    sys.exit()

for hour in range(24):
    start = end - timedelta(hours=24 - hour)
    for account, gigabytes, requests in (("acme", "1250.5", 40_000 + 1_000 * hour), ("globex", "80.25", 9_000)):
        for sku, quantity, unit in (("storage", gigabytes, "GB-hours"), ("requests", str(requests), "requests")):
            event = {
                "specversion": "1.0", "type": "usage", "source": "collector-1", "id": f"{account}/{sku}/{start:%Y-%m-%dT%H}",
                "subject": account, "time": f"{start:%Y-%m-%dT%H:%M:%SZ}",
                "data": {"sku": sku, "quantity": quantity, "unit": unit, "region": "eu-west-1"},
            }  # fmt: skip
            print(json.dumps(event))
