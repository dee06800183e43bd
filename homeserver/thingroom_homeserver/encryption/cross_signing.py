"""Cross-signing: a user's master, self-signing and user-signing keys, and signatures on keys.

Nothing is stored unless its signature was verified here, so that nobody can fill the server with junk signatures.
May import storage, core and thingroom_common. Source: client-server API, "Cross-signing".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.core.signing import decode_base64, verify_json
from thingroom_homeserver.encryption.device_lists import DeviceLists
from thingroom_homeserver.storage import cross_signing as storage
from thingroom_homeserver.storage import device_keys as device_storage
from thingroom_homeserver.storage.accounts import find_device
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.cross_signing import KeySignature

JsonObject = dict[str, Any]

MASTER = "master"
SELF_SIGNING = "self_signing"
USER_SIGNING = "user_signing"
USAGES = (MASTER, SELF_SIGNING, USER_SIGNING)
MAX_KEY_BYTES = 64 * 1024
_NOT_COMPARED = frozenset({"signatures", "unsigned"})


@dataclass(frozen=True, slots=True)
class CrossSigningKey:
    """A key object of the right shape. `public_key`: as it is written in the object, of 32 bytes."""

    usage: str
    public_key: str
    json: JsonObject

    @property
    def key_id(self) -> str:
        return f"ed25519:{self.public_key}"

    def has_signed(self, signed: JsonObject, user_id: str) -> bool:
        """Whether `signed` bears this key's valid signature, `user_id` being the owner of this key."""
        return is_signed_by(signed, user_id, self.key_id, self.public_key)


def is_signed_by(signed: JsonObject, user_id: str, key_id: str, public_key: object) -> bool:
    """Whether `signed` bears a valid signature of that key, whose public part is in base64."""
    decoded = decode_base64(public_key) if isinstance(public_key, str) else None
    return decoded is not None and verify_json(signed, user_id, key_id, decoded)


def parse_key(value: object, usage: str, user_id: str) -> CrossSigningKey | Refused:
    """An untrusted key object for that use and user."""
    if not isinstance(value, dict):
        return Refused(Refusal.BAD_JSON, f"The {usage} key must be an object")
    usages, keys, signatures = value.get("usage"), value.get("keys"), value.get("signatures", {})
    if value.get("user_id") != user_id:
        return Refused(Refusal.INVALID, f"The {usage} key names another user")
    if not isinstance(usages, list) or usage not in usages:
        return Refused(Refusal.INVALID, f"The {usage} key is not for that use")
    if not isinstance(keys, dict) or len(keys) != 1:
        return Refused(Refusal.INVALID, f"The {usage} key must hold exactly one key")
    if len(orjson.dumps(value)) > MAX_KEY_BYTES:
        return Refused(Refusal.TOO_LARGE, f"The {usage} key is larger than {MAX_KEY_BYTES} bytes")
    key_id, public_key = next(iter(keys.items()))
    decoded = decode_base64(public_key) if isinstance(public_key, str) else None
    if key_id != f"ed25519:{public_key}" or decoded is None or len(decoded) != 32:
        return Refused(Refusal.INVALID, f"The {usage} key is not an Ed25519 key named by itself")
    if not isinstance(signatures, dict):
        return Refused(Refusal.BAD_JSON, "signatures must be an object")
    of_owner = signatures.get(user_id)
    kept = {user_id: of_owner} if isinstance(of_owner, dict) else {}
    return CrossSigningKey(usage, public_key, {**value, "signatures": kept})


