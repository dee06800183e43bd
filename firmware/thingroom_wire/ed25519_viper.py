"""Ed25519's secret half in MicroPython's viper code: the base point's multiples and the scalars, for boards.

ed25519 imports this where the port can compile it, and takes it only after it has signed as the portable code does. No
branch and no address depends on a secret, nothing is allocated but results, and no sum leaves 31 bits, so it is right
where a machine word has 32 bits and where it has 64. The buffers are made once: not for use from two threads.

A field element is 20 limbs of 13 bits in a register; a register may hold a little more than 2**260 and is reduced in
full only when it is packed. `_run` is a machine for such registers: a program is steps of four bytes, operation,
result, left, right. 2**260 is 608 modulo 2**255 - 19.
"""
# ruff: noqa: F821
# mypy: ignore-errors
# ptr8 and ptr32 are names of viper's compiler; CPython never imports this file.

from array import array

import micropython
from micropython import const

_LIMBS = const(20)
# ed25519's comb: teeth, columns of each table, digits from tooth to tooth.
_TEETH = const(5)
_COLUMNS = const(13)
_SPACING = const(52)

_MUL = const(0)
_ADD = const(1)
_SUB = const(2)
_SWAP = const(3)

# Registers: the point, what it is added to, and the programs' own.
_X = const(0)
_Y = const(1)
_Z = const(2)
_T = const(3)
_MINUS = const(4)
_PLUS = const(5)
_XYD2 = const(6)
_A = const(7)
_B = const(8)
_C = const(9)
_D = const(10)
_E = const(11)
_REGISTERS = const(12)


def _program(text: str) -> bytes:
    """The bytes of steps such as `X=E*F`; `A~B` exchanges A and B if the swap mask is set."""
    names = {"X": _X, "Y": _Y, "Z": _Z, "T": _T, "m": _MINUS, "p": _PLUS, "d": _XYD2}
    names.update({"A": _A, "B": _B, "C": _C, "D": _D, "E": _E})
    program = bytearray()
    for step in text.split():
        if "~" in step:
            program.extend(bytes((_SWAP, 0, names[step[0]], names[step[2]])))
        else:
            program.extend(bytes(("*+-".index(step[3]), names[step[0]], names[step[2]], names[step[4]])))
    return bytes(program)


# madd-2008-hwcd-3 with an affine point given as y-x, y+x, 2dxy; exchanging twice subtracts it.
_ADD_POINT = _program("m~p A=Y-X A=A*m B=Y+X B=B*p C=T*d D=Z+Z E=B-A B=B+A A=D-C D=D+C A~D X=E*A Y=D*B Z=A*D T=E*B")
# dbl-2008-hwcd
_DOUBLE_POINT = _program("A=X*X B=Y*Y C=Z*Z C=C+C D=X+Y D=D*D E=A+B D=E-D A=A-B C=C+A X=D*C Y=A*E Z=C*A T=D*E")

# C = Z**(2**255 - 21), the inverse of Z: programs and how often each runs. A, B, D, E: powers on the way.
_INVERSE = (
    (_program("A=Z*Z B=A*A B=B*B B=Z*B A=A*B C=A*A B=B*C C=B*B"), 1),  # B = Z**(2**5 - 1), A = Z**11
    (_program("C=C*C"), 4),
    (_program("B=C*B C=B*B"), 1),  # B = Z**(2**10 - 1)
    (_program("C=C*C"), 9),
    (_program("D=C*B C=D*D"), 1),  # D = Z**(2**20 - 1)
    (_program("C=C*C"), 19),
    (_program("C=C*D"), 1),
    (_program("C=C*C"), 10),
    (_program("B=C*B C=B*B"), 1),  # B = Z**(2**50 - 1)
    (_program("C=C*C"), 49),
    (_program("D=C*B C=D*D"), 1),  # D = Z**(2**100 - 1)
    (_program("C=C*C"), 99),
    (_program("C=C*D"), 1),
    (_program("C=C*C"), 50),
    (_program("C=C*B"), 1),
    (_program("C=C*C"), 5),
    (_program("C=C*A X=X*C Y=Y*C"), 1),
)

