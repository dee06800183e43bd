"""POST /rooms/{roomId}/report, /rooms/{roomId}/report/{eventId}, /users/{userId}/report.

Whether a room or a user exists is not told: such reports are always taken. `thingroom homeserver admin reports` lists
them. Source: client-server API, "Reporting Content".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import room_id_of
from thingroom_homeserver.client_api.room_errors import accepted
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.read_events import NO_EVENT, read_event
from thingroom_homeserver.storage.reports import Report, count_reports, insert_report

if TYPE_CHECKING:
    from thingroom_common.database import Transaction
    from thingroom_homeserver.services import Services

MAX_REASON = 4000
MAX_REPORTS = 1000


async def report_event(request: Request, services: Services) -> dict[str, Any]:
    room_id, event_id, user_id = room_id_of(request), request.path["eventId"], request.requester.user_id
    if not services.rooms.occupancy.is_joined(room_id, user_id):
        accepted(NO_EVENT)
    accepted(services.database.read(lambda c: read_event(services.rooms, c, user_id, room_id, event_id)))
    reason = request.body_field("reason", str, "") if request.optional_body else ""
    return await _store(request, services, reason, room_id=room_id, event_id=event_id)


async def report_room(request: Request, services: Services) -> dict[str, Any]:
    return await _store(request, services, request.body_field("reason", str), room_id=room_id_of(request))


async def report_user(request: Request, services: Services) -> dict[str, Any]:
    if not is_valid_user_id(request.path["userId"]):
        raise MatrixError(400, "M_INVALID_PARAM", "Not a user id")
    return await _store(request, services, request.body_field("reason", str), user_id=request.path["userId"])


async def _store(
    request: Request,
    services: Services,
    reason: str,
    *,
    room_id: str | None = None,
    event_id: str | None = None,
    user_id: str | None = None,
) -> dict[str, Any]:
    if len(reason) > MAX_REASON:
        raise MatrixError(400, "M_TOO_LARGE", f"A reason has at most {MAX_REASON} characters")
    reporter = request.requester.user_id
    report = Report(reporter, room_id, event_id, user_id, reason, services.clock.now_ms())

    def write(transaction: Transaction) -> bool:
        if count_reports(transaction, reporter) >= MAX_REPORTS:
            return False
        insert_report(transaction, report)
        return True

    if not await services.database.write(write):
        raise MatrixError(403, "M_FORBIDDEN", "You have reported too much")
    return {}


ENDPOINTS = (
    Endpoint("POST", client_path("rooms/{roomId}/report"), report_room, limit="send"),
    Endpoint("POST", client_path("rooms/{roomId}/report/{eventId}"), report_event, limit="send"),
    Endpoint(
        "POST",
        (
            *client_path("users/{userId}/report"),
            *client_path("users/{userId}/report", versions=("unstable/org.matrix.msc4260",)),
        ),
        report_user,
        limit="send",
    ),
)