class CrossSigning:
    """The tables of cross-signing keys and signatures."""

    def __init__(self, database: Database, device_lists: DeviceLists) -> None:
        self._database = database
        self._device_lists = device_lists

    def parse_upload(self, user_id: str, body: JsonObject) -> dict[str, CrossSigningKey] | Refused:
        """The keys of an upload by use, checked for shape, signatures and names as of now; at least one."""
        keys: dict[str, CrossSigningKey] = {}
        for usage in USAGES:
            value = body.get(f"{usage}_key")
            if value is None:
                continue
            key = parse_key(value, usage, user_id)
            if isinstance(key, Refused):
                return key
            keys[usage] = key
        refused = self._database.read(lambda connection: _fault(connection, user_id, keys))
        return keys if refused is None else refused

    def is_free(self, user_id: str, keys: dict[str, CrossSigningKey]) -> bool:
        """Whether an upload needs no authentication: there is no master key yet, or it brings no new key."""
        return self._database.read(lambda connection: _is_free(connection, user_id, keys))

    async def upload(self, user_id: str, keys: dict[str, CrossSigningKey], *, authenticated: bool) -> Refused | None:
        """Publish keys; a key that takes the place of another ends what the other signed.

        Without authentication only what `is_free`, which another upload may have changed meanwhile.
        """

        def write(transaction: Transaction) -> Refused | None:
            refused = _fault(transaction, user_id, keys)
            if refused is not None:
                return refused
            if not authenticated and not _is_free(transaction, user_id, keys):
                return Refused(Refusal.FORBIDDEN, "Other keys were published meanwhile")
            stored = _stored_keys(transaction, user_id)
            changed = False
            for usage, key in keys.items():
                before = stored.get(usage)
                if before is not None and before.public_key != key.public_key:
                    storage.forget_key(transaction, user_id, before.public_key)
                if before is None or before.json != key.json:
                    changed = True
                    storage.set_key(transaction, user_id, usage, key.public_key, orjson.dumps(key.json).decode())
            if changed:
                self._device_lists.note_change(transaction, user_id, signing_keys=True)
            return None

        return await self._database.write(write)

    def query(self, user_ids: Iterable[str], viewer: str) -> dict[str, dict[str, JsonObject]]:
        """By use and user id, the keys with the signatures that `viewer` may see; user-signing only their own."""
        found: dict[str, dict[str, JsonObject]] = {usage: {} for usage in USAGES}

        def read(connection: Reader) -> None:
            for user_id in user_ids:
                for key in _stored_keys(connection, user_id).values():
                    if key.usage != USER_SIGNING or user_id == viewer:
                        merged = with_signatures(connection, key.json, user_id, key.public_key, viewer)
                        found[key.usage][user_id] = merged

        self._database.read(read)
        return found

    async def upload_signatures(self, signer: str, signed: dict[str, dict[str, Any]]) -> dict[str, dict[str, Refused]]:
        """Put `signer`'s signatures on keys, by owner and key name; what was refused, likewise."""

        def write(transaction: Transaction) -> dict[str, dict[str, Refused]]:
            failures: dict[str, dict[str, Refused]] = {}
            for user_id, by_name in signed.items():
                accepted: list[KeySignature] = []
                for name, value in by_name.items():
                    outcome = _verified(transaction, signer, user_id, name, value)
                    if isinstance(outcome, Refused):
                        failures.setdefault(user_id, {})[name] = outcome
                    else:
                        accepted += outcome
                if not accepted:
                    continue
                storage.add_signatures(transaction, accepted)
                if user_id == signer:
                    signed_names = {signature.key_name for signature in accepted}
                    devices = {name for name in signed_names if find_device(transaction, signer, name) is not None}
                    self._device_lists.note_change(
                        transaction, signer, sorted(devices), signing_keys=devices != signed_names
                    )
                else:
                    self._device_lists.note_own_signature(transaction, signer, user_id)
            return failures

        return await self._database.write(write)


def with_signatures(connection: Reader, key: JsonObject, user_id: str, key_name: str, viewer: str) -> JsonObject:
    """The key object with the signatures that were added later and that `viewer` may see."""
    rows = storage.signatures_on(connection, user_id, key_name, viewer)
    if not rows:
        return key
    given = key.get("signatures")
    signatures = {signer: dict(by_key) for signer, by_key in given.items()} if isinstance(given, dict) else {}
    for row in rows:
        signatures.setdefault(row["signer"], {})[row["signer_key_id"]] = row["signature"]
    return {**key, "signatures": signatures}


def _stored_keys(connection: Reader, user_id: str) -> dict[str, CrossSigningKey]:
    return {
        row["usage"]: CrossSigningKey(row["usage"], row["public_key"], orjson.loads(row["key"]))
        for row in storage.keys_of(connection, user_id)
    }


