"""What a push gateway is told of a notification, or of a changed count.

May import rooms and storage. Source: Push Gateway API, POST /_matrix/push/v1/notify. Next: delivery.py sends it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from thingroom_homeserver.core.push_rules import tweaks_of
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import MEMBER, current_entry
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.notifications import Notification
from thingroom_homeserver.storage.out_of_band import out_of_band_of
from thingroom_homeserver.storage.pushers import PusherRow

EVENT_ID_ONLY = "event_id_only"

JsonObject = dict[str, Any]


def url_of(pusher: PusherRow) -> str:
    return str(orjson.loads(pusher.fields)["data"]["url"])


def event_body(
    rooms: Rooms,
    connection: Reader,
    aliases_of: Callable[[str], list[str]],
    pusher: PusherRow,
    notification: Notification,
    stored: StoredEvent,
    unread: int,
) -> JsonObject:
    """The `notification` for an event: all fields, or the few of the format event_id_only."""
    event = stored.event
    tweaks = tweaks_of(tuple(orjson.loads(notification.actions)))
    urgent = event.type == "m.room.encrypted" or bool(tweaks.get("highlight")) or "sound" in tweaks
    body: JsonObject = {
        "event_id": event.event_id,
        "room_id": event.room_id,
        "prio": "high" if urgent else "low",
        "counts": {"unread": unread} if unread else {},
        "devices": [_device(pusher)],
    }
    if _data(pusher).get("format") == EVENT_ID_ONLY:
        return body
    body["devices"] = [{**_device(pusher), "tweaks": tweaks}]
    body |= {
        "type": event.type,
        "sender": event.sender,
        "content": event.content,
        "user_is_target": event.type == MEMBER and event.state_key == pusher.user_id,
    }

    invite = out_of_band_of(connection, event.room_id, pusher.user_id)
    stripped = () if invite is None else invite.stripped_state
    shown = {(each["type"], each["state_key"]): each["content"] for each in stripped}

    def state(event_type: str, state_key: str, field: str) -> str | None:
        event_id = current_entry(connection, event.room_id, event_type, state_key)
        found = None if event_id is None else rooms.events.get(connection, event_id)
        content = shown.get((event_type, state_key), {}) if found is None else found.event.content
        value = content.get(field)
        return value if isinstance(value, str) and value else None

    alias = state("m.room.canonical_alias", "", "alias") or next(iter(aliases_of(event.room_id)), None)
    for name, value in (
        ("sender_display_name", state(MEMBER, event.sender, "displayname")),
        ("room_name", state("m.room.name", "", "name")),
        ("room_alias", alias),
    ):
        if value is not None:
            body[name] = value
    return body


def count_body(pusher: PusherRow, unread: int) -> JsonObject:
    """The `notification` that only brings a new count; its zero must be said, or no badge would ever go."""
    return {"counts": {"unread": unread}, "devices": [_device(pusher)], "prio": "low"}


def _data(pusher: PusherRow) -> JsonObject:
    data: JsonObject = orjson.loads(pusher.fields)["data"]
    return data


def _device(pusher: PusherRow) -> JsonObject:
    return {
        "app_id": pusher.app_id,
        "pushkey": pusher.pushkey,
        "pushkey_ts": pusher.pushkey_ts // 1000,
        "data": {name: value for name, value in _data(pusher).items() if name != "url"},
    }
