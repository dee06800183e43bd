"""The EDUs for one server, out of the tables: messages to devices, device lists, receipts.

Pure reading, run by a courier on the reader's connection. May import rooms, encryption,
storage and this package. Source: Server-Server API, "Receipts", "Device Management", "Send-to-device messaging".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from thingroom_homeserver.encryption.cross_signing import with_signatures
from thingroom_homeserver.federation.sender.kit import Kit
from thingroom_homeserver.federation.sender.parcel import Told
from thingroom_homeserver.storage.accounts import find_device
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.cross_signing import keys_of
from thingroom_homeserver.storage.destinations import first_to_device, receipts_after
from thingroom_homeserver.storage.device_keys import device_keys_text
from thingroom_homeserver.storage.device_list_outbox import SIGNING_KEYS, first_queued, told_upto

JsonObject = dict[str, Any]

READ = "m.read"
RECEIPTS_A_LOOK = 200


@dataclass(slots=True)
class Taken:
    """What was taken for a transaction, and how far that goes."""

    edus: list[JsonObject] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    to_device_upto: int = 0
    bytes: int = 0


def take_device_lists(connection: Reader, destination: str, taken: Taken, limit: int) -> None:
    """Updates of device lists and signing keys, oldest first."""
    previous: dict[str, int | None] = {}
    for change in first_queued(connection, destination, limit):
        told = Told(change.user_id, change.device_id, change.stream_id)
        if change.device_id == SIGNING_KEYS:
            edu = {"edu_type": "m.signing_key_update", "content": signing_keys_of(connection, change.user_id)}
        else:
            if change.user_id not in previous:
                previous[change.user_id] = told_upto(connection, destination, change.user_id)
            before = previous[change.user_id]
            previous[change.user_id] = change.stream_id
            content = device_update(connection, change.user_id, change.device_id)
            content |= {"stream_id": change.stream_id, "prev_id": [] if before is None else [before]}
            edu = {"edu_type": "m.device_list_update", "content": content}
        taken.edus.append(edu)
        taken.told.append(told)
        taken.bytes += len(orjson.dumps(edu))


def device_update(connection: Reader, user_id: str, device_id: str) -> JsonObject:
    """The content of an m.device_list_update without its numbers: the device as it is now, or that it is gone."""
    content: JsonObject = {"user_id": user_id, "device_id": device_id}
    device = find_device(connection, user_id, device_id)
    if device is None:
        return {**content, "deleted": True}
    if device["display_name"] is not None:
        content["device_display_name"] = device["display_name"]
    text = device_keys_text(connection, user_id, device_id)
    if text is not None:
        content["keys"] = with_signatures(connection, orjson.loads(text), user_id, device_id, viewer=user_id)
    return content


def signing_keys_of(connection: Reader, user_id: str) -> JsonObject:
    """The content of an m.signing_key_update: the public cross-signing keys that others may see."""
    content: JsonObject = {"user_id": user_id}
    for row in keys_of(connection, user_id):
        if row["usage"] in ("master", "self_signing"):
            key = with_signatures(connection, orjson.loads(row["key"]), user_id, row["public_key"], viewer=user_id)
            content[f"{row['usage']}_key"] = key
    return content


def take_to_device(connection: Reader, destination: str, taken: Taken, limit: int, max_bytes: int) -> None:
    """Messages to devices, oldest first; at least one, however large."""
    for number, text in first_to_device(connection, destination, limit):
        if taken.to_device_upto and taken.bytes + len(text) > max_bytes:
            break
        taken.edus.append({"edu_type": "m.direct_to_device", "content": orjson.loads(text)})
        taken.to_device_upto = number
        taken.bytes += len(text)


def take_receipts(kit: Kit, connection: Reader, destination: str, after: int, taken: Taken, limit: int) -> int:
    """Public receipts of local users in rooms of the destination; the position up to which that is all of them."""
    contents: list[JsonObject] = []
    for row in receipts_after(connection, after, RECEIPTS_A_LOOK):
        if (
            row["type"] == READ
            and kit.is_local(row["user_id"])
            and kit.hears_of_room(connection, row["room_id"], destination)
            and not _put(contents, row, limit)
        ):
            break
        after = row["position"]
    for content in contents:
        taken.edus.append({"edu_type": "m.receipt", "content": content})
    return after


def _put(contents: list[JsonObject], row: Any, limit: int) -> bool:
    """Add a receipt to the first content that has none of that user in that room; False if that takes one too many."""
    data = {"ts": row["ts"]}
    if row["thread_id"]:
        data["thread_id"] = row["thread_id"]
    receipt = {"event_ids": [row["event_id"]], "data": data}
    for content in contents:
        of_room = content.setdefault(row["room_id"], {READ: {}})[READ]
        if row["user_id"] not in of_room:
            of_room[row["user_id"]] = receipt
            return True
    if len(contents) >= limit:
        return False
    contents.append({row["room_id"]: {READ: {row["user_id"]: receipt}}})
    return True
