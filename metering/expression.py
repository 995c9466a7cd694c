"""The expressions of meters: a small language that can only look at one event. Nothing is ever evaluated as Python.

    or          a or b
    and         a and b
    not         not a
    comparison  a == b   !=   <   <=   >   >=   a in [b, c]
    sum         a + b - c
    product     a * b / 1000        the divisor is written out
    sign        -a
    part        1.5  "text"  'text'  true  false  (a)  name  dimensions.x  dimensions["a b"]  tags.x  function(a, b)

An expression becomes closures once; running it costs well under a microsecond. What bounds it: 1000 characters, brackets 32
deep, and numbers as long as a quantity may be.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..pricing.money import plain
from ..schemas.errors import Rejection
from ..schemas.quantity import parse_quantity
from . import operations as op
from .operations import FIELD, FLAG, NUMBER, TEXT, Node, Run, Unmeterable, Wrong

__all__ = ["BadExpression", "Expression", "Unmeterable", "field_of", "parse_expression"]

MAX_CHARS = 1_000
MAX_DEPTH = 32
ATTRIBUTES = {"quantity": NUMBER, "unit": TEXT, "region": TEXT, "resource": TEXT, "provider": TEXT, "source": TEXT, "account": TEXT, "event": TEXT}
MAPS = ("dimensions", "tags")
FUNCTIONS = ("min", "max", "round", "abs", "floor", "ceil", "has", "number")
WORDS = ("and", "or", "not", "in", "true", "false")

_TOKEN = re.compile(
    r"""(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign>==|!=|<=|>=|[-+*/<>()\[\],.])""",
    re.VERBOSE | re.DOTALL,
)
_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class BadExpression(Exception):
    """What is wrong with an expression; its text says at which character, counted from 1."""


class Expression:
    """A parsed expression. Two are equal when they were written alike.

    run: value of an event: Decimal, str or bool, by what was asked for. It raises Unmeterable, or ArithmeticError beyond the digits
    that are kept exactly. rounds: whether it holds a quotient that is rounded to `digits`.
    """

    __slots__ = ("digits", "rounds", "run", "text")

    def __init__(self, text: str, digits: int | None, run: Run, rounds: bool) -> None:
        self.text = text
        self.digits = digits if rounds else None
        self.run = run
        self.rounds = rounds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and (self.text, self.digits) == (other.text, other.digits)

    def __hash__(self) -> int:
        return hash((self.text, self.digits))

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


class Token(NamedTuple):
    """kind: number, name, text, sign or end."""

    kind: str
    text: str
    at: int


def parse_expression(text: str, wanted: str, digits: int | None = None) -> Expression:
    """Parse an expression for a number (`wanted` NUMBER), a TEXT or a FLAG of operations. Raises BadExpression."""
    try:
        parser = _Parser(_tokens(text), digits)
        node = parser.whole()
        if wanted == FLAG:
            run = op.as_flag(node, "a filter")
        elif wanted == NUMBER:
            run = op.as_number(node, "a quantity")
        else:
            run = _text_of(node)
    except Wrong as error:
        raise BadExpression(f"{error.what} (at character {error.at + 1})") from None
    return Expression(text, digits, run, parser.rounds)


def field_of(text: str) -> str | None:
    """The x of `dimensions.x` or `dimensions["x"]`; None for everything else."""
    try:
        tokens = _tokens(text)
        if tokens[0].text != "dimensions":
            return None
        parser = _Parser(tokens, None)
        name = parser.entry_name(parser.take())
    except Wrong:
        return None
    return name if parser.now.kind == "end" else None


def _text_of(node: Node) -> Run:
    """What a value is told apart by: numbers by their value, not by how they were written."""
    if node.kind in (TEXT, FIELD):
        return node.run
    run = node.run
    if node.kind == NUMBER:
        return lambda event: plain(run(event))
    raise Wrong("a text or a number is needed, and this is true or false", node.at)


def _tokens(text: str) -> list[Token]:
    if len(text) > MAX_CHARS:
        raise Wrong(f"it has {len(text)} characters, and at most {MAX_CHARS} are read", MAX_CHARS)
    found: list[Token] = []
    at = 0
    while True:
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        if at == len(text):
            return [*found, Token("end", "", at)]
        match = _TOKEN.match(text, at)
        if match is None:
            what = {"=": "equality is written ==", '"': "this text has no closing quote", "'": "this text has no closing quote"}
            raise Wrong(what.get(text[at], f"{_shown(text[at])} is not part of the language"), at)
        found.append(Token(str(match.lastgroup), match[0], at))
        at = match.end()


def _shown(text: str) -> str:
    return f"`{_UNWANTED.sub('?', text)}`" if text else "the end"


class _Parser:
    """Recursive descent, one method per level; the grammar is in the head of this module."""

    def __init__(self, tokens: list[Token], digits: int | None) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0
        self._digits = digits
        self.rounds = False

    @property
    def now(self) -> Token:
        return self._tokens[self._next]

    def take(self) -> Token:
        token = self._tokens[self._next]
        self._next += token.kind != "end"
        return token

    def _is(self, *texts: str) -> bool:
        return self.now.kind in ("sign", "name") and self.now.text in texts

    def _expect(self, text: str, why: str) -> None:
        if not self._is(text):
            raise Wrong(f"`{text}` is expected {why}, and here is {_shown(self.now.text)}", self.now.at)
        self.take()

    def whole(self) -> Node:
        if self.now.kind == "end":
            raise Wrong("it is empty", 0)
        node = self._or()
        if self.now.kind != "end":
            raise Wrong(f"{_shown(self.now.text)} is not expected here", self.now.at)
        return node

    def _or(self) -> Node:
        nodes = [self._and()]
        while self._is("or"):
            self.take()
            nodes.append(self._and())
        return op.joined("or", nodes) if len(nodes) > 1 else nodes[0]

    def _and(self) -> Node:
        nodes = [self._not()]
        while self._is("and"):
            self.take()
            nodes.append(self._not())
        return op.joined("and", nodes) if len(nodes) > 1 else nodes[0]

    def _not(self) -> Node:
        if not self._is("not"):
            return self._comparison()
        at = self.take().at
        self._deeper(at)
        node = op.denied(self._not(), at)
        self._depth -= 1
        return node

    def _comparison(self) -> Node:
        left = self._sum()
        if self._is("in"):
            self.take()
            return op.contained(left, self._listed())
        if not self._is("==", "!=", "<", "<=", ">", ">="):
            return left
        node = op.compared(self.take().text, left, self._sum())
        if self._is("==", "!=", "<", "<=", ">", ">="):
            raise Wrong("comparisons are not chained; join two of them with `and`", self.now.at)
        return node

    def _sum(self) -> Node:
        first, rest = self._product(), []
        while self._is("+", "-"):
            sign = self.take().text
            rest.append((sign, self._product()))
        return op.total(first, rest) if rest else first

    def _product(self) -> Node:
        first, rest = self._sign(), []
        while self._is("*", "/"):
            sign = self.take().text
            rest.append((sign, self._sign()))
        if not rest:
            return first
        node, rounds = op.product(first, rest, self._digits)
        self.rounds |= rounds
        return node

    def _sign(self) -> Node:
        if not self._is("-"):
            return self._part()
        at = self.take().at
        self._deeper(at)
        node = op.negated(self._sign(), at)
        self._depth -= 1
        return node

    def _part(self) -> Node:
        token = self.take()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "text":
            return op.literal(_unquoted(token), token.at)
        if token.text == "(" and token.kind == "sign":
            self._deeper(token.at)
            node = self._or()
            self._expect(")", "to close the bracket")
            self._depth -= 1
            return node
        if token.kind == "name":
            return self._named(token)
        raise Wrong(f"a value is expected, and here is {_shown(token.text)}", token.at)

    def _number(self, token: Token) -> Node:
        try:
            return op.literal(parse_quantity(token.text), token.at)
        except Rejection as error:
            raise Wrong(error.detail, token.at) from None

    def _named(self, token: Token) -> Node:
        name = token.text
        if name in ("true", "false"):
            return op.literal(name == "true", token.at)
        if name in ATTRIBUTES:
            return op.attribute("sku" if name == "event" else name, ATTRIBUTES[name], token.at)
        if name in MAPS:
            return op.entry(name, self.entry_name(token), token.at)
        if name in FUNCTIONS:
            self._expect("(", f"after {name}")
            self._deeper(token.at)
            arguments = [] if self._is(")") else self._arguments(")")
            self._expect(")", f"to close {name}")
            self._depth -= 1
            return op.called(name, arguments, token.at)
        known = ", ".join((*ATTRIBUTES, "dimensions.x", "tags.x", *(f"{function}()" for function in FUNCTIONS)))
        raise Wrong(f"{_shown(name)} {'stands in a wrong place' if name in WORDS else f'is not known; there are {known}'}", token.at)

    def entry_name(self, token: Token) -> str:
        """What follows `dimensions` or `tags`: .x or ["x"]."""
        if self._is("."):
            self.take()
            name = self.take()
            if name.kind == "name" and not self._is("."):
                return name.text
        elif self._is("["):
            self.take()
            name = self.take()
            if name.kind == "text":
                self._expect("]", "to close the bracket")
                return _unquoted(name)
        raise Wrong(f'say which one: {token.text}.name, or {token.text}["any name"]', token.at)

    def _listed(self) -> list[Node]:
        for opening, closing in (("[", "]"), ("(", ")")):
            if self._is(opening):
                at = self.take().at
                self._deeper(at)
                items = self._arguments(closing)
                self._expect(closing, "to close the list")
                self._depth -= 1
                return items
        raise Wrong('a list is expected after `in`, such as ["eu", "us"]', self.now.at)

    def _arguments(self, closing: str) -> list[Node]:
        nodes = [self._or()]
        while self._is(","):
            self.take()
            if self._is(closing):  # a comma after the last one does no harm
                break
            nodes.append(self._or())
        return nodes

    def _deeper(self, at: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Wrong(f"it is nested more than {MAX_DEPTH} deep", at)


def _unquoted(token: Token) -> str:
    text = re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
    if _UNWANTED.search(text):
        raise Wrong("this text holds a line break or another control character", token.at)
    return text


