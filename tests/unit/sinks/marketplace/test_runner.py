"""What the reporter's gauges say while nothing is sent: of records that wait, and of hours of which there is no record yet."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from marketplaces.markets import SINCE, listings_text
from ratemill.pricing.money import money
from ratemill.sinks.marketplace.http import Answer, Request
from ratemill.sinks.marketplace.listings import Listing, read_listings
from ratemill.sinks.marketplace.outbox import Outbox
from ratemill.sinks.marketplace.records import HOUR_S, Contribution
from ratemill.sinks.marketplace.reporter import Reporter, ReporterParts
from ratemill.sinks.marketplace.rules import RULES
from ratemill.sinks.marketplace.runner import LineItems, Runner
from ratemill.sinks.marketplace.standing import standing
from ratemill.store.lease import Lease
from sqlalchemy import Engine

LISTINGS = read_listings(listings_text("gcp", "2026-11-02T23:00:00Z", ("acct-1",)), "shop.yaml")
RULES_OF = {"shop": RULES["gcp"]}


async def never(_listing: Listing, _request: Request) -> Answer:
    raise AssertionError


async def nothing(_positions: Mapping[tuple[str, int], int]) -> AsyncGenerator[LineItems]:
    raise AssertionError
    yield


async def test_a_try_begins_with_enough_of_the_lease_left_and_is_not_put_off(engine: Engine) -> None:
    moment = [0.0]
    lease = Lease(engine, "marketplace", "one", 90, clock=lambda: moment[0])
    assert lease.take()
    outbox, now, left = Outbox(engine, lease), SINCE + HOUR_S + 600, list[float]()

    async def send(_listing: Listing, _request: Request) -> Answer:
        left.append(lease.left())
        return Answer(200, b"{}")

    parts = ReporterParts(outbox=outbox, lease=lease, listings=LISTINGS, send=send, clock=lambda: now, send_timeout_s=60)
    reporter = Reporter(parts)
    await reporter.begin()
    await reporter.freeze(now)
    moment[0] = 40.0  # 50 s are left, and a try may take 60
    assert await reporter.send(LISTINGS.listings["shop"]) == 3
    assert left == [90]


async def test_the_gauges_tell_of_hours_that_are_not_even_frozen(engine: Engine) -> None:
    lease = Lease(engine, "marketplace", "one", 60)
    assert lease.take()
    outbox, now = Outbox(engine, lease), [SINCE + HOUR_S + 600]
    parts = ReporterParts(outbox=outbox, lease=lease, listings=LISTINGS, send=never, clock=lambda: now[0])
    runner = Runner(parts, nothing, lambda: standing(engine, now[0], RULES_OF, LISTINGS.targets()))

    async def gauges() -> list[float]:
        await runner._tell()
        names = ("oldest_unsent_seconds", "overdue_hours", "closes_in_seconds")
        found = [parts.metrics.registry.get_sample_value(f"ratemill_marketplace_{name}", {"listing": "shop"}) for name in names]
        return [each for each in found if each is not None]

    assert await gauges() == [0, 0, -1]
    outbox.declare(LISTINGS.targets(), LISTINGS.digest)
    target = next(each.id for each in LISTINGS.targets() if each.dimension == "gb_hours")
    outbox.count([Contribution("a", 1, target, SINCE, money("7"))], {})
    outbox.freeze(RULES_OF, now[0], now[0])
    assert await gauges() == [HOUR_S + 600, 0, HOUR_S - 600]  # three records wait, and are not overdue
    now[0] = SINCE + HOUR_S + 1_800
    assert (await gauges())[1] == 3
    # The topic cannot be read for two hours: two hours of three dimensions are past the alarm, and there is no record of them.
    now[0] += 2 * HOUR_S
    outbox.pass_deadlines("shop", RULES_OF["shop"], now[0])
    assert await gauges() == [now[0] - SINCE - HOUR_S, 6, 0]
