"""Third-party invites between servers: somebody was invited by an e-mail address, and it is known now who that is.

The signed statement of an identity server becomes an invite by whoever sent the third-party invite, made by their
server. May import core, rooms, storage and this package. Source: Server-Server API, "Third-party invites". Next:
inviting.py, rooms/third_party_invite.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.identifiers import is_valid_user_id, server_name_of
from thingroom_homeserver.core.signing import decode_base64, verify_json
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.handshake import MEMBER, refusal
from thingroom_homeserver.federation.inviting import Inviting
from thingroom_homeserver.federation.key_validity import KeyValidity
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.rooms.append_event import Draft, append_event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent, Why
from thingroom_homeserver.rooms.policies import write_approved
from thingroom_homeserver.rooms.send_event import sent
from thingroom_homeserver.rooms.third_party_invite import THIRD_PARTY, invite_content
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import current_entry

REVOKED = Refused(Why.FORBIDDEN, "The identity server does not stand by the key of this third-party invite any more")
NO_SUCH_INVITE = Refused(Why.FORBIDDEN, "The room has no such third-party invite for this user")


class ThirdParty:
    """Takes up third-party invites that were sent here, and has those taken up that were sent elsewhere."""

    def __init__(self, rooms: Rooms, client: FederationClient, inviting: Inviting, key_validity: KeyValidity) -> None:
        self._rooms = rooms
        self._key_validity = key_validity
        self._client = client
        self._inviting = inviting

    async def take_up(self, room_id: str, sender: str, user_id: str, signed: JsonObject) -> Sent | Refused:
        """Invite `user_id` in the name of `sender`, whose third-party invite `signed` speaks of. This server is in the
        room, and `sender` or `user_id` are its users.

        That the identity server has signed it, auth rule 5.4.1 checks.
        """
        token = signed.get("token")
        if not isinstance(token, str) or signed.get("mxid") != user_id or not is_valid_user_id(user_id):
            return Refused(Why.INVALID_PARAM, "signed has no token, or is for another user")
        pending = self._rooms.database.read(lambda connection: self._pending(connection, room_id, token))
        if pending is None or pending.sender != sender:
            return NO_SUCH_INVITE
        if not await self._is_key_valid(pending, signed):
            return REVOKED
        draft = Draft(MEMBER, invite_content(pending, signed), user_id)
        if not self._rooms.is_local(user_id):
            return await self._inviting.invite_as_drafted(Sender(sender), room_id, draft)

        def write(transaction: Transaction) -> Sent | Refused:
            room = self._rooms.cache.get(transaction, room_id)
            if room is None:
                return NO_SUCH_INVITE
            return sent(append_event(self._rooms, transaction, room, Sender(sender), draft))

        return await write_approved(self._rooms, write)

    async def why_not_join(self, room_id: str, signed: JsonObject) -> Refused | None:
        """Why `signed` does not let anybody join the room now, as far as its identity server has a say in it."""
        token = signed.get("token")
        pending = self._rooms.database.read(lambda connection: self._pending(connection, room_id, str(token)))
        return None if pending is None or await self._is_key_valid(pending, signed) else REVOKED

    async def have_taken_up(self, room_id: str, sender: str, user_id: str, signed: JsonObject) -> Refused | None:
        """The same where this server is not in the room: that of `sender` then invites the local user `user_id`."""
        server = server_name_of(sender)
        content = {"membership": "invite", "third_party_invite": {"display_name": user_id, "signed": signed}}
        body = {"type": MEMBER, "room_id": room_id, "sender": sender, "state_key": user_id, "content": content}
        answer = await self._client.request(
            server, "PUT", path("v1", "exchange_third_party_invite", room_id), body=body
        )
        return refusal([(server, answer)], "") if isinstance(answer, Failed) else None

    def _pending(self, connection: Reader, room_id: str, token: str) -> Event | None:
        """The room's third-party invite with that token."""
        event_id = current_entry(connection, room_id, THIRD_PARTY, token)
        stored = None if event_id is None else self._rooms.events.get(connection, event_id)
        return None if stored is None else stored.event

    async def _is_key_valid(self, pending: Event, signed: JsonObject) -> bool:
        """Whether one of the keys that fit is still valid, or has nobody to be asked about it."""
        fitting = [(key, url) for key, url in _keys_of(pending.content) if _has_signed(key, signed)]
        # Whether any key fits at all is for the auth rules to say.
        for key, url in fitting:
            if not isinstance(url, str) or await self._key_validity.is_valid(url, key):
                return True
        return not fitting


def _keys_of(content: JsonObject) -> Iterator[tuple[str, object]]:
    """The public keys of a third-party invite, each with the URL that says whether it is valid."""
    more = content.get("public_keys")
    for entry in (content, *(more if isinstance(more, list) else ())):
        if isinstance(entry, dict) and isinstance(key := entry.get("public_key"), str):
            yield key, entry.get("key_validity_url")


def _has_signed(key: str, signed: JsonObject) -> bool:
    public_key, signatures = decode_base64(key), signed.get("signatures")
    if public_key is None or not isinstance(signatures, dict):
        return False
    return any(
        verify_json(signed, server, key_id, public_key)
        for server, of_server in signatures.items()
        if isinstance(of_server, dict)
        for key_id in of_server
    )
