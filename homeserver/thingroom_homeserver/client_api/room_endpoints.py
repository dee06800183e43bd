"""The endpoints of rooms and sync, in one list.

May import the endpoint files beside it; server.py reads it.
"""

from __future__ import annotations

from thingroom_homeserver.client_api import (
    create_room,
    public_rooms,
    room_event,
    room_members,
    room_membership,
    room_messages,
    room_relations,
    room_send,
    room_state,
    sync,
)
from thingroom_homeserver.http.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *create_room.ENDPOINTS,
    *public_rooms.ENDPOINTS,
    *room_event.ENDPOINTS,
    *room_members.ENDPOINTS,
    *room_membership.ENDPOINTS,
    *room_messages.ENDPOINTS,
    *room_relations.ENDPOINTS,
    *room_send.ENDPOINTS,
    *room_state.ENDPOINTS,
    *sync.ENDPOINTS,
)
