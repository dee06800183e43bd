"""The templates that real devices put into Home Assistant discovery, evaluated without Jinja.

A template is text from outside. Understood is one expression grammar and nothing else: value and value_json with
.name, ['name'] and [0]; numbers and strings; + - * /, comparisons, and, or, not, a if b else c; the filters listed in
_FILTERS. No loops, no calls, no attributes of objects; length, depth and the size of results are bounded. Pure.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

MAX_TEMPLATE: Final = 512
MAX_TOKENS: Final = 128
MAX_DEPTH: Final = 16
MAX_RESULT: Final = 512
_ARITHMETIC: Final = Context(prec=20, Emax=40, Emin=-40)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<number>[0-9]{1,18}(?:\.[0-9]{1,18})?)|(?P<string>'[^'\\]*'|"[^"\\]*")"""
    r"""|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>==|!=|<=|>=|[-+*/%<>()\[\].,|]))"""
)
_SEGMENT: Final = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)


class BadTemplate(Exception):
    """A template beyond the grammar; the message says what was not understood."""


class NoValue(Exception):
    """The template asks for what the message does not have."""


class _Undefined:
    """What a missing key gives, until a filter or an end makes something of it."""


_UNDEFINED: Final = _Undefined()


@dataclass(frozen=True, slots=True)
class Names:
    """What a template may see. `json` is _UNDEFINED where the payload is no JSON."""

    value: str
    json: Any


Node = Callable[[Names], Any]


def render(template: str, payload: str, tree: Any) -> Any:
    """The value of `template` for a payload: a Decimal, int, bool, None or text of at most 512 characters.

    `tree` is the payload as JSON, None if it is none. Text around expressions gives text. Raises BadTemplate, NoValue.
    """
    names = Names(payload, _UNDEFINED if tree is None else tree)
    parts = _parse(template)
    if len(parts) == 1 and not isinstance(parts[0], str):
        return _result(_run(parts[0], names))
    return _result("".join(part if isinstance(part, str) else _shown(_run(part, names)) for part in parts))


def check(template: str) -> None:
    """Raises BadTemplate if `template` is beyond the grammar."""
    _parse(template)


def _run(node: Node, names: Names) -> Any:
    try:
        value = node(names)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise NoValue(str(error)) from None
    if value is _UNDEFINED:
        raise NoValue("not in the message")
    return value


