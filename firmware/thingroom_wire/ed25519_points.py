"""Ed25519's points in integers of any size: verification, and signing where ed25519_viper cannot be had.

Imports sha512 and ed25519_comb. Points are in extended twisted Edwards coordinates; the base point is multiplied with a
signed comb. The time of all this depends on what is multiplied. A board loads it to verify a command and drops it
afterwards. Next: x25519, which uses the field.

Verification is strict and cofactorless, on [S]B = R + [k]A: refused are S not below the group order, encodings of A
or R that are not canonical, and A or R of small order. A key with a component of small order is not refused as a key.
The tests find no difference to PyNaCl's libsodium, on such keys either; OpenSSL accepts keys that both refuse.
"""

from thingroom_wire.sha512 import sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    Point = tuple[int, int, int, int]

P = (1 << 255) - 19
ORDER = (1 << 252) + 27742317777372353535851937790883648493
_D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
_D2 = 2 * _D % P
_SQRT_MINUS_ONE = 19681161376707505956807079304988542015446066515923890162744021073123829784752
_BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y = 46316835694926478169428394003475163141307993866256225615783033603165251855960
_BASE = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % P)
_IDENTITY = (0, 1, 1, 0)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is valid (RFC 8032 section 5.1.7, strict as the head of this module says). Never raises."""
    if len(public) != 32 or len(signature) != 64:
        return False
    commitment = bytes(signature[:32])
    response = int.from_bytes(signature[32:], "little")
    if response >= ORDER:
        return False
    key = _decode_point(public)
    if key is None or _has_small_order(key):
        return False
    challenge = int.from_bytes(sha512(commitment + public + message), "little") % ORDER
    x, y, z, t = key
    expected = _add(_multiply_base(response), _multiply((P - x, y, z, P - t), challenge))
    return _encode_point(expected) == commitment and not _has_small_order(expected)


class PortableSecrets:
    """What ed25519_viper.Secrets does, in integers."""

    def multiply_base(self, scalar: bytes) -> bytes:
        return _encode_point(_multiply_base(int.from_bytes(scalar, "little")))

    def reduce(self, digest: bytes) -> bytes:
        return (int.from_bytes(digest, "little") % ORDER).to_bytes(32, "little")

    def multiply_add(self, one: bytes, two: bytes, three: bytes) -> bytes:
        product = int.from_bytes(one, "little") * int.from_bytes(two, "little")
        return ((product + int.from_bytes(three, "little")) % ORDER).to_bytes(32, "little")


# --- points ---------------------------------------------------------------------------------------------------------


def _add(one: "Point", two: "Point") -> "Point":
    """add-2008-hwcd-3: complete, so it also doubles and takes the identity."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = two
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = t1 * _D2 % P * t2 % P
    d = 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _double(point: "Point") -> "Point":
    """dbl-2008-hwcd."""
    x, y, z, _ = point
    a = x * x % P
    b = y * y % P
    e = (x + y) * (x + y) % P - a - b
    g = b - a
    f = g - 2 * z * z % P
    h = -a - b
    return e * f % P, g * h % P, f * g % P, e * h % P


def _has_small_order(point: "Point") -> bool:
    x, y, z, _ = _double(_double(_double(point)))
    return x == 0 and y == z


def _raise_to_2_252_minus_3(x: int) -> int:
    """x**(2**252 - 3), the core of both the inverse and the square root: 251 squarings, 11 products."""
    x2 = x * x % P
    x9 = _square_times(x2, 2) * x % P
    x11 = x9 * x2 % P
    x5 = x11 * x11 % P * x9 % P
    x10 = _square_times(x5, 5) * x5 % P
    x20 = _square_times(x10, 10) * x10 % P
    x40 = _square_times(x20, 20) * x20 % P
    x50 = _square_times(x40, 10) * x10 % P
    x100 = _square_times(x50, 50) * x50 % P
    x200 = _square_times(x100, 100) * x100 % P
    x250 = _square_times(x200, 50) * x50 % P
    return _square_times(x250, 2) * x % P


def _square_times(x: int, times: int) -> int:
    for _ in range(times):
        x = x * x % P
    return x


def invert(x: int) -> int:
    """Return the inverse modulo 2**255-19 (0 for 0): x**(p-2), p-2 = 8 * (2**252-3) + 3."""
    return _square_times(_raise_to_2_252_minus_3(x), 3) * (x * x % P * x % P) % P


def _encode_point(point: "Point") -> bytes:
    x, y, z, _ = point
    inverse = invert(z)
    return (y * inverse % P | (x * inverse % P & 1) << 255).to_bytes(32, "little")


