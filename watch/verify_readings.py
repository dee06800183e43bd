#!/usr/bin/env python3
"""Check the readings of a Thingroom room by yourself. One file, to be read in ten minutes; needs PyNaCl and cbor2.

    thingroom watch ROOM --from-beginning --until-now --to raw:events.jsonl
    python verify_readings.py events.jsonl [FINGERPRINT ...]

The input has one Matrix event on each line, as JSON, oldest first (any tool may write it). Two types matter:

* State `org.thingroom.device`: who a device is. The state key is its key id, the content has its public key.
* `org.thingroom.readings`: the content has "envelopes", each the bytes that a sensor signed, in base64.

For each envelope a line comes out: event, place in the event, verdict, device, number, values. Verdicts:

    valid         signed by the device's key, which was in the room's state at that place
    revoked-key   the same, but the owner had revoked the key before
    replayed      the device's number was there before
    forged        anything else

With fingerprints (SHA-256 thumbprints of keys, RFC 9679, that the owner gave you by another way than the room) only
those keys count. Without them you know that readings fit the room's state, which the owner's server writes.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

import cbor2
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

SEQUENCE, PREDECESSOR, CLOCK = -65537, -65538, -65539  # header parameters of an envelope (docs/wire_format.md)
# What comes of bytes that are not what they should be.
UNREADABLE = (
    cbor2.CBORDecodeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    StopIteration,
    OverflowError,
    RecursionError,
)


def from_base64(text: str) -> bytes:
    """Matrix writes base64 without padding."""
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def fingerprint_of(key):
    """The COSE Key Thumbprint (RFC 9679) of an Ed25519 key of 32 bytes, in hex."""
    return hashlib.sha256(cbor2.dumps({1: 1, -1: 6, -2: key}, canonical=True)).hexdigest()


def device_key(key_id, content):
    """The public key in a device's state; ValueError if it is not the one that the key id is a digest of."""
    cose_key = cbor2.loads(from_base64(content["key"]))
    if cose_key[1] != 1 or cose_key[-1] != 6:
        raise ValueError("not an Ed25519 key")
    if fingerprint_of(cose_key[-2])[:16] != key_id:
        raise ValueError("another key than the device's")
    return cose_key[-2]


def open_envelope(envelope):
    """COSE_Sign1 (RFC 9052): header, payload, signature, and the bytes that the signature is over (section 4.4)."""
    tag = cbor2.loads(envelope)
    protected, _, payload, signature = tag.value
    header = cbor2.loads(protected)
    if tag.tag != 18 or header[1] not in (-19, -8) or len(header[4]) != 8 or header[SEQUENCE] < 1:
        raise ValueError("not an envelope")
    return header, payload, signature, cbor2.dumps(["Signature1", protected, b"", payload])


def values_of(payload):
    """SenML (RFC 8428) in CBOR: (name, value, unit) of each record. A device may sign what is none: then nothing."""
    try:
        records = cbor2.loads(payload)
        return [(r.get(0, ""), next(r[label] for label in (2, 3, 4, 8) if label in r), r.get(1)) for r in records]
    except UNREADABLE:
        return []


def judge(envelope, devices, seen, pinned):
    """The verdict on one envelope: (verdict, key id, number, values).

    `devices`: key id to the content of its state, as it is at this place of the room. `seen`: (key id, number) of
    valid envelopes so far; it grows. `pinned`: fingerprints, or nothing.
    """
    try:
        header, payload, signature, signed = open_envelope(envelope)
        key_id, number = header[4].hex(), header[SEQUENCE]
        key = device_key(key_id, devices[key_id])
        if pinned and fingerprint_of(key) not in pinned:
            raise ValueError("not a pinned key")
        VerifyKey(key).verify(signed, signature)
    except (CryptoError, *UNREADABLE):
        return "forged", "", 0, []
    if devices[key_id].get("status") == "revoked":
        return "revoked-key", key_id, number, values_of(payload)
    if (key_id, number) in seen:
        return "replayed", key_id, number, []
    seen.add((key_id, number))
    return "valid", key_id, number, values_of(payload)


def verify(events, pinned=()):
    """For each envelope in `events` (dicts, oldest first): (event id, place, verdict, key id, number, values)."""
    devices, seen = {}, set()
    for event in events:
        content = event.get("content")
        if not isinstance(content, dict):
            continue
        if event.get("type") == "org.thingroom.device" and "state_key" in event:
            devices[event["state_key"]] = content
        if event.get("type") == "org.thingroom.readings" and isinstance(content.get("envelopes"), list):
            for place, text in enumerate(content["envelopes"]):
                try:
                    envelope = from_base64(text)
                except (ValueError, TypeError):
                    envelope = b""
                yield event.get("event_id"), place, *judge(envelope, devices, seen, pinned)


if __name__ == "__main__":
    with Path(sys.argv[1]).open(encoding="utf-8") as file:
        for line in verify(map(json.loads, file), sys.argv[2:]):
            print(*line)
