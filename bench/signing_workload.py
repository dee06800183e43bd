"""What bench/signing.py times, for CPython and MicroPython alike: our Ed25519 and a naive one.

As a program it prints a line for each figure: name, tab, median in microseconds. The naive one is what a page of big
integers gives: double and add bit by bit, one exponentiation for each inverse, no tables.
"""

import sys
import time

from thingroom_wire import ed25519
from thingroom_wire.sha512 import sha512
from thingroom_wire.sha512_portable import sha512_portable

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P


def add(one, two):
    a = (one[1] - one[0]) * (two[1] - two[0]) % P
    b = (one[1] + one[0]) * (two[1] + two[0]) % P
    c = 2 * one[3] * two[3] * D % P
    d = 2 * one[2] * two[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def recover_x(y, odd):
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return P - x if x & 1 != odd else x


BASE_X = recover_x(BASE_Y, 0)
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def encode(point):
    inverse = pow(point[2], P - 2, P)
    return ((point[1] * inverse % P) | (point[0] * inverse % P & 1) << 255).to_bytes(32, "little")


def decode(encoded):
    number = int.from_bytes(encoded, "little")
    y = number & ((1 << 255) - 1)
    x = recover_x(y, number >> 255)
    return x, y, 1, x * y % P


def naive_sign(seed, message, public):
    digest = sha512_portable(seed)
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254
    nonce = int.from_bytes(sha512_portable(digest[32:] + message), "little") % ORDER
    commitment = encode(multiply(nonce, BASE))
    challenge = int.from_bytes(sha512_portable(commitment + public + message), "little") % ORDER
    return commitment + ((nonce + challenge * scalar) % ORDER).to_bytes(32, "little")


def naive_verify(public, message, signature):
    challenge = int.from_bytes(sha512_portable(signature[:32] + public + message), "little") % ORDER
    left = multiply(int.from_bytes(signature[32:], "little"), BASE)
    right = add(decode(signature[:32]), multiply(challenge, decode(public)))
    return encode(left) == encode(right)


if hasattr(time, "ticks_us"):
    now = time.ticks_us
    since = time.ticks_diff
else:

    def now():
        return time.perf_counter_ns() / 1000

    def since(end, start):
        return end - start


def median(function, rounds):
    """The median time of `rounds` calls, in microseconds."""
    times = []
    for _ in range(rounds):
        start = now()
        function()
        times.append(since(now(), start))
    times.sort()
    return times[len(times) // 2]


def main():
    rounds = int(sys.argv[1])
    seed, message = bytes(range(32)), bytes(300)
    start = now()
    public = ed25519.public_key(seed)
    print(f"first use\t{since(now(), start)}")
    signature = ed25519.sign(seed, message, public)
    assert naive_sign(seed, message, public) == signature
    assert naive_verify(public, message, signature) and ed25519.verify(public, message, signature)
    figures = (
        ("sign", lambda: ed25519.sign(seed, message, public)),
        ("verify", lambda: ed25519.verify(public, message, signature)),
        ("sha512", lambda: sha512(message)),
        ("naive sign", lambda: naive_sign(seed, message, public)),
        ("naive verify", lambda: naive_verify(public, message, signature)),
        ("naive sha512", lambda: sha512_portable(message)),
    )
    for name, function in figures:
        print(f"{name}\t{median(function, rounds)}")


if __name__ == "__main__":
    main()
