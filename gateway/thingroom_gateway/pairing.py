"""Pairing by code: the owner opens it for some minutes, a device that proves the code is enrolled.

May import enrolment, gateway_keys, thingroom_wire. ingest.py hands pairing hellos to `Pairing.greet`; the steps are
those of docs/wire_format.md, Pairing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import nacl.exceptions
from nacl.signing import VerifyKey

from thingroom_gateway.enrolment import Candidate, Enrolment, NotEnrolled
from thingroom_gateway.gateway_keys import GatewayKeys
from thingroom_gateway.outcomes import Greeted, Rejected
from thingroom_wire.downlink import Answer, encode_answer
from thingroom_wire.errors import WireError
from thingroom_wire.hello import parse_hello, parse_pairing_hello
from thingroom_wire.keys import PairingKeys, pairing_keys


@dataclass(frozen=True, slots=True)
class Open:
    """Pairing is open until `until` (seconds of the monotonic clock) with the code's keys."""

    code: str
    keys: PairingKeys
    until: float


class Pairing:
    """Whether pairing is open, and with which code. `changed` is called when it opens or closes."""

    def __init__(
        self,
        enrolment: Enrolment,
        keys: GatewayKeys,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._enrolment = enrolment
        self._keys = keys
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._open: Open | None = None
        self.changed: list[Callable[[], None]] = []

    def open(self, minutes: float, code: bytes | None = None) -> Open:
        """Open pairing anew; a code that was open before is void. `code`: 16 bytes, random if None."""
        code = secrets.token_bytes(16) if code is None else code
        self._open = Open(grouped(code), pairing_keys(code), self._monotonic() + minutes * 60)
        self._tell()
        return self._open

    def close(self) -> None:
        if self._open is not None:
            self._open = None
            self._tell()

    def current(self) -> Open | None:
        """What is open now; closes it when its time is over."""
        if self._open is not None and self._monotonic() >= self._open.until:
            self.close()
        return self._open

    async def greet(self, data: bytes) -> Greeted | Rejected:
        """Step 1 and 2: check the code's MAC, then the key's signature, enrol, answer with the gateway's keys.

        That both keys are there and that the kid is theirs is the parsers' business.

        The same device again gets the same answer, so a lost answer costs nothing. Raises sqlite3.Error.
        """
        window = self.current()
        if window is None:
            return Rejected("pairing_closed")
        try:
            inner = parse_pairing_hello(data, window.keys.device)
            signed = parse_hello(inner)
        except WireError as error:
            return Rejected("wrong_pairing_code" if error.reason == "bad_tag" else error.reason)
        hello = signed.hello
        try:
            VerifyKey(hello.device_key).verify(signed.signed_bytes, signed.signature)
        except (nacl.exceptions.BadSignatureError, ValueError):
            return Rejected("bad_signature")
        name = hello.name or f"Device {hello.key_id.hex()[:4]}"
        candidate = Candidate(hello.device_key, hello.agreement_key, name, hello.profile or "")
        result = await self._enrolment.enrol(candidate)
        if isinstance(result, NotEnrolled):
            return Rejected(result.reason)
        answer = Answer(
            acknowledged=[],
            time=self._now_ms(),
            nonce=hello.nonce,
            refused=[],
            gateway_key=self._keys.signing_public,
            agreement_key=self._keys.agreement_public,
            commands=[],
            pause=None,
        )
        return Greeted(hello.key_id, encode_answer(window.keys.gateway, hello.key_id, answer), paired=result.fresh)

    def _tell(self) -> None:
        for listener in self.changed:
            listener()


def grouped(code: bytes) -> str:
    """The code for people: 32 hex digits in groups of four."""
    digits = code.hex()
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))
