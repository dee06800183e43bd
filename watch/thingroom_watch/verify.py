"""Events of a room, in its order, become readings with verdicts. Pure: no clock, no network, no disk.

`Verifier.feed` takes every event once, oldest first: device states change what follows them, so each envelope is judged
by the key that the room had at that place. Signatures are checked by libsodium over the bytes as they came. May import
thingroom_wire, device_state, numbers, trust, model. watching.py feeds it from a homeserver.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from nacl.bindings import crypto_sign_open
from nacl.exceptions import CryptoError

from thingroom_watch.device_state import (
    DEVICE_TYPE,
    MAX_TEXT,
    DeviceState,
    clean_text,
    decode_base64,
    parse_device_state,
)
from thingroom_watch.model import Finding, Gap, Judged, KeyNews, Sample, Trust, Value, Verdict
from thingroom_watch.numbers import Numbers
from thingroom_watch.trust import RoomTrust
from thingroom_wire.cbor import Decimal as WireDecimal
from thingroom_wire.envelope import DRIFTING, SYNCHRONISED, UNSET, digest, parse_envelope
from thingroom_wire.errors import WireError
from thingroom_wire.limits import MAX_SEQUENCE
from thingroom_wire.senml import decode_pack

READINGS_TYPE: Final = "org.thingroom.readings"
GHOST_PREFIX: Final = "thing_"
MAX_ENVELOPES: Final = 1000
"""In one event; one of Matrix's 65,536 bytes has fewer."""
MAX_DEVICES: Final = 10_000
"""In one room. More are not looked at."""
_CLOCKS: Final = {SYNCHRONISED: "synchronised", DRIFTING: "drifting", UNSET: "unset"}
_ATTESTED_CLOCKS: Final = ("drifting", "unset")
_NUMBER: Final = re.compile(r"-?[0-9]{1,24}(\.[0-9]{1,24})?")


@dataclass
class Known:
    """What has been seen of a device: its state at this place of the room, and which numbers were there.

    `newest`: digest of the envelope with the highest number, in hex.
    """

    state: DeviceState
    received: Numbers = field(default_factory=Numbers)
    skipped: Numbers = field(default_factory=Numbers)
    newest: str = ""


@dataclass(frozen=True, slots=True)
class _Event:
    event_id: str
    sender: str
    sent_ms: int


