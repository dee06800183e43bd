"""Upgrading a room: a new one of another version in its place, in one write, and a sign on the old one.

May import core and storage. Source: Client-Server API, "Room Upgrades", whose numbered steps are the comments. Next:
create_room.py, upgrade_levels.py, carry_over.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.core.room_rules import ROOM_RULES, RoomRules
from thingroom_homeserver.rooms.append_event import Draft, append_event
from thingroom_homeserver.rooms.carry_over import carry_over
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.create_room import LEVELS, Created, RoomWish, make_empty_room, must
from thingroom_homeserver.rooms.membership import Change, apply_change
from thingroom_homeserver.rooms.outcomes import Abandoned, Refused, Sender, Why
from thingroom_homeserver.rooms.policies import write_approved
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.rooms.upgrade_levels import closed_levels, levels_for, raised_levels
from thingroom_homeserver.storage.rooms import room_row, set_room_public

TOMBSTONE, CANONICAL_ALIAS, JOIN_RULES = "m.room.tombstone", "m.room.canonical_alias", "m.room.join_rules"
TRANSFERRED = (
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    JOIN_RULES,
)
# Without them an upgraded space would be empty.
TRANSFERRED_OF_SPACES = ("m.space.child", "m.space.parent")


async def upgrade_room(
    rooms: Rooms, sender: Sender, room_id: str, version: str, additional_creators: tuple[str, ...] = ()
) -> Created | Refused:
    """Replace the room by a new one of `version`. If any part is refused, nothing was written."""
    rules = ROOM_RULES.get(version)
    if rules is None:
        return Refused(Why.UNSUPPORTED_ROOM_VERSION, f"This server does not know room version {version}")
    for user_id in additional_creators:
        if not is_valid_user_id(user_id):
            return Refused(Why.INVALID_PARAM, f"{user_id!r} is not a user id")

    tries: list[Event] = []

    def write(transaction: Transaction) -> Created | Refused:
        old = rooms.cache.get(transaction, room_id)
        if old is None or rooms.cache.membership(transaction, old, sender.user_id) != "join":
            return Refused(Why.FORBIDDEN, "You are not in this room")
        # 1. Checks that the user has permission to send m.room.tombstone events in the room.
        levels = rooms.cache.power_levels(transaction, old)
        if levels.user_level(sender.user_id) < levels.event_level(TOMBSTONE, is_state=True):
            return Refused(Why.FORBIDDEN, "Your power level is too low to upgrade this room")
        return _Upgrade(rooms, transaction, sender, old, rules, tries).run(additional_creators)

    try:
        return await write_approved(rooms, write)
    except Abandoned as abandoned:
        return abandoned.refused


class _Upgrade:
    """One upgrade, inside its write function.

    `tries` holds the create event once it is made: if the old room's policy server has to be asked for the tombstone,
    which names the new room, the next try is to make the same one.
    """

    def __init__(
        self, rooms: Rooms, transaction: Transaction, sender: Sender, old: Room, rules: RoomRules, tries: list[Event]
    ) -> None:
        self._rooms = rooms
        self._transaction = transaction
        self._sender = sender
        self._old = old
        self._rules = rules
        self._tries = tries

    def run(self, additional_creators: tuple[str, ...]) -> Created:
        # 2. Creates a replacement room with a predecessor field, the room version and the type of the old room.
        new = self._make_room(additional_creators)
        must(apply_change(self._rooms, self._transaction, new, self._sender, Change(self._sender.user_id, "join")))
        # 3. Replicates transferable state events to the new room.
        self._transfer_state(new, additional_creators)
        # 4. Moves any local aliases to the new room.
        self._move_names(new)
        # 5. Sends a m.room.tombstone event to the old room.
        body = {"body": "This room has been replaced", "replacement_room": new.room_id}
        must(self._append(self._old, TOMBSTONE, body))
        # 6. If possible, the power levels in the old room should be modified to prevent sending and inviting.
        content = self._content(LEVELS) or {}
        closed = closed_levels(content, self._rooms.cache.power_levels(self._transaction, self._old))
        if closed != content:
            self._append(self._old, LEVELS, closed)
        carry_over(self._rooms, self._transaction, new, self._sender.user_id)
        return Created(new.room_id)

    def _make_room(self, additional_creators: tuple[str, ...]) -> Room:
        create = self._rooms.cache.create_event(self._transaction, self._old).content
        content: JsonObject = {name: create[name] for name in ("type", "m.federate") if name in create}
        content["predecessor"] = {"room_id": self._old.room_id}
        if not self._rules.room_id_is_create_event_id:
            content["predecessor"]["event_id"] = self._old.prev_event_ids()[0]
        others = [user_id for user_id in additional_creators if user_id != self._sender.user_id]
        if self._rules.privileged_creators and others:
            content["additional_creators"] = list(dict.fromkeys(others))
        wish = RoomWish(creation_content=content, preset="private_chat")
        earlier = self._tries[0] if self._tries else None
        room = make_empty_room(self._rooms, self._transaction, self._sender, wish, self._rules, earlier)
        self._tries[:] = [self._rooms.cache.create_event(self._transaction, room)]
        return room

    def _transfer_state(self, new: Room, additional_creators: tuple[str, ...]) -> None:
        sender, rules = self._sender.user_id, self._rules
        old_levels = self._rooms.cache.power_levels(self._transaction, self._old)
        creators = {sender, *additional_creators} if rules.privileged_creators else set()
        levels = levels_for(rules, old_levels, creators, sender)
        raised = levels if rules.privileged_creators else raised_levels(levels, sender)
        must(self._append(new, LEVELS, raised))
        for (event_type, state_key), content in self._transferable().items():
            if event_type == JOIN_RULES:
                content = _understood_join_rule(content, rules)
            # What the new version does not allow, such as a number it has no place for, stays behind.
            self._append(new, event_type, content, state_key)
        if raised != levels:
            must(self._append(new, LEVELS, levels))

    def _transferable(self) -> Mapping[tuple[str, str], JsonObject]:
        found: dict[tuple[str, str], JsonObject] = {}
        for event_type in TRANSFERRED:
            content = self._content(event_type)
            if content is not None:
                found[event_type, ""] = content
        create = self._rooms.cache.create_event(self._transaction, self._old).content
        for key in sorted(self._old.state) if create.get("type") == "m.space" else ():
            content = self._content(*key) if key[0] in TRANSFERRED_OF_SPACES else None
            if content:
                found[key] = content
        return MappingProxyType(found)

    def _move_names(self, new: Room) -> None:
        transaction, old_id = self._transaction, self._old.room_id
        self._rooms.aliases.move_aliases(transaction, old_id, new.room_id)
        canonical = self._content(CANONICAL_ALIAS)
        if canonical:
            self._append(new, CANONICAL_ALIAS, canonical)
            self._append(self._old, CANONICAL_ALIAS, {})
        row = room_row(transaction, old_id)
        if row is not None and row.is_public:
            set_room_public(transaction, new.room_id, True)
            set_room_public(transaction, old_id, False)

    def _content(self, event_type: str, state_key: str = "") -> JsonObject | None:
        """The content of an entry of the old room's state."""
        event = self._rooms.cache.state_event(self._transaction, self._old, event_type, state_key)
        return None if event is None else event.content

    def _append(self, room: Room, event_type: str, content: JsonObject, state_key: str = "") -> object:
        draft = Draft(event_type, content, state_key)
        return append_event(self._rooms, self._transaction, room, self._sender, draft)


def _understood_join_rule(content: JsonObject, rules: RoomRules) -> JsonObject:
    """The join rule, or `invite` where the room version has no such rule."""
    known = {
        "knock": rules.knock,
        "restricted": rules.restricted_join,
        "knock_restricted": rules.knock_restricted_join,
    }
    join_rule = content.get("join_rule")
    if isinstance(join_rule, str) and not known.get(join_rule, True):
        return {"join_rule": "invite"}
    return content
