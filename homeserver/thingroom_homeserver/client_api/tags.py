"""/user/{userId}/rooms/{roomId}/tags: a view of the room's m.tag account data.

Source: client-server API, "Room Tagging".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import own_user_id, room_id_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_TAG_BYTES = 255
TAG = "m.tag"


async def get_tags(request: Request, services: Services) -> dict[str, Any]:
    content = services.account_data.read(own_user_id(request), TAG, room_id_of(request)) or {}
    return {"tags": _tags(content)}


async def put_tag(request: Request, services: Services) -> dict[str, Any]:
    user_id, room_id, tag = own_user_id(request), room_id_of(request), request.path["tag"]
    if not 0 < len(tag.encode("utf-8", "surrogatepass")) <= MAX_TAG_BYTES:
        raise MatrixError(400, "M_INVALID_PARAM", f"A tag has 1 to {MAX_TAG_BYTES} bytes")
    wanted = request.optional_body

    def add(content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "tags": {**_tags(content), tag: wanted}}

    await services.account_data.change(user_id, TAG, add, room_id)
    return {}


async def delete_tag(request: Request, services: Services) -> dict[str, Any]:
    user_id, room_id, tag = own_user_id(request), room_id_of(request), request.path["tag"]

    def remove(content: dict[str, Any]) -> dict[str, Any] | None:
        tags = _tags(content)
        if tag not in tags:
            return None
        return {**content, "tags": {name: value for name, value in tags.items() if name != tag}}

    await services.account_data.change(user_id, TAG, remove, room_id)
    return {}


def _tags(content: dict[str, Any]) -> dict[str, Any]:
    tags = content.get("tags")
    return tags if isinstance(tags, dict) else {}


ENDPOINTS = (
    Endpoint("GET", client_path("user/{userId}/rooms/{roomId}/tags"), get_tags),
    Endpoint("PUT", client_path("user/{userId}/rooms/{roomId}/tags/{tag}"), put_tag),
    Endpoint("DELETE", client_path("user/{userId}/rooms/{roomId}/tags/{tag}"), delete_tag),
)