class Verifier:
    """One room. `devices` may be given as another verifier left them; `changed` are those that differ since."""

    def __init__(self, trust: RoomTrust, devices: dict[str, Known] | None = None) -> None:
        self.trust = trust
        self.devices: dict[str, Known] = {} if devices is None else devices
        self.changed: set[str] = set()

    def feed(self, event: object) -> list[Finding]:
        """What the room's next event says. Never raises, whatever `event` is; most events say nothing."""
        if not isinstance(event, dict):
            return []
        kind, content, state_key = event.get("type"), event.get("content"), event.get("state_key")
        about = _Event(
            clean_text(event.get("event_id")), clean_text(event.get("sender")), _count(event.get("origin_server_ts"))
        )
        if kind == DEVICE_TYPE and isinstance(state_key, str):
            return self._device(state_key, content, about)
        if kind == READINGS_TYPE and state_key is None and isinstance(content, dict):
            if "envelopes" in content:
                return self._envelopes(content["envelopes"], about)
            if content.get("attested_by") == "gateway":
                return self._attested(content, about)
        return []

    def gaps(self, device: str) -> list[tuple[int, int]]:
        """Intervals of the numbers that are missing between the first and the last that came; not skipped ones."""
        known = self.devices[device]
        there = Numbers(known.received)
        for first, last in known.skipped:
            there.add(first, last)
        return there.missing(known.received.lowest, known.received.highest)

    # --- keys --------------------------------------------------------------------------------------------------------

    def _device(self, device: str, content: object, about: _Event) -> list[Finding]:
        known = self.devices.get(device)
        if clean_text(device) != device or (known is None and len(self.devices) >= MAX_DEVICES):
            return []
        state = parse_device_state(device, content, about.sender)
        before = None if known is None else known.state
        self.changed.add(device)
        if known is None:
            self.devices[device] = Known(state)
        else:
            known.state = state
        replaced = self.trust.see(state)
        found = [self._news(kind, state, replaced, about) for kind in _changes(before, state, replaced)]
        return list(found)

    def _news(self, kind: str, state: DeviceState, replaced: str, about: _Event) -> KeyNews:
        name, pinned = state.name or state.device, state.fingerprint in self.trust.pinned
        alarm = kind in ("unusable", "revived", "unsigned") or (kind == "changed" and not pinned)
        sentence = {
            "new": f"{name} is new in the room: key {state.fingerprint or 'none, its gateway attests what it says'}.",
            "changed": f"{name} signs with another key than before ({replaced}, now {state.device})."
            + ("" if pinned else " Ask the owner whether that is meant, by another way than this room."),
            "unusable": f"The room's key of {name} cannot be used ({state.problem}).",
            "revoked": f"The owner's server has revoked the key of {name}.",
            "revived": f"The key of {name} was revoked and is used again.",
            "unsigned": f"{name} signed its readings, and now its gateway is to be believed without.",
        }[kind]
        return KeyNews(
            kind, alarm, state.device, state.name, state.fingerprint, sentence, about.event_id, about.sent_ms
        )

    # --- signed readings ---------------------------------------------------------------------------------------------

    def _envelopes(self, envelopes: object, about: _Event) -> list[Finding]:
        if not isinstance(envelopes, list) or len(envelopes) > MAX_ENVELOPES:
            return [_forged("bad_envelopes", about, 0)]
        found: list[Finding] = []
        for index, text in enumerate(envelopes):
            data = decode_base64(text) if isinstance(text, str) else None
            if data is None:
                found.append(_forged("bad_base64", about, index))
            else:
                found += self._envelope(data, about, index)
        return found

    def _envelope(self, data: bytes, about: _Event, index: int) -> Iterable[Finding]:
        try:
            envelope = parse_envelope(data)
        except WireError as error:
            return [_forged(str(error.reason), about, index)]
        header = envelope.header
        device, sequence = header.key_id.hex(), header.sequence
        known = self.devices.get(device)
        if known is None:
            return [_forged("unknown_key", about, index, device, sequence)]
        state = known.state
        if state.key is None:
            return [_forged(state.problem or "device_signs_nothing", about, index, device, sequence)]
        if not _is_signed(state.key, envelope.signature, envelope.signed_bytes):
            return [_forged("bad_signature", about, index, device, sequence)]
        trust, clock = self.trust.of(state), _CLOCKS[header.clock.state]
        judged = Judged(
            *(Verdict.VALID, "", trust, device, state.name, state.profile, sequence, clock, "", ()),
            *(about.event_id, index, about.sender, about.sent_ms),
        )
        if state.status == "revoked":
            name, samples, reason = _samples(envelope.payload)
            return [replace(judged, verdict=Verdict.REVOKED, base_name=name, samples=samples, reason=reason)]
        if sequence in known.received:
            return [replace(judged, verdict=Verdict.REPLAYED)]
        name, samples, reason = _samples(envelope.payload)
        highest, before = known.received.highest, header.predecessor
        if before is not None and before[0] == highest and known.newest not in ("", before[1].hex()):
            reason = reason or "another_predecessor"
        gaps = self._count(known, sequence, before[0] if before is not None else 0, about)
        if sequence > highest:
            known.newest = digest(envelope.protected_bytes, envelope.payload).hex()
        return [*gaps, replace(judged, base_name=name, samples=samples, reason=reason)]

    def _count(self, known: Known, sequence: int, before: int, about: _Event) -> list[Gap]:
        """Number `sequence` is here, and says that `before` was the one before it (0: it is the first)."""
        highest = known.received.highest
        known.received.add(sequence, sequence)
        known.skipped.add(before + 1, sequence - 1)
        self.changed.add(known.state.device)
        if not highest or sequence <= highest + 1:
            return []
        found = []
        for kind, first, last in (
            ("missing", highest + 1, before),
            ("skipped", max(before, highest) + 1, sequence - 1),
        ):
            if first <= last:
                found.append(
                    Gap(known.state.device, known.state.name, kind, first, last, about.event_id, about.sent_ms)
                )
        return found

    # --- what a gateway attests --------------------------------------------------------------------------------------

    def _attested(self, content: dict[str, Any], about: _Event) -> list[Finding]:
        device, readings = content.get("device"), content.get("readings")
        if not isinstance(device, str) or not isinstance(readings, list) or len(readings) > MAX_ENVELOPES:
            return [_forged("bad_readings", about, 0)]
        known = self.devices.get(device)
        device = clean_text(device)
        if known is None:
            return [_forged("unknown_device", about, 0, device)]
        state = known.state
        if not state.attested:
            return [_forged("device_signs", about, 0, device)]
        # Only the server of the room's state can speak as the account that it made for the device.
        if about.sender != f"@{GHOST_PREFIX}{device}:{state.server}":
            return [_forged("not_its_account", about, 0, device)]
        by_number: dict[int, list[Sample]] = {}
        clocks: dict[int, str] = {}
        for reading in readings:
            one = _attested_sample(reading)
            if one is None:
                return [_forged("bad_readings", about, 0, device)]
            by_number.setdefault(one[0], []).append(one[1])
            clocks[one[0]] = one[2]
        found: list[Finding] = []
        for index, (sequence, samples) in enumerate(by_number.items()):
            judged = Judged(
                *(Verdict.ATTESTED, "", Trust.NONE, device, state.name, state.profile, sequence, clocks[sequence], ""),
                *(tuple(samples), about.event_id, index, about.sender, about.sent_ms),
            )
            if state.status == "revoked":
                found.append(replace(judged, verdict=Verdict.REVOKED))
            elif sequence in known.received:
                found.append(replace(judged, verdict=Verdict.REPLAYED, samples=()))
            else:
                found += [*self._count(known, sequence, sequence - 1, about), judged]
        return found


