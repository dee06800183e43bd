"""Numbers as exact decimal text: what SenML says, never a rounded float.

Pure; may import thingroom_wire. profiles.py uses it for checks, observation.py for event content.
"""

from __future__ import annotations

import math
from decimal import Decimal

from thingroom_wire.cbor import Decimal as WireDecimal

MAX_EXPONENT = 18
MAX_DIGITS = 20


def decimal_text(value: object) -> str | None:
    """Plain decimal notation of an int, a binary float or a wire decimal; None if it is none or out of bounds.

    Bounds: exponents within +-18 and 20 digits, so that no few bytes become a long text. A float gives the shortest
    decimal that reads back as the same float. Trailing zeros of a decimal fraction are kept: they are the device's.
    """
    if type(value) is WireDecimal:
        mantissa, exponent = value.mantissa, value.exponent
        digits = str(mantissa)
        if not -MAX_EXPONENT <= exponent <= MAX_EXPONENT or len(digits) > MAX_DIGITS:
            return None
        if exponent >= 0:
            return digits + "0" * exponent if mantissa else "0"
        sign = ""
        if mantissa < 0:
            sign, digits = "-", digits[1:]
        if len(digits) <= -exponent:
            digits = digits.zfill(1 - exponent)
        return f"{sign}{digits[:exponent]}.{digits[exponent:]}"
    if type(value) is int:
        text = str(value)
        return text if len(text) <= MAX_DIGITS else None
    if type(value) is float:
        if not math.isfinite(value) or (value != 0 and not 1e-18 <= abs(value) < 1e19):
            return None
        text = format(Decimal(repr(value)), "f")
        return text.removesuffix(".0")
    return None


def shown(text: str, precision: int) -> str:
    """`text` rounded to `precision` decimals, half to even, for people; never "-0"."""
    rounded = round(Decimal(text), precision)
    return format(abs(rounded) if rounded == 0 else rounded, f".{precision}f")
