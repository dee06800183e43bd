"""The extensions of a sliding sync answer: to-device messages, encryption, account data, receipts, typing.

What belongs to a room is told for the rooms that the client knows on the connection. When a room is first told, or an
extension first enabled, all of it is. May import rooms. Source: MSC3885, MSC3884, MSC3959, MSC3960, MSC3961.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.sliding.connections import Pos
from thingroom_homeserver.sliding.ports import SlidingSources
from thingroom_homeserver.sliding.request import EVERYWHERE, Extensions, Scope
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class Scene:
    """The answer that the extensions belong to.

    pos: where the connection stood, None at its first answer. before: extensions it had then. fresh: rooms told for the
    first time (or anew), with the ids of the events told. known: whether the client knows a joined room.
    """

    user_id: str
    device_id: str | None
    pos: Pos | None
    upto: int
    ephemeral: int
    before: frozenset[str]
    fresh: Mapping[str, Collection[str]]
    known: Collection[str]
    windows: Mapping[str, Collection[str]]
    subscribed: Collection[str]

    def since(self, extension: str) -> int:
        """From where to tell; 0: everything."""
        return 0 if self.pos is None or extension not in self.before else self.pos.position

    def within(self, scope: Scope, room_ids: Collection[str]) -> list[str]:
        """Those of the rooms that the client knows and that the extension is to tell of."""
        known = [room_id for room_id in room_ids if room_id in self.known]
        if scope == EVERYWHERE or not known:
            return known
        names = self.windows.keys() if "*" in scope.lists else scope.lists & self.windows.keys()
        listed: set[str] = set()
        for name in names:
            listed.update(self.windows[name])
        subscribed = self.subscribed if "*" in scope.rooms else scope.rooms.intersection(self.subscribed)
        return [room_id for room_id in known if room_id in listed or room_id in subscribed]


def tell(sources: SlidingSources, reader: Reader, wanted: Extensions, scene: Scene) -> tuple[JsonObject, bool]:
    """The `extensions` of the answer, and whether they hold news."""
    body: JsonObject = {}
    news = False
    if "to_device" in wanted.enabled:
        body["to_device"] = _to_device(sources, reader, wanted, scene)
        news = bool(body["to_device"]["events"])
    if "e2ee" in wanted.enabled and scene.device_id is not None:
        body["e2ee"] = _e2ee(sources, reader, scene)
        news = news or any(body["e2ee"].get("device_lists", {}).values())
    for name, make in (("account_data", _account_data), ("receipts", _receipts), ("typing", _typing)):
        if name in wanted.enabled:
            told = make(sources, reader, wanted.scopes[name], scene)
            if any(told.values()):
                body[name], news = told, True
    return body, news


def _to_device(sources: SlidingSources, reader: Reader, wanted: Extensions, scene: Scene) -> JsonObject:
    since = to_device_position(wanted)
    if sources.to_device is None or scene.device_id is None:
        return {"next_batch": str(max(since, scene.upto)), "events": []}
    events, reached = sources.to_device.waiting(
        reader, scene.user_id, scene.device_id, since, scene.upto, wanted.to_device_limit
    )
    return {"next_batch": str(reached), "events": events}


def to_device_position(wanted: Extensions) -> int:
    """Up to where the client has its messages. What is no token of this server stands for the beginning."""
    text = wanted.to_device_since or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _e2ee(sources: SlidingSources, reader: Reader, scene: Scene) -> JsonObject:
    assert scene.device_id is not None
    keys = sources.device_keys
    body: JsonObject = {
        "device_one_time_keys_count": keys.one_time_key_counts(reader, scene.user_id, scene.device_id),
        "device_unused_fallback_key_types": keys.unused_fallback_key_types(reader, scene.user_id, scene.device_id),
    }
    if sources.device_lists is not None and scene.pos is not None:
        news = sources.device_lists.news(reader, scene.user_id, scene.pos.position, scene.upto)
        if news.changed or news.left:
            body["device_lists"] = {"changed": news.changed, "left": news.left}
    return body


def _account_data(sources: SlidingSources, reader: Reader, scope: Scope, scene: Scene) -> JsonObject:
    since, data = scene.since("account_data"), sources.account_data
    of_rooms = data.rooms_since(reader, scene.user_id, since, scene.upto)
    rooms = {room_id: of_rooms[room_id] for room_id in scene.within(scope, of_rooms) if room_id not in scene.fresh}
    if scene.fresh:
        everything = of_rooms if since == 0 else data.rooms_since(reader, scene.user_id, 0, scene.upto)
        rooms |= {room_id: everything[room_id] for room_id in scene.fresh if room_id in everything}
    return {"global": data.global_since(reader, scene.user_id, since, scene.upto), "rooms": rooms}


def _receipts(sources: SlidingSources, reader: Reader, scope: Scope, scene: Scene) -> JsonObject:
    since = scene.since("receipts")
    changed = sources.rooms.notifier.rooms_changed_since(since) if since else None
    in_scope = scene.within(scope, scene.known if changed is None else changed)
    asked = [room_id for room_id in in_scope if room_id not in scene.fresh]
    found = dict(sources.receipts.since(reader, scene.user_id, asked, since, scene.upto)) if asked else {}
    fresh = scene.within(scope, scene.fresh)
    if fresh:
        # Of a room told for the first time only what concerns the events told, and the user's own.
        everything = sources.receipts.since(reader, scene.user_id, fresh, 0, scene.upto)
        for room_id, content in everything.items():
            kept = _concerning(content, scene.fresh[room_id], scene.user_id)
            if kept:
                found[room_id] = kept
    return {"rooms": {room_id: {"type": "m.receipt", "content": content} for room_id, content in found.items()}}


def _concerning(content: JsonObject, event_ids: Collection[str], user_id: str) -> JsonObject:
    kept: JsonObject = {}
    for event_id, kinds in content.items():
        own = {
            kind: {user_id: users[user_id]}
            for kind, users in kinds.items()
            if event_id not in event_ids and user_id in users
        }
        if event_id in event_ids:
            kept[event_id] = kinds
        elif own:
            kept[event_id] = own
    return kept


def _typing(sources: SlidingSources, reader: Reader, scope: Scope, scene: Scene) -> JsonObject:
    since = 0 if scene.pos is None or "typing" not in scene.before else scene.pos.ephemeral
    changed = dict(sources.typing.changed_since(since))
    if scene.fresh and since:
        now = sources.typing.changed_since(0)
        changed |= {room_id: now[room_id] for room_id in scene.fresh if room_id in now}
    return {
        "rooms": {
            room_id: {"type": "m.typing", "content": {"user_ids": changed[room_id]}}
            for room_id in scene.within(scope, changed)
        }
    }