def _changes(before: DeviceState | None, state: DeviceState, replaced: str) -> list[str]:
    kinds = []
    if state.problem:
        kinds.append("unusable")
    elif replaced:
        kinds.append("changed")
    elif before is None:
        kinds.append("new")
    elif before.key is not None and state.attested:
        kinds.append("unsigned")
    if before is not None and before.status == "revoked" and state.status == "active":
        kinds.append("revived")
    if state.status == "revoked" and (before is None or before.status != "revoked"):
        kinds.append("revoked")
    return kinds


def _is_signed(key: bytes, signature: bytes, signed: bytes) -> bool:
    try:
        crypto_sign_open(signature + signed, key)
    except CryptoError:
        return False
    return True


def _forged(reason: str, about: _Event, index: int, device: str = "", sequence: int = 0) -> Judged:
    return Judged(
        *(Verdict.FORGED, reason, Trust.NONE, device, "", "", sequence, "", "", ()),
        *(about.event_id, index, about.sender, about.sent_ms),
    )


def _samples(payload: bytes) -> tuple[str, tuple[Sample, ...], str]:
    """Base name and samples of a signed payload; or nothing and why: the device signed it, so it is no forgery."""
    try:
        pack = decode_pack(payload)
    except WireError as error:
        return "", (), str(error.reason)
    base = pack.base_time_ms
    samples = (
        Sample(record.name, record.unit, _exact(record.value), None if base is None else base + record.time)
        for record in pack.records
    )
    return pack.base_name, tuple(samples), ""


def _exact(value: Any) -> Value:
    if type(value) is WireDecimal:
        return Decimal(value.mantissa).scaleb(value.exponent) if value.mantissa else Decimal(0)
    if type(value) is int:
        return Decimal(value)
    if type(value) is float:
        return Decimal(repr(value))
    found: Value = value
    return found


def _attested_sample(reading: object) -> tuple[int, Sample, str] | None:
    """The number, the value and the state of the clock of one reading in an attested event; None if it is none."""
    if not isinstance(reading, dict):
        return None
    name, unit, value, clock = (reading.get(field) for field in ("name", "unit", "value", "clock"))
    sequence, time_ms = _count(reading.get("sequence")), _count(reading.get("ts"))
    if not sequence or not isinstance(name, str) or not isinstance(value, str) or len(value) > MAX_TEXT:
        return None
    exact: Value = Decimal(value) if _NUMBER.fullmatch(value) else clean_text(value)
    shown = clock if clock in _ATTESTED_CLOCKS else "synchronised"
    return sequence, Sample(clean_text(name), clean_text(unit) or None, exact, time_ms or None), str(shown)


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= MAX_SEQUENCE else 0
