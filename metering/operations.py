"""What an expression can compute, as closures over a usage event. Types are checked when they are put together.

A field of `dimensions` or `tags` is a text, and a number where a number is needed: its digits are read exactly then. An absent
field is the empty text, which is no number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from ..pricing.book_form import quoted
from ..pricing.money import EXACT, round_to
from ..pricing.selection import dimension_values
from ..schemas.errors import Rejection
from ..schemas.quantity import parse_quantity
from ..schemas.usage_event import UsageEvent
from .exact import factor_of

__all__ = ["FIELD", "FLAG", "NUMBER", "TEXT", "Node", "Unmeterable", "Wrong"]

NUMBER, TEXT, FLAG, FIELD = "a number", "a text", "true or false", "a text or a number"

Run = Callable[[UsageEvent], Any]


class Unmeterable(Exception):
    """Why an event has no value of an expression: part of the detail of a Rejection."""


class Wrong(Exception):
    """What is wrong in an expression, and at which character of it, counted from 0."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(what)
        self.what = what
        self.at = at


class Node(NamedTuple):
    """A part of an expression. constant: its value needs no event. at: where it begins; label: how a message names it."""

    kind: str
    run: Run
    at: int
    constant: bool = False
    label: str = ""

    def value(self) -> Any:
        """Value of a constant; run ignores the event then."""
        return self.run(_NO_EVENT)


_NO_EVENT: Any = None


def literal(value: Decimal | str | bool, at: int) -> Node:
    """A constant."""
    kind = FLAG if isinstance(value, bool) else TEXT if isinstance(value, str) else NUMBER
    return Node(kind, lambda event: value, at, True)


def attribute(name: str, kind: str, at: int) -> Node:
    """A field of the event itself."""
    return Node(kind, attrgetter(name), at, label=name)


def entry(where: str, name: str, at: int) -> Node:
    """dimensions.x or tags.x."""
    if where == "dimensions":
        return Node(FIELD, lambda event: dimension_values(event.dimensions).get(name, ""), at, label=f"dimension {quoted(name)}")
    return Node(FIELD, lambda event: dimension_values(event.tags).get(name, ""), at, label=f"tag {quoted(name)}")


def folded(node: Node, parts: Sequence[Node]) -> Node:
    """The node, computed now if all its parts are constants."""
    if not all(part.constant for part in parts):
        return node
    try:
        value = node.run(_NO_EVENT)
    except Unmeterable as error:
        raise Wrong(str(error), node.at) from None
    except ArithmeticError:
        raise Wrong("this has more digits than are kept exactly", node.at) from None
    return Node(node.kind, lambda event: value, node.at, True)


def as_number(node: Node, what: str) -> Run:
    """The value as a number, which `what` needs."""
    if node.kind == NUMBER:
        return node.run
    if node.kind != FIELD:
        raise Wrong(f"{what} needs a number, and this is {node.kind}", node.at)
    return _reads_number(node)


def as_text(node: Node, what: str) -> Run:
    """The value as a text, which `what` needs."""
    if node.kind not in (TEXT, FIELD):
        raise Wrong(f"{what} needs a text, and this is {node.kind}", node.at)
    return node.run


def as_flag(node: Node, what: str) -> Run:
    """The value as true or false, which `what` needs."""
    if node.kind != FLAG:
        raise Wrong(f"{what} needs true or false, and this is {node.kind}; compare it with something", node.at)
    return node.run


def _reads_number(node: Node) -> Run:
    run, label = node.run, node.label or "a text"

    def read(event: UsageEvent) -> Decimal:
        text = run(event)
        try:
            return parse_quantity(text)
        except Rejection:
            raise Unmeterable(f"{label} is {quoted(text)}, which is no number" if text else f"{label} is absent, and a number is needed") from None

    return read


def total(first: Node, rest: Sequence[tuple[str, Node]]) -> Node:
    """a + b - c …"""
    start = as_number(first, "+" if rest[0][0] == "+" else "-")
    steps = [(EXACT.add if sign == "+" else EXACT.subtract, as_number(node, sign)) for sign, node in rest]

    def run(event: UsageEvent) -> Decimal:
        value: Decimal = start(event)
        for step, operand in steps:
            value = step(value, operand(event))
        return value

    return folded(Node(NUMBER, run, first.at), [first, *(node for _, node in rest)])


def product(first: Node, rest: Sequence[tuple[str, Node]], digits: int | None) -> tuple[Node, bool]:
    """a * b / c …, and whether it rounds. digits: of a quotient that is not a finite decimal; None: there may be none."""
    start = as_number(first, rest[0][0])
    steps: list[tuple[Callable[[Decimal, Decimal], Decimal] | None, Any]] = []
    rounds = False
    for sign, node in rest:
        operand = as_number(node, sign)
        if sign == "*":
            steps.append((EXACT.multiply, operand))
            continue
        if not node.constant:
            raise Wrong("/ needs a number that is written out on its right, because most other quotients are not finite decimals", node.at)
        divisor = operand(_NO_EVENT)
        if not divisor:
            raise Wrong("division by 0", node.at)
        quotient = factor_of(1, divisor, digits)
        if not quotient.finite and digits is None:
            raise Wrong("this quotient is not a finite decimal; add `digits: 12` to the meter, or as many as shall be kept", node.at)
        rounds |= not quotient.finite
        steps.append((None, quotient.times))

    def run(event: UsageEvent) -> Decimal:
        value: Decimal = start(event)
        for step, operand in steps:
            value = operand(value) if step is None else step(value, operand(event))
        return value

    return folded(Node(NUMBER, run, first.at), [first, *(node for _, node in rest)]), rounds


