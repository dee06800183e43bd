"""Knocking at a room that this server is not in.

May import core, rooms, storage and this package. Source: Server-Server API, "Knocking upon a room". Next: handshake.py,
room_glimpse.py, rooms/out_of_band.py.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from thingroom_homeserver.core.client_event import stripped_state
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.handshake import ask_template, complete_template, refusal
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.room_glimpse import read_glimpse
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.membership import Change, member_content
from thingroom_homeserver.rooms.out_of_band import set_out_of_band
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent

logger = logging.getLogger(__name__)

NOBODY = "No server was named that could know the room; name one with via"


class Knocking:
    """Knocks of local users through other servers."""

    def __init__(self, rooms: Rooms, client: FederationClient, keys: ServerKeys) -> None:
        self._rooms = rooms
        self._client = client
        self._keys = keys

    async def knock(self, sender: Sender, room_id: str, change: Change, servers: Sequence[str]) -> Sent | Refused:
        """Knock through the first of `servers` that helps."""
        failures: list[tuple[str, Failed]] = []
        for server in servers:
            outcome = await self._knock_through(server, sender, room_id, change)
            if isinstance(outcome, Sent):
                return outcome
            logger.info("%s cannot knock at %s through %s: %s", sender.user_id, room_id, server, outcome.text)
            failures.append((server, outcome))
        return refusal(failures, NOBODY)

    async def _knock_through(self, server: str, sender: Sender, room_id: str, change: Change) -> Sent | Failed:
        rooms = self._rooms
        template = await ask_template(self._client, server, "knock", room_id, sender.user_id)
        if isinstance(template, Failed):
            return template
        content = rooms.database.read(lambda connection: member_content(rooms, connection, change))
        event = complete_template(rooms, template, "knock", room_id, sender.user_id, content)
        if isinstance(event, str):
            return Failed("bad_answer", text=event)
        answer = await self._client.request(
            server, "PUT", path("v1", "send_knock", room_id, event.event_id), body=event.pdu, ignore_backoff=True
        )
        if isinstance(answer, Failed):
            return answer
        # Entries which are improperly signed or formatted SHOULD be removed.
        glimpse = await read_glimpse(self._keys, answer.get("knock_room_state"), room_id, event.room_version)
        for fault in glimpse.faults:
            logger.info("%s shows %s badly: %s", server, room_id, fault)
        shown = (*glimpse.shown, stripped_state(event))
        stored = await rooms.database.write(
            lambda transaction: set_out_of_band(rooms, transaction, event, servers=(server,), stripped_state=shown)
        )
        if stored is None:
            return Failed("bad_answer", text="the room is known here with another version")
        return Sent(stored.event_id, stored.position or 0)
