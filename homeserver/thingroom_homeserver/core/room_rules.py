"""What differs between room versions, as data: one frozen RoomRules a version, each the one before with replacements.

Imports only the standard library. Code asks for a named field and never compares versions. Sources: the pages
"Room Version 1" to "Room Version 12" of the specification. Next: event.py, redaction.py, auth_rules.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRules:
    """One room version. Every field names one difference; the comment says since or until when."""

    version: str

    # Event format
    event_id_format: Literal["server_assigned", "base64_hash", "url_safe_base64_hash"]
    """v1, v2: `$opaque:domain`, chosen by the sending server. v3: the reference hash. v4: it in URL-safe base64."""
    references_carry_hashes: bool
    """v1, v2: auth_events and prev_events are `[event_id, {"sha256": ...}]` pairs instead of event IDs."""
    strict_canonical_json: bool
    """v6: floats and integers beyond 2^53-1 make an event invalid."""
    max_depth_field: int
    """The largest `depth`: 2^63-1, since v6 2^53-1."""
    room_id_is_create_event_id: bool
    """v12: the room ID is the create event's ID with `!` for `$`; the create event carries none."""
    redacts_in_content: bool
    """v11: m.room.redaction names its target in `content.redacts`."""
    invites_need_whole_events: bool
    """v12: an invite that does not show the create event, or shows anything else than signed events, is refused."""

    # Redaction
    redaction_keeps: frozenset[str]
    """The top-level keys which survive. v11 drops `origin`, `membership` and `prev_state`."""
    redaction_keeps_in_content: Mapping[str, frozenset[str]]
    """The keys of `content` which survive, by event type."""
    redaction_keeps_all_create_content: bool
    """v11."""
    redaction_keeps_third_party_signed: bool
    """v11: in m.room.member, `content.third_party_invite.signed`."""

    # Signatures
    enforce_key_validity: bool
    """v5: a signing key must be valid at the event's origin_server_ts."""

    # State resolution
    state_resolution: Literal["v1", "v2", "v2.1"]

    # Authorisation
    create_event_in_auth_events: bool
    """Until v11 the create event must be among the auth_events; since v12 it must not be."""
    creator_in_content: bool
    """Until v10 the creator is `content.creator` of the create event; since v11 it is the event's sender."""
    privileged_creators: bool
    """v12: the sender and `additional_creators` of the create event have infinite power, and no entry in `users`."""
    aliases_special_case: bool
    """Until v5: m.room.aliases has a rule of its own."""
    redaction_in_auth_rules: bool
    """v1, v2: the redact level is checked while authorising (rule 11); since v3 when the redaction is applied."""
    limit_notification_levels: bool
    """v6: changes of `notifications` in m.room.power_levels are checked as those of `events` are."""
    knock: bool
    """v7."""
    restricted_join: bool
    """v8."""
    knock_restricted_join: bool
    """v10."""
    integer_power_levels: bool
    """v10: power levels must be integers; before, strings of an integer are accepted too."""

    @property
    def event_ids_are_hashes(self) -> bool:
        """Whether the event ID is computed from the event (v3 on), so that the PDU does not carry it."""
        return self.event_id_format != "server_assigned"

    @property
    def float_power_levels(self) -> bool:
        """Whether power levels may be floats, which are then truncated: the versions without strict canonical JSON."""
        return not self.strict_canonical_json


_MEMBER, _JOIN_RULES, _LEVELS = "m.room.member", "m.room.join_rules", "m.room.power_levels"

