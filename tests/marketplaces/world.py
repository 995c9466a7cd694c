"""One seeded run: usage that is restated, a reporter that dies and is overtaken anywhere, and a marketplace behind a bad line.

Everything is the production code, down to SQLite, but for the clock, Kafka (a list) and the network (a call). The oracle adds line items up
by itself, and compares them with what the marketplace would bill.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from ratemill.schemas.line_item import RatedLineItem
from ratemill.schemas.times import NS, format_time
from ratemill.sinks.marketplace.http import Answer, Request
from ratemill.sinks.marketplace.listings import Listing, read_listings
from ratemill.sinks.marketplace.outbox import Outbox
from ratemill.sinks.marketplace.records import State, record_id
from ratemill.sinks.marketplace.reporter import Reporter, ReporterParts
from ratemill.sinks.marketplace.rules import RULES
from ratemill.sinks.marketplace.standing import Standing, standing
from ratemill.store.database import open_database
from ratemill.store.lease import Lease, LeaseLost
from sqlalchemy import Engine, event

from .fake import HOUR_S, Faulty, Key
from .markets import ACCOUNTS, DIMENSIONS, SINCE, customer_of, fake_for, listings_text

LEASE_S = 60.0
SKUS = (("storage", "GB-h"), ("calls", "call"), ("support", "month"), ("free", "GB-h"))


class Killed(BaseException):
    """kill -9: nothing catches it."""


class _Stalled:
    """What a coroutine awaits that is frozen for a while."""

    def __await__(self) -> Any:
        yield self


@dataclass
class Broken:
    """Parts that a negative control replaces."""

    outbox: type[Outbox] = Outbox
    reporter: type[Reporter] = Reporter


@dataclass
class Plan:
    """What a seed draws. hours: of usage. kill, stall: chances out of 1,000 at each place where the reporter can die. outage, absence: of the
    marketplace and of the reporter, from when to when. foreign: somebody else reports, too. pace: seconds between two rounds of the reporter.
    """

    kind: str
    hours: int
    kill: int
    stall: int
    outage: tuple[int, int]
    absence: tuple[int, int]
    foreign: bool
    pace: tuple[int, int]

    @classmethod
    def draw(cls, dice: random.Random, kinds: tuple[str, ...]) -> Plan:
        kind = dice.choice(kinds)
        brisk = kind == "gcp"  # an hour is open for an hour only: others would never be caught up with
        hours = dice.randrange(3, 7) if brisk else dice.randrange(4, 13)

        def span(chance: int, longest: int) -> tuple[int, int]:
            if dice.randrange(100) >= chance:
                return (0, 0)
            # Half of them when the first tries of an hour have just been made.
            begin = SINCE + dice.choice((dice.randrange(hours * HOUR_S), dice.randrange(hours) * HOUR_S + 600 + dice.randrange(600)))
            return (begin, begin + dice.randrange(HOUR_S // 2, longest * HOUR_S))

        # Google and Stripe cannot tell of somebody else's reports: their keys are our ids.
        foreign = dice.randrange(6) == 0 and kind not in ("gcp", "stripe")
        pace = (120, 480) if brisk else (420, 1_740)
        longest = 4 if brisk else 30
        return cls(kind, hours, dice.choice((0, 4, 10)), dice.choice((0, 10)), span(50, longest), span(25, min(longest, 12)), foreign, pace)


@dataclass
class World:
    seed: int
    engine: Engine
    plan: Plan
    dice: random.Random
    broken: Broken = field(default_factory=Broken)
    now: int = SINCE
    log: list[RatedLineItem] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    alarmed: set[str] = field(default_factory=set)
    foreign: set[Key] = field(default_factory=set)  # what somebody else reported, under keys of ours
    _reporter: Reporter | None = None
    _holder: str = ""
    _positions: dict[tuple[str, int], int] = field(default_factory=dict)
    _zombies: list[Coroutine[Any, Any, Any]] = field(default_factory=list)
    _lives: int = 0
    _calm: bool = False

    def __post_init__(self) -> None:
        self.fake = fake_for(self.plan.kind, lambda: self.now)
        self.line = Faulty(self.fake, random.Random(self.seed ^ 0x5EED))
        self._currencies = random.Random(self.seed ^ 0xE0)
        self.listings = read_listings(listings_text(self.plan.kind, format_time(SINCE * NS)), "shop.yaml")
        self.listing = self.listings.listings["shop"]
        event.listen(self.engine, "before_cursor_execute", self._may_die)

    # -- faults ------------------------------------------------------------------------------------------------------

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def _may_die(self, *_arguments: Any) -> None:
        if not self._calm and self.dice.randrange(1_000) < self.plan.kill:
            self.count("killed")
            raise Killed

    async def _point(self, _name: str) -> None:
        self._may_die()
        if not self._calm and self.dice.randrange(1_000) < self.plan.stall:
            self.count("stalled")
            await _Stalled()

    async def _send(self, _listing: Listing, request: Request) -> Answer:
        self._may_die()
        said = self.line.handle(request)
        self._may_die()
        return said

    # -- the reporter ------------------------------------------------------------------------------------------------

    def _drive(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run until it ends, dies or is frozen."""
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        except Killed:
            work.close()
            self._reporter = None
            return None
        except LeaseLost:
            self._reporter = None
            return None
        self._zombies.append(work)
        self._reporter = None
        return None

    def _start(self) -> None:
        """A new process: it waits for the lease as long as it has to."""
        self._lives += 1
        lease = Lease(self.engine, "marketplace", f"life-{self._lives}", LEASE_S, clock=lambda: float(self.now))
        try:
            for _ in range(3):
                if lease.take():
                    break
                self.now += int(LEASE_S) + 1
            else:
                raise AssertionError("nobody gets the lease")
        except Killed:
            return
        parts = ReporterParts(
            outbox=self.broken.outbox(self.engine, lease), lease=lease, listings=self.listings, send=self._send, clock=lambda: self.now,
            pass_point=self._point,
        )  # fmt: skip
        reporter = self._reporter = self.broken.reporter(parts)
        self._lease = lease
        positions = self._drive(reporter.begin())
        if self._reporter is reporter and positions is not None:
            self._positions = positions

    def _with_reporter(self, make: Callable[[Reporter], Coroutine[Any, Any, Any]]) -> Any:
        return None if self._reporter is None else self._drive(make(self._reporter))

    def work(self) -> None:
        """One round of all steps."""
        for zombie in self._zombies:  # it wakes up somewhere in the middle, and finds that it is not needed any more
            if self._reporter is not None:
                try:
                    zombie.send(None)
                except (StopIteration, LeaseLost, Killed):
                    pass
        self._zombies = [each for each in self._zombies if each.cr_frame is not None]
        if self._reporter is None:
            self._start()
        else:
            try:
                self._lease.renew()
            except (Killed, LeaseLost):
                self._reporter = None
        begin = self._positions.get(("usage.rated", 0), 0)
        end = len(self.log) if self._calm else min(len(self.log), begin + self.dice.randrange(1, 40))
        batch = self.log[begin:end]
        positions = {("usage.rated", 0): end} if end > begin else {}
        reporter = self._reporter
        self._with_reporter(lambda each: each.take(batch, positions))
        if self._reporter is None or self._reporter is not reporter:
            return
        self._positions.update(positions)
        if end == len(self.log):
            self._with_reporter(lambda each: each.freeze(self.now))
        for _ in range(40):
            if self._reporter is None or not self._with_reporter(lambda each: each.send(self.listing)):
                break

    # -- usage -------------------------------------------------------------------------------------------------------

    def use(self) -> None:
        """Line items of now, and restated ones of before."""
        for _ in range(self.dice.randrange(0, 8 if self.plan.pace[0] > 120 else 3)):
            late = self.dice.choice((0, 0, 0, 0, 1, 3, 9))
            hour = max(SINCE, self.now // HOUR_S * HOUR_S - late * HOUR_S)
            sku, unit = self.dice.choice(SKUS)
            self._write(f"{self.dice.choice(ACCOUNTS)}/{sku}/{hour}/{self.dice.randrange(3)}", hour, sku, unit)
        if self.log and self.dice.randrange(4) == 0:  # an older record once more, as after a compaction that was not
            self.log.append(self.dice.choice(self.log))

    def _write(self, id: str, hour: int, sku: str, unit: str) -> None:
        account = id.partition("/")[0]
        revision = len(self.log) + 1
        quantity, cost = f"{self.dice.randrange(0, 4_000)}e-{self.dice.randrange(1, 4)}", f"{self.dice.randrange(0, 300)}e-3"
        withdrawn = self.dice.randrange(12) == 0
        if self.dice.randrange(25) == 0:
            quantity, cost = f"-{quantity}", f"-{cost}"
        if withdrawn:
            quantity = cost = "0"
        currency = "EUR" if sku == "support" and self._currencies.randrange(8) == 0 else "USD"  # no dimension counts euros
        start, end = format_time(hour * NS), format_time((hour + HOUR_S) * NS)
        self.log.append(RatedLineItem(
            id, revision, account, currency, start, end, start, end, sku, cost, cost, cost, cost, "Usage", None, "", quantity, unit,
            "", "", "", "", "", consumed_quantity=quantity, consumed_unit=unit, x_withdrawn=withdrawn,
        ))  # fmt: skip

    # -- the run -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        plan = self.plan
        end = SINCE + plan.hours * HOUR_S
        while self.now < end:
            self.now += self.dice.randrange(*plan.pace)
            self.line.down = plan.outage[0] <= self.now < plan.outage[1]
            self._look()
            self.use()
            if plan.foreign and self.dice.randrange(8) == 0:
                self._somebody_else()
            if not plan.absence[0] <= self.now < plan.absence[1]:
                self.work()
        self._heal()

    def _look(self) -> Standing:
        """What `ratemill marketplace status` would tell of now: remembered, to be compared with what was given up."""
        calm, self._calm = self._calm, True
        found = standing(self.engine, self.now, {"shop": RULES[self.listing.marketplace]}, self.listings.targets())
        self.alarmed.update(each.id for each in found.overdue)
        for each in found.behind:
            self.alarmed.update(record_id(each.id, each.next_hour + number * HOUR_S) for number in range(each.behind))
        self._calm = calm
        return found

    def _somebody_else(self) -> None:
        customer = self.dice.choice(self.listings.customers[self.dice.choice(ACCOUNTS)])
        key = Key(customer_of(dict(customer.names)), self.dice.choice(DIMENSIONS), self.now // HOUR_S * HOUR_S)
        if self.fake.quantity_of(key) is None:
            self.fake.billed.append((key, Fraction(self.dice.randrange(1, 50))))
            self.foreign.add(key)

    def _heal(self) -> None:
        self._calm, self.line.healed = True, True
        while True:
            self.now += min(self.plan.pace[1], HOUR_S // 3)
            found = self._look()
            self.work()
            open_ = [each for each in found.waiting if each.state in (State.PENDING, State.DOUBTFUL)]
            if self.now > SINCE + (self.plan.hours + 3) * HOUR_S and not open_ and all(each.carry < 1 for each in found.targets):
                return


def oracle(log: list[RatedLineItem]) -> dict[tuple[str, str], Fraction]:
    """(account, dimension) -> exact usage, from the highest revisions alone."""
    newest: dict[str, RatedLineItem] = {}
    for item in log:
        if item.x_line_item_id not in newest or item.x_revision > newest[item.x_line_item_id].x_revision:
            newest[item.x_line_item_id] = item
    found: dict[tuple[str, str], Fraction] = {}
    for item in newest.values():
        if item.sku_id == "storage":
            key, quantity = "gb_hours", Fraction(item.consumed_quantity or 0)
        elif item.sku_id == "calls":
            key, quantity = "requests", Fraction(item.consumed_quantity or 0) / 1_000
        elif item.sku_id == "support" and item.billing_currency == "USD":
            key, quantity = "fee_cents", Fraction(item.billed_cost) * 100
        else:
            continue
        where = (item.billing_account_id, key)
        found[where] = found.get(where, Fraction(0)) + quantity
    return found


def make_world(seed: int, folder: Path, template: Path, kinds: tuple[str, ...], broken: Broken | None = None) -> World:
    """template: an empty database with the newest schema, copied so that not every run migrates one."""
    dice = random.Random(seed)
    path = folder / f"{seed}.db"
    shutil.copy(template, path)
    engine = open_database(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # the machine does not fail here, only the process

    engine.dispose()  # the connections that it has already

    return World(seed, engine, Plan.draw(dice, kinds), dice, broken or Broken())


