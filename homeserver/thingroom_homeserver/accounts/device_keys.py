"""Encryption keys that devices publish and others fetch: the server keeps them and hands each one-time key out once.

May import storage and thingroom_common. It answers the key half of the `ToDevice` port of rooms/ports.py.
Source: client-server API, "End-to-End Encryption".
"""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.storage import device_keys as storage
from thingroom_homeserver.storage.connection import Reader

MAX_KEYS_A_CALL = 500
MAX_ONE_TIME_KEYS = 1000
MAX_KEY_ID_LENGTH = 255

JsonObject = dict[str, Any]


class DeviceKeys:
    """The tables of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def upload(
        self,
        user_id: str,
        device_id: str,
        device_keys: JsonObject | None,
        one_time_keys: JsonObject,
        fallback_keys: JsonObject,
    ) -> Refused | dict[str, int]:
        """Store keys; the number of one-time keys left, by algorithm. A key id keeps the key it had first."""
        if device_keys is not None and (device_keys.get("user_id"), device_keys.get("device_id")) != (
            user_id,
            device_id,
        ):
            return Refused(Refusal.INVALID, "device_keys names another user or device")
        one_time = _split(one_time_keys)
        fallback = _split(fallback_keys)
        if one_time is None or fallback is None:
            return Refused(Refusal.INVALID, 'Keys must be named "<algorithm>:<key id>"')

        def write(transaction: Transaction) -> Refused | dict[str, int]:
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
            if device_keys is not None:
                storage.set_device_keys(transaction, user_id, device_id, orjson.dumps(device_keys).decode())
            storage.add_one_time_keys(transaction, user_id, device_id, fresh)
            for algorithm, key_id, key in fallback:
                storage.set_fallback_key(transaction, user_id, device_id, algorithm, key_id, key)
            return storage.count_one_time_keys(transaction, user_id, device_id)

        return await self._database.write(write)

    def query(self, wanted: dict[str, list[str]]) -> dict[str, dict[str, JsonObject]]:
        """User id to device id to keys, of local users; an empty list of devices means all."""
        found: dict[str, dict[str, JsonObject]] = {}
        for user_id, device_ids in wanted.items():
            rows = self._database.read(partial(storage.device_keys_of, user_id=user_id))
            devices: dict[str, JsonObject] = {}
            for row in rows:
                if device_ids and row["device_id"] not in device_ids:
                    continue
                keys = orjson.loads(row["keys"])
                if row["display_name"] is not None:
                    keys["unsigned"] = {"device_display_name": row["display_name"]}
                devices[row["device_id"]] = keys
            if rows:
                found[user_id] = devices
        return found

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
        return storage.count_one_time_keys(connection, user_id, device_id)

    def unused_fallback_key_types(self, connection: Reader, user_id: str, device_id: str) -> list[str]:
        """Algorithms for which a fallback key is there and unused."""
        return storage.unused_fallback_algorithms(connection, user_id, device_id)


def _split(keys: JsonObject) -> list[tuple[str, str, str]] | None:
    """(algorithm, key id, key as JSON text) of each; None if a name or value cannot be one."""
    if len(keys) > MAX_KEYS_A_CALL:
        return None
    found = []
    for name, key in keys.items():
        algorithm, colon, key_id = name.partition(":")
        if not (algorithm and colon and key_id) or len(name) > MAX_KEY_ID_LENGTH or not isinstance(key, str | dict):
            return None
        found.append((algorithm, key_id, orjson.dumps(key, option=orjson.OPT_SORT_KEYS).decode()))
    return found
