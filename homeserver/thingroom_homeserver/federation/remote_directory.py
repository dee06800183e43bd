"""The published rooms of another server.

May import core and this package. Source: Server-Server API, "Published Room Directory". The other direction is
federation_api/public_rooms.py.
"""

from __future__ import annotations

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.room_cards import card_of
from thingroom_homeserver.rooms.outcomes import Refused, Why

SECONDS = 30.0
MAX_BYTES = 2 * 1024 * 1024
MAX_TOKEN = 1000


class RemoteDirectory:
    """Asks other servers what they publish. Nothing is kept: directories change, and searches differ."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def list_rooms(
        self, server_name: str, query: dict[str, str], body: JsonObject | None
    ) -> JsonObject | Refused:
        """A page, as a client may be shown it. `body`: that of a search; None for a GET with the `query`."""
        answer = await self._client.request(
            server_name,
            "GET" if body is None else "POST",
            path("v1", "publicRooms"),
            query=query.items() if body is None else (),
            body=body,
            timeout_seconds=SECONDS,
            max_bytes=MAX_BYTES,
        )
        if isinstance(answer, Failed):
            why = Why.FORBIDDEN if answer.status in (401, 403) else Why.UNREACHABLE
            return Refused(why, f"{server_name} does not show its public rooms: {answer.text}")
        chunk = answer.get("chunk")
        page: JsonObject = {"chunk": [card for card in map(card_of, chunk) if card] if isinstance(chunk, list) else []}
        for name in ("next_batch", "prev_batch"):
            token = answer.get(name)
            if isinstance(token, str) and len(token) <= MAX_TOKEN:
                page[name] = token
        estimate = answer.get("total_room_count_estimate")
        if type(estimate) is int and 0 <= estimate < 2**53:
            page["total_room_count_estimate"] = estimate
        return page
