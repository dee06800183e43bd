"""Events as a gateway puts them into a room, without a gateway: device states and envelopes that are really signed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

from tests.flows.gateway_stack import Device

from thingroom_gateway.matrix_event import attested_content, device_content, readings_content, unpadded
from thingroom_watch import Finding, Judged, RoomTrust, Verdict, Verifier
from thingroom_wire.keys import cose_key_ed25519

BOT = "@thingroom:home.test"
SENT_MS = 1_760_000_000_000


class SignedRoom:
    """Makes events with ids and times of their own. `events` are all of them, in order."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def event(self, kind: str, content: Any, sender: str, state_key: str | None = None) -> dict[str, Any]:
        number = next(self._numbers)
        made = {"type": kind, "content": content, "sender": sender, "event_id": f"${number}"}
        made |= {"origin_server_ts": SENT_MS + number} | ({} if state_key is None else {"state_key": state_key})
        self.events.append(made)
        return made

    def device(self, device: Device, status: str = "active", name: str = "", **extra: str) -> dict[str, Any]:
        return self.event("org.thingroom.device", state_of(device, status, name, **extra), BOT, device.kid.hex())

    def readings(self, device: Device, *envelopes: bytes, sender: str = "") -> dict[str, Any]:
        content = json.loads(readings_content(device.kid.hex(), envelopes, []))
        return self.event("org.thingroom.readings", content, sender or ghost(device))

    def attested(self, kid: str, sender: str, *readings: dict[str, Any]) -> dict[str, Any]:
        content = json.loads(attested_content(kid, [], map(json.dumps, readings)))
        return self.event("org.thingroom.readings", content, sender)


def ghost(device: Device) -> str:
    return f"@thing_{device.kid.hex()}:home.test"


def state_of(device: Device, status: str = "active", name: str = "", **extra: str) -> dict[str, Any]:
    key = cose_key_ed25519(device.public_key)
    content: dict[str, Any] = json.loads(device_content(key, device.profile, name or device.name, status, extra))
    return content


def damaged(envelope: bytes, place: int) -> bytes:
    """The envelope with one bit of it turned; `place` counts in bits, from either end."""
    bit = place % (len(envelope) * 8)
    data = bytearray(envelope)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def fed(events: Sequence[object], verifier: Verifier | None = None) -> list[Finding]:
    verifier = verifier or Verifier(RoomTrust())
    return [finding for event in events for finding in verifier.feed(event)]


def judged(findings: Sequence[Finding]) -> list[Judged]:
    return [finding for finding in findings if isinstance(finding, Judged)]


def verdicts(findings: Sequence[Finding]) -> list[tuple[Verdict, str]]:
    return [(one.verdict, one.reason) for one in judged(findings)]


__all__ = ["SignedRoom", "damaged", "fed", "ghost", "judged", "state_of", "unpadded", "verdicts"]