# The order of the group, 32 bytes, little-endian.
_ORDER = bytes.fromhex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
_ONE = b"\x01" + bytes(31)


class Secrets:
    """Multiplies and reduces secrets. `comb`: ed25519's tables of the base point."""

    def __init__(self, comb: "list[bytearray]") -> None:
        self._comb = comb
        self._registers = array("I", bytes(4 * _LIMBS * _REGISTERS))
        # 40 limbs of a product, and the mask of exchanges.
        self._scratch = array("I", bytes(4 * (2 * _LIMBS + 1)))
        self._entry = array("I", bytes(100))
        self._digits = bytearray(33)
        self._sum = array("I", bytes(4 * 36))

    def multiply_base(self, scalar: bytes) -> bytes:
        """The encoding of scalar * B (RFC 8032 section 5.1.2) for 32 little-endian bytes below 2**255."""
        registers, digits = self._registers, self._digits
        _recode(digits, scalar, _ORDER)
        _set_identity(registers)
        for column in range(_COLUMNS - 1, -1, -1):
            if column != _COLUMNS - 1:
                _run(0, self._scratch, registers, _DOUBLE_POINT, 1)
            digit = column
            for table in self._comb:
                _select(0, self._entry, table, digits, digit, registers, self._scratch)
                _run(0, self._scratch, registers, _ADD_POINT, 1)
                digit += _COLUMNS
        for program, times in _INVERSE:
            _run(0, self._scratch, registers, program, times)
        encoded = bytearray(32)
        _pack(encoded, registers)
        return bytes(encoded)

    def reduce(self, digest: bytes) -> bytes:
        """64 little-endian bytes modulo the group's order, as 32."""
        _horner(self._sum, digest, _ONE, _ORDER)
        return self._reduced()

    def multiply_add(self, one: bytes, two: bytes, three: bytes) -> bytes:
        """(one * two + three) modulo the group's order, all of 32 little-endian bytes."""
        _horner(self._sum, one, two, _ORDER)
        _add_scalar(self._sum, three, _ORDER)
        return self._reduced()

    def _reduced(self) -> bytes:
        result = bytearray(32)
        _copy_bytes(result, self._sum)
        return bytes(result)


@micropython.viper
def _run(x: int, t: ptr32, registers: ptr32, program_object, times: int):
    """Run a program so often. Limbs are below 2**13, but for the first, which is below 10,100.

    `t`: the scratch. `x` is no argument: viper keeps the first two locals, which the products use most, in the
    processor's registers. For the same reason the product comes first in their sums.
    """
    program = ptr8(program_object)
    length = int(len(program_object))  # noqa: RUF046 - viper has its own integers
    scratch = t
    while times > 0:
        times -= 1
        step = 0
        while step < length:
            out = ptr32(int(registers) + program[step + 1] * 80)
            a = ptr32(int(registers) + program[step + 2] * 80)
            b = ptr32(int(registers) + program[step + 3] * 80)
            operation = program[step]
            step += 4
            i = 0
            c = 0
            if operation == _MUL:
                t = scratch
                while i < 19:
                    t[i] = 0
                    i += 1
                i = 0
                while i < 20:
                    x = a[i]
                    t[0] = x * b[0] + t[0]
                    t[1] = x * b[1] + t[1]
                    t[2] = x * b[2] + t[2]
                    t[3] = x * b[3] + t[3]
                    t[4] = x * b[4] + t[4]
                    t[5] = x * b[5] + t[5]
                    t[6] = x * b[6] + t[6]
                    t[7] = x * b[7] + t[7]
                    t[8] = x * b[8] + t[8]
                    t[9] = x * b[9] + t[9]
                    t[10] = x * b[10] + t[10]
                    t[11] = x * b[11] + t[11]
                    t[12] = x * b[12] + t[12]
                    t[13] = x * b[13] + t[13]
                    t[14] = x * b[14] + t[14]
                    t[15] = x * b[15] + t[15]
                    t[16] = x * b[16] + t[16]
                    t[17] = x * b[17] + t[17]
                    t[18] = x * b[18] + t[18]
                    t[19] = x * b[19]
                    # The lowest limb is complete.
                    x = t[0]
                    t[0] = x & 8191
                    t[1] = (x >> 13) + t[1]
                    t = ptr32(int(t) + 4)
                    i += 1
                # Limbs 20 and up come back multiplied by 608.
                i = 0
                x = 0
                while i < 19:
                    x += t[i]
                    c += scratch[i] + 608 * (x & 8191)
                    out[i] = c & 8191
                    x >>= 13
                    c >>= 13
                    i += 1
                c += scratch[19] + 608 * x
                out[19] = c & 8191
                c = out[0] + 608 * (c >> 13)
                out[0] = c & 8191
                out[1] = out[1] + (c >> 13)
            elif operation == _SWAP:
                x = scratch[40]
                while i < 20:
                    c = (a[i] ^ b[i]) & x
                    a[i] = a[i] ^ c
                    b[i] = b[i] ^ c
                    i += 1
            else:
                if operation == _ADD:
                    while i < 20:
                        c += a[i] + b[i]
                        out[i] = c & 8191
                        c >>= 13
                        i += 1
                else:
                    # 2 * (2**260 - 608), a multiple of the prime, keeps every limb positive.
                    c = 15168 - 16382
                    while i < 20:
                        c += a[i] + 16382 - b[i]
                        out[i] = c & 8191
                        c >>= 13
                        i += 1
                out[0] = out[0] + 608 * c


