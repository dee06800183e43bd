"""Rejecting an invite to, or taking back a knock at, a room that this server is not in.

A resident server is asked to bring the leave into the room. If none can be reached, the user is rid of it here all the
same, and the servers are asked again later, after restarts too. May import core, rooms, storage and this package.
Source: Server-Server API, "Leaving Rooms (Rejecting Invites)". Next: handshake.py, rooms/out_of_band.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
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
from thingroom_homeserver.rooms.residence import is_resident
from thingroom_homeserver.storage.out_of_band import OutOfBand
from thingroom_homeserver.storage.untold_leaves import (
    UntoldLeave,
    drop_untold_leave,
    next_untold_leave,
    postpone_untold_leave,
    put_untold_leave,
)

logger = logging.getLogger(__name__)

SECONDS = 20.0
"""So long other servers are waited for while the client waits."""
AGAIN_FACTOR = 4
MAX_ATTEMPTS = 8
"""They are asked again after ten seconds (by default), then four times as long each time: for some two days in all."""


class Leaving:
    """Leaves of local users from rooms that they never were in."""

    def __init__(self, rooms: Rooms, client: FederationClient, again_seconds: float) -> None:
        """`again_seconds`: how long after the first failure the servers are asked again."""
        self._rooms = rooms
        self._client = client
        self._again_seconds = again_seconds
        self._untold = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell what could not be told, as long as the block runs."""
        task = asyncio.create_task(self._tell_later(), name="tell of leaves")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def reject(self, sender: Sender, entry: OutOfBand, change: Change) -> Sent:
        """End the invite or knock: in the room if one of its servers helps, in any case here."""
        rooms = self._rooms
        content = rooms.database.read(lambda connection: member_content(rooms, connection, change))
        leave = UntoldLeave(entry.room_id, sender.user_id, entry.room_version, entry.servers, content)
        told = await self._told(leave)
        if isinstance(told, Event):
            return await rooms.database.write(partial(self._end, entry, content, told))

        def write(transaction: Transaction) -> Sent:
            if told:
                next_try_ms = rooms.clock.now_ms() + int(self._again_seconds * 1000)
                put_untold_leave(transaction, replace(leave, next_try_ms=next_try_ms))
                transaction.after_commit(self._untold.set)
            return self._end(entry, content, None, transaction)

        return await rooms.database.write(write)

    async def end_here(self, entry: OutOfBand, change: Change) -> Sent:
        """End the invite or knock on this server alone."""
        content = self._rooms.database.read(lambda connection: member_content(self._rooms, connection, change))
        return await self._rooms.database.write(partial(self._end, entry, content, None))

    async def _tell_later(self) -> None:
        database, clock = self._rooms.database, self._rooms.clock
        while True:
            self._untold.clear()
            leave = database.read(next_untold_leave)
            wait = None if leave is None else (leave.next_try_ms - clock.now_ms()) / 1000
            if leave is None or wait is None or wait > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._untold.wait(), wait)
                continue
            await self._tell_again(leave)

    async def _tell_again(self, leave: UntoldLeave) -> None:
        """Once more, unless the user came back or this server came into the room, where it would be untrue by now."""
        database = self._rooms.database
        if database.read(lambda connection: is_resident(connection, leave.room_id)):
            told: Event | bool = False
        else:
            told = await self._told(leave)
        if told is True and leave.attempts + 1 < MAX_ATTEMPTS:
            seconds = self._again_seconds * AGAIN_FACTOR ** (leave.attempts + 1)
            at_ms = self._rooms.clock.now_ms() + int(seconds * 1000)
            await database.write(lambda transaction: postpone_untold_leave(transaction, leave, at_ms))
        else:
            await database.write(lambda transaction: drop_untold_leave(transaction, leave.room_id, leave.user_id))

    async def _told(self, leave: UntoldLeave) -> Event | bool:
        """The leave as a server took it into the room; else whether asking again may help."""
        failures: list[Failed] = []
        try:
            async with asyncio.timeout(SECONDS):
                for server in servers_to_ask(self._rooms.server_name, leave.servers):
                    outcome = await self._leave_through(server, leave)
                    if isinstance(outcome, Event):
                        return outcome
                    logger.info("%s does not let %s leave %s: %s", server, leave.user_id, leave.room_id, outcome.text)
                    failures.append(outcome)
        except TimeoutError:
            logger.info("%s leaves %s here only: nobody answered in time", leave.user_id, leave.room_id)
            return True
        return _may_help(failures)

    async def _leave_through(self, server: str, leave: UntoldLeave) -> Event | Failed:
        room_id = leave.room_id
        template = await ask_template(self._client, server, "leave", room_id, leave.user_id)
        if isinstance(template, Failed):
            return template
        if template.room_version != leave.room_version:
            return Failed("bad_answer", text="The room has another version")
        event = complete_template(self._rooms, template, "leave", room_id, leave.user_id, leave.content)
        if isinstance(event, str):
            return Failed("bad_answer", text=event)
        answer = await self._send(server, "v2", event)
        if isinstance(answer, Failed) and answer.errcode == "M_UNRECOGNIZED":
            answer = await self._send(server, "v1", event)
        return answer if isinstance(answer, Failed) else event

    async def _send(self, server: str, version: str, event: Event) -> JsonObject | Failed:
        return await self._client.request(
            server, "PUT", path(version, "send_leave", event.room_id, event.event_id), body=event.pdu
        )

    def _end(self, entry: OutOfBand, content: JsonObject, event: Event | None, transaction: Transaction) -> Sent:
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


def _may_help(failures: Sequence[Failed]) -> bool:
    """Whether one of the servers may give another answer later: it was not reached, or failed itself."""
    return any(
        failed.why in ("unreachable", "timeout", "backing_off") or failed.status == 429 or (failed.status or 0) >= 500
        for failed in failures
    )
