"""Encryption keys that devices publish and others fetch: the server keeps them and hands each one-time key out once.

May import storage and thingroom_common. It answers the key half of the `ToDevice` port of rooms/ports.py.
Source: client-server API, "End-to-End Encryption".
"""

from __future__ import annotations

from typing import Any

import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.encryption.cross_signing import with_signatures
from thingroom_homeserver.encryption.device_lists import DeviceLists
from thingroom_homeserver.storage import device_keys as storage
from thingroom_homeserver.storage.accounts import find_account, find_device
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.cross_signing import forget_signatures_on

MAX_KEYS_A_CALL = 500
MAX_ONE_TIME_KEYS = 1000
MAX_KEY_ID_LENGTH = 255
MAX_KEY_BYTES = 8 * 1024
MAX_DEVICE_KEYS_BYTES = 64 * 1024
MAX_FALLBACK_KEYS = 20

# Told even where there are none: a client that knew of some would not hear otherwise that they are used up.
USUAL_ALGORITHM = "signed_curve25519"

JsonObject = dict[str, Any]


class DeviceKeys:
    """The tables of keys."""

    def __init__(self, database: Database, device_lists: DeviceLists) -> None:
        self._database = database
        self._device_lists = device_lists

    async def upload(
        self,
        user_id: str,
        device_id: str,
        device_keys: JsonObject | None,
        one_time_keys: JsonObject,
        fallback_keys: JsonObject,
    ) -> Refused | dict[str, int]:
        """Store keys; the number of one-time keys left, by algorithm. A key id keeps the key it had first."""
        refused = None if device_keys is None else device_keys_fault(device_keys, user_id, device_id)
        if refused is not None:
            return refused
        one_time = _split(one_time_keys)
        fallback = _split(fallback_keys)
        if one_time is None or fallback is None:
            return Refused(Refusal.INVALID, f'At most {MAX_KEYS_A_CALL} small keys, named "<algorithm>:<key id>"')

        text = "" if device_keys is None else orjson.dumps(device_keys).decode()
        if len(text) > MAX_DEVICE_KEYS_BYTES:
            return Refused(Refusal.TOO_LARGE, f"device_keys are larger than {MAX_DEVICE_KEYS_BYTES} bytes")

        def write(transaction: Transaction) -> Refused | dict[str, int]:
            if find_device(transaction, user_id, device_id) is None:
                return Refused(Refusal.FORBIDDEN, "The device was deleted")
            fresh: list[tuple[str, str, str]] = []
            for algorithm, key_id, key in one_time:
                held = storage.find_one_time_key(transaction, user_id, device_id, algorithm, key_id)
                if held is None:
                    fresh.append((algorithm, key_id, key))
                elif held != key:
                    return Refused(Refusal.INVALID, f"One-time key {algorithm}:{key_id} exists with another value")
            counts = storage.count_one_time_keys(transaction, user_id, device_id)
            if sum(counts.values()) + len(fresh) > MAX_ONE_TIME_KEYS:
                return Refused(Refusal.TOO_LARGE, f"More than {MAX_ONE_TIME_KEYS} one-time keys")
            algorithms = storage.fallback_algorithms(transaction, user_id, device_id)
            if fallback and len(algorithms | {algorithm for algorithm, _, _ in fallback}) > MAX_FALLBACK_KEYS:
                return Refused(Refusal.TOO_LARGE, f"More than {MAX_FALLBACK_KEYS} fallback keys")
            if device_keys is not None:
                self._set_device_keys(transaction, user_id, device_id, text)
            storage.add_one_time_keys(transaction, user_id, device_id, fresh)
            for algorithm, key_id, key in fallback:
                storage.set_fallback_key(transaction, user_id, device_id, algorithm, key_id, key)
            return self.one_time_key_counts(transaction, user_id, device_id)

        return await self._database.write(write)

    def _set_device_keys(self, transaction: Transaction, user_id: str, device_id: str, keys: str) -> None:
        held = storage.device_keys_text(transaction, user_id, device_id)
        if held == keys:
            return
        # Signatures on the old keys say nothing of the new ones.
        forget_signatures_on(transaction, user_id, device_id)
        storage.set_device_keys(transaction, user_id, device_id, keys)
        self._device_lists.note_change(transaction, user_id, [device_id])

    def query(self, wanted: dict[str, list[str]], viewer: str) -> dict[str, dict[str, JsonObject]]:
        """User id to device id to keys, of local users; an empty list of devices means all.

        With the signatures that `viewer` may see. A user without devices is there, an unknown one is not.
        """

        def read(connection: Reader) -> dict[str, dict[str, JsonObject]]:
            found: dict[str, dict[str, JsonObject]] = {}
            for user_id, device_ids in wanted.items():
                if find_account(connection, user_id) is None:
                    continue
                devices = found[user_id] = {}
                for row in storage.device_keys_of(connection, user_id):
                    device_id = row["device_id"]
                    if device_ids and device_id not in device_ids:
                        continue
                    keys = with_signatures(connection, orjson.loads(row["keys"]), user_id, device_id, viewer)
                    keys.pop("unsigned", None)
                    if row["display_name"] is not None:
                        keys["unsigned"] = {"device_display_name": row["display_name"]}
                    devices[device_id] = keys
            return found

        return self._database.read(read)

    async def claim(self, wanted: dict[str, dict[str, str]]) -> dict[str, dict[str, JsonObject]]:
        """User id to device id to {"<algorithm>:<key id>": key}, for each device and algorithm that has a key left."""

        def write(transaction: Transaction) -> dict[str, dict[str, JsonObject]]:
            found: dict[str, dict[str, JsonObject]] = {}
            for user_id, devices in wanted.items():
                for device_id, algorithm in devices.items():
                    taken = storage.take_one_time_key(transaction, user_id, device_id, algorithm)
                    taken = taken or storage.use_fallback_key(transaction, user_id, device_id, algorithm)
                    if taken is not None:
                        name = f"{algorithm}:{taken[0]}"
                        found.setdefault(user_id, {})[device_id] = {name: orjson.loads(taken[1])}
            return found

        return await self._database.write(write)

    def one_time_key_counts(self, connection: Reader, user_id: str, device_id: str) -> dict[str, int]:
        """By algorithm, how many one-time keys of the device are left."""
        return {USUAL_ALGORITHM: 0, **storage.count_one_time_keys(connection, user_id, device_id)}

    def unused_fallback_key_types(self, connection: Reader, user_id: str, device_id: str) -> list[str]:
        """Algorithms for which a fallback key is there and unused."""
        return storage.unused_fallback_algorithms(connection, user_id, device_id)