def _result(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        raise NoValue("not a single value")
    if isinstance(value, str) and len(value) > MAX_RESULT:
        raise NoValue("too long")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        raise NoValue("not a single value")
    return str(value)


@lru_cache(maxsize=2048)
def _parse(template: str) -> tuple[str | Node, ...]:
    if len(template) > MAX_TEMPLATE:
        raise BadTemplate("too long")
    if "{%" in template or "{#" in template:
        raise BadTemplate("statements are not understood, only {{ … }}")
    parts: list[str | Node] = []
    end = 0
    for segment in _SEGMENT.finditer(template):
        parts.append(template[end : segment.start()])
        parts.append(_Parser(segment[1]).whole())
        end = segment.end()
    parts.append(template[end:])
    if "{{" in "".join(part for part in parts if isinstance(part, str)):
        raise BadTemplate("a {{ without its }}")
    # Around a single expression only space may stand, or it is text.
    wanted = [part for part in parts if not isinstance(part, str) or part.strip()]
    return tuple(wanted if len(wanted) == 1 else [part for part in parts if part != ""])


class _Parser:
    """Recursive descent; each level of precedence is a method. Makes closures, so that evaluating parses nothing."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._at = 0
        self._depth = 0
        position = 0
        text = text.rstrip()
        while position < len(text):
            matched = _TOKEN.match(text, position)
            if matched is None or len(self._tokens) >= MAX_TOKENS:
                raise BadTemplate(f"not understood from {text[position : position + 20]!r} on")
            kind = matched.lastgroup or ""
            self._tokens.append((kind, matched[kind]))
            position = matched.end()

    def whole(self) -> Node:
        node = self._choice()
        if self._at != len(self._tokens):
            raise BadTemplate(f"not understood from {self._tokens[self._at][1]!r} on")
        return node

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> str:
        """The next token if it is one of `wanted` and no string, else nothing."""
        if self._kind() in ("sign", "name") and self._peek() in wanted:
            self._at += 1
            return self._tokens[self._at - 1][1]
        return ""

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise BadTemplate(f"{wanted!r} is missing before {self._peek()!r}")

    def _choice(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BadTemplate("too deep")
        node = self._either()
        if self._take("if"):
            condition = self._either()
            other: Node = _constant(_UNDEFINED)
            if self._take("else"):
                other = self._choice()
            node = _if(node, condition, other)
        self._depth -= 1
        return node

    def _either(self) -> Node:
        node = self._both()
        while self._take("or"):
            node = _or(node, self._both())
        return node

    def _both(self) -> Node:
        node = self._negation()
        while self._take("and"):
            node = _and(node, self._negation())
        return node

    def _negation(self) -> Node:
        turned = False
        while self._take("not"):
            turned = not turned
        node = self._comparison()
        return _not(node) if turned else node

    def _comparison(self) -> Node:
        node = self._sum()
        sign = self._take("==", "!=", "<", ">", "<=", ">=", "is")
        if sign == "is":
            turned = bool(self._take("not"))
            if not self._take("defined"):
                raise BadTemplate("after `is` only `defined` is understood")
            return _defined(node, turned)
        return _compare(sign, node, self._sum()) if sign else node

    def _sum(self) -> Node:
        node = self._product()
        while sign := self._take("+", "-"):
            node = _calculate(sign, node, self._product())
        return node

    def _product(self) -> Node:
        node = self._signed()
        while sign := self._take("*", "/", "%"):
            node = _calculate(sign, node, self._signed())
        return node

    def _signed(self) -> Node:
        if self._take("-"):
            return _calculate("-", _constant(0), self._filtered())
        return self._filtered()

    def _filtered(self) -> Node:
        node = self._primary()
        while self._take("|"):
            node = self._filter(node)
        return node

    def _filter(self, node: Node) -> Node:
        name = self._peek()
        if self._kind() != "name" or name not in _FILTERS:
            raise BadTemplate(f"the filter {name!r} is not understood")
        self._at += 1
        arguments: list[Node] = []
        if self._take("("):
            while not self._take(")"):
                arguments.append(self._choice())
                if self._peek() != ")":
                    self._need(",")
        if len(arguments) > 2:
            raise BadTemplate(f"the filter {name} has too many arguments")
        return _apply(_FILTERS[name], node, arguments)

    def _primary(self) -> Node:
        kind, text = self._kind(), self._peek()
        self._at += 1
        if kind == "number":
            return _constant(Decimal(text) if "." in text else int(text))
        if kind == "string":
            return _constant(text[1:-1])
        if text == "(" and kind == "sign":
            node = self._choice()
            self._need(")")
            return self._path(node)
        if kind == "name":
            if text.lower() in _CONSTANTS:
                return _constant(_CONSTANTS[text.lower()])
            if text in ("value", "value_json"):
                return self._path(_value if text == "value" else _json)
            if text in ("float", "int", "round") and self._take("("):
                argument = self._choice()
                self._need(")")
                return _apply(_FILTERS[text], argument, [])
        raise BadTemplate(f"{text or 'the end'!r} is not understood here")

    def _path(self, node: Node) -> Node:
        while True:
            if self._take("."):
                if self._kind() != "name" and not (self._kind() == "number" and self._peek().isdigit()):
                    raise BadTemplate("a name is missing after a dot")
                node = _item(node, self._peek())
                self._at += 1
            elif self._take("["):
                kind, text = self._kind(), self._peek()
                self._at += 1
                if kind == "string":
                    node = _item(node, text[1:-1])
                elif kind == "number" and text.isdigit():
                    node = _item(node, int(text))
                else:
                    raise BadTemplate("between [ and ] a string or a whole number is understood")
                self._need("]")
            else:
                return node


_CONSTANTS: Final = {"true": True, "false": False, "none": None}


def _constant(value: Any) -> Node:
    return lambda _names: value


def _value(names: Names) -> Any:
    return names.value


def _json(names: Names) -> Any:
    return names.json


def _item(node: Node, key: str | int) -> Node:
    def get(names: Names) -> Any:
        held = node(names)
        if isinstance(held, dict):
            return held.get(str(key), _UNDEFINED)
        if isinstance(held, list) and isinstance(key, int):
            return held[key] if key < len(held) else _UNDEFINED
        return _UNDEFINED

    return get


def _if(node: Node, condition: Node, other: Node) -> Node:
    return lambda names: node(names) if _true(condition(names)) else other(names)


def _or(left: Node, right: Node) -> Node:
    def either(names: Names) -> Any:
        value = left(names)
        return value if _true(value) else right(names)

    return either


def _and(left: Node, right: Node) -> Node:
    def both(names: Names) -> Any:
        value = left(names)
        return right(names) if _true(value) else value

    return both


def _not(node: Node) -> Node:
    return lambda names: not _true(node(names))


def _defined(node: Node, turned: bool) -> Node:
    return lambda names: (node(names) is _UNDEFINED) == turned


def _true(value: Any) -> bool:
    return value is not _UNDEFINED and bool(value)


_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _compare(sign: str, left: Node, right: Node) -> Node:
    compare = _COMPARISONS[sign]
    return lambda names: compare(left(names), right(names))


_CALCULATIONS: Final[dict[str, Callable[[Decimal, Decimal], Decimal]]] = {
    "+": _ARITHMETIC.add,
    "-": _ARITHMETIC.subtract,
    "*": _ARITHMETIC.multiply,
    "/": _ARITHMETIC.divide,
    "%": _ARITHMETIC.remainder,
}


def _calculate(sign: str, left: Node, right: Node) -> Node:
    calculate = _CALCULATIONS[sign]
    return lambda names: calculate(_number(left(names)), _number(right(names)))


def _number(value: Any) -> Decimal:
    """Of a number or a text that is one; raises ValueError."""
    if value is _UNDEFINED or value is None:
        raise ValueError("no number")
    if isinstance(value, str) and len(value) > 40:
        raise ValueError("no number")
    try:
        number = _ARITHMETIC.create_decimal(value if not isinstance(value, str) else value.strip())
    except (InvalidOperation, TypeError):
        raise ValueError("no number") from None
    if not number.is_finite():
        raise ValueError("no number")
    return number


def _apply(function: Callable[..., Any], node: Node, arguments: list[Node]) -> Node:
    return lambda names: function(node(names), *(argument(names) for argument in arguments))


def _float(value: Any, *default: Any) -> Any:
    try:
        return _number(value)
    except ValueError:
        if default:
            return default[0]
        raise


def _int(value: Any, *default: Any) -> Any:
    number = _float(value, *default)
    return int(number) if isinstance(number, Decimal) else number


def _round(value: Any, digits: Any = 0, _method: Any = None) -> Any:
    places = int(digits) if isinstance(digits, (int, Decimal)) else 0
    if not 0 <= places <= 18:
        raise ValueError("round to 0 to 18 digits")
    rounded = round(_number(value), places)
    return rounded if places else int(rounded)


def _default(value: Any, replacement: Any = "", _also_false: Any = None) -> Any:
    return replacement if value is _UNDEFINED or value is None else value


def _text(change: Callable[[str], str]) -> Callable[..., Any]:
    def filtered(value: Any) -> Any:
        if value is _UNDEFINED:
            raise ValueError("not in the message")
        return change(str(value))

    return filtered


_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "float": _float,
    "int": _int,
    "round": _round,
    "abs": lambda value: abs(_number(value)),
    "default": _default,
    "is_defined": lambda value: value,
    "lower": _text(str.lower),
    "upper": _text(str.upper),
    "trim": _text(str.strip),
    "string": _text(str),
    "bool": lambda value: str(value).strip().lower() in ("true", "on", "1", "yes"),
}
