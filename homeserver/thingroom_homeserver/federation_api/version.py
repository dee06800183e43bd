"""GET /_matrix/federation/v1/version: which program this is."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_version(request: Request, services: Services) -> dict[str, Any]:
    return {"server": {"name": "Thingroom", "version": version("thingroom")}}


ENDPOINTS = (Endpoint("GET", ("/_matrix/federation/v1/version",), get_version, auth=Auth.NONE),)
