"""SHA-512 in MicroPython's viper code: the compression function in machine instructions, for boards.

sha512 imports this where the port can compile it, and takes it only after it has hashed as the portable code does.
Every word is two halves of 32 bits, and a carry is found by comparing, so it is right where a machine word has 32 bits
and where it has 64. The buffers are made once: not for use from two threads.
"""
# ruff: noqa: F821
# mypy: ignore-errors
# ptr8, ptr32 and uint are names of viper's compiler; CPython never imports this file.

from array import array

import micropython


def _halves(encoded: bytes) -> array:
    """The big-endian 32-bit words of `encoded`, one by one, so that no list of them is made."""
    words = array("I", bytes(len(encoded)))
    for index in range(len(words)):
        words[index] = int.from_bytes(encoded[4 * index : 4 * index + 4], "big")
    return words


class Sha512:
    """Hashes with the given constants: `initial` (64 bytes) and `rounds` (640 bytes), as FIPS 180-4 lists them."""

    def __init__(self, initial: bytes, rounds: bytes) -> None:
        self._initial = initial
        self._rounds = _halves(rounds)
        self._schedule = array("I", bytes(640))
        self._state = _halves(initial)
        self._digest = bytearray(64)

    def hash(self, data: bytes) -> bytes:
        """Return the 64 bytes of SHA-512 of `data`."""
        length = len(data)
        padding = b"\x80" + bytes((111 - length) % 128) + (length * 8).to_bytes(16, "big")
        whole = length - length % 128
        _load(self._state, self._initial, 0, 16)
        for position in range(0, whole, 128):
            self._block(data, position)
        tail = data[whole:] + padding
        for position in range(0, len(tail), 128):
            self._block(tail, position)
        _store(self._digest, self._state, 16)
        return bytes(self._digest)

    def _block(self, data: bytes, position: int) -> None:
        _load(self._schedule, data, position, 32)
        _extend(self._schedule)
        _compress(self._state, self._schedule, self._rounds)


@micropython.viper
def _load(words: ptr32, data: ptr8, position: int, count: int):
    """Big-endian bytes from `position` to `count` words."""
    for index in range(count):
        at = position + 4 * index
        words[index] = data[at] << 24 | data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3]


@micropython.viper
def _store(data: ptr8, words: ptr32, count: int):
    """`count` words to big-endian bytes."""
    for index in range(count):
        word = uint(words[index])
        at = 4 * index
        data[at] = word >> 24
        data[at + 1] = word >> 16
        data[at + 2] = word >> 8
        data[at + 3] = word


@micropython.viper
def _extend(w: ptr32):
    """Section 6.4.2 step 1: the message schedule, from 32 halves to 160."""
    mask = uint(0x3FFFFFFF) << 2 | 3
    t = 32
    while t < 160:
        h = uint(w[t - 30])
        l = uint(w[t - 29])  # noqa: E741
        low = ((l >> 1 | h << 31) ^ (l >> 8 | h << 24) ^ (l >> 7 | h << 25)) & mask
        high = ((h >> 1 | l << 31) ^ (h >> 8 | l << 24) ^ h >> 7) & mask
        h = uint(w[t - 4])
        l = uint(w[t - 3])  # noqa: E741
        part = ((l >> 19 | h << 13) ^ (h >> 29 | l << 3) ^ (l >> 6 | h << 26)) & mask
        low = (low + part) & mask
        if low < part:
            high += uint(1)
        high += ((h >> 19 | l << 13) ^ (l >> 29 | h << 3) ^ h >> 6) & mask
        part = uint(w[t - 13])
        low = (low + part) & mask
        if low < part:
            high += uint(1)
        part = uint(w[t - 31])
        low = (low + part) & mask
        if low < part:
            high += uint(1)
        high += uint(w[t - 14]) + uint(w[t - 32])
        w[t] = high
        w[t + 1] = low
        t += 2


@micropython.viper
def _compress(state: ptr32, w: ptr32, k: ptr32):
    """Section 6.4.2 steps 2 to 4; names end in h for the high half and l for the low one."""
    mask = uint(0x3FFFFFFF) << 2 | 3
    ah = uint(state[0])
    al = uint(state[1])
    bh = uint(state[2])
    bl = uint(state[3])
    ch = uint(state[4])
    cl = uint(state[5])
    dh = uint(state[6])
    dl = uint(state[7])
    eh = uint(state[8])
    el = uint(state[9])
    fh = uint(state[10])
    fl = uint(state[11])
    gh = uint(state[12])
    gl = uint(state[13])
    hh = uint(state[14])
    hl = uint(state[15])
    t = 0
    while t < 160:
        # T1 = h + Sigma1(e) + Ch(e, f, g) + K + W
        low = hl
        high = hh
        part = ((el >> 14 | eh << 18) ^ (el >> 18 | eh << 14) ^ (eh >> 9 | el << 23)) & mask
        low = (low + part) & mask
        if low < part:
            high += uint(1)
        high += ((eh >> 14 | el << 18) ^ (eh >> 18 | el << 14) ^ (el >> 9 | eh << 23)) & mask
        part = gl ^ el & (fl ^ gl)
        low = (low + part) & mask
        if low < part:
            high += uint(1)
        high += gh ^ eh & (fh ^ gh)
        part = uint(k[t + 1])
        low = (low + part) & mask
        if low < part:
            high += uint(1)
        part = uint(w[t + 1])
        low = (low + part) & mask
        if low < part:
            high += uint(1)
        high = (high + uint(k[t]) + uint(w[t])) & mask
        hh = gh
        hl = gl
        gh = fh
        gl = fl
        fh = eh
        fl = el
        # e = d + T1
        el = (dl + low) & mask
        eh = dh + high
        if el < low:
            eh += uint(1)
        eh &= mask
        dh = ch
        dl = cl
        # a = T1 + Sigma0(a) + Maj(a, b, c)
        part = ((al >> 28 | ah << 4) ^ (ah >> 2 | al << 30) ^ (ah >> 7 | al << 25)) & mask
        low = (low + part) & mask
        if low < part:
            high += uint(1)
        high += ((ah >> 28 | al << 4) ^ (al >> 2 | ah << 30) ^ (al >> 7 | ah << 25)) & mask
        part = al & bl | cl & (al | bl)
        low = (low + part) & mask
        if low < part:
            high += uint(1)
        high += ah & bh | ch & (ah | bh)
        ch = bh
        cl = bl
        bh = ah
        bl = al
        ah = high & mask
        al = low
        t += 2
    _accumulate(state, 0, ah, al)
    _accumulate(state, 2, bh, bl)
    _accumulate(state, 4, ch, cl)
    _accumulate(state, 6, dh, dl)
    _accumulate(state, 8, eh, el)
    _accumulate(state, 10, fh, fl)
    _accumulate(state, 12, gh, gl)
    _accumulate(state, 14, hh, hl)


@micropython.viper
def _accumulate(state: ptr32, at: int, high: uint, low: uint):
    """Add one 64-bit word to the hash value."""
    mask = uint(0x3FFFFFFF) << 2 | 3
    total = (uint(state[at + 1]) + low) & mask
    if total < low:
        high += uint(1)
    state[at + 1] = total
    state[at] = uint(state[at]) + high
