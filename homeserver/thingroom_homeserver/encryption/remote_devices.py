"""The devices and cross-signing keys of other servers' users, as their servers tell of them.

What a server says is checked before it is kept: it names the user and device it is for, and is no larger than what a
local device may upload. Signatures are the clients' to verify, but for that of the master key on the self-signing key.
May import storage and thingroom_common. Source: Server-Server API, "Device Management", "End-to-End Encryption".
Fetching is federation/remote_keys.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.core.canonical_json import json_length
from thingroom_homeserver.encryption.cross_signing import (
    MASTER,
    SELF_SIGNING,
    CrossSigningKey,
    parse_key,
    with_signatures,
)
from thingroom_homeserver.encryption.device_keys import MAX_DEVICE_KEYS_BYTES, device_keys_fault
from thingroom_homeserver.encryption.device_lists import DeviceLists
from thingroom_homeserver.storage import cross_signing as signing_storage
from thingroom_homeserver.storage import remote_devices as storage
from thingroom_homeserver.storage.connection import Reader

MAX_DEVICES = 1000
MAX_NAME = 255

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RemoteDevice:
    """`keys`: the identity keys, without `unsigned`."""

    device_id: str
    keys: JsonObject
    display_name: str | None


@dataclass(frozen=True, slots=True)
class RemoteList:
    """Everything that a server says of a user. stream_id: None where it gives no number."""

    user_id: str
    devices: tuple[RemoteDevice, ...]
    stream_id: int | None = None
    signing_keys: Mapping[str, CrossSigningKey] = field(default_factory=dict)


class Update(Enum):
    """What became of one update."""

    APPLIED = auto()
    IGNORED = auto()
    GAP = auto()


def parse_device(keys: object, user_id: str, device_id: str, display_name: object = None) -> RemoteDevice | None:
    """A device out of another server's answer or EDU; None if it cannot be one of that user and id."""
    if not isinstance(keys, dict) or device_keys_fault(keys, user_id, device_id) is not None:
        return None
    kept = {name: value for name, value in keys.items() if name != "unsigned"}
    length = json_length(kept)
    if length is None or length > MAX_DEVICE_KEYS_BYTES or len(device_id) > MAX_NAME:
        return None
    name = display_name if isinstance(display_name, str) else None
    return RemoteDevice(device_id, kept, None if name is None else name[:MAX_NAME])


def parse_signing_keys(user_id: str, master: object, self_signing: object) -> dict[str, CrossSigningKey]:
    """The cross-signing keys by use, as far as they are ones and belong together."""
    found: dict[str, CrossSigningKey] = {}
    for usage, value in ((MASTER, master), (SELF_SIGNING, self_signing)):
        key = None if value is None or json_length(value) is None else parse_key(value, usage, user_id)
        if isinstance(key, CrossSigningKey):
            found[usage] = key
    if SELF_SIGNING in found and MASTER in found and not found[MASTER].has_signed(found[SELF_SIGNING].json, user_id):
        del found[SELF_SIGNING]
    return found