def _is_free(connection: Reader, user_id: str, keys: dict[str, CrossSigningKey]) -> bool:
    stored = _stored_keys(connection, user_id)
    if MASTER not in stored:
        return True
    return MASTER in keys and all(
        usage in stored and _same(key.json, stored[usage].json) for usage, key in keys.items()
    )


def _fault(connection: Reader, user_id: str, keys: dict[str, CrossSigningKey]) -> Refused | None:
    """Why the keys cannot be published."""
    stored = _stored_keys(connection, user_id)
    master = keys.get(MASTER) or stored.get(MASTER)
    if master is None:
        return Refused(Refusal.MISSING, "There is no master key")
    for key in keys.values():
        if find_device(connection, user_id, key.public_key) is not None:
            return Refused(Refusal.FORBIDDEN, "Key ID in use: a device has it as its id")
        if key.usage != MASTER and not master.has_signed(key.json, user_id):
            return Refused(Refusal.INVALID_SIGNATURE, f"The {key.usage} key is not signed by the master key")
    return None


def _verified(connection: Reader, signer: str, user_id: str, name: str, value: object) -> list[KeySignature] | Refused:
    """The good signatures on one uploaded object, none of which was there before the upload."""
    if not isinstance(value, dict):
        return Refused(Refusal.BAD_JSON, "A signed key must be an object")
    own = _stored_keys(connection, signer)
    if user_id != signer:
        theirs = _stored_keys(connection, user_id).get(MASTER)
        if theirs is None or theirs.public_key != name:
            return Refused(Refusal.NOT_FOUND, "This is not the user's master key")
        return _signed_with(own.get(USER_SIGNING), signer, user_id, name, value, theirs.json)
    master = own.get(MASTER)
    if master is not None and master.public_key == name:
        return _signed_by_devices(connection, signer, name, value, master.json)
    text = device_storage.device_keys_text(connection, user_id, name)
    if text is None:
        return Refused(Refusal.NOT_FOUND, "You have no such key")
    return _signed_with(own.get(SELF_SIGNING), signer, user_id, name, value, orjson.loads(text))


def _signed_with(
    key: CrossSigningKey | None, signer: str, user_id: str, name: str, value: JsonObject, stored: JsonObject
) -> list[KeySignature] | Refused:
    if key is None:
        return Refused(Refusal.NOT_FOUND, "You have no key to sign this with")
    return _checked(signer, user_id, name, value, stored, [key.key_id], lambda _: key.public_key)


def _signed_by_devices(
    connection: Reader, signer: str, name: str, value: JsonObject, stored: JsonObject
) -> list[KeySignature] | Refused:
    """A master key, signed by devices of its owner."""
    signatures = value.get("signatures")
    of_signer = signatures.get(signer) if isinstance(signatures, dict) else None
    key_ids = [key_id for key_id in of_signer if key_id != f"ed25519:{name}"] if isinstance(of_signer, dict) else []

    def public_key(key_id: str) -> object:
        text = device_storage.device_keys_text(connection, signer, key_id.partition(":")[2])
        keys = {} if text is None else orjson.loads(text).get("keys")
        return keys.get(key_id) if isinstance(keys, dict) else None

    return _checked(signer, signer, name, value, stored, key_ids, public_key)


def _checked(
    signer: str,
    user_id: str,
    name: str,
    value: JsonObject,
    stored: JsonObject,
    key_ids: list[str],
    public_key: Callable[[str], object],
) -> list[KeySignature] | Refused:
    """The signatures on `value` by `key_ids`, every one of which must be good."""
    if not _same(value, stored):
        return Refused(Refusal.INVALID, "The signed key is not the one that is published")
    found = []
    for key_id in key_ids:
        if not is_signed_by(value, signer, key_id, public_key(key_id)):
            return Refused(Refusal.INVALID_SIGNATURE, f"No valid signature by {key_id}")
        found.append(KeySignature(user_id, name, signer, key_id, value["signatures"][signer][key_id]))
    return found or Refused(Refusal.INVALID_SIGNATURE, "No signature that can be verified")


def _same(one: JsonObject, other: JsonObject) -> bool:
    """Whether two key objects differ at most in their signatures."""
    return {key: value for key, value in one.items() if key not in _NOT_COMPARED} == {
        key: value for key, value in other.items() if key not in _NOT_COMPARED
    }
