"""What the firmware's sources lose before they are compiled for a board, and what they must keep."""

from typing import Any

from thingroom_common.board_code import slim

LIMITS = '"""Limits."""\nMOST = 1 << 3\nFEW = MOST - 2\nNAMED = 5\n'
SHAPES = '''
"""Shapes."""
from p import limits
from p.limits import MOST
_FIRST, _SECOND = range(2)

class WireError(Exception):
    def __init__(self, reason: str, sentence: str = "") -> None:
        super().__init__(sentence or reason)
        self.reason = reason

class Base:
    def __init__(self, value):
        self._value = value
    def _hidden(self):
        return self._value + _SECOND
    def unused(self):
        return decode(b"")

class Shape(Base):
    """A shape."""
    def __init__(self, value, extra=0):
        super().__init__(value)
        self._extra = extra
    def area(self, times: int = 1) -> int:
        """Its area."""
        def inner(value):
            return value * times
        return inner(self._hidden()) + self._extra + limits.FEW

def decode(data):
    return data

def refuse(number):
    if number > MOST:
        raise WireError("too_large", "The number is too large.")
    return getattr(limits, "NAMED")

def make(kind, extra=0):
    return {"Shape": Shape}[kind](10, extra=extra)
'''
MAIN = """
from p.shapes import make, refuse, WireError
def main(number):
    try:
        refuse(number)
    except WireError as error:
        return error.reason, str(error)
    return make("Shape", extra=3).area(2)
"""
SOURCES = {"p.limits": LIMITS, "p.shapes": SHAPES, "p.main": MAIN}


def run(sources: dict[str, str], number: int) -> Any:
    """What `p.main.main` returns, without installing anything."""
    limits: dict[str, Any] = {}
    exec(sources["p.limits"], limits)

    class Module:
        pass

    module = Module()
    module.__dict__.update(limits)
    shapes = sources["p.shapes"].replace("from p import limits", "").replace("from p.limits import MOST", "")
    namespace: dict[str, Any] = {"limits": module, **limits}
    exec(shapes, namespace)
    exec(sources["p.main"].replace("from p.shapes import make, refuse, WireError", ""), namespace)
    return namespace["main"](number)


def test_it_does_what_it_did() -> None:
    slimmed = slim(SOURCES, {"main"})
    assert run(SOURCES, 1) == run(slimmed, 1) == 11 * 2 + 3 + 6
    assert run(SOURCES, 9)[0] == run(slimmed, 9)[0] == "too_large"


def test_what_nobody_names_is_gone_and_what_a_string_names_stays() -> None:
    slimmed = slim(SOURCES, {"main"})
    assert "decode" not in slimmed["p.shapes"] and "unused" not in slimmed["p.shapes"]
    assert "The number is too large" not in slimmed["p.shapes"] and "Its area" not in slimmed["p.shapes"]
    assert "_hidden" not in slimmed["p.shapes"] and "_extra" not in slimmed["p.shapes"]
    assert "class Shape" in slimmed["p.shapes"] and "def area" in slimmed["p.shapes"]
    assert "NAMED = 5" in slimmed["p.limits"] and "MOST" not in slimmed["p.limits"] + slimmed["p.shapes"]
    assert sum(map(len, slimmed.values())) < 0.8 * sum(map(len, SOURCES.values()))


def test_a_keyword_keeps_its_name_and_a_root_its_function() -> None:
    slimmed = slim({"p.one": "def kept(value, other=0):\n    return value\n"}, {"kept"})
    assert "def kept(" in slimmed["p.one"]
    slimmed = slim(SOURCES, {"main"})
    assert "extra=0" in slimmed["p.shapes"]
    assert slim({"p.one": "def gone():\n    return 1\n"}, ())["p.one"].strip() == ""
