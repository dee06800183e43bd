"""A gateway in memory for node tests: verifies with PyNaCl, answers with thingroom_wire, and remembers everything.

It is strict where the node must be right (signatures, one content per number, the chain) and can be told to misbehave.
"""

import hashlib
import secrets
import time

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.signing import SigningKey, VerifyKey

from thingroom_wire import command, cose, downlink, envelope, hello, keys


class StandInGateway:
    """`take_hello` and `take_envelope` return the answer's bytes, or None for silence."""

    def __init__(self, pairing_code: bytes = b"") -> None:
        self.signing = SigningKey(secrets.token_bytes(32))
        self.public = bytes(self.signing.verify_key)
        self._private = secrets.token_bytes(32)
        self.agreement_public = crypto_scalarmult_base(self._private)
        self._pairing = keys.pairing_keys(pairing_code) if pairing_code else None
        self.devices: dict[bytes, bytes] = {}
        self.downlink_keys: dict[bytes, bytes] = {}
        self.envelopes: dict[int, bytes] = {}
        self.arrivals: list[int] = []
        self.hellos: list[hello.Hello] = []
        self.unknown = 0
        self.silent = False
        self.refused: dict[int, str] = {}

    def enrol(self, device_key: bytes, agreement_key: bytes) -> None:
        """Know a device by its two public keys."""
        kid = keys.key_id(device_key)
        self.devices[kid] = device_key
        shared = crypto_scalarmult(self._private, agreement_key)
        self.downlink_keys[kid] = keys.downlink_key(shared, kid, keys.key_id(self.public))

    def take_hello(self, data: bytes) -> bytes | None:
        if hello.is_pairing_hello(data):
            return self._pair(data)
        signed = hello.parse_hello(data)
        kid = signed.hello.key_id
        if kid not in self.devices:
            self.unknown += 1
            return None
        VerifyKey(self.devices[kid]).verify(signed.signed_bytes, signed.signature)
        self.hellos.append(signed.hello)
        if self.silent:
            return None
        return self.answer(kid, time=int(time.time() * 1000), nonce=signed.hello.nonce)

    def take_envelope(self, data: bytes) -> bytes | None:
        parsed = envelope.parse_envelope(data)
        kid, sequence = parsed.header.key_id, parsed.header.sequence
        if kid not in self.devices:
            self.unknown += 1
            return None
        VerifyKey(self.devices[kid]).verify(parsed.signed_bytes, parsed.signature)
        assert self.envelopes.setdefault(sequence, data) == data, f"number {sequence} was used twice"
        self.arrivals.append(sequence)
        if self.silent:
            return None
        if sequence in self.refused:
            return self.answer(kid, refused=[(sequence, sequence, self.refused[sequence])])
        return self.answer(kid, acknowledged=[(sequence, sequence)])

    def answer(self, kid: bytes, **fields: object) -> bytes:
        """An answer to the device under its downlink key."""
        empty = {"acknowledged": [], "time": None, "nonce": None, "refused": [], "gateway_key": None}
        answer = downlink.Answer(**{**empty, "agreement_key": None, "commands": [], "pause": None, **fields})
        return downlink.encode_answer(self.downlink_keys[kid], kid, answer)

    def command(
        self, kid: bytes, counter: int, value: object, key: SigningKey | None = None, **fields: object
    ) -> bytes:
        """A command to set the actuator "on" of `kid`, good for a minute, signed with our key or another."""
        key = key or self.signing
        usual = {
            "device": kid,
            "counter": counter,
            "expires": int(time.time() * 1000) + 60_000,
            "nonce": None,
            "within": None,
            "actuator": "on",
            "value": value,
            "configuration": None,
        }
        parts = command.command_parts(keys.key_id(bytes(key.verify_key)), command.Command(**{**usual, **fields}))
        return cose.encode_sign1(*parts, key.sign(cose.sig_structure(*parts)).signature)

    def results(self) -> list[tuple[int, str]]:
        """What envelopes said came of commands, in the order of their numbers."""
        parsed = [envelope.parse_envelope(self.envelopes[sequence]) for sequence in sorted(self.envelopes)]
        return [result for one in parsed for result in one.results]

    def _pair(self, data: bytes) -> bytes | None:
        assert self._pairing is not None
        signed = hello.parse_hello(hello.parse_pairing_hello(data, self._pairing.device))
        greeting = signed.hello
        VerifyKey(greeting.device_key).verify(signed.signed_bytes, signed.signature)
        self.hellos.append(greeting)
        if self.silent:
            return None
        self.enrol(greeting.device_key, greeting.agreement_key)
        answer = downlink.Answer(
            [], int(time.time() * 1000), greeting.nonce, [], self.public, self.agreement_public, [], None
        )
        return downlink.encode_answer(self._pairing.gateway, greeting.key_id, answer)

    def check_chain(self) -> None:
        """Every envelope that names a predecessor which arrived names it with the right digest."""
        digests = {}
        for sequence, data in self.envelopes.items():
            parsed = envelope.parse_envelope(data)
            signed = cose.sig_structure(parsed.protected_bytes, parsed.payload)
            digests[sequence] = hashlib.sha256(signed).digest()[:8]
        first = min(self.envelopes)
        for sequence, data in self.envelopes.items():
            predecessor = envelope.parse_envelope(data).header.predecessor
            if predecessor is None:
                assert sequence == first, f"{sequence} names no predecessor"
                continue
            assert predecessor[0] < sequence
            if predecessor[0] in digests:
                assert predecessor[1] == digests[predecessor[0]], f"the chain breaks at {sequence}"