def negated(node: Node, at: int) -> Node:
    """-a"""
    run = as_number(node, "-")
    return folded(Node(NUMBER, lambda event: EXACT.minus(run(event)), at), [node])


def denied(node: Node, at: int) -> Node:
    """not a"""
    run = as_flag(node, "not")
    return folded(Node(FLAG, lambda event: not run(event), at), [node])


def joined(word: str, nodes: Sequence[Node]) -> Node:
    """a and b …, a or b …: from left to right, and no further than needed."""
    runs = [as_flag(node, word) for node in nodes]
    decides = word == "or"

    def run(event: UsageEvent) -> bool:
        return any(part(event) for part in runs) if decides else all(part(event) for part in runs)

    return folded(Node(FLAG, run, nodes[0].at), nodes)


def compared(sign: str, left: Node, right: Node) -> Node:
    """a == b and the other comparisons. Two fields are compared as texts by == and !=, as numbers by the rest."""
    if sign in ("==", "!="):
        one, other = _alike(left, right, sign)
        return folded(Node(FLAG, _equal(one, other, right, sign == "=="), left.at), [left, right])
    a, b = as_number(left, sign), as_number(right, sign)
    found: dict[str, Run] = {
        "<": lambda event: a(event) < b(event),
        "<=": lambda event: a(event) <= b(event),
        ">": lambda event: a(event) > b(event),
        ">=": lambda event: a(event) >= b(event),
    }
    return folded(Node(FLAG, found[sign], left.at), [left, right])


def _equal(one: Run, other: Run, right: Node, wanted: bool) -> Run:
    if right.constant:
        value = other(_NO_EVENT)
        return (lambda event: one(event) == value) if wanted else (lambda event: one(event) != value)
    return (lambda event: one(event) == other(event)) if wanted else (lambda event: one(event) != other(event))


def _alike(left: Node, right: Node, sign: str) -> tuple[Run, Run]:
    """Both sides as what they are compared as."""
    if NUMBER in (left.kind, right.kind):
        return as_number(left, f"{sign} with a number"), as_number(right, f"{sign} with a number")
    if FLAG in (left.kind, right.kind):
        return as_flag(left, f"{sign} with true or false"), as_flag(right, f"{sign} with true or false")
    return left.run, right.run


def contained(left: Node, items: Sequence[Node]) -> Node:
    """a in [b, c, …], of constants of one kind."""
    for item in items:
        if not item.constant:
            raise Wrong("the list after `in` holds only what is written out, such as \"eu\" or 5", item.at)
        if item.kind != items[0].kind:
            raise Wrong(f"the list after `in` begins with {items[0].kind}, and this is {item.kind}", item.at)
    one, _ = _alike(left, items[0], "in")
    values = frozenset(item.value() for item in items)
    return folded(Node(FLAG, lambda event: one(event) in values, left.at), [left])


def called(name: str, arguments: Sequence[Node], at: int) -> Node:
    """A function."""
    count = len(arguments)
    if name in ("min", "max"):
        if not count:
            raise Wrong(f"{name} needs at least one number", at)
        runs = [as_number(argument, name) for argument in arguments]
        pick: Callable[[list[Decimal]], Decimal] = min if name == "min" else max
        return folded(Node(NUMBER, lambda event: pick([run(event) for run in runs]), at), arguments)
    if count != (2 if name == "round" else 1):
        raise Wrong("round needs two arguments, such as round(quantity, 2)" if name == "round" else f"{name} needs one argument", at)
    (node, *more) = arguments
    if name == "has":
        if node.kind != FIELD:
            raise Wrong("has asks for a dimension or a tag, such as has(dimensions.tier)", node.at)
        text = node.run
        return Node(FLAG, lambda event: text(event) != "", at)
    if name == "number":
        run = _reads_number(node._replace(label=node.label or "the text")) if node.kind in (TEXT, FIELD) else as_number(node, name)
        return folded(Node(NUMBER, run, at), arguments)
    run = as_number(node, name)
    found: dict[str, Run] = {
        "abs": lambda event: EXACT.abs(run(event)),
        "floor": lambda event: run(event).to_integral_value(ROUND_FLOOR),
        "ceil": lambda event: run(event).to_integral_value(ROUND_CEILING),
    }
    if name == "round":
        digits = _digits(more[0])
        found["round"] = lambda event: round_to(run(event), digits, "half_even")
    return folded(Node(NUMBER, found[name], at), arguments)


def _digits(node: Node) -> int:
    if node.constant and node.kind == NUMBER:
        value = node.value()
        if value == value.to_integral_value() and 0 <= value <= 30:
            return int(value)
    raise Wrong("the second argument of round is a whole number from 0 to 30 that is written out", node.at)