@micropython.viper
def _set_identity(registers: ptr32):
    """X, Y, Z, T = 0, 1, 1, 0."""
    i = 0
    while i < 80:
        registers[i] = 0
        i += 1
    registers[20] = 1
    registers[40] = 1


@micropython.viper
def _recode(digits: ptr8, scalar: ptr8, order: ptr8):
    """The 260 bits whose ones stand for +1 and zeros for -1, of the scalar, made odd by adding the order."""
    even = (scalar[0] & 1) - 1
    c = 0
    i = 0
    while i < 32:
        c += scalar[i] + (order[i] & even)
        digits[i] = c & 255
        c >>= 8
        i += 1
    digits[32] = c
    i = 0
    while i < 32:
        digits[i] = digits[i] >> 1 | (digits[i + 1] & 1) << 7
        i += 1
    digits[32] = c >> 1 | 8


@micropython.viper
def _select(mask: int, entry: ptr32, at: ptr32, digits: ptr8, digit: int, registers: ptr32, scratch: ptr32):
    """Load a comb's entry for a column into the registers minus, plus, xyd2, and the mask: all entries are read.

    `at`: the comb. `mask` is no argument (see _run).
    """
    index = 0
    tooth = 0
    while tooth < _TEETH:
        index |= (digits[digit >> 3] >> (digit & 7) & 1) << tooth
        digit += _SPACING
        tooth += 1
    mask = (index >> (_TEETH - 1)) - 1  # -1 where the top digit is -1
    scratch[40] = mask
    half = (1 << (_TEETH - 1)) - 1
    index = (index ^ mask) & half
    i = 0
    while i < 24:
        entry[i] = 0
        i += 1
    i = 0
    while i <= half:
        mask = ((i ^ index) - 1) >> 31
        entry[0] = mask & at[0] | entry[0]
        entry[1] = mask & at[1] | entry[1]
        entry[2] = mask & at[2] | entry[2]
        entry[3] = mask & at[3] | entry[3]
        entry[4] = mask & at[4] | entry[4]
        entry[5] = mask & at[5] | entry[5]
        entry[6] = mask & at[6] | entry[6]
        entry[7] = mask & at[7] | entry[7]
        entry[8] = mask & at[8] | entry[8]
        entry[9] = mask & at[9] | entry[9]
        entry[10] = mask & at[10] | entry[10]
        entry[11] = mask & at[11] | entry[11]
        entry[12] = mask & at[12] | entry[12]
        entry[13] = mask & at[13] | entry[13]
        entry[14] = mask & at[14] | entry[14]
        entry[15] = mask & at[15] | entry[15]
        entry[16] = mask & at[16] | entry[16]
        entry[17] = mask & at[17] | entry[17]
        entry[18] = mask & at[18] | entry[18]
        entry[19] = mask & at[19] | entry[19]
        entry[20] = mask & at[20] | entry[20]
        entry[21] = mask & at[21] | entry[21]
        entry[22] = mask & at[22] | entry[22]
        entry[23] = mask & at[23] | entry[23]
        at = ptr32(int(at) + 96)
        i += 1
    data = ptr8(entry)
    element = 0
    while element < 3:
        out = ptr32(int(registers) + (_MINUS + element) * 80)
        bit = 0
        i = 0
        while i < 20:
            at8 = ptr8(int(data) + (bit >> 3))
            out[i] = (at8[0] | at8[1] << 8 | at8[2] << 16) >> (bit & 7) & 8191
            bit += 13
            i += 1
        out[19] = out[19] & 255
        data = ptr8(int(data) + 32)
        element += 1


