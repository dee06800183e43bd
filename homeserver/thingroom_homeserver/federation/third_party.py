"""Third-party invites between servers: somebody was invited by an e-mail address, and it is known now who that is.

The signed statement of an identity server becomes an invite by whoever sent the third-party invite, made by their
server. May import core, rooms, storage and this package. Source: Server-Server API, "Third-party invites". Next:
inviting.py, rooms/third_party_invite.py.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.identifiers import is_valid_user_id, server_name_of
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.handshake import MEMBER, refusal
from thingroom_homeserver.federation.inviting import Inviting
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.rooms.append_event import Draft, append_event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent, Why
from thingroom_homeserver.rooms.policies import write_approved
from thingroom_homeserver.rooms.send_event import sent
from thingroom_homeserver.rooms.third_party_invite import THIRD_PARTY, invite_content
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import current_entry

NO_SUCH_INVITE = Refused(Why.FORBIDDEN, "The room has no such third-party invite for this user")


class ThirdParty:
    """Takes up third-party invites that were sent here, and has those taken up that were sent elsewhere."""

    def __init__(self, rooms: Rooms, client: FederationClient, inviting: Inviting) -> None:
        self._rooms = rooms
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
        content = self._rooms.database.read(lambda connection: self._content(connection, room_id, sender, signed))
        if content is None:
            return NO_SUCH_INVITE
        draft = Draft(MEMBER, content, user_id)
        if not self._rooms.is_local(user_id):
            return await self._inviting.invite_as_drafted(Sender(sender), room_id, draft)

        def write(transaction: Transaction) -> Sent | Refused:
            room = self._rooms.cache.get(transaction, room_id)
            if room is None:
                return NO_SUCH_INVITE
            return sent(append_event(self._rooms, transaction, room, Sender(sender), draft))

        return await write_approved(self._rooms, write)

    async def have_taken_up(self, room_id: str, sender: str, user_id: str, signed: JsonObject) -> Refused | None:
        """The same where this server is not in the room: that of `sender` then invites the local user `user_id`."""
        server = server_name_of(sender)
        content = {"membership": "invite", "third_party_invite": {"display_name": user_id, "signed": signed}}
        body = {"type": MEMBER, "room_id": room_id, "sender": sender, "state_key": user_id, "content": content}
        answer = await self._client.request(
            server, "PUT", path("v1", "exchange_third_party_invite", room_id), body=body
        )
        return refusal([(server, answer)], "") if isinstance(answer, Failed) else None

    def _content(self, connection: Reader, room_id: str, sender: str, signed: JsonObject) -> JsonObject | None:
        """What the invite says; None unless the room has that third-party invite by that user."""
        event_id = current_entry(connection, room_id, THIRD_PARTY, str(signed.get("token")))
        pending = None if event_id is None else self._rooms.events.get(connection, event_id)
        if pending is None or pending.event.sender != sender:
            return None
        return invite_content(pending.event, signed)
