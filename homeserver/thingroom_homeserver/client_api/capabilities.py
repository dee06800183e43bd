"""GET /capabilities: the optional things that this server offers.

Source: client-server API, "Capabilities negotiation".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_capabilities(request: Request, services: Services) -> dict[str, Any]:
    requester = request.requester
    is_person = requester.appservice is None and not requester.is_guest
    moderation = {"m.account_moderation": {"suspend": True, "lock": True}} if requester.is_admin else {}
    return {
        "capabilities": {
            "m.change_password": {"enabled": is_person},
            "m.room_versions": {
                "default": services.config.default_room_version,
                "available": dict.fromkeys(KNOWN_ROOM_VERSIONS, "stable"),
            },
            "m.profile_fields": {"enabled": True} | ({"allowed": ["displayname"]} if requester.is_guest else {}),
            "m.set_displayname": {"enabled": True},
            "m.set_avatar_url": {"enabled": not requester.is_guest},
            "m.3pid_changes": {"enabled": is_person and services.addresses.enabled},
            "m.get_login_token": {"enabled": is_person},
            **moderation,
            "m.forget_forced_upon_leave": {"enabled": False},
        }
    }


ENDPOINTS = (Endpoint("GET", client_path("capabilities"), get_capabilities),)
