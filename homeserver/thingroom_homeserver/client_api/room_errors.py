"""What the room endpoints share: refusals as error responses, and who asks in the rooms services' terms.

May import the rooms services and the HTTP frame's types.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from thingroom_homeserver.core.identifiers import is_valid_room_alias, is_valid_user_id, server_name_of
from thingroom_homeserver.federation.remote_aliases import Directions
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Why
from thingroom_homeserver.rooms.present import Viewer

if TYPE_CHECKING:
    from thingroom_homeserver.http.requester import Requester
    from thingroom_homeserver.services import Services

T = TypeVar("T")

_STATUS_AND_ERRCODE: dict[Why, tuple[int, str]] = {
    Why.FORBIDDEN: (403, "M_FORBIDDEN"),
    Why.NOT_FOUND: (404, "M_NOT_FOUND"),
    Why.BAD_JSON: (400, "M_BAD_JSON"),
    Why.INVALID_PARAM: (400, "M_INVALID_PARAM"),
    Why.TOO_LARGE: (413, "M_TOO_LARGE"),
    Why.BAD_ALIAS: (400, "M_BAD_ALIAS"),
    Why.ALIAS_IN_USE: (400, "M_ROOM_IN_USE"),
    Why.UNSUPPORTED_ROOM_VERSION: (400, "M_UNSUPPORTED_ROOM_VERSION"),
    Why.INVALID_ROOM_STATE: (400, "M_INVALID_ROOM_STATE"),
    Why.UNABLE_TO_AUTHORISE_JOIN: (400, "M_UNABLE_TO_AUTHORISE_JOIN"),
    Why.UNABLE_TO_GRANT_JOIN: (400, "M_UNABLE_TO_GRANT_JOIN"),
    Why.INCOMPATIBLE_ROOM_VERSION: (400, "M_INCOMPATIBLE_ROOM_VERSION"),
    Why.INVITE_BLOCKED: (403, "M_INVITE_BLOCKED"),
    Why.UNREACHABLE: (502, "M_UNKNOWN"),
    Why.POLICY: (400, "M_FORBIDDEN"),
    Why.DUPLICATE_ANNOTATION: (400, "M_DUPLICATE_ANNOTATION"),
    Why.UNKNOWN: (400, "M_UNKNOWN"),
}


def accepted(outcome: T | Refused) -> T:
    """The outcome, unless it is a refusal. Raises MatrixError."""
    if isinstance(outcome, Refused):
        status, errcode = _STATUS_AND_ERRCODE[outcome.why]
        details = dict(outcome.details or {})
        raise MatrixError(status, str(details.pop("errcode", errcode)), outcome.text, **details)
    return outcome


def session_of(requester: Requester) -> str | None:
    """What transaction ids are scoped to: the device, or the application service if it named none."""
    if requester.device_id is not None:
        return requester.device_id
    return None if requester.appservice is None else f"appservice {requester.appservice.id}"


def sender_of(requester: Requester) -> Sender:
    return Sender(requester.user_id, session_of(requester), requester.timestamp_override)


def viewer_of(requester: Requester, services: Services) -> Viewer:
    return Viewer(requester.user_id, session_of(requester), services.clock.now_ms())


async def directions_to(services: Services, room_id_or_alias: str) -> Directions:
    """The room id, or the one that an alias points to, and who knows that room.

    An alias of this server may be made by an application service now; for others their server is asked. Raises
    MatrixError: 404 M_NOT_FOUND, 400 M_INVALID_PARAM, 502 M_UNKNOWN, 408 M_CONNECTION_TIMEOUT if the application
    service does not answer.
    """
    if not room_id_or_alias.startswith("#"):
        return Directions(room_id_or_alias, ())
    if not is_valid_room_alias(room_id_or_alias):
        raise MatrixError(400, "M_INVALID_PARAM", "Not a room alias")
    if server_name_of(room_id_or_alias) != services.rooms.server_name:
        return accepted(await services.federation.memberships.aliases.resolve(room_id_or_alias))
    room_id = await services.queries.resolve_alias(room_id_or_alias)
    if room_id is None:
        raise MatrixError(404, "M_NOT_FOUND", f"There is no room with the alias {room_id_or_alias}")
    if not isinstance(room_id, str):
        raise MatrixError(408, "M_CONNECTION_TIMEOUT", "The application service that could make the room is silent")
    return Directions(room_id, ())


async def room_id_of(services: Services, room_id_or_alias: str) -> str:
    """The room id, or the one that an alias points to. Raises MatrixError as `directions_to`."""
    return (await directions_to(services, room_id_or_alias)).room_id


async def know_users(services: Services, user_ids: Iterable[str]) -> None:
    """Before they are invited: let application services make those local users of theirs that are not there yet."""
    rooms = services.rooms
    unknown = [user_id for user_id in user_ids if rooms.is_local(user_id) and is_valid_user_id(user_id)]
    await asyncio.gather(*(services.queries.user_exists(user_id) for user_id in dict.fromkeys(unknown)))