_V1_KEPT_IN_CONTENT = {
    _MEMBER: frozenset({"membership"}),
    "m.room.create": frozenset({"creator"}),
    _JOIN_RULES: frozenset({"join_rule"}),
    _LEVELS: frozenset(
        {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
    ),
    "m.room.aliases": frozenset({"aliases"}),
    "m.room.history_visibility": frozenset({"history_visibility"}),
}
_V6_KEPT_IN_CONTENT = {name: keys for name, keys in _V1_KEPT_IN_CONTENT.items() if name != "m.room.aliases"}
_V8_KEPT_IN_CONTENT = _V6_KEPT_IN_CONTENT | {_JOIN_RULES: frozenset({"join_rule", "allow"})}
_V9_KEPT_IN_CONTENT = _V8_KEPT_IN_CONTENT | {_MEMBER: frozenset({"membership", "join_authorised_via_users_server"})}
_V11_KEPT_IN_CONTENT = _V9_KEPT_IN_CONTENT | {
    _LEVELS: _V1_KEPT_IN_CONTENT[_LEVELS] | {"invite"},
    "m.room.redaction": frozenset({"redacts"}),
}

_V11_KEPT = frozenset(
    {
        "event_id",
        "type",
        "room_id",
        "sender",
        "state_key",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "auth_events",
        "origin_server_ts",
    }
)
_V1_KEPT = _V11_KEPT | {"prev_state", "origin", "membership"}

_V1 = RoomRules(
    version="1",
    event_id_format="server_assigned",
    references_carry_hashes=True,
    strict_canonical_json=False,
    max_depth_field=2**63 - 1,
    room_id_is_create_event_id=False,
    redacts_in_content=False,
    invites_need_whole_events=False,
    redaction_keeps=_V1_KEPT,
    redaction_keeps_in_content=MappingProxyType(_V1_KEPT_IN_CONTENT),
    redaction_keeps_all_create_content=False,
    redaction_keeps_third_party_signed=False,
    enforce_key_validity=False,
    state_resolution="v1",
    create_event_in_auth_events=True,
    creator_in_content=True,
    privileged_creators=False,
    aliases_special_case=True,
    redaction_in_auth_rules=True,
    limit_notification_levels=False,
    knock=False,
    restricted_join=False,
    knock_restricted_join=False,
    integer_power_levels=False,
)
_V2 = replace(_V1, version="2", state_resolution="v2")
_V3 = replace(
    _V2,
    version="3",
    event_id_format="base64_hash",
    references_carry_hashes=False,
    redaction_in_auth_rules=False,
)
_V4 = replace(_V3, version="4", event_id_format="url_safe_base64_hash")
_V5 = replace(_V4, version="5", enforce_key_validity=True)
_V6 = replace(
    _V5,
    version="6",
    strict_canonical_json=True,
    max_depth_field=2**53 - 1,
    redaction_keeps_in_content=MappingProxyType(_V6_KEPT_IN_CONTENT),
    aliases_special_case=False,
    limit_notification_levels=True,
)
_V7 = replace(_V6, version="7", knock=True)
_V8 = replace(
    _V7,
    version="8",
    restricted_join=True,
    redaction_keeps_in_content=MappingProxyType(_V8_KEPT_IN_CONTENT),
)
_V9 = replace(_V8, version="9", redaction_keeps_in_content=MappingProxyType(_V9_KEPT_IN_CONTENT))
_V10 = replace(_V9, version="10", knock_restricted_join=True, integer_power_levels=True)
_V11 = replace(
    _V10,
    version="11",
    redacts_in_content=True,
    creator_in_content=False,
    redaction_keeps=_V11_KEPT,
    redaction_keeps_in_content=MappingProxyType(_V11_KEPT_IN_CONTENT),
    redaction_keeps_all_create_content=True,
    redaction_keeps_third_party_signed=True,
)
_V12 = replace(
    _V11,
    version="12",
    room_id_is_create_event_id=True,
    invites_need_whole_events=True,
    create_event_in_auth_events=False,
    privileged_creators=True,
    state_resolution="v2.1",
)

ROOM_RULES: Mapping[str, RoomRules] = MappingProxyType(
    {rules.version: rules for rules in (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)}
)
KNOWN_ROOM_VERSIONS: frozenset[str] = frozenset(ROOM_RULES)
DEFAULT_ROOM_VERSION = "12"
