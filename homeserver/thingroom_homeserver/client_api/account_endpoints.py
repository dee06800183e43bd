"""The endpoints of accounts, profiles, directory and ephemeral things, in one list.

May import the endpoint files beside it; server.py reads it.
"""

from __future__ import annotations

from thingroom_homeserver.client_api import login, logout, register, whoami
from thingroom_homeserver.http.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *login.ENDPOINTS,
    *logout.ENDPOINTS,
    *register.ENDPOINTS,
    *whoami.ENDPOINTS,
)
