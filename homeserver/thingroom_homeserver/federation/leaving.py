"""Rejecting an invite to, or taking back a knock at, a room that this server is not in.

A resident server is asked to bring the leave into the room. If none can be reached, the user is rid of it here all the
same. May import core, rooms, storage and this package. Source: Server-Server API, "Leaving Rooms (Rejecting Invites)".
Next: handshake.py, rooms/out_of_band.py.
"""

from __future__ import annotations

import asyncio
import logging
from secrets import token_urlsafe

from thingroom_common.database import Transaction
from thingroom_homeserver.core.build_event import build_event
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.hashing import reference_hash
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.handshake import MEMBER, ask_template, complete_template, servers_to_ask
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.membership import Change, member_content
from thingroom_homeserver.rooms.out_of_band import set_out_of_band
from thingroom_homeserver.rooms.outcomes import Sender, Sent
from thingroom_homeserver.storage.out_of_band import OutOfBand

logger = logging.getLogger(__name__)

SECONDS = 20.0
"""So long other servers are waited for while the client waits."""


class Leaving:
    """Leaves of local users from rooms that they never were in."""

    def __init__(self, rooms: Rooms, client: FederationClient) -> None:
        self._rooms = rooms
        self._client = client

    async def reject(self, sender: Sender, entry: OutOfBand, change: Change) -> Sent:
        """End the invite or knock: in the room if one of its servers helps, in any case here."""
        rooms = self._rooms
        content = rooms.database.read(lambda connection: member_content(rooms, connection, change))
        event: Event | None = None
        try:
            async with asyncio.timeout(SECONDS):
                for server in servers_to_ask(rooms.server_name, entry.servers):
                    event = await self._leave_through(server, sender, entry, content)
                    if event is not None:
                        break
        except TimeoutError:
            logger.info("%s leaves %s here only: nobody answered in time", sender.user_id, entry.room_id)
        return await rooms.database.write(lambda transaction: self._end(transaction, entry, content, event))

    async def end_here(self, entry: OutOfBand, change: Change) -> Sent:
        """End the invite or knock on this server alone."""
        content = self._rooms.database.read(lambda connection: member_content(self._rooms, connection, change))
        return await self._rooms.database.write(lambda transaction: self._end(transaction, entry, content, None))

    async def _leave_through(self, server: str, sender: Sender, entry: OutOfBand, content: JsonObject) -> Event | None:
        room_id = entry.room_id
        template = await ask_template(self._client, server, "leave", room_id, sender.user_id)
        if isinstance(template, Failed):
            logger.info("%s does not let %s leave %s: %s", server, sender.user_id, room_id, template.text)
            return None
        if template.room_version != entry.room_version:
            return None
        event = complete_template(self._rooms, template, "leave", room_id, sender.user_id, content)
        if isinstance(event, str):
            logger.info("%s gives no good template for leaving %s: %s", server, room_id, event)
            return None
        for version in ("v2", "v1"):
            answer = await self._client.request(
                server, "PUT", path(version, "send_leave", room_id, event.event_id), body=event.pdu
            )
            if not isinstance(answer, Failed):
                return event
            if answer.errcode != "M_UNRECOGNIZED":
                logger.info("%s does not take the leave from %s: %s", server, room_id, answer.text)
                break
        return None

    def _end(self, transaction: Transaction, entry: OutOfBand, content: JsonObject, event: Event | None) -> Sent:
        if event is None:
            event = self._leave_here(transaction, entry, content)
        stored = set_out_of_band(self._rooms, transaction, event)
        return Sent(event.event_id, 0 if stored is None else stored.position or 0)

    def _leave_here(self, transaction: Transaction, entry: OutOfBand, content: JsonObject) -> Event:
        """A leave that no other server knows of: it follows the invite or knock itself."""
        rooms = self._rooms
        known = rooms.events.get(transaction, entry.event_id)
        rules = ROOM_RULES[entry.room_version]
        before = [] if known is None else [entry.event_id]
        old_format = not rules.event_ids_are_hashes
        return build_event(
            rules=rules,
            room_id=entry.room_id,
            type=MEMBER,
            state_key=entry.user_id,
            sender=entry.user_id,
            content=content,
            auth_event_ids=before,
            prev_event_ids=before,
            depth=1 if known is None else min(known.event.depth + 1, rules.max_depth_field),
            origin_server_ts=rooms.clock.now_ms(),
            server_name=rooms.server_name,
            signing_key=rooms.signing_key,
            event_id=f"${token_urlsafe(18)}:{rooms.server_name}" if old_format else None,
            reference_hashes={} if known is None else {entry.event_id: reference_hash(known.event.pdu, rules)},
        )
