"""The steps that join, leave and knock over federation share: a template asked of one server after the other, completed
here, and the reason to give when none of them helps.

May import core, rooms' outcomes and this package's client. Source: Server-Server API, "Joining Rooms", "Knocking upon
a room", "Leaving Rooms". Next: joining.py, knocking.py, leaving.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Literal

from thingroom_homeserver.core.canonical_json import (
    MAX_NESTING,
    NESTING_OUTSIDE,
    CanonicalJsonError,
    JsonObject,
    check_canonical,
)
from thingroom_homeserver.core.event import Event, MalformedEvent, parse_untrusted_pdu
from thingroom_homeserver.core.identifiers import is_valid_server_name, is_valid_user_id
from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS, ROOM_RULES
from thingroom_homeserver.core.signing import sign_event
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Why

Membership = Literal["join", "leave", "knock"]

MEMBER = "m.room.member"
TEMPLATE_SECONDS = 15.0
MAX_SERVERS = 12
"""So many are asked for one request of a client."""
INCOMPATIBLE = "M_INCOMPATIBLE_ROOM_VERSION"
_COPIED = ("auth_events", "prev_events", "depth")
_RANKED: tuple[tuple[str, Why], ...] = (
    (INCOMPATIBLE, Why.INCOMPATIBLE_ROOM_VERSION),
    ("M_FORBIDDEN", Why.FORBIDDEN),
    ("M_INVITE_BLOCKED", Why.INVITE_BLOCKED),
    ("M_UNABLE_TO_GRANT_JOIN", Why.UNABLE_TO_GRANT_JOIN),
    ("M_UNABLE_TO_AUTHORISE_JOIN", Why.UNABLE_TO_AUTHORISE_JOIN),
    ("M_NOT_FOUND", Why.NOT_FOUND),
)
"""What peers say, the most telling first."""


@dataclass(frozen=True, slots=True)
class Template:
    """The member event that `server` proposes, its fields unchecked, in a room of a version that is known here."""

    server: str
    room_version: str
    event: JsonObject


async def ask_template(
    client: FederationClient, server: str, membership: Membership, room_id: str, user_id: str
) -> Template | Failed:
    """GET make_join, make_leave or make_knock."""
    query = [] if membership == "leave" else [("ver", version) for version in sorted(KNOWN_ROOM_VERSIONS, key=int)]
    answer = await client.request(
        server,
        "GET",
        path("v1", f"make_{membership}", room_id, user_id),
        query=query,
        timeout_seconds=TEMPLATE_SECONDS,
        ignore_backoff=True,
    )
    if isinstance(answer, Failed):
        return answer
    version, event = answer.get("room_version", "1"), answer.get("event")
    if not isinstance(version, str) or version not in ROOM_RULES:
        error = {"errcode": INCOMPATIBLE, "room_version": version}
        return Failed("bad_answer", errcode=INCOMPATIBLE, text=f"The room has version {version!r}", error=error)
    if not isinstance(event, dict):
        return Failed("bad_answer", text="The template is not an event")
    return Template(server, version, event)


def complete_template(
    rooms: Rooms, template: Template, membership: Membership, room_id: str, user_id: str, content: JsonObject
) -> Event | str:
    """The signed event: where it stands in the graph is the template's, the rest is ours. Else what is wrong with it.

    `content` is the user's; of the template's only who vouches for a restricted join is taken over.
    """
    rules, given = ROOM_RULES[template.room_version], template.event
    # The joining server MUST also verify that the type, room_id, sender, state_key and content.membership fields have
    # the expected values.
    given_content = given.get("content")
    if not isinstance(given_content, dict) or given_content.get("membership") != membership:
        return "the template is for another membership"
    if given.get("type") != MEMBER or given.get("sender") != user_id or given.get("state_key") != user_id:
        return "the template is for another event"
    if given.get("room_id") != room_id:
        return "the template is for another room"
    pdu: JsonObject = {name: given.get(name) for name in _COPIED}
    pdu |= {
        "type": MEMBER,
        "room_id": room_id,
        "sender": user_id,
        "state_key": user_id,
        "content": {**content, "membership": membership},
        "origin": rooms.server_name,
        "origin_server_ts": rooms.clock.now_ms(),
    }
    voucher = given_content.get("join_authorised_via_users_server")
    if membership == "join" and rules.restricted_join and is_valid_user_id(voucher):
        pdu["content"]["join_authorised_via_users_server"] = voucher
    if not rules.event_ids_are_hashes:
        pdu["event_id"] = f"${token_urlsafe(18)}:{rooms.server_name}"
    try:
        check_canonical(content, MAX_NESTING - NESTING_OUTSIDE)
        signed = sign_event(pdu, rooms.server_name, rooms.signing_key, rules)
    except (CanonicalJsonError, TypeError, ValueError) as error:
        return f"the template cannot be signed: {error}"
    event = parse_untrusted_pdu(signed, template.room_version)
    return event.reason if isinstance(event, MalformedEvent) else event


def servers_to_ask(own_name: str, *groups: Iterable[str]) -> list[str]:
    """At most MAX_SERVERS names, the first ones, without this server and without what is not a server's name."""
    found: dict[str, None] = {}
    for group in groups:
        for name in group:
            if name != own_name and is_valid_server_name(name):
                found[name] = None
    return list(found)[:MAX_SERVERS]


def refusal(failures: Sequence[tuple[str, Failed]], nobody: str) -> Refused:
    """What to tell the client when no server helped: the most telling answer, or why each could not be asked.

    `nobody` is the text for no servers at all.
    """
    if not failures:
        return Refused(Why.UNREACHABLE, nobody)
    for errcode, why in _RANKED:
        for server, failed in failures:
            if failed.errcode == errcode:
                version = (failed.error or {}).get("room_version") if errcode == INCOMPATIBLE else None
                details = {"room_version": version} if isinstance(version, str) else None
                return Refused(why, f"{server}: {failed.text}", details)
    reasons = "; ".join(f"{server}: {failed.text}" for server, failed in failures)
    return Refused(Why.UNREACHABLE, f"No server could help: {reasons}")
