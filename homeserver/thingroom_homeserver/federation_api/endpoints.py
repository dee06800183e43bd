"""Every endpoint of the Server-Server API. One file each; a new one adds its line here."""

from __future__ import annotations

from thingroom_homeserver.federation_api import (
    backfill,
    event,
    event_auth,
    exchange_third_party_invite,
    get_missing_events,
    invite,
    key_query,
    key_server,
    make_join,
    make_knock,
    make_leave,
    onbind,
    query_directory,
    send,
    send_join,
    send_knock,
    send_leave,
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
    *exchange_third_party_invite.ENDPOINTS,
    *invite.ENDPOINTS,
    *make_join.ENDPOINTS,
    *make_knock.ENDPOINTS,
    *make_leave.ENDPOINTS,
    *onbind.ENDPOINTS,
    *query_directory.ENDPOINTS,
    *send_join.ENDPOINTS,
    *send_knock.ENDPOINTS,
    *send_leave.ENDPOINTS,
)