class RemoteDevices:
    """The tables of remote devices."""

    def __init__(self, database: Database, device_lists: DeviceLists) -> None:
        self._database = database
        self._device_lists = device_lists
        self._arrivals: dict[str, int] = {}
        self._arrived = 0

    def arrivals(self, user_id: str) -> int:
        """Grows with each update of the user's list: what was asked for before is older than what arrived since."""
        return self._arrivals.get(user_id, 0)

    def is_current(self, connection: Reader, user_id: str) -> bool:
        """Whether everything about the user's devices is here."""
        known = storage.known_list(connection, user_id)
        return known is not None and not known.is_stale

    def query(self, user_ids: Iterable[str], viewer: str) -> dict[str, dict[str, JsonObject]]:
        """User id to device id to keys of users whose devices were ever stored, with what `viewer` may see."""

        def read(connection: Reader) -> dict[str, dict[str, JsonObject]]:
            found = {}
            for user_id in user_ids:
                if storage.known_list(connection, user_id) is None:
                    continue
                found[user_id] = {
                    row["device_id"]: _shown(connection, user_id, row, viewer)
                    for row in storage.devices_of(connection, user_id)
                }
            return found

        return self._database.read(read)

    async def keep(self, lists: Iterable[RemoteList], arrivals: Mapping[str, int]) -> None:
        """Store what was fetched; `arrivals`: what `arrivals` was for each user as it was asked for.

        What an update has overtaken meanwhile is stored as stale.
        """

        def write(transaction: Transaction) -> None:
            for each in lists:
                changed = self._replace(transaction, each)
                storage.set_list(transaction, each.user_id, each.stream_id)
                if self.arrivals(each.user_id) != arrivals[each.user_id]:
                    storage.mark_stale(transaction, each.user_id)
                if changed:
                    self._device_lists.note_remote_change(transaction, each.user_id)

        await self._database.write(write)

    async def keep_signing_keys(self, user_id: str, keys: Mapping[str, CrossSigningKey]) -> None:
        """Cross-signing keys that the user's server tells of."""
        self._note_arrival(user_id)

        def write(transaction: Transaction) -> None:
            if self._set_signing_keys(transaction, user_id, keys):
                self._device_lists.note_remote_change(transaction, user_id)

        await self._database.write(write)

    async def apply(
        self, user_id: str, device_id: str, device: RemoteDevice | None, stream_id: int, previous: Iterable[int]
    ) -> Update:
        """An update of one device; None: it is gone, or has no keys. GAP: the whole list must be fetched."""
        self._note_arrival(user_id)

        def write(transaction: Transaction) -> Update:
            known = storage.known_list(transaction, user_id)
            if known is None:
                self._device_lists.note_remote_change(transaction, user_id)
                return Update.IGNORED
            if known.stream_id is not None and stream_id <= known.stream_id and not known.is_stale:
                return Update.IGNORED  # it came before
            before = set(previous)
            if known.is_stale or known.stream_id is None or known.stream_id not in before or len(before) > 1:
                storage.mark_stale(transaction, user_id)
                return Update.GAP
            if device is None:
                storage.delete_device(transaction, user_id, device_id)
                signing_storage.forget_key(transaction, user_id, device_id)
            else:
                self._set_device(transaction, user_id, device)
            storage.set_list(transaction, user_id, stream_id)
            self._device_lists.note_remote_change(transaction, user_id)
            return Update.APPLIED

        return await self._database.write(write)

    async def note_unknown_change(self, user_id: str) -> None:
        """Something changed that could not be fetched: clients are told to ask."""
        await self._database.write(lambda transaction: self._device_lists.note_remote_change(transaction, user_id))

    def _note_arrival(self, user_id: str) -> None:
        self._arrived += 1
        self._arrivals.pop(user_id, None)
        self._arrivals[user_id] = self._arrived
        if len(self._arrivals) > 10_000:
            del self._arrivals[next(iter(self._arrivals))]

    def _replace(self, transaction: Transaction, told: RemoteList) -> bool:
        """Make the stored devices those of the list. True if that changed what was stored before."""
        was_known = storage.known_list(transaction, told.user_id) is not None
        before = {
            row["device_id"]: (row["keys"], row["display_name"])
            for row in storage.devices_of(transaction, told.user_id)
        }
        now = {device.device_id: (_text(device.keys), device.display_name) for device in told.devices}
        for device_id in before.keys() - now.keys():
            storage.delete_device(transaction, told.user_id, device_id)
            signing_storage.forget_key(transaction, told.user_id, device_id)
        for device in told.devices:
            self._set_device(transaction, told.user_id, device)
        changed = self._set_signing_keys(transaction, told.user_id, told.signing_keys)
        return was_known and (changed or before != now)

    @staticmethod
    def _set_device(transaction: Transaction, user_id: str, device: RemoteDevice) -> None:
        storage.set_device(transaction, user_id, device.device_id, _text(device.keys), device.display_name)

    @staticmethod
    def _set_signing_keys(transaction: Transaction, user_id: str, keys: Mapping[str, CrossSigningKey]) -> bool:
        """True if that changed something. Signatures on a key that is replaced go with it."""
        held = {row["usage"]: row for row in signing_storage.keys_of(transaction, user_id)}
        master = keys.get(MASTER)
        if master is None and MASTER in held:
            value = orjson.loads(held[MASTER]["key"])
            master = CrossSigningKey(MASTER, held[MASTER]["public_key"], value)
        changed = False
        for usage, key in keys.items():
            if usage != MASTER and (master is None or not master.has_signed(key.json, user_id)):
                continue
            text, before = _text(key.json), held.get(usage)
            if before is not None and before["key"] == text:
                continue
            if before is not None and before["public_key"] != key.public_key:
                signing_storage.forget_key(transaction, user_id, before["public_key"])
            signing_storage.set_key(transaction, user_id, usage, key.public_key, text)
            changed = True
        return changed


def _text(value: JsonObject) -> str:
    return orjson.dumps(value).decode()


def _shown(connection: Reader, user_id: str, row: Any, viewer: str) -> JsonObject:
    keys = with_signatures(connection, orjson.loads(row["keys"]), user_id, row["device_id"], viewer)
    if row["display_name"] is not None:
        keys["unsigned"] = {"device_display_name": row["display_name"]}
    return keys


def shown_device(device: RemoteDevice) -> JsonObject:
    """A device that is passed on without being kept."""
    if device.display_name is None:
        return device.keys
    return {**device.keys, "unsigned": {"device_display_name": device.display_name}}
