"""Messages to devices, and changes of devices and keys, of other servers' users.

May import encryption, storage and this package. Source: Server-Server API, "Send-to-device messaging", "Device
Management", "End-to-End Encryption".
"""

from __future__ import annotations

from typing import Any

from thingroom_homeserver.core.canonical_json import MAX_INTEGER, json_length
from thingroom_homeserver.encryption.remote_devices import (
    MAX_NAME,
    RemoteDevices,
    Update,
    parse_device,
    parse_signing_keys,
)
from thingroom_homeserver.federation.edus.passing import speaks_for
from thingroom_homeserver.federation.local_parts import LocalParts
from thingroom_homeserver.federation.remote_keys import RemoteKeys
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.room_servers import server_shares_with

MAX_MESSAGES = 5000
MAX_MESSAGE_BYTES = 1_048_576
MAX_PREVIOUS = 100

JsonObject = dict[str, Any]


class DeviceEdus:
    """What concerns single devices."""

    def __init__(self, rooms: Rooms, local: LocalParts, remote_devices: RemoteDevices, remote_keys: RemoteKeys) -> None:
        self._rooms = rooms
        self._local = local
        self._remote_devices = remote_devices
        self._remote_keys = remote_keys

    async def message(self, origin: str, content: JsonObject) -> None:
        sender, kind, message_id = content.get("sender"), content.get("type"), content.get("message_id")
        if not (speaks_for(origin, sender) and _is_name(kind) and _is_name(message_id)):
            return
        messages = self._for_local_users(content.get("messages"))
        if messages:
            await self._local.to_device.receive(str(sender), str(kind), str(message_id), messages)

    async def device_update(self, origin: str, content: JsonObject) -> None:
        user_id, device_id, stream_id = content.get("user_id"), content.get("device_id"), content.get("stream_id")
        if not (speaks_for(origin, user_id) and _is_name(device_id) and _is_number(stream_id)):
            return
        user_id, device_id, stream_id = str(user_id), str(device_id), int(stream_id or 0)
        if not self._is_of_interest(user_id):
            return
        previous = content.get("prev_id", [])
        if not isinstance(previous, list):
            previous = []
        device = None
        if content.get("deleted") is not True and content.get("keys") is not None:
            device = parse_device(content["keys"], user_id, device_id, content.get("device_display_name"))
            if device is None:
                return
        known = [number for number in previous[:MAX_PREVIOUS] if _is_number(number)]
        update = await self._remote_devices.apply(user_id, device_id, device, stream_id, known)
        if update is Update.GAP:
            self._remote_keys.resync(user_id)

    async def signing_keys(self, origin: str, content: JsonObject) -> None:
        user_id = content.get("user_id")
        if not speaks_for(origin, user_id) or not self._is_of_interest(str(user_id)):
            return
        keys = parse_signing_keys(str(user_id), content.get("master_key"), content.get("self_signing_key"))
        if keys:
            await self._remote_devices.keep_signing_keys(str(user_id), keys)

    def _is_of_interest(self, user_id: str) -> bool:
        own_name = self._rooms.server_name
        return self._rooms.database.read(lambda connection: server_shares_with(connection, user_id, own_name))

    def _for_local_users(self, messages: object) -> dict[str, dict[str, JsonObject]]:
        """The messages for users of this server, as far as they are ones and not too many."""
        found: dict[str, dict[str, JsonObject]] = {}
        left = MAX_MESSAGES
        for user_id, by_device in messages.items() if isinstance(messages, dict) else ():
            if not self._rooms.is_local(user_id) or not isinstance(by_device, dict):
                continue
            for device_id, content in by_device.items():
                left -= 1
                if left < 0:
                    return found
                if isinstance(content, dict) and _is_writable(content):
                    found.setdefault(user_id, {})[device_id] = content
        return found


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_writable(content: JsonObject) -> bool:
    """Whether the content can be stored and shown again."""
    length = json_length(content)
    return length is not None and length <= MAX_MESSAGE_BYTES
