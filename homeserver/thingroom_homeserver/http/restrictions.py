"""What guests, suspended users and locked users may do: by the endpoint, before its handler runs.

May import the rooms' storage, to look at a room's guest access and at whose event is redacted. Paths are compared
without their version and with nameless parameters, so that "rooms/{}/join" stands for all its forms.
Source: client-server API, "Guest Access", "Account locking", "Account suspension".
"""

from __future__ import annotations

import re
import sqlite3
from functools import lru_cache
from typing import TYPE_CHECKING

from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.storage.current_state import current_entry

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Endpoint, Request
    from thingroom_homeserver.http.requester import Requester
    from thingroom_homeserver.services import Services


def _rows(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\S+", text))


_GUESTS_READ = _rows(
    """
    rooms/{}/state rooms/{}/state/{} rooms/{}/state/{}/{} rooms/{}/context/{} rooms/{}/event/{} rooms/{}/messages
    rooms/{}/members rooms/{}/joined_members rooms/{}/initialSync rooms/{}/timestamp_to_event
    rooms/{}/relations/{} rooms/{}/relations/{}/{} rooms/{}/relations/{}/{}/{} rooms/{}/threads room_summary/{}
    sync events joined_rooms devices devices/{} account/whoami capabilities versions pushrules pushrules/
    keys/changes voip/turnServer user/{}/filter/{} profile/{} profile/{}/{} directory/room/{} publicRooms
    media/download/{}/{} media/download/{}/{}/{} media/thumbnail/{}/{} media/config
    """
)
_GUESTS_WRITE = _rows(
    """
    POST:rooms/{}/join POST:join/{} POST:rooms/{}/leave POST:rooms/{}/forget PUT:rooms/{}/send/{}/{}
    PUT:rooms/{}/state/{} PUT:rooms/{}/state/{}/{} PUT:sendToDevice/{}/{} PUT:rooms/{}/typing/{}
    POST:rooms/{}/receipt/{}/{} POST:rooms/{}/read_markers PUT:devices/{} POST:keys/upload POST:keys/query
    POST:keys/claim POST:user/{}/filter POST:sync POST:logout POST:logout/all POST:publicRooms
    PUT:profile/{}/{} DELETE:profile/{}/{}
    """
)
"""The specification's list, and what clients need around it: filters, typing, receipts, logging out."""

_LOCKED_MAY = frozenset({"POST:logout", "POST:logout/all"})

_SUSPENDED_WRITES_REFUSED = (
    "rooms/", "join/", "knock/", "createRoom", "profile/", "directory/", "media/", "admin/", "account/3pid/delete",
    "presence/",
)  # fmt: skip
_SUSPENDED_MAY = _rows(
    """
    rooms/{}/leave rooms/{}/forget rooms/{}/receipt/{}/{} rooms/{}/read_markers rooms/{}/typing/{}
    rooms/{}/report rooms/{}/report/{}
    """
)
_READING_BY_POST = frozenset({"POST:publicRooms", "POST:search", "POST:keys/query", "POST:sync"})

_VERSION = re.compile(r"^/_matrix/(?:client|media)/(?:unstable/[^/]+|[^/]+)/")


@lru_cache(maxsize=2000)
def plain_path(path: str) -> str:
    """ "/_matrix/client/v3/rooms/{roomId}/join" -> "rooms/{}/join"; media's old paths start with "media/"."""
    rest = re.sub(r"\{\w+\}", "{}", _VERSION.sub("", path))
    return f"media/{rest}" if path.startswith("/_matrix/media/") else rest


def check_standing(endpoint: Endpoint, request: Request, requester: Requester, services: Services) -> None:
    """Raises MatrixError: M_USER_LOCKED, M_USER_SUSPENDED, M_GUEST_ACCESS_FORBIDDEN."""
    path = plain_path(endpoint.paths[0])
    if requester.is_locked and f"{request.method}:{path}" not in _LOCKED_MAY:
        raise MatrixError(401, "M_USER_LOCKED", "This account has been locked", soft_logout=True)
    if requester.is_suspended and not _suspended_may(path, request, requester, services):
        raise MatrixError(403, "M_USER_SUSPENDED", "You cannot perform this action while suspended.")
    if requester.is_guest and not _guest_may(path, request, services):
        raise MatrixError(403, "M_GUEST_ACCESS_FORBIDDEN", "Guests cannot do this here")


def _suspended_may(path: str, request: Request, requester: Requester, services: Services) -> bool:
    if request.method == "GET" or f"{request.method}:{path}" in _READING_BY_POST or path in _SUSPENDED_MAY:
        return True
    if path == "rooms/{}/redact/{}/{}":
        event_id = request.path["eventId"]
        stored = services.database.read(lambda connection: services.rooms.events.get(connection, event_id))
        return stored is not None and stored.event.sender == requester.user_id
    return not path.startswith(_SUSPENDED_WRITES_REFUSED)


def _guest_may(path: str, request: Request, services: Services) -> bool:
    if request.method == "GET":
        return path in _GUESTS_READ
    if f"{request.method}:{path}" not in _GUESTS_WRITE:
        return False
    if path in ("rooms/{}/join", "join/{}"):
        return guests_may_join(services, request.path.get("roomId") or request.path["roomIdOrAlias"])
    if path.startswith("rooms/{}/state/"):
        return request.path["eventType"] != "m.room.member"
    return path != "profile/{}/{}" or request.path["keyName"] == "displayname"


def guests_may_join(services: Services, room_id_or_alias: str) -> bool:
    """Whether the room's m.room.guest_access says so."""

    def read(connection: sqlite3.Connection) -> bool:
        room_id: str | None = room_id_or_alias
        if room_id_or_alias.startswith("#"):
            room_id = services.rooms.aliases.room_of_alias(connection, room_id_or_alias)
        if room_id is None:
            return False
        event_id = current_entry(connection, room_id, "m.room.guest_access", "")
        stored = None if event_id is None else services.rooms.events.get(connection, event_id)
        return stored is not None and stored.event.content.get("guest_access") == "can_join"

    return services.database.read(read)
