"""The `--where` expression: read by our own small parser, handed to the database as bound values only.

    expression  = any of: comparison, not expression, expression and expression, expression or expression, (expression)
    comparison  = column (= | != | <> | < | <= | > | >=) value
                | column [not] between value and value | column [not] in (value, ...) | column [not] like 'text'
                | column is [not] null | yes-or-no column alone
    value       = number | 'text' ('' is one quote) | true | false

`not` binds tighter than `and`, `and` tighter than `or`; words are the same in capitals. In `like`, % stands for any
characters and _ for one. A column without a value passes no comparison. Of a column with several values (labels,
datasets) a comparison holds when it holds for any of them, and != when none of them is the value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, not_, or_, types

from loco.errors import InputError
from registry.index.names import Beside, Several

Value = float | int | str | bool

LONGEST = 10_000
"""Characters of an expression."""

_DEEPEST = 60
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![A-Za-z_0-9.])"
    r"|(?P<text>'(?:[^']|'')*')|(?P<word>[A-Za-z_][A-Za-z_0-9]*)|(?P<sign><=|>=|<>|!=|==|[=<>(),]))"
)
_WORDS = frozenset({"and", "or", "not", "in", "like", "is", "null", "between", "true", "false"})
_SIGNS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass(frozen=True)
class Comparison:
    """One comparison: a column, one of = != < <= > >= in like null, and the values compared with."""

    column: str
    sign: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    """The opposite."""

    part: "Node"


@dataclass(frozen=True)
class Both:
    """`and`, or `or` where `either`."""

    left: "Node"
    right: "Node"
    either: bool


Node = Comparison | Not | Both


def parse(text: str) -> Node:
    """The expression as a tree; raises `InputError` saying where it went wrong and what was expected."""
    if len(text) > LONGEST:
        raise InputError(f"where: expected up to {LONGEST} characters, found {len(text)}")
    reader = _Reader(text)
    node = reader.either(0)
    reader.end()
    return node


def condition(node: Node, columns: Mapping[str, Beside]) -> ColumnElement[bool]:
    """The tree as a condition on `columns`, by name; every value of the expression becomes a bound parameter.

    Raises `InputError` for a column that is not there or compared with a value of another kind.
    """
    if isinstance(node, Not):
        return not_(condition(node.part, columns))
    if isinstance(node, Both):
        join = or_ if node.either else and_
        return join(*(condition(part, columns) for part in _parts(node)))
    if node.column not in columns:
        raise InputError(f"where: no column {node.column[:80]!r}; there are {', '.join(columns)}")
    named = columns[node.column]
    column = named.one.expression if isinstance(named, Several) else named
    if node.sign == "like" and not isinstance(column.type, types.String):
        raise InputError(f"where: like looks into text, {node.column} is none")
    for value in node.values:
        _check(node.column, column, value)
    values: tuple[Any, ...] = node.values
    if isinstance(column.type, types.DateTime):
        values = tuple(datetime.fromisoformat(str(value)) for value in node.values)
    if not isinstance(named, Several):
        return _compare(column, node.sign, values)
    if node.sign == "null":
        return not_(named.any(None))
    if node.sign == "!=":
        return and_(named.any(None), not_(named.any(lambda one: _compare(one, "=", values))))
    return named.any(lambda one: _compare(one, node.sign, values))


def _parts(node: Both) -> list[Node]:
    """What one chain of `and` or of `or` joins, of any length: the chain grows to the left."""
    found: list[Node] = []
    here: Node = node
    while isinstance(here, Both) and here.either == node.either:
        found.append(here.right)
        here = here.left
    return [here, *reversed(found)]


def _compare(column: ColumnElement[Any], sign: str, values: tuple[Any, ...]) -> ColumnElement[bool]:
    if sign == "null":
        return column.is_(None)
    if sign == "in":
        return column.in_(values)
    [value] = values
    made: ColumnElement[bool]
    if sign == "like":
        made = column.like(str(value).replace("\\", "\\\\"), escape="\\")
    elif sign == "=":
        made = column == value
    elif sign == "!=":
        made = column != value
    elif sign == "<":
        made = column < value
    elif sign == "<=":
        made = column <= value
    elif sign == ">":
        made = column > value
    else:
        made = column >= value
    return made


def _check(name: str, column: ColumnElement[Any], value: Value) -> None:
    """Raise unless the value is of the column's kind, so that no database has to guess."""
    kind = column.type
    if isinstance(kind, types.Boolean):
        fits, wanted = isinstance(value, bool), "true or false"
    elif isinstance(kind, types.String):
        fits, wanted = isinstance(value, str) and "\0" not in value, "'text' without NUL"
    elif isinstance(kind, types.DateTime):
        fits, wanted = (
            isinstance(value, str) and _is_time(value),
            "a time such as '2026-11-20' or '2026-11-20T10:00'",
        )
    else:
        fits, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        if fits and isinstance(kind, types.Integer) and not -(2**31) <= value < 2**31:  # type: ignore[operator]
            fits, wanted = False, "a number of up to 2147483647"
    if not fits:
        raise InputError(f"where: {name} is compared with {wanted}, found {str(value)[:80]!r}")


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


