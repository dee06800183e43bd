"""Every endpoint of the Server-Server API. One file each; a new one adds its line here."""

from __future__ import annotations

from thingroom_homeserver.federation_api import (
    backfill,
    event,
    event_auth,
    get_missing_events,
    key_query,
    key_server,
    send,
    state,
    timestamp_to_event,
    version,
)
from thingroom_homeserver.http.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *version.ENDPOINTS,
    *key_server.ENDPOINTS,
    *key_query.ENDPOINTS,
    *send.ENDPOINTS,
    *event.ENDPOINTS,
    *state.ENDPOINTS,
    *event_auth.ENDPOINTS,
    *backfill.ENDPOINTS,
    *get_missing_events.ENDPOINTS,
    *timestamp_to_event.ENDPOINTS,
)
