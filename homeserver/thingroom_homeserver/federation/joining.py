"""Joining a room that this server is not in: the handshake with a resident server, the state checked and taken up.

May import core, rooms, storage and this package. Source: Server-Server API, "Joining Rooms". Next: handshake.py,
joined_state.py, rooms/import_room.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.event_fetching import EventFetching
from thingroom_homeserver.federation.handshake import ask_template, complete_template, refusal
from thingroom_homeserver.federation.intake import receive
from thingroom_homeserver.federation.joined_state import JoinedState, read_joined_state, signed_member
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.rooms.carry_over import carry_over
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.import_room import import_joined_room, prepare_import
from thingroom_homeserver.rooms.membership import Change, member_content
from thingroom_homeserver.rooms.out_of_band import adopt_version
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent
from thingroom_homeserver.rooms.receipt_outcomes import Accepted, Duplicate, Missing, Rejected, SoftFailed
from thingroom_homeserver.rooms.residence import is_resident

logger = logging.getLogger(__name__)

SEND_JOIN_SECONDS = 180.0
ENOUGH_SECONDS = 60.0
"""After so long no further server is tried: nobody waits any more."""
MAX_STATE_BYTES = 512 * 1024 * 1024
NOBODY = "No server was named that could know the room; name one with via"


class Joining:
    """Joins of local users through other servers."""

    def __init__(self, rooms: Rooms, client: FederationClient, keys: ServerKeys, events: EventFetching) -> None:
        self._rooms = rooms
        self._client = client
        self._keys = keys
        self._events = events

    async def join(self, sender: Sender, room_id: str, change: Change, servers: Sequence[str]) -> Sent | Refused:
        """Join through the first of `servers` that helps. The caller sees to it that no other join runs in the room."""
        failures: list[tuple[str, Failed]] = []
        loop = asyncio.get_running_loop()
        started = loop.time()
        for server in servers:
            if loop.time() - started > ENOUGH_SECONDS:
                break
            outcome = await self._join_through(server, sender, room_id, change)
            if isinstance(outcome, Sent):
                return outcome
            logger.info("%s cannot join %s through %s: %s", sender.user_id, room_id, server, outcome.text)
            failures.append((server, outcome))
        return refusal(failures, NOBODY)

    async def _join_through(self, server: str, sender: Sender, room_id: str, change: Change) -> Sent | Failed:
        template = await ask_template(self._client, server, "join", room_id, sender.user_id)
        if isinstance(template, Failed):
            return template
        content = self._rooms.database.read(lambda c: member_content(self._rooms, c, change))
        event = complete_template(self._rooms, template, "join", room_id, sender.user_id, content)
        if isinstance(event, str):
            return Failed("bad_answer", text=event)
        answer = await self._client.request(
            server,
            "PUT",
            path("v2", "send_join", room_id, event.event_id),
            query=(("omit_members", "false"),),
            body=event.pdu,
            timeout_seconds=SEND_JOIN_SECONDS,
            max_bytes=MAX_STATE_BYTES,
        )
        if isinstance(answer, Failed) and answer.errcode == "M_UNRECOGNIZED":
            answer = await self._client.request(
                server,
                "PUT",
                path("v1", "send_join", room_id, event.event_id),
                body=event.pdu,
                timeout_seconds=SEND_JOIN_SECONDS,
                max_bytes=MAX_STATE_BYTES,
            )
        if isinstance(answer, Failed):
            return answer
        if self._rooms.database.read(lambda c: is_resident(c, room_id)):
            signed = await signed_member(self._keys, answer, event)
            return await self._take_in(signed) if isinstance(signed, Event) else Failed("bad_answer", text=signed)
        joined = await read_joined_state(self._keys, answer, event)
        del answer
        if isinstance(joined, str):
            return Failed("bad_answer", text=joined)
        return await self._take_up(joined, server)

    async def _take_in(self, member: Event) -> Sent | Failed:
        """A join of a room that this server is in: another one vouched for it, and sends it to the rest."""

        def write(transaction: Transaction) -> Sent | Failed:
            received = receive(self._rooms, transaction, member, now_ms=self._rooms.clock.now_ms())
            if not isinstance(received, Accepted | Duplicate):
                return Failed("bad_answer", text=f"the join is not allowed by the state known here: {received}")
            return self._finished(transaction, received)

        return await self._rooms.database.write(write)

    async def _take_up(self, joined: JoinedState, server: str) -> Sent | Failed:
        rooms, member = self._rooms, joined.member
        room_id, version = member.room_id, member.room_version
        if not await rooms.database.write(lambda transaction: adopt_version(rooms, transaction, room_id, version)):
            return Failed("bad_answer", text="the room is known here with another version")
        await self._events.keep(room_id, version, joined.events.values())
        prepared = await prepare_import(rooms, room_id, joined.state)

        def write(transaction: Transaction) -> Sent | Failed | Missing:
            imported = import_joined_room(
                rooms,
                transaction,
                room_version=version,
                membership_event=member,
                state=joined.state,
                prepared=prepared,
            )
            match imported:
                case Accepted() | Duplicate():
                    return self._finished(transaction, imported)
                case Missing():
                    return imported
                case Rejected(reason) | SoftFailed(_, reason):
                    return Failed("bad_answer", text=f"the join is not allowed by the state that came: {reason}")
                case _:
                    return Failed("bad_answer", text="the state that came is of no use")

        outcome = await rooms.database.write(write)
        if isinstance(outcome, Missing):
            # Some events of the state or of the auth chain are not to be used, or were not sent.
            await self._events.complete_auth(room_id, version, [member, *joined.events.values()], [server])
            outcome = await rooms.database.write(write)
        if isinstance(outcome, Missing):
            return Failed("bad_answer", text="events are missing in the state that came")
        return outcome

    def _finished(self, transaction: Transaction, received: Accepted | Duplicate) -> Sent:
        event, position = received.stored.event, received.stored.position
        assert event.state_key is not None
        room = self._rooms.cache.get(transaction, event.room_id)
        assert room is not None
        carry_over(self._rooms, transaction, room, event.state_key)
        return Sent(event.event_id, position or 0)
