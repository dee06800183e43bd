"""The endpoints of end-to-end encryption, in one list.

May import the endpoint files beside it; server.py reads it.
"""

from __future__ import annotations

from thingroom_homeserver.client_api import cross_signing, key_backup, key_changes, keys, send_to_device
from thingroom_homeserver.http.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *keys.ENDPOINTS,
    *key_changes.ENDPOINTS,
    *cross_signing.ENDPOINTS,
    *send_to_device.ENDPOINTS,
    *key_backup.ENDPOINTS,
)
