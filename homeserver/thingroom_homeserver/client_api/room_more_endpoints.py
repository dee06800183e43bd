"""The endpoints of the further room modules, in one list: threads, spaces, upgrades, search, reports, mutual rooms.

May import the endpoint files beside it; server.py reads it.
"""

from __future__ import annotations

from thingroom_homeserver.client_api import (
    initial_sync,
    mutual_rooms,
    reports,
    room_hierarchy,
    room_threads,
    room_upgrade,
    search,
)
from thingroom_homeserver.http.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *initial_sync.ENDPOINTS,
    *mutual_rooms.ENDPOINTS,
    *reports.ENDPOINTS,
    *room_hierarchy.ENDPOINTS,
    *room_threads.ENDPOINTS,
    *room_upgrade.ENDPOINTS,
    *search.ENDPOINTS,
)
