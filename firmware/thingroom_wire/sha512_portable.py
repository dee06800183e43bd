"""SHA-512 (FIPS 180-4) in plain integers, and its constants. Imports nothing of ours.

Every 64-bit word is kept as two halves of 32 bits and masked after each sum, so it does not depend on how wide a port's
native integers are. A board loads it to hold sha512_viper against it and drops it then. Next: sha512.
"""

from binascii import unhexlify

_MASK = 0xFFFFFFFF

INITIAL = unhexlify(
    "6a09e667f3bcc908bb67ae8584caa73b3c6ef372fe94f82ba54ff53a5f1d36f1"
    "510e527fade682d19b05688c2b3e6c1f1f83d9abfb41bd6b5be0cd19137e2179"
)
"""Section 5.3.5: fractional bits of the square roots of the first 8 primes."""

ROUND = unhexlify(
    "428a2f98d728ae227137449123ef65cdb5c0fbcfec4d3b2fe9b5dba58189dbbc3956c25bf348b53859f111f1b605d019"
    "923f82a4af194f9bab1c5ed5da6d8118d807aa98a303024212835b0145706fbe243185be4ee4b28c550c7dc3d5ffb4e2"
    "72be5d74f27b896f80deb1fe3b1696b19bdc06a725c71235c19bf174cf692694e49b69c19ef14ad2efbe4786384f25e3"
    "0fc19dc68b8cd5b5240ca1cc77ac9c652de92c6f592b02754a7484aa6ea6e4835cb0a9dcbd41fbd476f988da831153b5"
    "983e5152ee66dfaba831c66d2db43210b00327c898fb213fbf597fc7beef0ee4c6e00bf33da88fc2d5a79147930aa725"
    "06ca6351e003826f142929670a0e6e7027b70a8546d22ffc2e1b21385c26c9264d2c6dfc5ac42aed53380d139d95b3df"
    "650a73548baf63de766a0abb3c77b2a881c2c92e47edaee692722c851482353ba2bfe8a14cf10364a81a664bbc423001"
    "c24b8b70d0f89791c76c51a30654be30d192e819d6ef5218d69906245565a910f40e35855771202a106aa07032bbd1b8"
    "19a4c116b8d2d0c81e376c085141ab532748774cdf8eeb9934b0bcb5e19b48a8391c0cb3c5c95a634ed8aa4ae3418acb"
    "5b9cca4f7763e373682e6ff3d6b2b8a3748f82ee5defb2fc78a5636f43172f6084c87814a1f0ab728cc702081a6439ec"
    "90befffa23631e28a4506cebde82bde9bef9a3f7b2c67915c67178f2e372532bca273eceea26619cd186b8c721c0c207"
    "eada7dd6cde0eb1ef57d4f7fee6ed17806f067aa72176fba0a637dc5a2c898a6113f9804bef90dae1b710b35131c471b"
    "28db77f523047d8432caab7b40c724933c9ebe0a15c9bebc431d67c49c100d4c4cc5d4becb3e42b6597f299cfc657e2a"
    "5fcb6fab3ad6faec6c44198c4a475817"
)
"""Section 4.2.3: fractional bits of the cube roots of the first 80 primes."""


def sha512_portable(data: bytes) -> bytes:
    """Return the 64 bytes of SHA-512 of `data`, computed here."""
    length = len(data)
    padding = b"\x80" + bytes((111 - length) % 128) + (length * 8).to_bytes(16, "big")
    whole = length - length % 128
    tail = data[whole:] + padding
    state = _words(INITIAL, 0, 16)
    constants = _words(ROUND, 0, 160)
    for position in range(0, whole, 128):
        _compress(state, _words(data, position, 32), constants)
    for position in range(0, len(tail), 128):
        _compress(state, _words(tail, position, 32), constants)
    return b"".join([word.to_bytes(4, "big") for word in state])


def _words(data: bytes, position: int, count: int) -> "list[int]":
    """`count` big-endian 32-bit words of `data` from `position`: high half, low half, high half and so on."""
    return [int.from_bytes(data[at : at + 4], "big") for at in range(position, position + 4 * count, 4)]


def _compress(state: "list[int]", w: "list[int]", k: "list[int]") -> None:
    """Section 6.4.2 on one block. `state` and `w` are halves; `w` is extended in place from 32 halves to 160."""
    # 1. Prepare the message schedule.
    for t in range(32, 160, 2):
        h, l = w[t - 30], w[t - 29]  # noqa: E741
        low = (l >> 1 | h << 31) ^ (l >> 8 | h << 24) ^ (l >> 7 | h << 25)
        high = (h >> 1 | l << 31) ^ (h >> 8 | l << 24) ^ h >> 7
        h, l = w[t - 4], w[t - 3]  # noqa: E741
        low = (low & _MASK) + (((l >> 19 | h << 13) ^ (h >> 29 | l << 3) ^ (l >> 6 | h << 26)) & _MASK)
        low += w[t - 13] + w[t - 31]
        high = (high & _MASK) + (((h >> 19 | l << 13) ^ (l >> 29 | h << 3) ^ h >> 6) & _MASK)
        high += w[t - 14] + w[t - 32] + (low >> 32)
        w.append(high & _MASK)
        w.append(low & _MASK)
    # 2. Initialise the working variables.
    ah, al, bh, bl, ch, cl, dh, dl, eh, el, fh, fl, gh, gl, hh, hl = state
    # 3. Eighty rounds.
    for t in range(0, 160, 2):
        low = hl + k[t + 1] + w[t + 1] + ((el & fl) ^ (~el & gl))
        low += ((el >> 14 | eh << 18) ^ (el >> 18 | eh << 14) ^ (eh >> 9 | el << 23)) & _MASK
        high = hh + k[t] + w[t] + ((eh & fh) ^ (~eh & gh)) + (low >> 32)
        high += ((eh >> 14 | el << 18) ^ (eh >> 18 | el << 14) ^ (el >> 9 | eh << 23)) & _MASK
        low &= _MASK
        hh, hl, gh, gl, fh, fl = gh, gl, fh, fl, eh, el
        el = dl + low
        eh = (dh + high + (el >> 32)) & _MASK
        el &= _MASK
        low += (al & bl) ^ (al & cl) ^ (bl & cl)
        low += ((al >> 28 | ah << 4) ^ (ah >> 2 | al << 30) ^ (ah >> 7 | al << 25)) & _MASK
        high += ((ah & bh) ^ (ah & ch) ^ (bh & ch)) + (low >> 32)
        high += ((ah >> 28 | al << 4) ^ (al >> 2 | ah << 30) ^ (al >> 7 | ah << 25)) & _MASK
        dh, dl, ch, cl, bh, bl = ch, cl, bh, bl, ah, al
        ah, al = high & _MASK, low & _MASK
    # 4. Add to the hash value.
    worked = (ah, al, bh, bl, ch, cl, dh, dl, eh, el, fh, fl, gh, gl, hh, hl)
    for t in range(0, 16, 2):
        low = state[t + 1] + worked[t + 1]
        state[t] = (state[t] + worked[t] + (low >> 32)) & _MASK
        state[t + 1] = low & _MASK
