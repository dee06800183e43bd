"""JSON (RFC 8259) as far as the firmware needs it: the port's core has no module of that name. No floats."""

_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = (("true", True), ("false", False), ("null", None))
_SPACE = " \t\r\n"
_DEPTH = 16


def loads(text):
    """The value in `text` (str). Raises ValueError."""
    value, at = _value(text, _skip(text, 0), 0)
    if _skip(text, at) != len(text):
        raise ValueError("syntax error in JSON")
    return value


def dumps(value):
    """`value` as JSON text: None, booleans, integers, texts, and lists, tuples and dicts of them."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(dumps(item) for item in value) + "]"
    return "{" + ", ".join(dumps(str(key)) + ": " + dumps(item) for key, item in value.items()) + "}"


def _escaped(character):
    if character in '"\\':
        return "\\" + character
    return character if ord(character) >= 32 else "\\u{:04x}".format(ord(character))


def _skip(text, at):
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _value(text, at, depth):
    first = text[at : at + 1]
    if depth > _DEPTH:
        raise ValueError("JSON is nested too deep")
    if first == '"':
        return _text(text, at + 1)
    if first == "[":
        return _items(text, at + 1, depth)
    if first == "{":
        return _members(text, at + 1, depth)
    for word, value in _WORDS:
        if text[at : at + len(word)] == word:
            return value, at + len(word)
    end = at + (first == "-")
    while end < len(text) and text[end].isdigit():
        end += 1
    return int(text[at:end]), end


def _text(text, at):
    parts = []
    while True:
        end = at
        while text[end : end + 1] not in ('"', "\\", ""):
            end += 1
        parts.append(text[at:end])
        if text[end : end + 1] == '"':
            return "".join(parts), end + 1
        escape = text[end + 1 : end + 2]
        if escape == "u":
            parts.append(chr(int(text[end + 2 : end + 6], 16)))
            at = end + 6
        elif escape in _ESCAPES and escape:
            parts.append(_ESCAPES[escape])
            at = end + 2
        else:
            raise ValueError("syntax error in JSON")


def _items(text, at, depth):
    items = []
    at = _skip(text, at)
    if text[at : at + 1] == "]":
        return items, at + 1
    while True:
        item, at = _value(text, _skip(text, at), depth + 1)
        items.append(item)
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            return items, at + 1
        _require(text, at, ",")
        at += 1


def _members(text, at, depth):
    members = {}
    at = _skip(text, at)
    if text[at : at + 1] == "}":
        return members, at + 1
    while True:
        at = _skip(text, at)
        _require(text, at, '"')
        name, at = _text(text, at + 1)
        at = _skip(text, at)
        _require(text, at, ":")
        members[name], at = _value(text, _skip(text, at + 1), depth + 1)
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return members, at + 1
        _require(text, at, ",")
        at += 1


def _require(text, at, character):
    if text[at : at + 1] != character:
        raise ValueError("syntax error in JSON")
