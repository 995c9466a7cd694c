"""What each marketplace takes, and until when: its published limits, as numbers.

All times are seconds. Where two publications of a vendor disagree, the stricter limit is ours: what misses it is carried into a later hour.
"""

from __future__ import annotations

import calendar
import time
from dataclasses import dataclass

from .records import HOUR_S

__all__ = ["RULES", "Rules"]

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of one kind of marketplace, counted from the first second of the hour that is reported.

    batch: records of a request. freeze_s: so long a new record is made for the hour; later usage is carried on. accept_s: so long it is sent.
    alarm_s: an hour that is not accepted by then is told of. resend_s: so long after a try without an answer may the same be sent again,
    0: as long as it is accepted. zeros: hours without usage are reported too. month_end_s: what an earlier month has may be sent
    so long into the next one, 0: no such limit. largest: quantity.
    """

    batch: int
    freeze_s: int
    accept_s: int
    alarm_s: int
    largest: int
    resend_s: int = 0
    zeros: bool = False
    month_end_s: int = 0

    def freeze_until(self, hour: int) -> int:
        """When it is too late to make a record for an hour (seconds since 1970, UTC)."""
        return min(hour + self.freeze_s, self.send_until(hour))

    def send_until(self, hour: int) -> int:
        """When the marketplace stops taking records for an hour."""
        last = hour + self.accept_s
        return min(last, _next_month(hour) + self.month_end_s) if self.month_end_s else last


def _next_month(moment: int) -> int:
    now = time.gmtime(moment)
    year, month = (now.tm_year + 1, 1) if now.tm_mon == 12 else (now.tm_year, now.tm_mon + 1)
    return calendar.timegm((year, month, 1, 0, 0, 0))


RULES = {
    # 25 records; 24 hours back, and what is of the last month until 06:00 UTC on the 1st. Older documents say six hours.
    "aws": Rules(
        batch=25, freeze_s=6 * HOUR_S - 900, accept_s=DAY_S, alarm_s=3 * HOUR_S, largest=2**31 - 1, zeros=True, month_end_s=6 * HOUR_S
    ),
    # 25 events, one an hour for each resource and dimension, 24 hours back, above zero.
    "azure": Rules(batch=25, freeze_s=DAY_S - HOUR_S, accept_s=DAY_S, alarm_s=12 * HOUR_S, largest=2**53),
    # 1 MB; within an hour of the end of the hour.
    "gcp": Rules(batch=100, freeze_s=2 * HOUR_S - 300, accept_s=2 * HOUR_S, alarm_s=HOUR_S + 1_800, largest=2**63 - 1, zeros=True),
    # One event a request; 35 days back; an identifier is known for 24 hours at least, so that a later try could count twice.
    "stripe": Rules(batch=1, freeze_s=34 * DAY_S, accept_s=35 * DAY_S, alarm_s=12 * HOUR_S, largest=2**53, resend_s=23 * HOUR_S),
}