class _Reader:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while text[at:].strip():
            match = _TOKEN.match(text, at)
            if match is None:
                at += len(text[at:]) - len(text[at:].lstrip())
                raise InputError(f"where: cannot read {text[at : at + 20]!r} at character {at + 1}")
            kind = str(match.lastgroup)
            self.tokens.append((kind, match[kind], match.start(kind)))
            at = match.end()
        self.next = 0

    def either(self, depth: int) -> Node:
        """`or`."""
        node = self.both(depth)
        while self.take("or"):
            node = Both(node, self.both(depth), either=True)
        return node

    def both(self, depth: int) -> Node:
        """`and`."""
        node = self.one(depth)
        while self.take("and"):
            node = Both(node, self.one(depth), either=False)
        return node

    def one(self, depth: int) -> Node:
        """`not`, parentheses, or a comparison."""
        if depth > _DEEPEST:
            raise InputError(f"where: expected up to {_DEEPEST} parentheses in each other, found more")
        if self.take("not"):
            return Not(self.one(depth + 1))
        if self.take("("):
            node = self.either(depth + 1)
            self.expect(")")
            return node
        return self.comparison()

    def comparison(self) -> Node:
        """One comparison with a column on its left."""
        kind, column, _ = self.peek()
        if kind != "word" or column.lower() in _WORDS:
            raise self.wrong("a column's name")
        self.next += 1
        kind, sign, _ = self.peek()
        if kind == "sign" and sign in _SIGNS:
            self.next += 1
            return Comparison(column, _SIGNS[sign], (self.value(),))
        if self.take("is"):
            denied = self.take("not")
            self.expect("null")
            return _denied(Comparison(column, "null", ()), denied)
        denied = self.take("not")
        if self.take("between"):
            low = self.value()
            self.expect("and")
            inside = Both(
                Comparison(column, ">=", (low,)), Comparison(column, "<=", (self.value(),)), either=False
            )
            return _denied(inside, denied)
        if self.take("in"):
            return _denied(Comparison(column, "in", self.values()), denied)
        if self.take("like"):
            value = self.value()
            if not isinstance(value, str):
                raise self.wrong("'text' after like")
            return _denied(Comparison(column, "like", (value,)), denied)
        if denied:
            raise self.wrong("between, in or like after not")
        return Comparison(column, "=", (True,))

    def values(self) -> tuple[Value, ...]:
        """Values in parentheses."""
        self.expect("(")
        found = [self.value()]
        while self.take(","):
            found.append(self.value())
        self.expect(")")
        return tuple(found)

    def value(self) -> Value:
        """One value."""
        kind, word, _ = self.peek()
        self.next += 1
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind == "number":
            if re.fullmatch(r"[+-]?\d{1,18}", word):
                return int(word)
            number = float(word)
            if abs(number) != float("inf"):
                return number
        if kind == "word" and word.lower() in ("true", "false"):
            return word.lower() == "true"
        self.next -= 1
        raise self.wrong("a number, 'text', true or false")

    def peek(self) -> tuple[str, str, int]:
        """The next token."""
        return self.tokens[self.next] if self.next < len(self.tokens) else ("end", "", len(self.text))

    def take(self, word: str) -> bool:
        """Whether the next token is this word or sign, which is then behind us."""
        kind, found, _ = self.peek()
        if kind not in ("word", "sign") or found.lower() != word:
            return False
        self.next += 1
        return True

    def expect(self, word: str) -> None:
        """Pass this word or sign."""
        if not self.take(word):
            raise self.wrong(f"{word!r}")

    def end(self) -> None:
        """Raise unless all is read."""
        if self.next < len(self.tokens):
            raise self.wrong("'and', 'or' or the end")

    def wrong(self, wanted: str) -> InputError:
        """The error for the next token."""
        kind, word, at = self.peek()
        found = "the end" if kind == "end" else repr(word[:40])
        return InputError(f"where: expected {wanted} at character {at + 1}, found {found}")


def _denied(node: Node, denied: bool) -> Node:
    return Not(node) if denied else node
