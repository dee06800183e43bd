"""Inviting users of other servers: the invited server signs the event before anybody else sees it.

May import core, rooms, storage and this package. Source: Server-Server API, "Inviting to a room". The other direction
is invited.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event, event_of_pdu
from thingroom_homeserver.core.hashing import event_id_of
from thingroom_homeserver.core.identifiers import server_name_of
from thingroom_homeserver.core.signing import sign_event
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.handshake import refusal
from thingroom_homeserver.federation.intake import receive
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.signed_by import is_signed_by
from thingroom_homeserver.rooms.append_event import Draft, build_local_event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.glimpse import glimpse_of
from thingroom_homeserver.rooms.membership import Change, invite_draft
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent, Why
from thingroom_homeserver.rooms.policies import POLICY, PolicyServer, policy_server_of
from thingroom_homeserver.rooms.receipt_outcomes import Accepted, Duplicate
from thingroom_homeserver.rooms.room_cache import Room

SECONDS = 30.0
OLD_VERSIONS = frozenset({"1", "2"})
"""Room versions that servers may know which have only the first version of the endpoint."""


_Drafting: TypeAlias = Callable[[Transaction, Room], Draft | Refused]


@dataclass(frozen=True, slots=True)
class _Invite:
    """An invite that is authorised but not stored, and what it shows of the room."""

    event: Event
    shown: list[JsonObject]
    policy: PolicyServer | None


class Inviting:
    """Invites of users of other servers by local users."""

    def __init__(self, rooms: Rooms, client: FederationClient, keys: ServerKeys) -> None:
        self._rooms = rooms
        self._client = client
        self._keys = keys

    async def invite(self, sender: Sender, room_id: str, change: Change) -> Sent | Refused:
        """Invite a user whose server agrees to it."""

        def draft(transaction: Transaction, room: Room) -> Draft | Refused:
            return invite_draft(self._rooms, transaction, room, sender, change)

        return await self._invite(sender, room_id, draft)

    async def invite_as_drafted(self, sender: Sender, room_id: str, draft: Draft) -> Sent | Refused:
        """The same with the content given: for a third-party invite that was taken up."""
        return await self._invite(sender, room_id, lambda transaction, room: draft)

    async def _invite(self, sender: Sender, room_id: str, drafted: _Drafting) -> Sent | Refused:
        def build(transaction: Transaction) -> _Invite | Refused:
            room = self._rooms.cache.get(transaction, room_id)
            if room is None:
                return Refused(Why.NOT_FOUND, "This server knows no such room")
            draft = drafted(transaction, room)
            if isinstance(draft, Refused):
                return draft
            event = build_local_event(self._rooms, transaction, room, sender, draft)
            if isinstance(event, Refused):
                return event
            event = self._with_origin(event)
            policy = policy_server_of(self._rooms.events, transaction, room_id, room.state.get(POLICY))
            return _Invite(event, glimpse_of(self._rooms, transaction, room_id, event.sender), policy)

        invite = await self._rooms.database.write(build)
        if isinstance(invite, Refused):
            return invite
        if invite.policy is not None:
            approved = await self._rooms.policies.sign(invite.policy, invite.event)
            if isinstance(approved, Refused):
                return approved
            invite = replace(invite, event=approved)
        signed = await self._countersigned(invite)
        if isinstance(signed, Refused):
            return signed
        return await self._rooms.database.write(lambda transaction: self._take(transaction, signed))

    def _with_origin(self, event: Event) -> Event:
        """The event with the key `origin`, which the specification still has in invites that servers exchange."""
        pdu = {name: value for name, value in event.pdu.items() if name not in ("hashes", "signatures")}
        pdu["origin"] = self._rooms.server_name
        signed = sign_event(pdu, self._rooms.server_name, self._rooms.signing_key, event.rules)
        return event_of_pdu(signed, event_id_of(signed, event.rules), event.rules)

    async def _countersigned(self, invite: _Invite) -> Event | Refused:
        """The event with the signature of the invited user's server too."""
        event = invite.event
        server = server_name_of(str(event.state_key))
        answer = await self._ask(server, invite)
        if isinstance(answer, Failed):
            return refusal([(server, answer)], "")
        returned = answer.get("event")
        signatures = returned.get("signatures") if isinstance(returned, dict) else None
        theirs = signatures.get(server) if isinstance(signatures, dict) else None
        if isinstance(theirs, dict) and all(isinstance(signature, str) for signature in theirs.values()):
            pdu = {**event.pdu, "signatures": {**event.pdu["signatures"], server: theirs}}
            signed = event_of_pdu(pdu, event.event_id, event.rules)
            if await is_signed_by(self._keys, signed, server):
                return signed
        return Refused(Why.UNREACHABLE, f"{server} did not sign the invite")

    async def _ask(self, server: str, invite: _Invite) -> JsonObject | Failed:
        event = invite.event
        body = {"room_version": event.room_version, "event": event.pdu, "invite_room_state": invite.shown}
        answer = await self._put(server, "v2", event, body)
        if isinstance(answer, Failed) and answer.status in (400, 404) and event.room_version in OLD_VERSIONS:
            pdu = {**event.pdu, "unsigned": {"invite_room_state": invite.shown}}
            answer = await self._put(server, "v1", event, pdu)
        return answer

    async def _put(self, server: str, version: str, event: Event, body: JsonObject) -> JsonObject | Failed:
        return await self._client.request(
            server,
            "PUT",
            path(version, "invite", event.room_id, event.event_id),
            body=body,
            timeout_seconds=SECONDS,
            ignore_backoff=True,
        )

    def _take(self, transaction: Transaction, event: Event) -> Sent | Refused:
        """Into the room with it, where much may have happened meanwhile."""
        received = receive(self._rooms, transaction, event, now_ms=self._rooms.clock.now_ms(), send_out=True)
        if not isinstance(received, Accepted | Duplicate):
            return Refused(Why.FORBIDDEN, f"The room changed meanwhile and does not allow the invite: {received}")
        return Sent(event.event_id, received.stored.position or 0)
