"""What must hold when a run is over, told from the line items, from what the marketplace would bill, and from the outbox."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction
from typing import Any

from ratemill.sinks.marketplace.records import State
from ratemill.store.database import transaction
from ratemill.store.tables import marketplace_records, marketplace_targets
from sqlalchemy import select

from .fake import Key
from .markets import customer_of
from .world import World, oracle

HELD = (State.ACCEPTED,)
NONE = (State.REJECTED, State.EXPIRED, State.LATE)


def judge(world: World) -> tuple[list[str], Counter[str]]:
    """(what is wrong, what became of targets and records). Wrong is, above all: more billed than recorded, less billed than recorded."""
    wrong: list[str] = []
    outcome: Counter[str] = Counter()
    with transaction(world.engine) as connection:
        targets = {row.id: row for row in connection.execute(select(marketplace_targets))}
        rows = connection.execute(select(marketplace_records)).all()
    expected = oracle(world.log)
    keys: set[Key] = set()
    ours: set[Key] = set()  # without what somebody else reported for an hour of which we reported nothing
    frozen: dict[str, Fraction] = {name: Fraction(0) for name in targets}
    unsure: Counter[str] = Counter()
    for row in rows:
        key = Key(customer_of(json.loads(row.wire)), targets[row.target].dimension, row.hour)
        keys.add(key)
        outcome[row.state] += 1
        if row.state not in NONE:
            ours.add(key)
        wrong += _record(world, row, key)
        if row.state not in (State.EXPIRED, State.LATE):
            frozen[row.target] += row.quantity
        if row.state in (State.UNKNOWN, State.MISMATCH, State.REJECTED):
            unsure[row.target] += 1
    wrong += [f"billed and not in the outbox: {key}" for key, _ in world.fake.billed if key not in keys | world.foreign]
    for name, target in targets.items():
        usage = expected.get((target.account, target.dimension), Fraction(0))
        carry = Fraction(target.carry)
        if frozen[name] + carry != usage:
            wrong.append(f"{name}: frozen {frozen[name]} and carry {carry} are not the usage {usage}")
        billed = sum((quantity for key, quantity in world.fake.billed if key in ours and (key.customer, key.dimension) == _side(target)), Fraction(0))
        if unsure[name]:
            outcome["target: somebody has to look"] += 1
        elif carry < 0:
            outcome["target: below zero, carried"] += 1
        elif not carry < 1:
            wrong.append(f"{name}: {carry} is carried, and nothing is in its way")
        elif billed != usage // 1:
            wrong.append(f"{name}: billed {billed}, usage {usage}")
        else:
            outcome["target: exact"] += 1
    return wrong, outcome


def _side(target: Any) -> tuple[str, str]:
    return customer_of(json.loads(target.customer)), target.dimension


def _record(world: World, row: Any, key: Key) -> list[str]:
    has = world.fake.quantity_of(key)
    name = f"{row.target} at {row.hour} ({row.state}, {row.quantity}, {row.detail})"
    if row.state in (State.PENDING, State.DOUBTFUL):
        return [f"{name}: still to be sent"]
    if row.state in HELD and has != row.quantity:
        return [f"{name}: the marketplace has {has}"]
    if row.state in NONE and has and key not in world.foreign:
        return [f"{name}: the marketplace has {has} of what it never took"]
    if row.state == State.MISMATCH and has == row.quantity:
        return [f"{name}: it is no mismatch"]
    if row.state == State.UNKNOWN and has not in (None, row.quantity):
        return [f"{name}: the marketplace has {has}"]
    if row.state in (State.EXPIRED, State.UNKNOWN, State.LATE) and row.id not in world.alarmed:
        return [f"{name}: given up, and never told of before"]
    return []
