"""Everything by which users come into rooms and leave them: done here where this server knows the room, else with the
help of others.

May import core, rooms, storage and this package. The client API calls it instead of rooms/membership.py.
Next: joining.py, leaving.py, knocking.py, inviting.py, third_party.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.identifiers import is_valid_room_id, is_valid_user_id
from thingroom_homeserver.federation.arriving import Arriving
from thingroom_homeserver.federation.client import FederationClient
from thingroom_homeserver.federation.event_fetching import EventFetching
from thingroom_homeserver.federation.handshake import servers_to_ask
from thingroom_homeserver.federation.invited import Invited
from thingroom_homeserver.federation.inviting import Inviting
from thingroom_homeserver.federation.joining import Joining
from thingroom_homeserver.federation.key_validity import KeyValidity
from thingroom_homeserver.federation.knocking import Knocking
from thingroom_homeserver.federation.leaving import Leaving
from thingroom_homeserver.federation.remote_aliases import RemoteAliases
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.third_party import ThirdParty
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.membership import Change, change_membership
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent, Why
from thingroom_homeserver.rooms.residence import is_resident, knows_best
from thingroom_homeserver.rooms.third_party_invite import join_by_third_party
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.out_of_band import out_of_band_of
from thingroom_homeserver.storage.room_servers import servers_in_room
from thingroom_homeserver.storage.rooms import room_row

_NO_ROOM = Refused(Why.NOT_FOUND, "This server knows no such room, and no other server was named that could")
_ASK_OTHERS = frozenset({Why.UNABLE_TO_GRANT_JOIN, Why.UNABLE_TO_AUTHORISE_JOIN})


class Memberships:
    """Changes of membership by local users, in rooms wherever they are."""

    def __init__(
        self,
        rooms: Rooms,
        client: FederationClient,
        keys: ServerKeys,
        events: EventFetching,
        arriving: Arriving,
        key_validity: KeyValidity,
        again_seconds: float,
    ) -> None:
        """`again_seconds`: see Leaving."""
        self._rooms = rooms
        self._arriving = arriving
        self._joining = Joining(rooms, client, keys, events)
        self.leaving = Leaving(rooms, client, again_seconds)
        self._knocking = Knocking(rooms, client, keys)
        self._inviting = Inviting(rooms, client, keys)
        self.third_party = ThirdParty(rooms, client, self._inviting, key_validity)
        self.invited = Invited(rooms, keys)
        self.aliases = RemoteAliases(client)

    async def change(self, sender: Sender, room_id: str, change: Change, via: Sequence[str] = ()) -> Sent | Refused:
        """Set a user's membership. `via`: servers that may know the room, if this one does not."""
        own = change.user_id == sender.user_id
        if change.membership == "invite" and not self._rooms.is_local(change.user_id):
            return await self._invite(sender, room_id, change)
        if own and change.membership in ("join", "knock"):
            return await self._enter(sender, room_id, change, via)
        if own and change.membership == "leave":
            return await self._leave(sender, room_id, change)
        return await change_membership(self._rooms, sender, room_id, change)

    async def join_by_third_party(
        self, sender: Sender, room_id: str, change: Change, signed: JsonObject, via: Sequence[str] = ()
    ) -> Sent | Refused:
        """Join with what an identity server has signed for a third-party invite, here or elsewhere."""
        if self._rooms.database.read(lambda connection: is_resident(connection, room_id)):
            refused = await self.third_party.why_not_join(room_id, signed)
            if refused is not None:
                return refused
            return await join_by_third_party(self._rooms, sender, room_id, change, signed)
        inviter = signed.get("sender")
        if not is_valid_user_id(inviter) or self._rooms.is_local(str(inviter)):
            return Refused(Why.FORBIDDEN, "The room has no such third-party invite for you")
        refused = await self.third_party.have_taken_up(room_id, str(inviter), sender.user_id, signed)
        return refused or await self._enter(sender, room_id, change, via)

    async def _invite(self, sender: Sender, room_id: str, change: Change) -> Sent | Refused:
        if not is_valid_user_id(change.user_id):
            return Refused(Why.INVALID_PARAM, f"{change.user_id!r} is not a user id")
        return await self._inviting.invite(sender, room_id, change)

    async def _enter(self, sender: Sender, room_id: str, change: Change, via: Sequence[str]) -> Sent | Refused:
        """Join or knock. One at a time in a room: the second finds what the first has brought."""
        async with self._arriving.entering(room_id):
            outcome: Sent | Refused | None = None
            if self._rooms.database.read(lambda c: _is_known(c, room_id) and knows_best(c, room_id)):
                outcome = await change_membership(self._rooms, sender, room_id, change)
                if not isinstance(outcome, Refused) or outcome.why not in _ASK_OTHERS:
                    return outcome
            servers = self._rooms.database.read(lambda c: self._servers(c, room_id, sender.user_id, via))
            if not servers:
                return outcome or _NO_ROOM
            if change.membership == "knock":
                return await self._knocking.knock(sender, room_id, change, servers)
            return await self._joining.join(sender, room_id, change, servers)

    async def _leave(self, sender: Sender, room_id: str, change: Change) -> Sent | Refused:
        entry, resident = self._rooms.database.read(
            lambda c: (out_of_band_of(c, room_id, sender.user_id), is_resident(c, room_id))
        )
        if entry is None:
            return await change_membership(self._rooms, sender, room_id, change)
        if resident:
            outcome = await change_membership(self._rooms, sender, room_id, change)
            if not isinstance(outcome, Refused):
                return outcome
            # The room as it is known here has no such invite: nobody there needs to be told.
            return await self.leaving.end_here(entry, change)
        return await self.leaving.reject(sender, entry, change)

    def _servers(self, connection: Reader, room_id: str, user_id: str, via: Sequence[str]) -> list[str]:
        """Whom to ask about a room: whom the client named, who invited, who was in it, who made it."""
        entry = out_of_band_of(connection, room_id, user_id)
        invited_by = () if entry is None else entry.servers
        maker = room_id.partition(":")[2] if is_valid_room_id(room_id) else ""
        return servers_to_ask(self._rooms.server_name, via, invited_by, servers_in_room(connection, room_id), (maker,))


def _is_known(connection: Reader, room_id: str) -> bool:
    row = room_row(connection, room_id)
    return row is not None and row.state_group is not None
