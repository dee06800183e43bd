"""Events as other servers send them: format, signatures and content hash, for one or ten thousand at a time.

May import core and server_keys.py. These are steps 1 to 3 of "Checks performed on receipt of a PDU" (Server-Server
API); rooms/receive_event.py goes on with the event. Signatures of a batch are checked in threads: libsodium lets go of
the interpreter meanwhile.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass

from thingroom_homeserver.core.canonical_json import encode_canonical_json
from thingroom_homeserver.core.event import Event, MalformedEvent, parse_untrusted_pdu, redacted_event
from thingroom_homeserver.core.hashing import content_hash_matches, signed_part
from thingroom_homeserver.core.identifiers import is_valid_event_id
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import required_signing_servers, signature_on, verify_bytes
from thingroom_homeserver.federation.server_keys import ServerKeys, WantedKey, signing_key_ids

READ_AT_ONCE = 50
"""Events that are looked at before others on the loop have their turn: some milliseconds."""
VERIFIED_AT_ONCE = 250
"""Events whose signatures one thread checks in a go: some tens of milliseconds."""
FEW = 10
"""The signatures of so many are checked on the spot: a thread would cost more than it saves."""


@dataclass(frozen=True, slots=True)
class Bad:
    """Not to be used at all. `event_id` is None where there is no telling. `reason` is one sentence."""

    event_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class _Signature:
    """A signature that the event bears of a server that has to sign it."""

    key: WantedKey
    signature: bytes


@dataclass(frozen=True, slots=True)
class _Signed:
    """An event of the right format, the bytes that its signatures cover, and who has to have signed."""

    event: Event
    message: bytes
    required: frozenset[str]
    signatures: tuple[_Signature, ...]


async def verify_events(
    keys: ServerKeys, pdus: Sequence[object], room_version: str, *, historic: bool = False
) -> list[Event | Bad]:
    """For each of `pdus` the event, in its redacted form if its content hash is wrong; or what is wrong with it.

    The order is kept. Keys that are not known are asked for first, all of them together. `unsigned`, which anybody may
    have written, is left out.
    """
    found: list[_Signed | Bad] = []
    for start in range(0, len(pdus), READ_AT_ONCE):
        if start:
            await asyncio.sleep(0)
        found += [_read(pdu, room_version, historic) for pdu in pdus[start : start + READ_AT_ONCE]]
    signed = [each for each in found if isinstance(each, _Signed)]
    await keys.prefetch(signature.key for each in signed for signature in each.signatures)
    public_keys = {one.key: keys.known_key(one.key) for each in signed for one in each.signatures}
    verdicts = iter(await _unsigned_servers(signed, public_keys))
    results: list[Event | Bad] = []
    for number, each in enumerate(found, 1):
        results.append(each if isinstance(each, Bad) else _judged(each, next(verdicts)))
        if number % READ_AT_ONCE == 0:
            await asyncio.sleep(0)
    return results


def _read(pdu: object, room_version: str, historic: bool) -> _Signed | Bad:
    """Step 1, the format, and what step 2 needs."""
    if isinstance(pdu, dict):
        pdu = {key: value for key, value in pdu.items() if key != "unsigned"}
    event = parse_untrusted_pdu(pdu, room_version, historic=historic)
    if isinstance(event, MalformedEvent):
        return Bad(_claimed_id(pdu), event.reason)
    rules = event.rules
    required = required_signing_servers(event, rules)
    valid_at = event.origin_server_ts if rules.enforce_key_validity else None
    signatures = []
    for server in required:
        for key_id in signing_key_ids(event.pdu, server):
            signature = signature_on(event.pdu, server, key_id)
            if signature is not None:
                signatures.append(_Signature(WantedKey(server, key_id, valid_at), signature))
    message = encode_canonical_json(signed_part(event.pdu, rules), strict=False)
    return _Signed(event, message, required, tuple(signatures))


def _claimed_id(pdu: object) -> str | None:
    """The id of an event that says its own (room versions 1 and 2)."""
    event_id = pdu.get("event_id") if isinstance(pdu, dict) else None
    return event_id if is_valid_event_id(event_id) else None


async def _unsigned_servers(
    signed: Sequence[_Signed], public_keys: dict[WantedKey, bytes | None]
) -> list[frozenset[str]]:
    """Step 2: for each event the servers that should have signed it and, as far as can be told, did not."""
    if len(signed) <= FEW:
        return [_missing(each, public_keys) for each in signed]
    threads = asyncio.Semaphore(os.cpu_count() or 1)

    async def check(part: Sequence[_Signed]) -> list[frozenset[str]]:
        async with threads:
            return await asyncio.to_thread(lambda: [_missing(each, public_keys) for each in part])

    parts = [signed[start : start + VERIFIED_AT_ONCE] for start in range(0, len(signed), VERIFIED_AT_ONCE)]
    return [missing for found in await asyncio.gather(*map(check, parts)) for missing in found]


def _missing(signed: _Signed, public_keys: dict[WantedKey, bytes | None]) -> frozenset[str]:
    missing = set(signed.required)
    for one in signed.signatures:
        server, public_key = one.key.server_name, public_keys[one.key]
        if server in missing and public_key and verify_bytes(signed.message, one.signature, public_key):
            missing.discard(server)
    return frozenset(missing)


def _judged(signed: _Signed, missing: frozenset[str]) -> Event | Bad:
    """Step 3: the content hash."""
    event = signed.event
    if missing:
        return Bad(event.event_id, f"no valid signature of {', '.join(sorted(missing))}")
    if content_hash_matches(event.pdu, ROOM_RULES[event.room_version]):
        return event
    return redacted_event(event)