@micropython.viper
def _pack(encoded: ptr8, registers: ptr32):
    """The encoding of the affine point in X and Y, both reduced in full."""
    register = 0
    while register < 2:
        v = ptr32(int(registers) + register * 80)
        # Twice what is above 2**255 comes back as 19 times itself; then 19 more shows whether the prime is reached.
        times = 0
        while times < 3:
            c = 19 * (v[19] >> 8)
            v[19] = v[19] & 255
            i = 0
            while i < 19:
                c += v[i]
                v[i] = c & 8191
                c >>= 13
                i += 1
            v[19] = v[19] + c
            times += 1
        c = 19
        i = 0
        while i < 19:
            c = (c + v[i]) >> 13
            i += 1
        c = 19 * ((c + v[19]) >> 8)
        i = 0
        while i < 19:
            c += v[i]
            v[i] = c & 8191
            c >>= 13
            i += 1
        v[19] = v[19] + c & 255
        register += 1
    y = ptr32(int(registers) + 80)
    bits = 0
    count = 0
    i = 0
    at = 0
    while at < 32:
        if count < 8 and i < 20:
            bits |= y[i] << count
            count += 13
            i += 1
        encoded[at] = bits & 255
        bits >>= 8
        count -= 8
        at += 1
    encoded[31] = encoded[31] | (registers[0] & 1) << 7


@micropython.viper
def _horner(v: ptr32, digits_object, m: ptr8, order: ptr8):
    """v = digits * m modulo the order: from the top, v = 65536 * v + two bytes * m, reduced each time."""
    digits = ptr8(digits_object)
    i = 0
    while i < 36:
        v[i] = 0
        i += 1
    at = int(len(digits_object)) - 2  # noqa: RUF046 - viper has its own integers
    while at >= 0:
        digit = digits[at] | digits[at + 1] << 8
        i = 33
        while i > 1:
            v[i] = v[i - 2]
            i -= 1
        v[0] = 0
        v[1] = 0
        i = 0
        c = 0
        while i < 32:
            c += v[i] + digit * m[i]
            v[i] = c & 255
            c >>= 8
            i += 1
        top = (v[33] << 8) + v[32] + c
        # q * 2**252 <= v, and q * order exceeds v by less than the order.
        q = top << 4 | v[31] >> 4
        c = 0
        i = 0
        while i < 32:
            c += v[i] - q * order[i]
            v[i] = c & 255
            c >>= 8
            i += 1
        mask = c + top  # 0, or -1 where it went below zero
        c = 0
        i = 0
        while i < 32:
            c += v[i] + (order[i] & mask)
            v[i] = c & 255
            c >>= 8
            i += 1
        at -= 2


@micropython.viper
def _add_scalar(v: ptr32, scalar: ptr8, order: ptr8):
    """v += scalar modulo the order, both below it."""
    c = 0
    i = 0
    while i < 32:
        c += v[i] + scalar[i] - order[i]
        v[i] = c & 255
        c >>= 8
        i += 1
    mask = c
    c = 0
    i = 0
    while i < 32:
        c += v[i] + (order[i] & mask)
        v[i] = c & 255
        c >>= 8
        i += 1


@micropython.viper
def _copy_bytes(out: ptr8, v: ptr32):
    i = 0
    while i < 32:
        out[i] = v[i]
        i += 1