def _decode_point(encoded: bytes) -> "Point | None":
    """The point (RFC 8032 section 5.1.3); None where the encoding is not canonical or no point of the curve."""
    y = int.from_bytes(encoded, "little")
    sign_bit = y >> 255
    y &= (1 << 255) - 1
    if y >= P:
        return None
    u = (y * y - 1) % P
    v = (_D * y % P * y + 1) % P
    v3 = v * v % P * v % P
    x = u * v3 % P * _raise_to_2_252_minus_3(u * v3 % P * v3 % P * v % P) % P
    if v * x % P * x % P != u:
        x = x * _SQRT_MINUS_ONE % P
        if v * x % P * x % P != u:
            return None
    if x == 0 and sign_bit:
        return None
    if x & 1 != sign_bit:
        x = P - x
    return x, y, 1, x * y % P


# --- multiplication -------------------------------------------------------------------------------------------------

# The scalar, made odd, is written as 260 digits of +1 and -1. Digit 52 * tooth + 13 * table + column belongs to that
# tooth and table. Table t holds 2**(13 t) * (2**208 +- 2**156 +- 2**104 +- 2**52 +- 1) * B, 16 points, bit j of the
# index telling the sign of 2**(52 j); where the top digit is -1 the point is taken negative.
_TEETH = 5
_TABLES = 4
_COLUMNS = 13
_SPACING = _TABLES * _COLUMNS
_DIGITS = _TEETH * _SPACING
_POINTS = 1 << (_TEETH - 1)
_ENTRY = 96

_comb: "list[bytes]" = []


def _multiply_base(scalar: int) -> "Point":
    """scalar * B for 0 <= scalar < 2**255."""
    scalar %= ORDER
    if not scalar & 1:
        scalar += ORDER
    bits = ((scalar + (1 << _DIGITS) - 1) >> 1).to_bytes((_DIGITS + 7) // 8, "little")
    x, y, z, t = _IDENTITY
    for column in range(_COLUMNS - 1, -1, -1):
        if column != _COLUMNS - 1:
            x, y, z, t = _double((x, y, z, t))
        digit = column
        for table in comb():
            index = 0
            at = digit
            for tooth in range(_TEETH):
                index |= (bits[at >> 3] >> (at & 7) & 1) << tooth
                at += _SPACING
            negative = index < _POINTS
            index = (_POINTS - 1 - index if negative else index - _POINTS) * _ENTRY
            minus = int.from_bytes(table[index : index + 32], "little")
            plus = int.from_bytes(table[index + 32 : index + 64], "little")
            c = t * int.from_bytes(table[index + 64 : index + 96], "little") % P
            if negative:
                minus, plus, c = plus, minus, -c
            a = (y - x) * minus % P
            b = (y + x) * plus % P
            d = z + z
            e, f, g, h = b - a, d - c, d + c, b + a
            x, y, z, t = e * f % P, g * h % P, f * g % P, e * h % P
            digit += _COLUMNS
    return x, y, z, t


def comb() -> "list[bytes]":
    """The tables of the base point, those of ed25519_comb.py."""
    if not _comb:
        from thingroom_wire.ed25519_comb import TABLES

        _comb.extend(TABLES)
    return _comb


def build_comb() -> "list[bytes]":
    """Compute the tables: each entry is y-x, y+x and 2dxy of an affine point, 32 bytes each."""
    tables = [bytearray(_POINTS * _ENTRY) for _ in range(_TABLES)]
    chain = [_BASE]
    while len(chain) < _TEETH * _TABLES:
        chain.append(_double_times(chain[-1], _COLUMNS))
    for number, table in enumerate(tables):
        _fill_table(table, chain[number::_TABLES])
    return [bytes(table) for table in tables]


def _double_times(point: "Point", times: int) -> "Point":
    for _ in range(times):
        point = _double(point)
    return point


def _fill_table(table: bytearray, teeth: "list[Point]") -> None:
    """All sums of the last tooth with plus or minus each of the others."""
    points = [teeth[-1]]
    for tooth in range(_TEETH - 1):
        x, y, z, t = teeth[tooth]
        points = [_add(point, (P - x, y, z, P - t)) for point in points] + [
            _add(point, teeth[tooth]) for point in points
        ]
    # One inversion for all: products[i] is the product of the first i denominators.
    products = [1]
    for point in points:
        products.append(products[-1] * point[2] % P)
    inverse = invert(products[-1])
    for index in range(_POINTS - 1, -1, -1):
        x, y, z, _ = points[index]
        z_inverse = inverse * products[index] % P
        inverse = inverse * z % P
        x, y = x * z_inverse % P, y * z_inverse % P
        entry = b"".join([n.to_bytes(32, "little") for n in ((y - x) % P, (y + x) % P, _D2 * x % P * y % P)])
        table[index * _ENTRY : (index + 1) * _ENTRY] = entry


def _multiply(point: "Point", scalar: int) -> "Point":
    """scalar * point for 0 <= scalar < 2**256, four bits at a time."""
    multiples: list[Point] = [_IDENTITY]
    for _ in range(15):
        multiples.append(_add(multiples[-1], point))
    result: Point = _IDENTITY
    for byte in reversed(scalar.to_bytes(32, "little")):
        result = _add(_double_times(result, 4), multiples[byte >> 4])
        result = _add(_double_times(result, 4), multiples[byte & 15])
    return result