def device_keys_fault(keys: JsonObject, user_id: str, device_id: str) -> Refused | None:
    """Why `keys` cannot be the identity keys of that device."""
    if (keys.get("user_id"), keys.get("device_id")) != (user_id, device_id):
        return Refused(Refusal.INVALID, "device_keys names another user or device")
    algorithms, signatures = keys.get("algorithms"), keys.get("signatures", {})
    if not isinstance(algorithms, list) or not all(isinstance(name, str) for name in algorithms):
        return Refused(Refusal.BAD_JSON, "algorithms must be a list of strings")
    if not _are_strings(keys.get("keys")):
        return Refused(Refusal.BAD_JSON, "keys must map key ids to strings")
    if not isinstance(signatures, dict) or not all(_are_strings(of_user) for of_user in signatures.values()):
        return Refused(Refusal.BAD_JSON, "signatures must map user ids to key ids to strings")
    return None


def _are_strings(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _split(keys: JsonObject) -> list[tuple[str, str, str]] | None:
    """(algorithm, key id, key as JSON text) of each; None if a name or value cannot be one."""
    if len(keys) > MAX_KEYS_A_CALL:
        return None
    found = []
    for name, key in keys.items():
        algorithm, colon, key_id = name.partition(":")
        if not (algorithm and colon and key_id) or len(name) > MAX_KEY_ID_LENGTH or not isinstance(key, str | dict):
            return None
        text = orjson.dumps(key, option=orjson.OPT_SORT_KEYS).decode()
        if len(text) > MAX_KEY_BYTES:
            return None
        found.append((algorithm, key_id, text))
    return found
