"""Making a room: the events that a createRoom request implies, in the specification's order, in one write.

If one of them is refused, none was written. May import core and storage. Source: Client-Server API, "Creation".
Next: append_event.py, membership.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from secrets import token_urlsafe

from thingroom_common.database import Transaction
from thingroom_homeserver.core.auth_rules import Rejected, check_auth
from thingroom_homeserver.core.build_event import build_event
from thingroom_homeserver.core.canonical_json import CanonicalJsonError, JsonObject
from thingroom_homeserver.core.event import Event, size_fault
from thingroom_homeserver.core.identifiers import is_valid_room_alias, is_valid_user_id
from thingroom_homeserver.core.room_rules import ROOM_RULES, RoomRules
from thingroom_homeserver.rooms.accept_event import accept_on_top
from thingroom_homeserver.rooms.append_event import Draft, append_event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.membership import Change, apply_change
from thingroom_homeserver.rooms.outcomes import Abandoned, Refused, Sender, Why
from thingroom_homeserver.rooms.policies import write_approved
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.storage.rooms import insert_room, room_row, set_room_public

LEVELS = "m.room.power_levels"
TRUSTED = "trusted_private_chat"


@dataclass(frozen=True, slots=True)
class Preset:
    join_rule: str
    guest_access: str
    invite_level: int


PRESETS: Mapping[str, Preset] = {
    "private_chat": Preset("invite", "can_join", 0),
    TRUSTED: Preset("invite", "can_join", 0),
    "public_chat": Preset("public", "forbidden", 50),
}


@dataclass(frozen=True, slots=True)
class InitialState:
    type: str
    state_key: str
    content: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomWish:
    """A createRoom request, its types checked. `preset` is one of PRESETS, `room_version` None for the default."""

    preset: str = "private_chat"
    is_public: bool = False
    room_version: str | None = None
    creation_content: JsonObject = field(default_factory=dict)
    power_levels: JsonObject = field(default_factory=dict)
    initial_state: tuple[InitialState, ...] = ()
    alias_localpart: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: tuple[str, ...] = ()
    is_direct: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    room_id: str


async def create_room(rooms: Rooms, sender: Sender, wish: RoomWish) -> Created | Refused:
    """Make the room, join its creator and invite; users of other servers are left to the caller to invite."""
    version = wish.room_version or rooms.default_room_version
    rules = ROOM_RULES.get(version)
    if rules is None:
        return Refused(Why.UNSUPPORTED_ROOM_VERSION, f"This server does not know room version {version}")
    alias = None if wish.alias_localpart is None else f"#{wish.alias_localpart}:{rooms.server_name}"
    if alias is not None and (":" in (wish.alias_localpart or "") or not is_valid_room_alias(alias)):
        return Refused(Why.INVALID_PARAM, f"{alias} is not a room alias")
    for user_id in wish.invite:
        if not is_valid_user_id(user_id):
            return Refused(Why.INVALID_PARAM, f"{user_id!r} is not a user id")

    def write(transaction: Transaction) -> Created:
        room = make_empty_room(rooms, transaction, sender, wish, rules)
        if wish.is_public:
            set_room_public(transaction, room.room_id, True)
        change = Change(sender.user_id, "join", is_direct=wish.is_direct)
        must(apply_change(rooms, transaction, room, sender, change))
        if alias is not None and not rooms.aliases.claim_alias(transaction, alias, room.room_id, sender.user_id):
            raise Abandoned(Refused(Why.ALIAS_IN_USE, f"{alias} is taken"))
        for state in _implied_state(wish, rules, sender.user_id, alias):
            draft = Draft(state.type, state.content, state.state_key)
            must(append_event(rooms, transaction, room, sender, draft))
        for user_id in filter(rooms.is_local, dict.fromkeys(wish.invite)):
            must(apply_change(rooms, transaction, room, sender, Change(user_id, "invite", is_direct=wish.is_direct)))
        return Created(room.room_id)

    try:
        return await write_approved(rooms, write)
    except Abandoned as abandoned:
        return abandoned.refused


def must(outcome: object) -> None:
    """Undo everything if the event was refused. What the auth rules refuse makes the whole state invalid."""
    if isinstance(outcome, Refused):
        why = Why.INVALID_ROOM_STATE if outcome.why is Why.FORBIDDEN else outcome.why
        raise Abandoned(Refused(why, outcome.text))


def make_empty_room(
    rooms: Rooms,
    transaction: Transaction,
    sender: Sender,
    wish: RoomWish,
    rules: RoomRules,
    create: Event | None = None,
) -> Room:
    """The room with its create event only, inside a write function. Raises Abandoned.

    `create`: the event that an earlier try made, which was undone: the room is to have the same id.
    """
    content = {key: value for key, value in wish.creation_content.items() if key != "creator"}
    content["room_version"] = rules.version
    if rules.creator_in_content:
        content["creator"] = sender.user_id
    if rules.privileged_creators and wish.preset == TRUSTED:
        named = content.get("additional_creators", [])
        if isinstance(named, list):
            content["additional_creators"] = list(dict.fromkeys([*named, *wish.invite]))
    event = create or _build_create(rooms, sender, rules, content, transaction)
    verdict = check_auth(event, {}, rules, create=event)
    if isinstance(verdict, Rejected):
        raise Abandoned(Refused(Why.BAD_JSON, verdict.reason))
    insert_room(transaction, event.room_id, rules.version, sender.user_id)
    rooms.events.note_version(event.room_id, rules.version)
    room = Room(event.room_id, rules, {}, None, {})
    rooms.cache.add(transaction, room)
    accept_on_top(rooms, transaction, room, event, session=sender.session, send_out=True)
    return room


def _build_create(
    rooms: Rooms, sender: Sender, rules: RoomRules, content: JsonObject, transaction: Transaction
) -> Event:
    now = rooms.clock.now_ms() if sender.timestamp is None else sender.timestamp
    room_id = None if rules.room_id_is_create_event_id else f"!{token_urlsafe(18)}:{rooms.server_name}"
    while True:
        try:
            event = build_event(
                rules=rules,
                room_id=room_id,
                type="m.room.create",
                state_key="",
                sender=sender.user_id,
                content=content,
                auth_event_ids=(),
                prev_event_ids=(),
                depth=1,
                origin_server_ts=now,
                server_name=rooms.server_name,
                signing_key=rooms.signing_key,
                event_id=None if rules.event_ids_are_hashes else f"${token_urlsafe(18)}:{rooms.server_name}",
            )
        except CanonicalJsonError as error:
            raise Abandoned(Refused(Why.BAD_JSON, str(error))) from None
        fault = size_fault(event)
        if fault is not None:
            raise Abandoned(Refused(Why.TOO_LARGE, fault))
        if room_row(transaction, event.room_id) is None:
            return event
        # The room id is the hash of this event: the same wish in the same millisecond would be the same room.
        now += 1


def _implied_state(wish: RoomWish, rules: RoomRules, creator: str, alias: str | None) -> list[InitialState]:
    """Everything between the creator's join and the invites, in order."""
    preset = PRESETS[wish.preset]
    states = [InitialState(LEVELS, "", _power_levels(wish, rules, creator))]
    if alias is not None:
        states.append(InitialState("m.room.canonical_alias", "", {"alias": alias}))
    given = {(state.type, state.state_key) for state in wish.initial_state}
    for event_type, content in (
        ("m.room.join_rules", {"join_rule": preset.join_rule}),
        ("m.room.history_visibility", {"history_visibility": "shared"}),
        ("m.room.guest_access", {"guest_access": preset.guest_access}),
    ):
        if (event_type, "") not in given:
            states.append(InitialState(event_type, "", content))
    states += wish.initial_state
    if wish.name is not None:
        states.append(InitialState("m.room.name", "", {"name": wish.name}))
    if wish.topic is not None:
        blocks = {"m.text": [{"body": wish.topic}]}
        states.append(InitialState("m.room.topic", "", {"topic": wish.topic, "m.topic": blocks}))
    return states


def _power_levels(wish: RoomWish, rules: RoomRules, creator: str) -> JsonObject:
    users = {} if rules.privileged_creators else {creator: 100}
    if wish.preset == TRUSTED and not rules.privileged_creators:
        users |= dict.fromkeys(wish.invite, 100)
    content: JsonObject = {
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.encryption": 100,
            "m.room.server_acl": 100,
            "m.room.tombstone": 150 if rules.privileged_creators else 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": PRESETS[wish.preset].invite_level,
    }
    return content | wish.power_levels
